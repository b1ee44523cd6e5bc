"""How the axes of a file stand for the dimensions of a model: letters such as 'CHW' or 'YXC'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fieldwise.errors import UsageError
from fieldwise.graph.ir import Shape
from fieldwise.tile.files.disk import writing
from fieldwise.tile.files.protocol import Sink, Source

SPATIAL = ("T", "DZ", "HY", "WXL")
"""In the order of a model's dimensions; letters of one group mean the same."""


@dataclass(frozen=True, slots=True)
class AxisLayout:
    """Axes of a file, and the model's dimension that each stands for (0 batch, 1 channels, …).

    planes:   where several axes stand for the batch (times and planes of a volume), their lengths:
              the batch goes through them in order, the last one fastest
    channels: the numbers of the channels that are read; empty: all

    >>> AxisLayout.of("HWC", rank=4)
    AxisLayout(axes='HWC', dims=(2, 3, 1), rank=4, planes=(), channels=())
    >>> AxisLayout.of("HWC", rank=4).model_shape((480, 640, 3))
    (1, 3, 480, 640)
    """

    axes: str
    dims: tuple[int, ...]
    rank: int
    planes: Shape = ()
    channels: tuple[int, ...] = ()

    @classmethod
    def of(cls, axes: str, *, rank: int | None = None) -> AxisLayout:
        """The layout of such a file for a model whose input has ``rank`` dimensions, or as many
        as the axes need.

        N is the batch, C (or S) the channels; T, D or Z, H or Y, and W, X or L are spatial.
        A model's dimensions are N, C and the spatial ones in this order; N and C may be absent.
        Times and planes (D, Z) in small letters are samples, which the model takes one by one; so
        are times, and then planes, that are spatial axes too many.

        Raises UsageError for letters that mean nothing, stand twice, or do not fit the rank.

        >>> AxisLayout.of("TCZYX", rank=4).dims, AxisLayout.of("tCZYX").dims
        ((0, 1, 0, 2, 3), (0, 1, 2, 3, 4))
        """
        letters = axes.upper()
        kinds = [axis_kind(letter, axes) for letter in letters]
        marked = axes if axes != axes.lower() else ""
        single = {kind for one, kind in zip(marked, kinds, strict=False) if one in "tzd"}
        if len(set(kinds)) < len(kinds):
            raise UsageError(f"Two axes of {axes!r} mean the same; give every axis once, as CHW.")
        spatial = sorted(kind for kind in kinds if kind >= _FIRST_SPATIAL and kind not in single)
        rank = len(spatial) + _FIRST_SPATIAL if rank is None else rank
        extra = len(spatial) + _FIRST_SPATIAL - rank
        samples = [kind for kind in spatial[: max(extra, 0)] if kind in _SAMPLES]
        spatial = spatial[len(samples) :]
        if len(spatial) != rank - _FIRST_SPATIAL:
            raise UsageError(
                f"The axes {axes!r} have {len(spatial)} spatial ones and the model's input has "
                f"{rank - _FIRST_SPATIAL}; write for example {example_axes(rank)}."
            )
        places = {kind: number for number, kind in enumerate(spatial, _FIRST_SPATIAL)}
        places |= dict.fromkeys((*samples, *single), 0)
        return cls(letters, tuple(places.get(kind, kind) for kind in kinds), rank)

    def in_order(self, axes: str) -> AxisLayout:
        """The layout of a file with these letters in this order.

        >>> AxisLayout.of("CDHW").in_order("DHWC").dims
        (2, 3, 4, 1)
        """
        dims = tuple(self.dims[self.axes.index(letter)] for letter in axes)
        return replace(self, axes=axes, dims=dims)

    @property
    def one_by_one(self) -> str:
        """The letters of the times and planes that are samples: the model takes one at a time."""
        pairs = zip(self.axes, self.dims, strict=True)
        return "".join(letter for letter, dim in pairs if dim == 0 and letter != "N")

    def on(self, shape: Sequence[int], channels: Sequence[int] = ()) -> AxisLayout:
        """The layout of a file of this shape, of which these channels are read (empty: all).

        Raises UsageError for channels that it has not.
        """
        sizes = tuple(size for size, dim in zip(shape, self.dims, strict=True) if dim == 0)
        count = self._merged(shape)[1]
        if not all(0 <= one < count for one in channels):
            has = f"channels 0 to {count - 1}" if count > 1 else "channel 0 alone"
            wanted = ",".join(map(str, channels))
            raise UsageError(f"The input has {has}, and --channels is {wanted}.")
        planes = sizes if len(sizes) > 1 else ()
        return replace(self, planes=planes, channels=tuple(channels))

    def model_shape(self, shape: Sequence[int]) -> Shape:
        """The shape that the model sees, of a file of this shape; of samples all of them."""
        found = list(self._merged(shape))
        if self.channels:
            found[1] = len(self.channels)
        return tuple(found)

    def call_shape(self, shape: Sequence[int]) -> Shape:
        """The shape of what the model takes at a time, of a file of this shape."""
        found = self.model_shape(shape)
        return (1, *found[1:]) if self.one_by_one else found

    def file_shape(self, shape: Sequence[int]) -> Shape:
        """The shape of the file, of this shape in the model."""
        return self._spread(shape, self._sizes(shape[0]) if self.planes else ())

    def file_start(self, start: Sequence[int]) -> Shape:
        """The index in the file, of this one in the model."""
        return self._spread(start, self._place(start[0]) if self.planes else ())

    def file_stop(self, stop: Sequence[int]) -> Shape:
        """The end of a block in the file, of this end in the model; of samples one, or all."""
        if not self.planes:
            return self._spread(stop, ())
        last = tuple(one + 1 for one in self._place(stop[0] - 1))
        return self._spread(stop, last)

    def to_model(self, block: NDArray[np.generic]) -> NDArray[np.generic]:
        """A block of the file with the model's dimensions."""
        return block.transpose(self._order).reshape(self._merged(block.shape))

    def to_file(self, block: NDArray[np.generic]) -> NDArray[np.generic]:
        """A block of the model's with the axes of the file."""
        shape = self.file_shape(block.shape)
        kept = block.reshape([shape[axis] for axis in self._order])
        return kept.transpose(np.argsort(self._order))

    def regions(self, index: Sequence[slice], shape: Sequence[int]) -> list[tuple[slice, ...]]:
        """The regions of a file of this shape that a region of the model's lies in, in order."""
        samples = range(*index[0].indices(self.model_shape(shape)[0]))
        if not self.planes or len(samples) == prod(self.planes):
            whole = [*index]
            whole[0] = slice(None) if self.planes else index[0]
            return [tuple(whole[dim] for dim in self.dims)]
        found = []
        for sample in samples:
            places = iter(slice(one, one + 1) for one in self._place(sample))
            found.append(tuple(index[dim] if dim else next(places) for dim in self.dims))
        return found

    @property
    def _order(self) -> list[int]:
        """The axes in the order of the model's dimensions."""
        return sorted(range(len(self.dims)), key=lambda axis: self.dims[axis])

    def _merged(self, shape: Sequence[int]) -> Shape:
        found = [1] * self.rank
        for dim, size in zip(self.dims, shape, strict=True):
            found[dim] *= size
        return tuple(found)

    def _spread(self, numbers: Sequence[int], samples: Sequence[int]) -> Shape:
        """A number per axis; those of several axes of samples by themselves."""
        own = iter(samples)
        return tuple(next(own) if self.planes and not dim else numbers[dim] for dim in self.dims)

    def _sizes(self, samples: int) -> Shape:
        return self.planes if samples == prod(self.planes) else (1,) * len(self.planes)

    def _place(self, sample: int) -> Shape:
        return tuple(int(one) for one in np.unravel_index(sample, self.planes))

    def of_result(self, shape: Shape, *, follows: tuple[int, int], batch: int) -> AxisLayout:
        """The layout of a result of this shape: the axes of this one, in their order.

        Channels that this one lacks come first, or behind the batch where that is first.

        follows: a spatial dimension of the model's input, and the one of the result that follows it
        batch:   how many samples the input has

        A result may lack the channels, or the batch; one with other dimensions keeps its own.

        >>> masks = AxisLayout.of("HWC", rank=4).of_result((1, 480, 640), follows=(2, 1), batch=1)
        >>> masks.axes, masks.dims
        ('HW', (1, 2))
        """
        missing = self.rank - len(shape)
        if missing not in (0, 1) or follows[0] - follows[1] != missing:
            return AxisLayout(_FREE[: len(shape)], tuple(range(len(shape))), len(shape))
        without = {0: 0} if shape[0] == batch else {1: 0}
        places = without if missing else {0: 0, 1: 1}
        pairs = [
            (letter, places.get(dim) if dim < _FIRST_SPATIAL else dim - missing)
            for letter, dim in zip(self.axes, self.dims, strict=True)
        ]
        found = [(letter, dim) for letter, dim in pairs if dim is not None]
        for dim, letter in ((1, "C"), (0, "N")):
            place = places.get(dim)
            if dim not in self.dims and place is not None and shape[place] > 1:
                before = takewhile(lambda one: one[0] in "NT" and one[1] == 0, found)
                found.insert(len(list(before)) if dim == 1 else 0, (letter, place))
        axes, dims = zip(*found, strict=True)
        return AxisLayout("".join(axes), dims, len(shape), self.planes if 0 in dims else ())


