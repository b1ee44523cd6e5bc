"""What a NIfTI header says of its voxels: sizes, units, and maps to the world, read and written.

The first three axes of a file lie in the world, the fourth in time.  Its own axes have no letters.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import isfinite
from typing import Any

import numpy as np

from fieldwise.tile.files.calibration import Calibration, SampleStep, axis_letter, number
from fieldwise.tile.files.protocol import PlannedFile
from fieldwise.tile.files.units import metres_of
from fieldwise.tile.files.voxel_map import VoxelMap, voxel_map


def about_volume(header: Any, rank: int) -> Calibration | None:
    """What a header says, of so many axes; sizes and maps by the numbers of axes.

    Raises ValueError where it says what makes no sense.
    """
    space, time = header.get_xyzt_units()
    zooms = header.get_zooms()[:rank][: _TIME + 1]
    steps = {}
    for axis, size in enumerate(zooms):
        unit, along = (space, zooms[:_WORLD]) if axis < _WORLD else (time, zooms[_WORLD:])
        plain = unit == "unknown" and all(one == 1 for one in along)
        if isfinite(size) and size > 0 and unit in _UNITS and not plain:
            steps[str(axis)] = SampleStep(Fraction(str(np.float32(size))), _UNITS[unit])
    x, y, z = (str(axis) if axis < rank else "" for axis in range(_WORLD))
    found = []
    for name in ("sform", "qform"):
        matrix, code = getattr(header, f"get_{name}")(coded=True)
        if code:
            found.append(voxel_map(name, matrix, (x, y, z), int(code)))
    return Calibration(steps, affines=tuple(found), style="nifti")


def kept_about(file: PlannedFile) -> tuple[Calibration, tuple[str, ...]]:
    """What of its ``about`` a file will say, and in sentences what it will not."""
    about, lost = file.about or Calibration(), list[str]()
    places = {axis_letter(letter): at for at, letter in enumerate(file.axes)}
    affines = tuple(one for one in about.affines if _is_of(one, file))
    for one in about.affines:
        if one not in affines:
            axes = " ".join(axis for axis in one.axes if axis)
            lost.append(f"affine {one.name}: it is of the axes {axes}, not of {file.axes}")
    steps = dict[str, SampleStep]()
    for letter, step in about.steps.items():
        reason = _not_held(step, places[letter])
        if reason:
            lost.append(f"{letter} {step}: {reason}")
            continue
        if step.origin and not (affines and places[letter] < _WORLD):
            lost.append(
                f"origin {number(step.origin)} of {letter}: NIfTI has an affine map in its place, "
                "which the input has not; zarr named .ome.zarr holds origins"
            )
            step = replace(step, origin=Fraction(0))
        steps[letter] = step
    if about.place is not None:
        lost.append("georeference: NIfTI has none; name the result .tif")
    if about.nodata is not None:
        lost.append(f"nodata {about.nodata}: NIfTI has no word for it")
    if about.attributes:
        lost.append(f"attributes {', '.join(about.attributes)}: NIfTI holds none")
    return Calibration(steps, affines=affines, style="nifti"), tuple(lost)


def say(header: Any, file: PlannedFile) -> None:
    """Write into the header of a file what is said of it."""
    about = file.about
    if about is None:
        return
    for one in about.affines:
        matrix = np.array(one.rows())
        getattr(header, f"set_{one.name}")(matrix, one.code)
    zooms, letters = [1.0] * len(file.shape), list(map(axis_letter, file.axes))
    if any(one.name == "qform" for one in about.affines):
        zooms = list(map(float, header.get_zooms()))
    units = {axis: step.unit for axis, step in about.steps.items()}
    spatial = {unit for axis, unit in units.items() if letters.index(axis) < _WORLD}
    known, space = any(spatial), spatial.pop() if len(spatial) == 1 else "millimeter"
    space = space if space in _SPACE or not space else "millimeter"
    times = (unit for axis, unit in units.items() if letters.index(axis) == _TIME)
    for axis, step in about.steps.items():
        at = letters.index(axis)
        own, wanted = metres_of(step.unit), metres_of(space)
        ratio = own / wanted if at < _WORLD and own and wanted else Fraction(1)
        zooms[at] = float(step.size * ratio)
    header.set_zooms(zooms)
    header.set_xyzt_units(_SPACE[space if known else ""], _TIMES.get(next(times, "")))


def _is_of(one: VoxelMap, file: PlannedFile) -> bool:
    """Whether the axes of a map are the first ones of a file."""
    letters = [*map(axis_letter, file.axes[:_WORLD]), "", "", ""]
    return all(axis == letter for axis, letter in zip(one.axes, letters, strict=False))


def _not_held(step: SampleStep, place: int) -> str:
    """Why a file does not say the step of its axis in this place; empty where it does."""
    if place <= _TIME and not step.unit:
        return ""
    if place < _WORLD and metres_of(step.unit) is None:
        return "the first three axes of a NIfTI file have metres, millimetres or micrometres"
    if place == _TIME and step.unit not in _TIMES:
        return "the fourth axis of a NIfTI file has seconds, milliseconds or microseconds"
    return "" if place <= _TIME else "a NIfTI file has units for four axes"


_WORLD, _TIME = 3, 3
_UNITS = {"unknown": "", "meter": "meter", "mm": "millimeter", "micron": "micrometer",
          "sec": "second", "msec": "millisecond", "usec": "microsecond"}  # fmt: skip
_SPACE = {"": None, "meter": "meter", "millimeter": "mm", "micrometer": "micron"}
_TIMES = {"second": "sec", "millisecond": "msec", "microsecond": "usec"}
