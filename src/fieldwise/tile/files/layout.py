"""How the axes of a file stand for the dimensions of a model: letters such as 'CHW' or 'YXC'."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fieldwise.errors import UsageError
from fieldwise.graph.ir import Shape
from fieldwise.tile.files.disk import writing
from fieldwise.tile.files.protocol import Sink, Source

_SPATIAL = ("T", "DZ", "HY", "WXL")
"""In the order of a model's dimensions; letters of one group mean the same."""


@dataclass(frozen=True, slots=True)
class AxisLayout:
    """Axes of a file, and the model's dimension that each stands for (0 batch, 1 channels, …).

    >>> AxisLayout.of("HWC", rank=4)
    AxisLayout(axes='HWC', dims=(2, 3, 1), rank=4)
    >>> AxisLayout.of("HWC", rank=4).model_shape((480, 640, 3))
    (1, 3, 480, 640)
    """

    axes: str
    dims: tuple[int, ...]
    rank: int

    @classmethod
    def of(cls, axes: str, *, rank: int | None = None) -> AxisLayout:
        """The layout of such a file for a model whose input has ``rank`` dimensions, or as many
        as the axes need.

        N is the batch, C (or S) the channels; T, D or Z, H or Y, and W, X or L are spatial.
        A model's dimensions are N, C and the spatial ones in this order; N and C may be absent.

        Raises UsageError for letters that mean nothing, stand twice, or do not fit the rank.
        """
        letters = axes.upper()
        kinds = [_kind(letter, axes) for letter in letters]
        if len(set(kinds)) < len(kinds):
            raise UsageError(f"Two axes of {axes!r} mean the same; give every axis once, as CHW.")
        spatial = sorted(kind for kind in kinds if kind >= _FIRST_SPATIAL)
        rank = len(spatial) + _FIRST_SPATIAL if rank is None else rank
        if len(spatial) != rank - _FIRST_SPATIAL:
            raise UsageError(
                f"The axes {axes!r} have {len(spatial)} spatial ones and the model's input has "
                f"{rank - _FIRST_SPATIAL}; write for example {_example(rank)}."
            )
        places = {kind: number for number, kind in enumerate(spatial, _FIRST_SPATIAL)}
        return cls(letters, tuple(places.get(kind, kind) for kind in kinds), rank)

    def model_shape(self, shape: Sequence[int]) -> Shape:
        """The shape that the model sees, of a file of this shape."""
        found = [1] * self.rank
        for dim, size in zip(self.dims, shape, strict=True):
            found[dim] = size
        return tuple(found)

    def file_shape(self, shape: Sequence[int]) -> Shape:
        """The shape of the file, of this shape in the model."""
        return tuple(shape[dim] for dim in self.dims)

    def to_model(self, block: NDArray[np.generic]) -> NDArray[np.generic]:
        """A block of the file with the model's dimensions."""
        order = sorted(range(len(self.dims)), key=lambda axis: self.dims[axis])
        return block.transpose(order).reshape(self.model_shape(block.shape))

    def to_file(self, block: NDArray[np.generic]) -> NDArray[np.generic]:
        """A block of the model's with the axes of the file."""
        order = sorted(range(len(self.dims)), key=lambda axis: self.dims[axis])
        kept = block.reshape([block.shape[self.dims[axis]] for axis in order])
        return kept.transpose(np.argsort(order))

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
                samples = dim == 1 and found[0][0] == "N"
                found.insert(1 if samples else 0, (letter, place))
        axes, dims = zip(*found, strict=True)
        return AxisLayout("".join(axes), dims, len(shape))


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
        block = self.source[tuple(whole[dim] for dim in self.layout.dims)]
        return self.layout.to_model(np.asarray(block))


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
            self.sink.write(self.layout.file_shape(start), self.layout.to_file(block))

    def flush(self) -> None:
        """See Sink.flush, and ``write``."""
        with writing(self.sink.path):
            self.sink.flush()

    def read(self, start: Sequence[int], stop: Sequence[int]) -> NDArray[np.generic]:
        """What was written there.  Raises DamagedError where that is missing or not whole."""
        layout = self.layout
        return layout.to_model(self.sink.read(layout.file_shape(start), layout.file_shape(stop)))


