"""Ops that nobody gave a kernel: what their reads and kinds say is enough to stream them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from fieldwise.axes import AxisMap, Border
from fieldwise.capture.torch import registry
from fieldwise.capture.torch.registry import OpCall, Reads, one, rule
from fieldwise.capture.torch.rules.common import along_but, source
from fieldwise.errors import Refused
from fieldwise.graph.ir import WHOLE, Along, separable
from fieldwise.graph.kinds import ANY, DRAWN, EXTREME, PLACE, TOTAL, UNKNOWN_KIND, Kind
from fieldwise.testing import check_streamed
from fieldwise.tile import streamed


@torch.library.custom_op("replayed::combed", mutates_args=())
def combed(x: Tensor, taps: list[int], stride: int, copies: int) -> Tensor:
    """Of each ``stride``-th row the cubes of the rows at ``taps`` around it, ``copies`` times."""
    reach = max(map(abs, taps))
    padded = torch.nn.functional.pad(x, (0, 0, reach, reach))
    rows = x.shape[-2]
    found = sum(padded[..., reach + tap : reach + tap + rows : stride, :] ** 3 for tap in taps)
    return found.repeat_interleave(copies, -2)


@combed.register_fake
def _(x: Tensor, taps: list[int], stride: int, copies: int) -> Tensor:
    return x.new_empty(*x.shape[:-2], -(-x.shape[-2] // stride) * copies, x.shape[-1])


@torch.library.custom_op("replayed::mirrored", mutates_args=())
def mirrored(x: Tensor, other: Tensor) -> Tensor:
    """The product of a row and of the other's next but one, which is reflected at the end."""
    rows = torch.arange(x.shape[-2]) + 2
    last = x.shape[-2] - 1
    return x * other[..., last - (last - rows).abs(), :]


@mirrored.register_fake
def _(x: Tensor, other: Tensor) -> Tensor:
    return torch.empty_like(x)


def _rows(call: OpCall, name: str, index: AxisMap, border: Border = Border.DROP) -> Reads:
    number, shape = source(call, name)
    row = len(shape) - 2
    return one(along_but(number, len(shape), {row: Along(row, index, border)}))


def _combed(call: OpCall) -> Reads:
    reads = None
    for tap in call["taps"]:
        index = AxisMap.affine(call["stride"], tap)
        reads = index if reads is None else reads.union(index)
    assert reads is not None
    return _rows(call, "x", AxisMap(reads.advance, reads.offsets * call["copies"]))


def _mirrored(call: OpCall) -> Reads:
    ((itself,),) = _rows(call, "x", AxisMap.affine(1))
    ((next_but_one,),) = _rows(call, "other", AxisMap.affine(1, 2), Border.REFLECT)
    return one(itself, next_but_one)


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> Iterator[None]:
    """The two ops with rules of this kind."""
    given: Kind = getattr(request, "param", ANY)
    rule("replayed::combed", kind=given)(_combed)
    rule("replayed::mirrored", kind=given)(_mirrored)
    yield
    for name in ("combed", "mirrored"):
        del registry._RULES[f"replayed::{name}"]


class Net(nn.Module):
    """One of the ops between convolutions."""

    def __init__(self, taps: list[int] | None, stride: int = 1, copies: int = 1) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 1, 3, padding=1)
        self.taps, self.stride, self.copies = taps, stride, copies

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        if self.taps is None:
            return self.last(mirrored(x, x.sin()))
        return self.last(combed(x, self.taps, self.stride, self.copies))


NETS = {
    "rows beside": Net([-1, 2]),
    "every second row": Net([-3, 1], stride=2),
    "each row thrice": Net([-1, 0], copies=3),
    "each third row twice": Net([-2, 1, 2], stride=3, copies=2),
    "rows ahead only": Net([4]),
    "rows behind only": Net([-4], stride=2),
    "each row by itself": Net([0]),
}


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("net", NETS.values(), ids=NETS)
@pytest.mark.parametrize("axis", [-1, -2])
def test_an_op_with_reads_and_a_kind_streams(net, axis):
    image = torch.randn(1, 1, 23, 14, generator=torch.Generator().manual_seed(1))
    assert check_streamed(net, image, axis=axis).verdict == "exact"


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize("axis", [-1, -2])
def test_two_operands_are_read_together(axis):
    image = torch.randn(1, 1, 23, 14, generator=torch.Generator().manual_seed(1))
    assert check_streamed(Net(None), image, axis=axis).verdict == "exact"


