"""A file of weights of the same code with other arguments: the arguments are found and named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fieldwise.capture import load_model
from fieldwise.errors import UsageError

torch = pytest.importorskip("torch")

NET = """
from torch import nn

class Net(nn.Module):
    def __init__(self, inputs=3, base=16, depth=2, mults=(1, 2), bias=True, *, norm="batch"):
        super().__init__()
        sizes = [inputs, *(base * mult for mult in mults)]
        self.blocks = nn.ModuleList(nn.Conv2d(a, b, 3, bias=bias) for a, b in zip(sizes, sizes[1:]))
        self.deep = nn.Sequential(*[nn.Conv2d(sizes[-1], sizes[-1], 1) for _ in range(depth)])

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return self.deep(x)

def make(**options):
    return Net(**options)

def placed(inputs, /, base=16):
    return Net(inputs, base)

ready = Net()
"""


@pytest.fixture(autouse=True)
def _code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "fitted_code", raising=False)
    Path("fitted_code.py").write_text(NET)


def said_of(spec, other):
    """What is said where a model is given the weights of another spec."""
    written = load_model(other, "1x3x16x16")
    torch.save(written.module.state_dict(), "w.pth")
    with pytest.raises(UsageError) as caught:
        load_model(spec, "1x3x16x16").given(Path("w.pth"))
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "of_file", "named"),
    [
        ("Net", "Net(base=24)", "Net(base=24)"),
        ("Net", "Net(inputs=1)", "Net(inputs=1)"),
        ("Net(3, base=8)", "Net(base=24)", "Net(inputs=3, base=24)"),
        ("Net", "Net(bias=False)", "Net(bias=False)"),
        ("Net", "Net(depth=5)", "Net(depth=5)"),
        ("Net(depth=4)", "Net(depth=1)", "Net(depth=1)"),
        ("Net", "Net(1, 24, 3)", "Net(inputs=1, base=24, depth=3)"),
        ("Net", "Net(mults=(1, 4))", None),
        ("make(depth=3)", "make(depth=1)", "make(depth=1)"),
        ("make", "make(depth=1)", None),
        ("placed(3)", "placed(1)", None),
        ("ready", "Net(base=24)", None),
    ],
)
def test_the_arguments_with_which_the_weights_fit_are_named(written, of_file, named):
    said = said_of(f"fitted_code.py:{written}", f"fitted_code.py:{of_file}")
    if named is None:
        assert "It fits" not in said
        return
    spec = f"fitted_code.py:{named}"
    assert said.endswith(f" It fits {spec!r}.")
    given = load_model(spec, "1x3x16x16").given(Path("w.pth"))
    state = torch.load("w.pth", weights_only=True)
    assert all(torch.equal(state[name], one) for name, one in given.module.state_dict().items())


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("torchvision:squeezenet1_1", "torchvision:squeezenet1_1(num_classes=5)"),
        ("timm:resnet10t", "timm:resnet10t(num_classes=5, in_chans=1)"),
    ],
)
def test_the_classes_and_channels_of_a_zoo_model_are_found_in_its_weights(spec, named):
    pytest.importorskip("torchvision" if spec.startswith("torchvision") else "timm")
    assert said_of(spec, named).endswith(f" It fits {named!r}.")
