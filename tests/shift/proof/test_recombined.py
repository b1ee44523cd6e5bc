"""Random programs that break a map and put it together again: no verdict on one is wrong."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldwise.testing.shifts import shift_outcome

SIZE = 8
PROGRAMS = 120
RAMP = torch.arange(SIZE, dtype=torch.float64)
MASK = (RAMP % 3 == 0).double()
KERNEL = torch.randn(2, 2, 1, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def _placed(op: Callable[[Tensor, Tensor], Tensor], constant: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda x: op(x, constant[: x.shape[3]])


ONE: tuple[Callable[[Tensor], Tensor], ...] = (
    _placed(torch.add, RAMP), _placed(torch.sub, RAMP),
    _placed(torch.mul, MASK), _placed(torch.mul, 1 - MASK),
    lambda x: F.pad(x, (1, 1)),
    lambda x: F.pad(x, (1, 1), mode="circular"),
    lambda x: F.pad(x, (1, 1), mode="reflect"),
    lambda x: x[..., 1:-1],
    lambda x: x[..., : SIZE // 2],
    lambda x: x[..., SIZE // 2 :],
    lambda x: x[..., -1:],
    lambda x: x[..., ::2],
    lambda x: x.cumsum(3),
    lambda x: x.flip(3),
    lambda x: x.roll(2, 3),
    lambda x: x.relu(),
    lambda x: x.sum(3, keepdim=True),
    lambda x: x.amax(3, keepdim=True),
    lambda x: x - x.mean(),
    lambda x: x.sort(3).values,
    lambda x: x.softmax(3),
    lambda x: F.conv2d(x, KERNEL, padding=(0, 1)),
    lambda x: F.conv2d(x, KERNEL, padding=(0, 2)),
    lambda x: F.max_pool2d(x, (1, 3), 1, (0, 1)),
    lambda x: F.interpolate(x, scale_factor=(1, 2), mode="bilinear"),
    lambda x: x.transpose(2, 3),
    lambda x: x.flatten(2).unsqueeze(2),
    lambda x: x.repeat(1, 1, 1, 2),
)  # fmt: skip
TWO: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (
    torch.add, torch.sub, torch.mul, torch.maximum,
    lambda x, y: torch.cat([x, y], 3),
    lambda x, y: torch.cat([x, y], 1)[:, :2],
    lambda x, y: torch.cat([x, y], 1)[:, 2:],
    lambda x, y: torch.stack([x, y], -1).flatten(3),
    lambda x, y: x @ y.transpose(2, 3),
)  # fmt: skip


class Program(nn.Module):
    """A few steps, each on the last value or on an earlier one; what does not fit is left out."""

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self.steps: list[tuple[Callable[..., Tensor], float, float]] = []
        self.layers = nn.ModuleList()
        for _ in range(dice.randint(2, 6)):
            kind = dice.random()
            op = dice.choice(ONE if kind < 0.55 else TWO)
            if kind > 0.9:
                op = nn.Conv2d(2, 2, (1, dice.choice([1, 3])), padding=(0, dice.randint(0, 2)))
                self.layers.append(op)
            self.steps.append((op, dice.random(), dice.random()))

    def forward(self, x: Tensor) -> Tensor:
        values = [x]
        for op, one, two in self.steps:
            operands = [values[-1] if one < 0.5 else values[int(one * len(values))]]
            if op in TWO:
                operands.append(values[int(two * len(values))])
            try:
                values.append(op(*operands))
            except (RuntimeError, IndexError, ValueError):
                continue
        return values[-1]


def test_no_verdict_on_what_is_taken_apart_and_put_together_is_wrong():
    """What is proven holds, and what is called broken is."""
    seen: Counter[str] = Counter()
    dice = random.Random(3)
    torch.manual_seed(3)
    for number in range(PROGRAMS):
        x = torch.randn(1, 2, 6, SIZE, dtype=torch.float64)
        outcome = shift_outcome(Program(dice).double(), (x,), 3)
        assert not outcome.failed, (number, outcome)
        seen[outcome.verdict] += 1
    assert min(seen["holds"], seen["broken"]) > PROGRAMS // 6, seen
    assert seen["undecided"] < PROGRAMS // 4, seen