@pytest.mark.usefixtures("kind")
@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (UNKNOWN_KIND, "running this op on a band of rows is not supported"),
        (DRAWN, "it draws random numbers"),
        (PLACE, "it gives positions, which count from the first row"),
    ],
    indirect=["kind"],
)
def test_what_a_kind_does_not_claim_is_refused(why):
    image = torch.empty(1, 1, 23, 14)
    with pytest.raises(Refused, match=r"\(combed\): " + why):
        streamed(Net([-1, 2]), image, axis=2).plan(image.shape)


@pytest.mark.usefixtures("kind")
def test_rows_of_a_stream_without_an_end_are_those_of_the_whole():
    net, image = Net([-3, 1], stride=2), torch.randn(1, 1, 40, 8)
    session = streamed(net, image[:, :, :16]).session()
    with torch.no_grad():
        found = [session.push(image[:, :, at : at + 5]) for at in range(0, 40, 5)]
        found.append(session.close())
        torch.testing.assert_close(torch.cat(found, -2), net(image))


# ------------------------------------------------------------------------------ totals


@torch.library.custom_op("replayed::turned", mutates_args=())
def turned(x: Tensor, least: bool) -> Tensor:
    """The extremes of all rows, channels before samples and the columns from the right."""
    return (x.amin(2) if least else x.amax(2)).transpose(0, 1).flip(2).contiguous()


@turned.register_fake
def _(x: Tensor, least: bool) -> Tensor:
    return x.new_empty(x.shape[1], x.shape[0], x.shape[3])


class Turned(nn.Module):
    """What is left of each row without the extreme of its column."""

    def __init__(self, least: bool) -> None:
        super().__init__()
        self.least = least

    def forward(self, x: Tensor) -> Tensor:
        found = torch.ops.replayed.turned(x, self.least)
        return x - found.transpose(0, 1).flip(2)[:, :, None]


@pytest.fixture
def turning(request: pytest.FixtureRequest) -> Iterator[None]:
    """The op with a rule of this kind."""

    def reads(call: OpCall) -> Reads:
        right = AxisMap.affine(-1, call.result[2] - 1)
        return one(separable(0, Along(1), Along(0), WHOLE, Along(2, right)))

    rule("replayed::turned", kind=request.param)(reads)
    yield
    del registry._RULES["replayed::turned"]


@pytest.mark.parametrize("turning", [EXTREME], indirect=True)
@pytest.mark.parametrize("least", [True, False])
@pytest.mark.usefixtures("turning")
def test_extremes_are_joined_wherever_the_op_puts_them(least):
    x = torch.randn(2, 3, 37, 5, dtype=torch.float64)
    model = Turned(least).double()
    found = streamed(model, x, axis=2, band=8, global_ops="multipass")(x)
    assert torch.equal(found, model(x))


@pytest.mark.parametrize("turning", [TOTAL], indirect=True)
@pytest.mark.usefixtures("turning")
def test_totals_that_an_op_puts_elsewhere_are_refused():
    x = torch.randn(2, 3, 37, 5)
    with pytest.raises(Refused, match="turned"):
        streamed(Turned(False), x, axis=2, band=8, global_ops="multipass")(x)


class Function(nn.Module):
    """A function of a tensor."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


@pytest.mark.parametrize("size", [(1, 4), (1, 1)])
def test_a_pool_of_all_rows_and_of_windows_of_columns_is_joined(size):
    x = torch.randn(1, 3, 37, 20, dtype=torch.float64)
    model = Function(lambda y: y.sum(3, keepdim=True) + nn.functional.adaptive_max_pool2d(y, size))
    runs = streamed(model, x, axis=2, band=8, global_ops="multipass")
    assert torch.allclose(runs(x), model(x), rtol=0, atol=1e-12)
    (first,) = runs.plan(x.shape).passes[0]
    assert first == "'the model itself' (adaptive_max_pool)"


# -------------------------------------------------------------------- in place


class InPlace(nn.Module):
    """A convolution, and then an op that writes into its result."""

    def __init__(self, write: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.write = nn.Conv2d(1, 1, 3, padding=1), write

    def forward(self, x: Tensor) -> Tensor:
        return self.write(self.conv(x))


WRITES = (
    lambda x: x.lt_(0),
    lambda x: x.logical_not_(),
    lambda x: x.eq_(x.roll(1, -1)),
    lambda x: x.half().mul_(torch.full(x.shape[-1:], 0.1)),
    lambda x: (9 * x).int().cumsum_(-1),
)


@torch.no_grad()
@pytest.mark.parametrize("write", WRITES)
def test_what_is_written_in_place_keeps_the_dtype_of_what_held_it(write):
    model, x = InPlace(write).eval(), torch.randn(1, 1, 16, 16)
    wanted = model(x)
    found = streamed(model, x, band=4)(x)
    assert found.dtype == wanted.dtype
    torch.testing.assert_close(found, wanted)