def guess_axes(shape: Sequence[int], *, model: Sequence[int], hint: str | None = None) -> str:
    """The axes of a file, where only one reading fits the model's rank and channels.

    hint: what the file itself says, taken if it can be read that way

    >>> guess_axes((480, 640, 3), model=(1, 3, 224, 224)), guess_axes((64, 64), model=(1, 1, 8, 8))
    ('HWC', 'HW')

    Raises UsageError where none fits, or several do.
    """
    rank, channels = len(model), model[1]
    spatial = _letters(rank - _FIRST_SPATIAL)
    readings = _forms(spatial) if channels == 1 else _forms(spatial)[1:]
    fitting = [
        axes
        for axes in readings
        if len(axes) == len(shape)
        and ("C" not in axes or shape[axes.index("C")] == channels)
        and ("N" not in axes or shape[0] == 1)
    ]
    if hint is not None and len(hint) == len(shape):
        same = [axes for axes in fitting if _same(axes, hint)]
        fitting = same or fitting
    if len(fitting) == 1:
        return fitting[0]
    what = "No layout fits" if not fitting else f"{' and '.join(fitting)} both fit"
    raise UsageError(
        f"{what} the input's shape {'x'.join(map(str, shape))} and the model's {channels} "
        f"channels; give --layout, for example --layout {_example(rank)}."
    )


def readings(shape: Sequence[int], *, hint: str | None = None) -> dict[str, Shape]:
    """What the axes of a file of this shape may be, and what a model then sees of it.

    hint: what the file itself says; where that can be read, it is the only reading, but for planes
          or times that may also be a batch

    >>> readings((480, 640, 3), hint="YXC")
    {'YXC': (1, 3, 480, 640)}
    >>> readings((7, 480, 640), hint="ZYX")
    {'ZYX': (1, 1, 7, 480, 640), 'NYX': (7, 1, 480, 640)}
    >>> readings((2, 9000))
    {'HW': (1, 1, 2, 9000), 'CL': (1, 2, 9000), 'LC': (1, 9000, 2), 'NL': (2, 1, 9000)}
    """
    if hint is not None and len(hint) == len(shape):
        forms = [hint]
        if len(hint) > _FIRST_SPATIAL and hint[0].upper() in "TDZ" and "N" not in hint.upper():
            forms.append(f"N{hint[1:]}")
        try:
            return {form: AxisLayout.of(form).model_shape(shape) for form in forms}
        except UsageError:
            pass
    written = (
        form
        for count in (3, 2, 1)
        for spatial in [_letters(count)]
        for form in (*_forms(spatial), f"N{spatial}")
        if len(form) == len(shape) and (form[0] != "N" or "C" in form or shape[0] > 1)
    )
    return {form: AxisLayout.of(form).model_shape(shape) for form in written}


def _forms(spatial: str) -> list[str]:
    return [spatial, f"C{spatial}", f"{spatial}C", f"NC{spatial}", f"N{spatial}C"]


def _letters(count: int) -> str:
    """The usual letters of so many spatial axes; a single one is a length."""
    return "L" if count == 1 else "".join(group[0] for group in _SPATIAL[-count:])


def _same(axes: str, hint: str) -> bool:
    try:
        return [_kind(a, axes) for a in axes] == [_kind(a, hint) for a in hint.upper()]
    except UsageError:
        return False


def _kind(letter: str, axes: str) -> int:
    if letter == "N":
        return 0
    if letter in "CS":
        return 1
    for number, group in enumerate(_SPATIAL, _FIRST_SPATIAL):
        if letter in group:
            return number
    raise UsageError(
        f"{letter!r} in the axes {axes!r} means nothing; use N, C, T, D or Z, H or Y, W, X or L."
    )


def _example(rank: int) -> str:
    return {3: "CL", 4: "CHW", 5: "CDHW"}.get(rank, "CHW")


_FIRST_SPATIAL = 2
_FREE = "ABEFGIJKMOPQRUV"
