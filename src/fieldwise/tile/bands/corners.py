"""The certificate of a streamed run: the whole and the bands, on as small an input as tells."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fieldwise.errors import CaptureError
from fieldwise.tile.arrays import ArrayOrTensor, Readable, Shapes, read
from fieldwise.tile.bands.input_rows import telling_rows
from fieldwise.tile.bands.program import Program
from fieldwise.tile.errors import StreamError

Compiled = Callable[[Shapes], Program]


def telling_shapes(compiled: Compiled, shapes: Shapes, *, axis: int, band: int) -> Shapes:
    """Inputs that are smaller along the streamed axis, and as small along the other spatial ones
    where the network runs on that.

    compiled: the program at some shapes

    They are the shapes themselves where inputs differ in size, since nothing tells how they belong
    together.
    """
    spatial = [shape[_SPATIAL:] for shape in shapes if len(shape) > _SPATIAL]
    streamed_alike = all(axis % len(shape) >= _SPATIAL for shape in shapes)
    if not streamed_alike or len(set(spatial)) != 1 or len(spatial) != len(shapes):
        return _along_only(compiled, shapes, axis, band)
    program = compiled(shapes)
    least = [telling_rows(program, size, band) for size in spatial[0]]
    small = tuple((*shape[:_SPATIAL], *least) for shape in shapes)
    try:
        compiled(small)
    except (CaptureError, StreamError):
        return _along_only(compiled, shapes, axis, band)
    return small


def _along_only(compiled: Compiled, shapes: Shapes, axis: int, band: int) -> Shapes:
    sizes = {shape[axis] for shape in shapes}
    if len(sizes) != 1:
        return shapes
    rows = telling_rows(compiled(shapes), sizes.pop(), band)
    dims = [axis % len(shape) for shape in shapes]
    small = tuple((*s[:dim], rows, *s[dim + 1 :]) for s, dim in zip(shapes, dims, strict=True))
    try:
        compiled(small)
    except (CaptureError, StreamError):
        return shapes
    return small


def corners(inputs: Sequence[Readable], shapes: Shapes) -> list[ArrayOrTensor]:
    """The first corner of each input, of these shapes: tensors or numpy arrays."""
    return [
        read(x, {dim: ((0, size),) for dim, size in enumerate(shape)})
        for x, shape in zip(inputs, shapes, strict=True)
    ]


_SPATIAL = 2