@dataclass(frozen=True, slots=True)
class ModelView:
    """A source with the dimensions of the model: shape, dtype and slicing, read when sliced."""

    source: Source
    layout: AxisLayout

    @property
    def shape(self) -> Shape:
        """As the model sees it."""
        return self.layout.model_shape(self.source.shape)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Of the file."""
        return self.source.dtype

    def __getitem__(self, index: slice | tuple[slice, ...]) -> NDArray[np.generic]:
        given = index if isinstance(index, tuple) else (index,)
        whole = (*given, *(slice(None),) * (self.layout.rank - len(given)))
        parts = [
            self._picked(region, whole[1])
            for region in self.layout.regions(whole, self.source.shape)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _picked(self, region: tuple[slice, ...], channels: slice) -> NDArray[np.generic]:
        """A region of the file as the model has it; of its channels those that are read."""
        layout = self.layout
        if not layout.channels:
            return layout.to_model(np.asarray(self.source[region]))
        wanted = layout.channels[channels]
        first = min(wanted, default=0)
        if 1 in layout.dims:
            axis, among = layout.dims.index(1), slice(first, max(wanted, default=-1) + 1)
            region = (*region[:axis], among, *region[axis + 1 :])
        block = layout.to_model(np.asarray(self.source[region]))
        return np.take(block, [one - first for one in wanted], 1)


@dataclass(frozen=True, slots=True)
class FileView:
    """A sink with the dimensions of the model."""

    sink: Sink
    layout: AxisLayout

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.sink.path

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Of the file."""
        return self.sink.dtype

    def write(self, start: Sequence[int], block: NDArray[np.generic]) -> None:
        """Write a block that begins at this index of the model's result.

        Raises UsageError where the disk does not take it.
        """
        with writing(self.sink.path):
            self.sink.write(self.layout.file_start(start), self.layout.to_file(block))

    def flush(self) -> None:
        """See Sink.flush, and ``write``."""
        with writing(self.sink.path):
            self.sink.flush()

    def read(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[np.generic]:
        """What was written there.  Raises DamagedError where that is missing or not whole."""
        layout = self.layout
        return layout.to_model(self.sink.read(layout.file_start(start), layout.file_stop(stop)))


def axis_kind(letter: str, axes: str) -> int:
    """The kind of an axis: 0 a batch, 1 channels, from 2 on spatial ones in the model's order.

    Raises UsageError for a letter that means nothing.
    """
    if letter == "N":
        return 0
    if letter in "CS":
        return 1
    for number, group in enumerate(SPATIAL, _FIRST_SPATIAL):
        if letter in group:
            return number
    raise UsageError(
        f"{letter!r} in the axes {axes!r} means nothing; use N, C, T, D or Z, H or Y, W, X or L."
    )


def example_axes(rank: int) -> str:
    """Such axes, for a message."""
    return {3: "CL", 4: "CHW", 5: "CDHW"}.get(rank, "CHW")


_FIRST_SPATIAL = 2
_SAMPLES = (2, 3)
"""Kinds of axes that may also be samples: times, and planes of a volume."""
_FREE = "ABEFGIJKMOPQRUV"
