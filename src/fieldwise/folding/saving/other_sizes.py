"""At which other sizes of its inputs a model runs: asked of the model itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from fieldwise.capture.torch.running import run
from fieldwise.capture.torch.tree import map_tensors, tensors_in
from fieldwise.errors import said_by
from fieldwise.folding.verify import copied, drawn
from fieldwise.graph.ir import Shape

InputAxis = tuple[int, int]
"""The number of an input, and one of its axes."""
_MOST_STEP = 256
_ENOUGH = 2


@dataclass(frozen=True)
class OtherSizes:
    """The axes of an example at which a model also runs at another size.

    shapes: of the example's tensors
    found:  per axis one or two other sizes at which the model runs
    groups: the axes that go together
    fixed:  the others, and what the model says of other sizes
    refused: the least size at which the model does not run, of those tried, per axis of ``found``
             that has any
    """

    shapes: tuple[Shape, ...]
    found: Mapping[InputAxis, tuple[int, ...]]
    groups: tuple[tuple[InputAxis, ...], ...]
    fixed: Mapping[InputAxis, str] = field(default_factory=dict)
    refused: Mapping[InputAxis, int] = field(default_factory=dict)

    def changed(self, axes: Sequence[InputAxis], *, apart: bool = False) -> tuple[Shape, ...]:
        """The shapes with these axes of their other size.

        apart: every second axis of its second size, so that rows and columns are not as many
        """
        return tuple(
            tuple(
                self.found[number, dim][-(dim % 2) if apart else 0]
                if (number, dim) in axes
                else size
                for dim, size in enumerate(shape)
            )
            for number, shape in enumerate(self.shapes)
        )


def other_sizes(model: nn.Module, example: object) -> OtherSizes:
    """Try larger sizes of each axis, on a copy without data where that runs.

    An axis is tried alone, and, where the model refuses that, with the same axis of the other
    inputs of its size.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.PixelShuffle(2)).eval()
    >>> found = other_sizes(net, torch.zeros(1, 3, 8, 8))
    >>> found.found
    {(0, 0): (2,), (0, 2): (9, 10), (0, 3): (9, 10)}

    An axis that is pooled before it is flattened takes the sizes that are pooled alike:

    >>> pooled = nn.Sequential(nn.AvgPool1d(4), nn.Flatten(), nn.Linear(2, 1))
    >>> other_sizes(pooled, torch.zeros(1, 1, 8)).refused
    {(0, 2): 16}
    """
    shapes = tuple(tuple(tensor.shape) for tensor in tensors_in(example))
    tries = _Tries(model, example)
    found: dict[InputAxis, tuple[int, ...]] = {}
    groups: list[tuple[InputAxis, ...]] = []
    fixed: dict[InputAxis, str] = {}
    refused: dict[InputAxis, int] = {}
    for axis in _axes(shapes):
        if axis in found:
            continue
        number, dim = axis
        size = shapes[number][dim]
        others = tuple((n, dim) for n, s in enumerate(shapes) if len(s) > dim and s[dim] == size)
        why = None
        for group in dict.fromkeys([(axis,), others]):
            runs, first, said = tries.sizes(shapes, group, size)
            if runs:
                found |= dict.fromkeys(group, runs)
                refused |= {} if first is None else dict.fromkeys(group, first)
                groups.append(group)
                break
            why = why or said
        else:
            fixed[axis] = f"the model runs at no other size that was tried ({why})"
    for axis in found:
        fixed.pop(axis, None)
    return OtherSizes(shapes, found, tuple(groups), fixed, refused)


def resized(example: object, shapes: Sequence[Shape]) -> object:
    """The example with tensors of these shapes: its own values again and again, if it has any."""
    wanted = iter(shapes)
    return map_tensors(lambda tensor: _resized(tensor, next(wanted)), example)


def _resized(tensor: Tensor, shape: Shape) -> Tensor:
    if tensor.is_meta or not tensor.numel():
        return torch.empty(shape, dtype=tensor.dtype, device=tensor.device)
    for dim, size in enumerate(shape):
        places = torch.arange(size, device=tensor.device) % tensor.shape[dim]
        tensor = tensor.index_select(dim, places)
    return tensor


class _Tries:
    """Runs of a model at other sizes."""

    def __init__(self, model: nn.Module, example: object) -> None:
        self._real = model
        self._example = example
        self._bare = copied(model).to("meta")
        shapes = [tuple(tensor.shape) for tensor in tensors_in(example)]
        self._data_decide = self._without_data(shapes) is not None

    def sizes(
        self, shapes: Sequence[Shape], axes: Sequence[InputAxis], size: int
    ) -> tuple[tuple[int, ...], int | None, str]:
        """The first two sizes of some axes at which the model runs, and the first at which not.

        The largest size is always tried: what a pool makes of the next few may be the same.
        At last what the model says of one that it refuses.
        """
        runs: list[int] = []
        refused: int | None = None
        said = ""
        *steps, largest = _steps(size)
        for step in (*steps, largest):
            if len(runs) == _ENOUGH and step != largest:
                continue
            why = self._said(shapes, axes, size + step)
            if why is None:
                runs.append(size + step)
            else:
                refused, said = refused or size + step, why
        return tuple(runs[:_ENOUGH]), refused, said

    def _said(self, shapes: Sequence[Shape], axes: Sequence[InputAxis], size: int) -> str | None:
        """What the model says against another size of some axes; None where it runs."""
        changed = [
            tuple(size if (number, dim) in axes else old for dim, old in enumerate(shape))
            for number, shape in enumerate(shapes)
        ]
        return self._with_data(changed) if self._data_decide else self._without_data(changed)

    def _without_data(self, shapes: Sequence[Shape]) -> str | None:
        bare = map_tensors(lambda tensor: tensor.to("meta"), resized(self._example, shapes))
        return _said(self._bare, bare)

    def _with_data(self, shapes: Sequence[Shape]) -> str | None:
        return _said(self._real, drawn(self._real, resized(self._example, shapes), seed=0))


def _said(model: nn.Module, inputs: object) -> str | None:
    """What a model says against some inputs; None where it runs."""
    try:
        run(model, inputs)
    except Exception as error:  # noqa: BLE001  a forward may raise anything
        return said_by(error)
    return None


def _axes(shapes: Sequence[Shape]) -> Iterator[InputAxis]:
    for number, shape in enumerate(shapes):
        for dim in range(len(shape)):
            yield number, dim


def _steps(size: int) -> Iterator[int]:
    """By how much an axis grows: 1, 2, 4, … up to its own size."""
    step = 1
    while step <= max(min(size, _MOST_STEP), 1):
        yield step
        step *= 2
    if size > 1 and step // 2 != size:
        yield size
