"""The tags of a GeoTIFF file: where its pixels lie in the world.

Tags count raster positions from the corner of the first pixel, where the file's pixels are areas
(GTRasterTypeGeoKey, PixelIsArea), and from its centre where they are points; `Georeference` counts
from the centre.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import chain
from math import isfinite
from typing import Any

from fieldwise.tile.files.georeference import Georeference, TiePoint, WorldAxis

SCALE, TIES, MATRIX, KEYS, DOUBLES, TEXT = 33550, 33922, 34264, 34735, 34736, 34737
"""ModelPixelScale, ModelTiepoint, ModelTransformation, GeoKeyDirectory, GeoDoubleParams, …Ascii."""
RATIONAL_POLYNOMIAL = 50844
"""RPCCoefficientTag: how a camera on a satellite sees the ground."""

ExtraTag = tuple[int, int, int, Any, bool]
"""Of tifffile: code, type, count, value, and whether it stands in the first page alone."""


def georeference_of(tags: Mapping[int, Any]) -> Georeference | None:
    """What the tags of a page say; None where nothing is said.

    tags: their values, by code

    Raises ValueError where they say what makes no sense.
    """
    if not any(code in tags for code in (SCALE, TIES, MATRIX, KEYS)):
        return None
    keys = tuple(int(one) for one in _numbers(tags.get(KEYS, ())))
    areas = _raster_type(keys) != _POINT
    half = Fraction(1, 2) if areas else Fraction(0)
    doubles = tuple(float(one) for one in _numbers(tags.get(DOUBLES, ())))
    text = str(tags.get(TEXT, "")).strip("\0")
    ties = tuple(_ties(_numbers(tags.get(TIES, ()))))
    x: WorldAxis | None = None
    y: WorldAxis | None = None
    height = (Fraction(0), Fraction(0))
    if MATRIX in tags:
        matrix = [Fraction(float(one)) for one in _numbers(tags[MATRIX])]
        if len(matrix) != _MATRIX:
            raise ValueError("ModelTransformation has not 16 numbers")
        x, y = ((row[0], row[1], row[3]) for row in (matrix[:4], matrix[4:8]))
        height, ties = (matrix[10], matrix[11]), ()
    elif SCALE in tags and ties:
        sizes = [Fraction(float(one)) for one in _numbers(tags[SCALE])]
        if len(sizes) < _PLANE or 0 in sizes[:_PLANE]:
            raise ValueError("ModelPixelScale has no sizes")
        column, row, layer, world_x, world_y, world_z = ties[0]
        x = (sizes[0], Fraction(0), world_x - column * sizes[0])
        y = (Fraction(0), -sizes[1], world_y + row * sizes[1])
        deep = sizes[2] if len(sizes) > _PLANE else Fraction(0)
        height, ties = (deep, world_z - layer * deep), ()
    if x is not None and y is not None:
        x, y = (_moved(one, half) for one in (x, y))
    ties = tuple((tie[0] - half, tie[1] - half, *tie[2:]) for tie in ties)
    return Georeference(x, y, ties, height, areas, keys, doubles, text)


def tags_of(place: Georeference) -> Iterator[ExtraTag]:
    """The tags that say it."""
    half = Fraction(1, 2) if place.areas else Fraction(0)
    if place.x is not None and place.y is not None:
        x, y = (_moved(one, -half) for one in (place.x, place.y))
        step, first = place.height
        if x[1] == 0 == y[0] and x[0] > 0 > y[1]:
            yield _doubles(SCALE, [x[0], -y[1], step])
            yield _doubles(TIES, [0, 0, 0, x[2], y[2], first])
        else:
            yield _doubles(
                MATRIX,
                [x[0], x[1], 0, x[2], y[0], y[1], 0, y[2], 0, 0, step, first, 0, 0, 0, 1],
            )
    elif place.ties:
        moved = ((tie[0] + half, tie[1] + half, *tie[2:]) for tie in place.ties)
        yield _doubles(TIES, list(chain.from_iterable(moved)))
    if place.keys:
        yield KEYS, _SHORT, len(place.keys), place.keys, True
    if place.doubles:
        yield _doubles(DOUBLES, place.doubles)
    if place.text:
        yield TEXT, _ASCII, 0, place.text, True


def _moved(coordinate: WorldAxis, by: Fraction) -> WorldAxis:
    """The same map of positions that are counted from a point so much further along both axes."""
    per_column, per_row, first = coordinate
    return per_column, per_row, first + by * (per_column + per_row)


def _ties(numbers: Sequence[float]) -> Iterator[TiePoint]:
    if len(numbers) % _TIE:
        raise ValueError("ModelTiepoint has no whole points")
    for at in range(0, len(numbers), _TIE):
        i, j, k, x, y, z = (Fraction(float(one)) for one in numbers[at : at + _TIE])
        yield i, j, k, x, y, z


def _raster_type(keys: Sequence[int]) -> int | None:
    """The value of GTRasterTypeGeoKey, which stands in the directory itself."""
    entries = (keys[at : at + 4] for at in range(4, len(keys), 4))
    found = (one[3] for one in entries if len(one) == _ENTRY and one[:2] == (_RASTER_TYPE, 0))
    return next(found, None)


def _numbers(value: Any) -> Sequence[float]:
    found = list(value) if isinstance(value, (tuple, list)) else [value]
    if not all(isinstance(one, (int, float)) and isfinite(one) for one in found):
        raise ValueError("a tag holds what is no number")
    return found


def _doubles(code: int, values: Sequence[Fraction | float | int]) -> ExtraTag:
    return code, _DOUBLE, len(values), tuple(map(float, values)), True


_ASCII, _SHORT, _DOUBLE = 2, 3, 12
_RASTER_TYPE, _POINT = 1025, 2
_ENTRY, _TIE, _PLANE, _MATRIX = 4, 6, 2, 16
