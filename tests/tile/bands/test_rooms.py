"""Results written to rows of a larger tensor: by ops that do it, else copied there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch._ops import OpOverload, OpOverloadPacket

from fieldwise.capture.torch.overloads import is_element_wise, with_out
from fieldwise.graph.ir import Call, Ref
from fieldwise.tile import streamed
from fieldwise.tile.bands.kernels import rooms as rooms_of_ops
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


def test_what_was_found_of_an_op_holds_for_its_other_arguments_too(monkeypatch):
    """oneDNN has ``gelu`` by erf, not by tanh: one obeys, the other does not."""
    monkeypatch.setattr(rooms_of_ops, "_OBEYS", {})
    torch.manual_seed(0)
    x = torch.randn(1, 2, 388)
    with torch.no_grad():
        for approximate in ("tanh", "none"):
            model = Between(nn.GELU(approximate), 1).eval()
            torch.testing.assert_close(
                streamed(model, x, axis=-1, band=5)(x), model(x), atol=1e-5, rtol=0
            )


@pytest.mark.filterwarnings("ignore:TF32 acceleration")
def test_what_was_found_without_onednn_holds_without_it(monkeypatch):
    monkeypatch.setattr(rooms_of_ops, "_OBEYS", {})
    torch.manual_seed(0)
    model, x = Between(nn.GELU(), 1).eval(), torch.randn(1, 2, 388)
    stream = streamed(model, x, axis=-1, band=5)
    with torch.no_grad():
        with torch.backends.mkldnn.flags(enabled=False):
            stream(x)
        torch.testing.assert_close(stream(x), model(x), atol=1e-5, rtol=0)


def test_large_complex_numbers_are_tried_over_others():
    rows, whole = torch.full((1, 4, 8), 1e20 + 0j), torch.zeros(1, 4, 20, dtype=torch.complex64)
    call = Call(aten.neg.default, (Ref(0),), {})
    RoomWriter(call, lambda *_, **__: rows).write(
        [rows], whole[..., 6:14], few=lambda: ([rows[..., :4]], whole[..., 6:10])
    )
    assert (whole[..., 6:14] == -rows).all()


def test_an_op_whose_kernel_may_depend_on_the_size_is_not_asked_to_write():
    def refused(*_: object, **__: object) -> Tensor:
        raise AssertionError("it was asked to write")

    rows, whole = torch.ones(1, 4, 8), torch.zeros(1, 3, 20)
    call = Call(aten.bmm.default, (torch.ones(1, 3, 4), Ref(0)), {})
    RoomWriter(call, refused).write(
        [rows], whole[..., 6:14], few=lambda: ([rows[..., :4]], whole[..., 6:10])
    )
    assert (whole[..., 6:14] == 4).all()


def _writers() -> Iterator[tuple[OpOverload, int]]:
    """Element-wise ops of torch of one or two tensors that have a writer; and of how many."""
    packets = [getattr(aten, name) for name in dir(aten)]
    for packet in (one for one in packets if isinstance(one, OpOverloadPacket)):
        for op in (getattr(packet, overload) for overload in packet.overloads()):
            asked = [a for a in op._schema.arguments if not a.has_default_value()]
            tensors = [a for a in asked if str(a.type) == "Tensor"]
            if is_element_wise(op) and with_out(op) and len(asked) == len(tensors) in (1, 2):
                yield op, len(asked)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.complex64, torch.int32])
@pytest.mark.parametrize("rows", [9, 20_001])
def test_what_a_few_rows_show_of_an_element_wise_op_holds_for_many(rows, dtype):
    """In rows that are narrow parts of what they lie in, and in channels-last."""
    torch.manual_seed(0)
    tried = 0
    for op, count in _writers():
        writer = with_out(op)
        assert writer is not None
        for shape, dim in (((1, 2, rows), 2), ((1, 2, rows, 2), 2)):
            given = [(torch.rand(shape) * 8 + 1).to(dtype) for _ in range(count)]
            if len(shape) == 4:
                given = [x.contiguous(memory_format=torch.channels_last) for x in given]
            try:
                wanted = op(*given)
            except (RuntimeError, NotImplementedError):
                continue
            size = list(wanted.shape)
            size[dim] += 9
            whole = torch.zeros(size, dtype=wanted.dtype)
            if len(shape) == 4:
                whole = whole.contiguous(memory_format=torch.channels_last)
            room = whole.narrow(dim, 5, rows)
            few = [x.narrow(dim, 0, 4) for x in given], room.narrow(dim, 0, 4)
            call = Call(op, tuple(Ref(number) for number in range(count)), {})
            RoomWriter(call, writer).write(given, room, few=lambda few=few: few)
            error = {"rtol": 0.02, "atol": 0.02} if dtype == torch.bfloat16 else {}
            torch.testing.assert_close(room, wanted, equal_nan=True, **error, msg=str(op))
            assert not whole.narrow(dim, 0, 5).any(), op
            assert not whole.narrow(dim, 5 + rows, 4).any(), op
            tried += 1
    assert tried > 50
