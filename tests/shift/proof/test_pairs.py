"""Every pair of a few ops, one after the other or joined: the proof is what brute force finds.

Most of them only move elements, so this is the small scope of how layouts are regrouped, cropped,
put side by side and joined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from fieldwise.shift import AxisCertificate, certify
from fieldwise.testing.shifts import moved, shift_outcome
from tests.shift.proof.single import Op

SHAPE, AXIS, SIZE = (1, 2, 4, 8), 3, 8
CLOSE = 1e-9
Function = Callable[[Tensor], Tensor]


def _after_a_token(x: Tensor) -> Tensor:
    return torch.cat([torch.ones_like(x[..., :1]), x], -1)


def _with_a_channel_zeroed(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, :1] = 0
    return y


def _windows(x: Tensor) -> Tensor:
    return x.unflatten(-1, (-1, 2)).transpose(-1, -2)


OPS: dict[str, Function] = {
    "roll": lambda x: x.roll(1, -1),
    "flip": lambda x: x.flip(-1),
    "every other": lambda x: x[..., ::2],
    "first half": lambda x: x[..., : x.shape[-1] // 2],
    "all but the first": lambda x: x[..., 1:],
    "the last": lambda x: x[..., -1:],
    "zeros around": lambda x: F.pad(x, (1, 1)),
    "wrapped": lambda x: F.pad(x, (1, 1), mode="circular"),
    "repeated": lambda x: x.repeat_interleave(2, -1),
    "twice": lambda x: torch.cat([x, x], -1),
    "after a token": _after_a_token,
    "transposed": lambda x: x.transpose(-1, -2),
    "flat": lambda x: x.flatten(2),
    "flat by columns": lambda x: x.transpose(-1, -2).flatten(2),
    "in windows": lambda x: x.unflatten(-1, (-1, 2)),
    "in windows, the other order": _windows,
    "flat by windows": lambda x: _windows(x).flatten(-2),
    "narrow": lambda x: x.reshape(*x.shape[:2], -1, 4),
    "wide": lambda x: x.reshape(*x.shape[:2], -1, 16),
    "channels last": lambda x: x.movedim(1, -1),
    "softmax": lambda x: x.softmax(-1),
    "averaged": lambda x: F.avg_pool2d(x, (1, 3), (1, 2), (0, 1)),
    "weighed in turns": lambda x: x * (1 + torch.arange(x.shape[-1]) % 2),
    "mean": lambda x: x.mean(-1, keepdim=True).expand_as(x),
    "Gram matrix": lambda x: x.transpose(-1, -2) @ x,
    "frequencies": lambda x: torch.fft.fft(x),
    "largest": lambda x: x.amax(-1, keepdim=True),
    "a channel zeroed": _with_a_channel_zeroed,
}

_ALONG_ROWS = "roll|flip|every other|all but the first|the last|repeated|averaged|frequencies"
_CUTS = "first half|all but the first|the last"
UNDECIDED = {
    "flat, then": f"{_ALONG_ROWS}|wrapped",
    "flat by windows, then": _ALONG_ROWS,
    "wide, then": _ALONG_ROWS,
    "after a token, then": "narrow",
    "first half beside": _CUTS,
    "all but the first beside": "all but the first|the last",
    "the last beside": "all but the first|the last",
    **{f"{cut}, then": "twice" for cut in _CUTS.split("|")},
    "zeros around, then": "softmax|largest|mean|the last",
    "frequencies, then": "every other|repeated|twice|after a token|mean|Gram matrix",
    "frequencies times": "frequencies",
}
"""What is neither proven nor called broken, besides frequencies beside anything."""
EARLIER = {"flat by windows, then": "mean|largest"}
"""What is proven at more than its least period."""


def pairs(one: str) -> Iterator[tuple[str, Function]]:
    """The networks of one op and each other one; those that torch refuses are left out."""
    first = OPS[one]
    for two, second in OPS.items():
        for name, network in (
            (f"{one}, then {two}", lambda x, g=second: g(first(x))),
            (f"{one} beside {two}", lambda x, g=second: torch.cat([first(x), g(x)], -1)),
            (f"{one} times {two}", lambda x, g=second: first(x) * g(x)),
        ):
            try:
                network(torch.zeros(SHAPE, dtype=torch.float64))
            except (RuntimeError, IndexError):
                continue
            yield name, network


@pytest.mark.parametrize("one", OPS)
def test_the_proof_of_a_pair_of_ops_is_what_brute_force_finds(one):
    """What is proven holds, what is called broken is; what holds at less than said is listed."""
    x = torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    undecided, earlier = set(), set()
    for name, network in pairs(one):
        outcome = shift_outcome(Op(network), (x,), AXIS)
        assert not outcome.failed, (name, outcome)
        for output in certify(Op(network), x, axes=[AXIS]).outputs:
            (axis,) = output.axes
            if axis.undecided and "frequencies" not in name.split(" beside "):
                undecided.add(name)
            elif _holds_earlier(network, x, axis):
                earlier.add(name)
    assert undecided == _listed(UNDECIDED, one)
    assert earlier == _listed(EARLIER, one)


def _listed(pairs: Mapping[str, str], one: str) -> set[str]:
    names = {f"{start} {end}" for start, ends in pairs.items() for end in ends.split("|")}
    return {
        name
        for name in names
        if name.split(", then ")[0].split(" beside ")[0].split(" times ")[0] == one
    }


def _holds_earlier(network: Function, x: Tensor, axis: AxisCertificate) -> bool:
    """Whether a smaller shift than the period moves what the period moves."""
    circular, before = axis.circular, network(x)
    for by in range(1, circular.period or 1):
        after = network(x.roll(by, AXIS))
        for step in range(max((move.size for move in circular.moves), default=1)):
            wanted = moved(before, [replace(move, step=step) for move in circular.moves])
            if (wanted - after).abs().max() <= CLOSE:
                return True
    return False
