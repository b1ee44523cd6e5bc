"""What verbs would prove of an op if its rule claimed too much: two networks that they refuse.

Derived from a name, 'one of the elements that are read' is true of ``kthvalue`` and ``sort`` too.
With it, tile takes which rank is meant for a place to look, and shift takes a sorted axis for one
that repeats itself.  Both are kept from it by the kinds alone, as the same networks show with the
kind that is false.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from fieldwise.capture.torch import registry
from fieldwise.graph.kinds import COPY, Kind
from fieldwise.shift import certify
from fieldwise.tile import tiled
from fieldwise.tile.errors import TileError


class RankOfWidth(nn.Module):
    """Of the channels of a convolution the value of a rank that depends on the width."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).kthvalue(x.shape[-1] // 8, dim=1, keepdim=True).values


class Sorted(nn.Module):
    """A convolution without borders, added to itself sorted along the width."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular")

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) + self.conv(x).sort(-1).values


@pytest.fixture
def claimed(monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Gives the rule of an op another kind."""

    def claim(op: str, kind: Kind) -> None:
        name, rule = registry._RULES[op]
        plain = rule.__wrapped__
        monkeypatch.setitem(registry._RULES, op, (name, registry._with_kinds(plain, kind, ())))

    return claim


X = torch.rand(1, 1, 8, 64)


def rank_error() -> float:
    model = RankOfWidth().eval()
    with torch.no_grad():
        return float((tiled(model, X, tile=(8, 16))(X) - model(X)).abs().max())


def test_which_rank_is_meant_is_no_place_to_look():
    with pytest.raises(TileError, match="its argument 'k' depends on the size of the image"):
        rank_error()


def test_with_a_false_kind_tiles_of_a_rank_would_be_wrong(claimed):
    claimed("aten::kthvalue", COPY)
    assert rank_error() > 0.1


def proven() -> tuple[int | None, int]:
    """The least shift of the width that is proven, and by how much the output moves then."""
    (width,) = certify(Sorted().eval(), X, axes=(3,)).outputs[0].axes
    return width.circular.period, width.circular.step


def test_a_sorted_axis_does_not_move():
    assert proven()[0] is None


def test_with_a_false_kind_a_sorted_axis_would_be_proven_to_move(claimed):
    claimed("aten::sort", Kind("one", alike=True, geometry="everything"))
    assert proven() == (1, 1)
    model = Sorted().eval()
    with torch.no_grad():
        assert (model(X.roll(1, -1)) - model(X).roll(1, -1)).abs().max() > 0.01
