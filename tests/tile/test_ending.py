"""What is done behind a network: it is what numpy makes of the whole output, in pieces too."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fieldwise.errors import UsageError
from fieldwise.tile import Ending, ended, streamed, tiled


class Heads(nn.Module):
    """Two outputs, of five and of one channel."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 6, 3, padding=1)
        self.classes, self.edge = nn.Conv2d(6, 5, 3, padding=1), nn.Conv2d(6, 1, 1)

    def forward(self, x):
        x = self.body(x).relu()
        return {"logits": self.classes(x), "edge": self.edge(x)}


def heads() -> Heads:
    torch.manual_seed(3)
    return Heads().eval()


X = torch.randn(1, 3, 40, 32, generator=torch.Generator().manual_seed(1))


def rounded(values: np.ndarray, low: int, high: int) -> np.ndarray:
    return np.clip(np.rint(values), low, high)


WANTED = {
    "logits:argmax": lambda out: out["logits"].argmax(1),
    "logits:softmax": lambda out: torch.softmax(torch.from_numpy(out["logits"]), 1).numpy(),
    "logits:softmax>0.3": lambda out: torch.softmax(torch.from_numpy(out["logits"]), 1) > 0.3,
    "edge:sigmoid>1/2": lambda out: out["edge"] > 0,
    "edge:>0.1": lambda out: out["edge"] > np.float32(0.1),
    "edge:*8": lambda out: out["edge"] * 8,
    "edge": lambda out: out["edge"],
}


@pytest.mark.parametrize("text", WANTED)
def test_an_ending_is_the_same_function_of_the_whole_and_of_pieces(text):
    net, ending = heads(), Ending.parse(text)
    with torch.no_grad():
        whole = {name: found.numpy() for name, found in net(X).items()}
        behind = ended(net, ending)
        wanted = np.asarray(WANTED[text](whole))
        found = [behind(X), streamed(behind, X, band=8)(X), tiled(behind, X, tile=16)(X)]
    for one in found:
        assert one.shape == wanted.shape
        np.testing.assert_allclose(one.numpy(), wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [("uint8", 0, 255), ("int16", -(2**15), 2**15 - 1), ("int32", -(2**31), 2**31 - 128)],
)
def test_whole_numbers_are_rounded_and_clipped(dtype, low, high):
    values = torch.tensor([[-1e20, -3.0, -0.5, 0.49, 0.5, 1.5, 254.6, 300.0, 1e20, float("nan")]])
    found = ended(nn.Identity(), Ending(dtype=dtype))(values)
    assert found.dtype == getattr(torch, dtype)
    wanted = rounded(values[0, :-1].double().numpy(), low, high)
    np.testing.assert_array_equal(found[0, :-1].numpy(), wanted)
    assert found[0, -1] == 0


def test_a_type_that_is_too_narrow_for_the_classes_is_told():
    assert ended(nn.Identity(), Ending.parse("argmax"))(torch.ones(1, 256, 2)).dtype == torch.uint8
    many = torch.ones(1, 257, 2)
    assert ended(nn.Identity(), Ending.parse("argmax"))(many).dtype == torch.int32
    with pytest.raises(UsageError, match=r"uint8 does not hold all torch\.int32 values"):
        ended(nn.Identity(), Ending.parse("argmax", "uint8"))(many)


def test_layers_keep_their_names_and_the_model_its_outputs():
    net = heads()
    behind = ended(net, Ending.parse("edge"))
    assert isinstance(behind, Heads)
    assert [name for name, _ in behind.named_modules()] == [name for name, _ in net.named_modules()]
    assert behind.body.weight is net.body.weight
    assert set(net(X)) == {"logits", "edge"}


def test_a_scripted_model_and_one_with_a_forward_of_its_own_have_an_ending_too():
    scripted = torch.jit.script(nn.Conv2d(3, 4, 1))
    assert ended(scripted, Ending.parse("argmax"))(X).shape == (1, 40, 32)
    own = nn.Conv2d(3, 4, 1)
    own.forward = lambda x: torch.cat([x, x], 1)
    assert ended(own, Ending.parse("argmax"))(X).dtype == torch.uint8


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("argmax", "has several outputs (logits, edge), and --out is of one; write for example "
         "--out logits:argmax."),
        ("edges", "--out 'edges' is neither a step (argmax, softmax, sigmoid, sigmoid>0.5, "
         "sigmoid*255) nor an output of the model, which has logits, edge."),
        ("edge:argmax", "is over the channels, and the output is 1x1x40x32, with one or none; for "
         "a mask write --out 'sigmoid>0.5'."),
    ],
)  # fmt: skip
def test_an_ending_that_the_outputs_do_not_have_is_told(text, told):
    with pytest.raises(UsageError) as caught:
        ended(heads(), Ending.parse(text))(X)
    assert told in str(caught.value)


def test_a_threshold_is_a_number():
    with pytest.raises(UsageError) as caught:
        Ending.parse("sigmoid>half")
    assert str(caught.value) == (
        "--out 'sigmoid>half' compares with no number; write for example --out 'sigmoid>0.5'."
    )


@pytest.mark.parametrize(
    ("text", "dtype", "before"),
    [
        ("a:argmax", "uint8", "a"), ("sigmoid>0.5", None, "sigmoid"),
        ("sigmoid*255", "uint8", "sigmoid*255"), ("a", "float16", "a"), (None, None, ""),
    ],
)  # fmt: skip
def test_what_is_compared_comes_before_classes_thresholds_and_rounding(text, dtype, before):
    ending = Ending.parse(text, dtype)
    assert str(ending) == (text or "")
    assert str(ending.before_steps) == before
    assert ending.before_steps.dtype == (dtype if dtype == "float16" else None)
