"""Which input elements each output element depends on, measured on the model as it is.

Two witnesses: an element of the input is changed, by several amounts, and the output changes by
more than rounding; or it changes by a bit at least, and the derivative that autograd gives is not
zero.  A derivative that no change bears out is a mistake of its formula (as_strided_scatter has
one).  Neither looks at a graph.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fieldwise.capture.torch.tree import named_tensors
from fieldwise.testing.running import Inputs, apart, draws, is_whole, run, scale, slack

_FLAT = 1e-9
"""Derivatives smaller than this may be rounding."""

_AMOUNTS = (0.137, -11.3, 1, -1)
_LARGER = (1.0, 1.0, 10.0, 100.0, 0.01, 1e4)
"""From draw to draw: what is compared with something large changes by larger amounts only."""

_MORE = 24
"""Amounts drawn at random, where something is looked for: a bin, a bound, a class."""

_SPAN = 12
"""Samples of torch and draws of ours lie within it, most of them."""

_LARGE, _PART = 1 << 20, 4
"""From so many output elements on, a fourth of the places has to do."""

_ODD = (float("nan"), float("inf"), -float("inf"))


@dataclass
class Truth:
    """Dependences of one model, as far as they have been seen yet.

    model, inputs: in double precision, where the model can be run in it
    variants: the model with other values in its constants; what depends on an element in one of
              them is hinted
    rows:    most output elements that are watched, of each output
    columns: most input elements that are changed, of each input
    shapes:  of the outputs
    watched: per output the elements that are watched, by their row-major index
    tried:   per input the elements that are changed
    sure:    per output and input, [watched, tried]: depends, by more than rounding
    hinted:  the same, any changed bit counted
    """

    model: nn.Module
    inputs: Inputs
    variants: Sequence[nn.Module] = ()
    rows: int = 96
    columns: int = 24
    shapes: dict[str, tuple[int, ...]] = field(init=False)
    watched: dict[str, np.ndarray] = field(init=False)
    tried: list[np.ndarray] = field(init=False)
    sure: dict[str, list[np.ndarray]] = field(init=False)
    hinted: dict[str, list[np.ndarray]] = field(init=False)
    draws: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        outputs = run(self.model, self.inputs)
        self._whole: set[str | int] = {name for name, out in outputs.items() if is_whole(out)}
        self._whole |= {number for number, x in enumerate(self.inputs) if is_whole(x)}
        self.shapes = {name: tuple(out.shape) for name, out in outputs.items()}
        part = _PART if sum(out.numel() for out in outputs.values()) > _LARGE else 1
        self.watched = {
            name: _some(out.numel(), self.rows // part) for name, out in outputs.items()
        }
        self.tried = [_some(x.numel(), self.columns // part) for x in self.inputs]
        self.sure = self._blank()
        self._steep = self._blank()
        self.hinted = self._blank()
        self._draws = draws(self.inputs)
        self._dice = random.Random(0)

    def _blank(self) -> dict[str, list[np.ndarray]]:
        return {
            name: [np.zeros((len(rows), len(tried)), dtype=bool) for tried in self.tried]
            for name, rows in self.watched.items()
        }

    def borne_out(self, name: str, number: int) -> np.ndarray:
        """What one witness at least has seen: a change, or autograd.

        Of a matrix that counts as symmetric torch looks at one triangle and differentiates by both.
        """
        seen: np.ndarray = self.hinted[name][number] | self._steep[name][number]
        return seen

    def is_whole(self, which: str | int) -> bool:
        """Whether an output, or the input of this number, holds integers or truth values."""
        return which in self._whole

    def observe(self, count: int = 1, *, only: Sequence[np.ndarray] | None = None) -> None:
        """Look at further draws; ``only``: per input, which of the tried elements to change."""
        for inputs in islice(self._draws, count):
            model = self.model
            if only is not None and self.variants:
                model = (self.model, *self.variants)[self.draws % (1 + len(self.variants))]
            self.draws += 1
            try:
                before = run(model, inputs)
            except (RuntimeError, ValueError, IndexError):
                continue
            if model is self.model and self.draws == 1:
                self._differentiate(inputs)
            least = {name: slack(out.dtype) * scale(out) for name, out in before.items()}
            for number in range(len(inputs)):
                places = range(len(self.tried[number])) if only is None else only[number]
                for place in places:
                    more = 0 if only is None else _MORE
                    self._change(model, inputs, before, least, number, int(place), more)
        for name, patterns in self.sure.items():
            for number, pattern in enumerate(patterns):
                pattern |= self._steep[name][number] & self.hinted[name][number]

    def _change(
        self,
        model: nn.Module,
        inputs: Inputs,
        before: dict[str, Tensor],
        least: dict[str, float],
        number: int,
        place: int,
        more: int,
    ) -> None:
        """Put other values in a place of an input; ``least``: what is more than rounding."""
        index = np.unravel_index(self.tried[number][place], tuple(inputs[number].shape))
        size = _LARGER[self.draws % len(_LARGER)]
        elsewhere = [x for n, x in enumerate(inputs) if n != number and x.numel()]
        at = place + self.draws
        borrowed = [x.reshape(-1)[at % x.numel()].to(inputs[number].dtype) for x in elsewhere]
        others = [
            *_others(inputs[number], index, size, self._discrete(before)),
            *_anywhere(inputs[number], index, self._dice, more),
        ]
        for value in (*others, *borrowed):
            changed = inputs[number].clone()
            changed[index] = value
            try:
                after = run(model, (*inputs[:number], changed, *inputs[number + 1 :]))
            except (RuntimeError, ValueError, IndexError):
                continue
            for name, rows in self.watched.items():
                if after[name].shape != before[name].shape:
                    continue
                one, two = before[name].reshape(-1)[rows], after[name].reshape(-1)[rows]
                far = apart(one, two).numpy()
                self.hinted[name][number][:, place] |= far > 0
                if model is self.model:
                    self.sure[name][number][:, place] |= far > least[name]

    @staticmethod
    def _discrete(outputs: dict[str, Tensor]) -> bool:
        return all(is_whole(out) for out in outputs.values())

    def _differentiate(self, inputs: Inputs) -> None:
        """Add the elements whose derivative is not zero."""
        leaves = tuple(
            x.clone().requires_grad_(x.is_floating_point() or x.is_complex()) for x in inputs
        )
        moving = [number for number, x in enumerate(leaves) if x.requires_grad]
        try:
            with torch.enable_grad():
                given = tuple(x * 1 if x.requires_grad else x.clone() for x in leaves)
                outputs = dict(named_tensors(self.model(*given)))
        except (RuntimeError, ValueError, IndexError):
            return
        for name, rows in self.watched.items():
            output = outputs.get(name)
            if output is None or not output.requires_grad or output.shape != self.shapes[name]:
                continue
            for row, slopes in self._slopes(output, rows, [leaves[n] for n in moving]):
                for number, slope in zip(moving, slopes, strict=True):
                    if slope is not None:
                        steep = slope.abs().reshape(-1)[self.tried[number]].nan_to_num(nan=0.0)
                        self._steep[name][number][row] |= (steep > _FLAT).numpy()

    @staticmethod
    def _slopes(
        output: Tensor, rows: np.ndarray, leaves: list[Tensor]
    ) -> Iterator[tuple[int, tuple[Tensor | None, ...]]]:
        flat = output.reshape(-1)
        parts = [flat.real, flat.imag] if output.is_complex() else [flat]
        for row, index in enumerate(rows):
            for part in parts:
                try:
                    yield (
                        row,
                        torch.autograd.grad(
                            part[int(index)], leaves, retain_graph=True, allow_unused=True
                        ),
                    )
                except (RuntimeError, NotImplementedError):
                    return


def _some(size: int, most: int) -> np.ndarray:
    """At most so many indices, the first and the last among them."""
    if size <= most:
        return np.arange(size)
    inner = random.Random(size).sample(range(1, size - 1), most - 2)
    return np.array([0, *sorted(inner), size - 1])


def _others(x: Tensor, index: Any, size: float, discrete: bool) -> Iterator[object]:
    """Other values to put in a place, so much larger or smaller."""
    value = x[index]
    if x.dtype is torch.bool:
        yield ~value
    elif x.is_complex():
        for amount in _AMOUNTS:
            yield value + size * complex(amount, amount / 3)
    elif x.is_floating_point():
        yield 0
        for amount in _AMOUNTS:
            yield value + size * amount
        if discrete:
            yield from _ODD
    else:
        for other in (value + 1, value - 1, *x.reshape(-1)[:3]):
            if other != value:
                yield other


def _anywhere(x: Tensor, index: Any, dice: random.Random, count: int) -> Iterator[Any]:
    """So many values, near and far, that may stand in a place."""
    for _ in range(count):
        if x.is_floating_point():
            yield x[index] + dice.uniform(-1, 1) * 10 ** dice.uniform(-1, 2)
            yield dice.uniform(-_SPAN, _SPAN)
        elif x.dtype not in (torch.bool, torch.uint8):
            least, most = int(x.min()), int(x.max())
            yield dice.randint(least, min(2 * most - least + 1, torch.iinfo(x.dtype).max))
