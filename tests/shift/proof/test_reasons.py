"""What a certificate says of why it does not hold, word for word, what helps, what is known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fieldwise.shift import certify
from tests.shift.proof.single import Op

SIZE = 8
SHAPE = (1, 2, SIZE, SIZE)
RAMP = torch.arange(SIZE, dtype=torch.float64)
CIRCULAR = "pad circularly: fieldwise.shift.circular, or --repair circular"
KEEP = "keep the whole axis"
SAME_STRIDE = "give both branches the same stride and direction"
ROWS = "it reads neighbours in a row-major index, across the ends of rows"
ORDER = "it goes through the positions in order"
BESIDE = "it puts something beside what moves"


def _pool(x: Tensor, **options: bool) -> Tensor:
    return F.max_pool2d(x, (1, 3), (1, 2), **options)


def _padded(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, (1, 3), 1, (0, 1))


def _wrapped(x: Tensor) -> Tensor:
    return F.pad(x, (1, 1, 0, 0), mode="circular")


def _wide(x: Tensor) -> Tensor:
    """Two whole maps of two signals side by side."""
    return torch.cat([x, x.tanh()], -1)


KNOWN: dict[str, tuple[Callable[[Tensor], Tensor], list[tuple[str, str | None]]]] = {
    "zero padding": (_padded, [("zero padding", CIRCULAR)]),
    "a valid window": (
        lambda x: F.avg_pool2d(x, (1, 3), 1), [("a valid window shortens the axis", CIRCULAR)],
    ),
    "a window over the edge": (
        lambda x: _pool(x, ceil_mode=True),
        [("ceil_mode: the last window hangs over the edge",
          "use ceil_mode=False, or a size that the windows fit")],
    ),
    "a crop": (lambda x: x[..., 1:], [("it crops the axis", KEEP)]),
    "a size that strides do not divide": (
        lambda x: x[..., ::3],
        [("the size 8 is not a multiple of the stride 3", "use a size that the strides divide")],
    ),
    "padding, then a crop": (
        lambda x: _padded(x)[..., :6], [("zero padding", CIRCULAR)],
    ),
    "wrapping what was padded and cropped": (
        lambda x: _wrapped(_padded(x)[..., :6]), [("zero padding", CIRCULAR)],
    ),
    "wrapping what was cropped": (
        lambda x: _wrapped(x[..., :6]), [("it crops the axis", KEEP)],
    ),
    "more than a turn": (
        lambda x: _wrapped(x),
        [("the axis is longer than a whole number of periods",
          "crop what is padded or repeated beyond them")],
    ),
    "one position": (
        lambda x: x[..., 3],
        [("it picks a position of the axis", "reduce over the axis instead")],
    ),
    "one position of a map cropped": (
        lambda x: x[..., 1:].select(3, 3),
        [("it crops the axis", KEEP),
         ("it picks a position of the axis", "reduce over the axis instead")],
    ),
    "running sums": (lambda x: x.cumsum(3), [(ORDER, None)]),
    "a ramp": (
        lambda x: x + RAMP,
        [("it meets a constant that varies along the axis",
          "remove it, or make it periodic with the stride")],
    ),
    "two strides": (
        lambda x: x[..., ::2] + x[..., :4],
        [("it crops the axis", KEEP),
         ("it joins signals that move by 1/2 and by 1 per sample", SAME_STRIDE)],
    ),
    "a map and its transpose": (
        lambda x: x + x.transpose(2, 3),
        [("it joins what moves with what varies along the axis and does not move", None)],
    ),
    "a mean of what is padded": (
        lambda x: _padded(x).sum(3), [("zero padding", CIRCULAR)],
    ),
    "frequencies alone": (
        lambda x: torch.fft.fft(x),
        [("it is a spectrum, which turns its phases instead of moving", None)],
    ),
    "frequencies in rows of two": (
        lambda x: torch.fft.fft(x).unflatten(3, (4, 2)),
        [("it is a reshape that cuts frequencies apart", None)],
    ),
    "two signals transformed": (
        lambda x: torch.fft.fft(_wide(x)),
        [("it transforms several signals side by side", None)],
    ),
    "an irregular index": (
        lambda x: x[..., [0, 1, 3, 2, 5, 4, 7, 6]],
        [("it reads positions in no regular order", None)],
    ),
    "a search along the axis": (
        lambda x: x.argmax(3), [("it says at which position of the axis something is", None)],
    ),
    "a search along the axis, one position each": (
        lambda x: x.argsort(3), [("it says at which position of the axis something is", None)],
    ),
    "a linear layer over the axis": (
        lambda x: F.linear(x, (RAMP[:, None] * RAMP).sin()),
        [("a linear layer gives every position its own weights", "average over the axis first")],
    ),
    "a matrix over the axis": (
        lambda x: x @ (RAMP[:, None] * RAMP).sin(),
        [("a product with a constant matrix weighs positions one by one", "use a convolution")],
    ),
    "attention with dropout": (
        lambda x: F.scaled_dot_product_attention(x, x, x, dropout_p=0.5),
        [("it draws at random", "call model.eval()")],
    ),
    "slopes drawn at random": (
        lambda x: torch.rrelu(x, training=True), [("it draws at random", "call model.eval()")],
    ),
    "a full turn": (
        lambda x: F.avg_pool2d(x, (1, 8)).expand(-1, -1, -1, 1) * F.conv2d(
            x, torch.ones(2, 2, 1, 8, dtype=x.dtype), stride=8),
        [("only the periodic wrap of the axis is left, 8 of 8", "use a larger input")],
    ),
}  # fmt: skip
UNKNOWN: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "a flat line read along rows": (lambda x: F.avg_pool1d(x.flatten(2), 3), ROWS),
    "a flat line cropped inside a row": (
        lambda x: x.flatten(2)[..., 3:], "it cuts a row-major index inside a row",
    ),
    "rows of another length": (
        lambda x: x.unflatten(3, (4, 2)).flatten(2).unflatten(2, (32, 2)).transpose(2, 3).flatten(
            2)[..., :60].reshape(1, 2, 6, 10),
        "it cuts a row-major index inside a row",
    ),
    "rows in front of a token": (
        lambda x: torch.cat([torch.ones_like(x[..., :2]), x], 3).reshape(1, 2, 20, 4),
        "it is a reshape that cuts across rows",
    ),
    "a pool over two signals": (
        lambda x: F.avg_pool2d(_wide(x), (1, 3), 1), "it reads across pieces of several signals",
    ),
    "frequencies beside a map": (
        lambda x: torch.cat([torch.fft.fft(x), x], 3), "it puts something beside frequencies",
    ),
    "frequencies of two orders": (
        lambda x: torch.fft.fft(x).roll(1, 3) + torch.fft.fft(x),
        "it joins frequencies whose phases turn apart",
    ),
    "places that depend on the data": (
        lambda x: x.gather(3, x.argmax(1, keepdim=True).expand(SHAPE)),
        "gather with indices that depend on the data",
    ),
}  # fmt: skip


def _breakers(function: Callable[[Tensor], Tensor]) -> list[tuple[str, str | None, bool]]:
    (axis,) = (
        certify(Op(function), torch.zeros(SHAPE, dtype=torch.float64), axes=[3]).outputs[0].axes
    )
    assert all(breaker.axis == 3 and breaker.node for breaker in axis.broken_by)
    return [(breaker.why, breaker.remedy, breaker.known) for breaker in axis.broken_by]


@pytest.mark.parametrize("name", KNOWN)
def test_a_reason_is_told_with_what_helps(name):
    function, reasons = KNOWN[name]
    assert [(why, remedy) for why, remedy, _ in _breakers(function)] == reasons


@pytest.mark.parametrize("name", UNKNOWN)
def test_where_the_proof_ends_for_want_of_knowledge_nothing_is_known(name):
    function, reason = UNKNOWN[name]
    assert _breakers(function)[0] == (reason, None, False)
