"""Results written to rows of a larger tensor: by ops that do it, else copied there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from fieldwise.capture.torch.overloads import with_out
from fieldwise.graph.ir import Call, Ref
from fieldwise.tile import streamed
from fieldwise.tile.bands.kernels.rooms import RoomWriter

aten = torch.ops.aten

ACTS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": nn.functional.gelu,
    "gelu by tanh": nn.GELU("tanh"),
    "silu": nn.functional.silu,
    "relu": torch.relu,
    "softmax": lambda x: x.softmax(1),
    "softmax of a decomposition": lambda x: torch._softmax(x, 1, half_to_float=False),
    "log softmax of a decomposition": lambda x: torch._log_softmax(x, 1, half_to_float=False),
    "compared": lambda x: (x > 0.1).to(x.dtype),
}


class Between(nn.Module):
    """A function between two convolutions; the second reads its rows where they are kept."""

    def __init__(self, function: Callable[[Tensor], Tensor], axes: int) -> None:
        super().__init__()
        conv = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
        self.function = function
        self.first = conv(2, 6, 5, padding=2)
        self.last = conv(6, 8, 5, stride=2, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function(self.first(x)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [(388,), (40, 17), (12, 9, 10)], ids=["1-D", "2-D", "3-D"])
@pytest.mark.parametrize("act", ACTS.values(), ids=list(ACTS))
def test_rows_that_an_op_writes_where_they_are_kept_are_those_that_it_returns(act, size, dtype):
    torch.manual_seed(0)
    model = Between(act, len(size)).eval().to(dtype)
    x = torch.randn(1, 2, *size).to(dtype)
    with torch.no_grad():
        found, wanted = streamed(model, x, axis=-1, band=5)(x), model(x)
    torch.testing.assert_close(
        found, wanted, atol=0.05 if dtype == torch.bfloat16 else 1e-5, rtol=0
    )


@pytest.mark.parametrize("fill", [0.0, 1.0])
def test_an_op_that_leaves_its_room_alone_is_found_out_whatever_lay_there(fill):
    """Torch's ``_softmax.out`` writes into strided rows as if they were dense, and says nothing."""
    call = Call(aten._softmax.default, (Ref(0), 1, False), {})
    writer = with_out(call.target)
    assert writer is not None
    rows, whole = torch.zeros(1, 4, 8), torch.full((1, 4, 20), fill)
    RoomWriter(call, writer).write(
        [rows], whole[..., 6:14], few=lambda: ([rows[..., :4]], whole[..., 6:10])
    )
    assert (whole[..., 6:14] == 0.25).all()
    assert (whole[..., :6] == fill).all()
    assert (whole[..., 14:] == fill).all()


def test_what_cannot_be_tried_now_is_copied():
    def refused(*_: object, **__: object) -> Tensor:
        raise AssertionError("it was asked to write")

    rows, whole = torch.ones(1, 4, 8), torch.zeros(1, 4, 20)
    call = Call(aten.neg.default, (Ref(0),), {})
    RoomWriter(call, refused).write([rows], whole[..., 6:14], few=None)
    assert (whole[..., 6:14] == -1).all()
