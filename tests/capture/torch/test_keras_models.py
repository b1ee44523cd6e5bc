"""Models of keras.applications; sentences by a module that stands for keras."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest
from torch import nn

from fieldwise.capture import load_model
from fieldwise.errors import UsageError

KNOWN = """
import fieldwise
for name, field in {"ResNet50": (483, 224, -241), "MobileNetV2": (491, 224, -214)}.items():
    report = fieldwise.receptive_fields(f"keras:{name}", axes=(1, 2))
    assert report.input.shape == (1, 224, 224, 3)
    *_, last = (row for row in report.rows if row.axes[0].stride == 32)
    for axis in last.axes:
        assert (axis.extent, axis.start) == (field[0], field[2]), axis
"""


class Small(nn.Conv2d):
    """A network with the attribute that Keras has."""

    def __init__(self, weights: object) -> None:
        super().__init__(3, 4, 3)
        assert weights is None
        self.input_shape = (None, 299, None, 3)


def stand_in(monkeypatch, backend: str = "torch", **models: object) -> None:
    keras = ModuleType("keras")
    keras.config = SimpleNamespace(backend=lambda: backend)  # type: ignore[attr-defined]
    keras.applications = SimpleNamespace(**models)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keras", keras)


def refusal(spec: str) -> str:
    with pytest.raises(UsageError) as said:
        load_model(spec)
    return str(said.value)


def test_a_model_is_made_without_weights_and_brings_its_shape(monkeypatch):
    stand_in(monkeypatch, Small=Small)
    model = load_model("keras:Small")
    assert model.shapes == ((1, 299, 224, 3),)
    assert not model.module.training
    assert model.drawn() == ("weight", "bias")


def test_a_name_that_keras_has_not_is_told_with_close_ones(monkeypatch):
    stand_in(monkeypatch, ResNet50=Small, utils=None)
    assert refusal("keras:ResNet5") == (
        "keras.applications has no model 'ResNet5'; did you mean 'ResNet50'?"
    )
    assert refusal("keras:utils") == "keras.applications has no model 'utils'; it has ResNet50."


def test_another_backend_is_told(monkeypatch):
    stand_in(monkeypatch, "jax", Small=Small)
    assert refusal("keras:Small") == (
        "keras was imported with the backend 'jax', and its models are torch modules with 'torch'; "
        "set KERAS_BACKEND=torch before keras is imported."
    )


def test_a_keras_that_makes_no_torch_modules_is_told(monkeypatch):
    stand_in(monkeypatch, Old=lambda weights: object())
    assert refusal("keras:Old") == "'keras:Old' is no torch module; install Keras 3."


def test_without_keras_its_installation_is_said_and_the_environment_stays(monkeypatch):
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr(sys, "meta_path", [])
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    from fieldwise.capture.torch.keras_models import keras_model

    with pytest.raises(UsageError) as said:
        keras_model("ResNet50")
    assert str(said.value) == "'keras' is not installed; install it with pip install keras."
    assert os.environ["KERAS_BACKEND"] == "jax"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="keras is not installed")
def test_the_fields_of_known_networks():
    subprocess.run([sys.executable, "-c", KNOWN], check=True)
