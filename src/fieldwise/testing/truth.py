"""Which input elements each output element depends on, measured on the model as it is.

Two witnesses, of which either suffices: an element of the input is changed, by several amounts, and
the output changes; or the derivative that autograd gives is not zero.  Neither looks at a graph.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fieldwise.capture.torch.capture import named_tensors
from fieldwise.testing.running import Inputs, apart, draws, run, scale, slack

_FLAT = 1e-9
"""Derivatives smaller than this may be rounding."""

_AMOUNTS = (0.137, -0.731, 2.9, -11.3)
_LARGER = (1.0, 1.0, 10.0, 100.0, 0.01, 1e4)
"""From draw to draw: what is compared with something large changes by larger amounts only."""

_ODD = (float("nan"), float("inf"), -float("inf"))


@dataclass
class Truth:
    """Dependences of one model, as far as they have been seen yet.

    model, inputs: in double precision, where the model can be run in it
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
    rows: int = 200
    columns: int = 150
    shapes: dict[str, tuple[int, ...]] = field(init=False)
    watched: dict[str, np.ndarray] = field(init=False)
    tried: list[np.ndarray] = field(init=False)
    sure: dict[str, list[np.ndarray]] = field(init=False)
    hinted: dict[str, list[np.ndarray]] = field(init=False)
    runs: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        outputs = run(self.model, self.inputs)
        self.shapes = {name: tuple(out.shape) for name, out in outputs.items()}
        self.watched = {name: _some(out.numel(), self.rows) for name, out in outputs.items()}
        self.tried = [_some(x.numel(), self.columns) for x in self.inputs]
        self.sure = self._blank()
        self.hinted = self._blank()
        self._draws = draws(self.inputs)

    def _blank(self) -> dict[str, list[np.ndarray]]:
        return {
            name: [np.zeros((len(rows), len(tried)), dtype=bool) for tried in self.tried]
            for name, rows in self.watched.items()
        }

    def observe(self, count: int = 1, *, only: Sequence[np.ndarray] | None = None) -> None:
        """Look at further draws; ``only``: per input, which of the tried elements to change."""
        for inputs in islice(self._draws, count):
            try:
                before = run(self.model, inputs)
            except (RuntimeError, ValueError, IndexError):
                continue
            self.runs += 1
            self._differentiate(inputs)
            for number in range(len(inputs)):
                places = range(len(self.tried[number])) if only is None else only[number]
                for place in places:
                    self._change(inputs, before, number, int(place))

    def _change(self, inputs: Inputs, before: dict[str, Tensor], number: int, place: int) -> None:
        index = np.unravel_index(self.tried[number][place], tuple(inputs[number].shape))
        size = _LARGER[self.runs % len(_LARGER)]
        for value in _others(inputs[number], index, size, self._discrete(before)):
            changed = inputs[number].clone()
            changed[index] = value
            try:
                after = run(self.model, (*inputs[:number], changed, *inputs[number + 1 :]))
            except (RuntimeError, ValueError, IndexError):
                continue
            for name, rows in self.watched.items():
                if after[name].shape != before[name].shape:
                    continue
                one, two = before[name].reshape(-1)[rows], after[name].reshape(-1)[rows]
                far = apart(one, two).numpy()
                self.hinted[name][number][:, place] |= far > 0
                least = slack(after[name].dtype) * scale(before[name])
                self.sure[name][number][:, place] |= far > least

    @staticmethod
    def _discrete(outputs: dict[str, Tensor]) -> bool:
        return not any(out.is_floating_point() or out.is_complex() for out in outputs.values())

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
                        self.sure[name][number][row] |= (steep > _FLAT).numpy()
                        self.hinted[name][number][row] |= (steep > _FLAT).numpy()

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
    return np.unique(np.linspace(0, size - 1, most).round().astype(int))


def _others(x: Tensor, index: Any, size: float, discrete: bool) -> Iterator[Any]:
    """Other values to put in a place, so much larger or smaller."""
    value = x[index]
    if x.dtype is torch.bool:
        yield ~value
    elif x.is_complex():
        for amount in _AMOUNTS:
            yield value + size * complex(amount, amount / 3)
    elif x.is_floating_point():
        for amount in _AMOUNTS:
            yield value + size * amount
        if discrete:
            yield from _ODD
    else:
        for other in (value + 1, value - 1, *x.reshape(-1)[:3]):
            if other != value:
                yield other
