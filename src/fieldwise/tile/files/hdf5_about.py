"""What an HDF5 file says of an array: labels and scales of its axes, sizes, attributes.

A dimension scale is an array of the coordinates along an axis.  ``element_size_um`` holds the sizes
of samples in micrometres along Z, Y and X, as tools of microscopists write it.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from math import isfinite
from typing import Any

import h5py
import numpy as np

from fieldwise.tile.files.calibration import Calibration, SampleStep, axis_letter
from fieldwise.tile.files.checks import MAX_CHUNK
from fieldwise.tile.files.protocol import PlannedFile
from fieldwise.tile.files.units import metres_of, unit_named
from fieldwise.tile.files.zarr_about import free_attributes, letters_of


def about_dataset(found: h5py.Dataset) -> tuple[Calibration, str | None, str | None]:
    """What is said of an array, the letters of its axes, and in a sentence what is not read."""
    scales = [_scale_of(dim) for dim in found.dims]
    names = [
        dim.label or (None if scale is None else str(scale.name).rpartition("/")[2])
        for dim, scale in zip(found.dims, scales, strict=True)
    ]
    axes = letters_of(names)
    own = dict(zip(map(axis_letter, axes), map(str, names), strict=True)) if axes else {}
    steps, odd = dict[str, SampleStep](), list[str]()
    sizes = _sizes(found.attrs.get(_SIZE))
    steps |= {} if sizes is None else dict(zip("ZYX", sizes, strict=True))
    for axis, scale in enumerate(scales):
        step = None if scale is None else _regular(scale, found.shape[axis])
        if step is not None:
            steps[axis_letter(axes[axis]) if axes else str(axis)] = step
        elif scale is not None:
            odd.append(str(scale.name).rpartition("/")[2])
    note = f"has scales that are not taken over: {', '.join(odd)}" if odd else None
    plain = {name: _plain(found.attrs[name]) for name in found.attrs if name not in _OWN}
    free = {name: value for name, value in plain.items() if value is not None}
    return Calibration(steps, attributes=free, names=own, style="hdf5"), axes, note


def kept_about(file: PlannedFile) -> tuple[Calibration, tuple[str, ...]]:
    """What of its ``about`` a file will say, and in sentences what it will not."""
    about, lost = file.about or Calibration(), list[str]()
    if about.place is not None:
        lost.append("georeference: HDF5 has no word for it; name the result .tif")
    free, encoded = free_attributes(about.attributes)
    if encoded:
        lost.append(f"attributes {', '.join(encoded)}: they speak of the input's values")
    hard = [name for name, value in free.items() if _attribute(value) is None]
    if hard:
        lost.append(f"attributes {', '.join(hard)}: an HDF5 attribute holds numbers and texts")
    free = {name: value for name, value in free.items() if name not in hard}
    if about.nodata is not None:
        free["nodata"] = about.nodata
    kept = Calibration(about.steps, about.channels, None, None, free, "hdf5", about.names)
    return kept, tuple(lost)


def say(group: h5py.File, made: h5py.Dataset, file: PlannedFile) -> None:
    """Write what is known of an array beside it: labels, scales and attributes."""
    about = file.about or Calibration()
    letters = [axis_letter(letter) for letter in file.axes]
    for dim, letter, own in zip(made.dims, file.axes, letters, strict=True):
        dim.label = about.names.get(own, letter)
    for letter, step in about.steps.items():
        axis = letters.index(letter)
        origin = step.origin or Fraction(0)
        places = [float(origin + step.size * n) for n in range(file.shape[axis])]
        scale = _untimed(group, f"scale_{letter}", np.array(places))
        if step.unit:
            scale.attrs["units"] = step.unit
        scale.make_scale(made.dims[axis].label)
        made.dims[axis].attach_scale(scale)
    lengths = [about.steps.get(letter) for letter in "ZYX"]
    metres = [None if one is None else metres_of(one.unit) for one in lengths]
    if all(metres):
        pairs = zip(lengths, metres, strict=True)
        sizes = [float(one.size * unit * _MICRO) for one, unit in pairs if one and unit]
        made.attrs[_SIZE] = np.array(sizes)
    for name, value in about.attributes.items():
        made.attrs[name] = _attribute(value)


def _untimed(group: h5py.File, name: str, values: np.ndarray[Any, Any]) -> h5py.Dataset:
    """An array whose file is the same each time that it is made."""
    return group.create_dataset(name, data=values, track_times=False)


def _scale_of(dim: Any) -> h5py.Dataset | None:
    """The first scale of an axis, if it lies in the file."""
    found = dim[0] if len(dim) else None
    whole = isinstance(found, h5py.Dataset) and not (found.is_virtual or found.external)
    return found if whole else None


def _regular(scale: h5py.Dataset, size: int) -> SampleStep | None:
    """The step of coordinates, as many as there are samples, that are equally far apart."""
    if scale.shape != (size,) or size < _TWO or scale.dtype.kind not in "iuf":
        return None
    if scale.size * scale.dtype.itemsize > MAX_CHUNK:
        return None
    exact = scale[:]
    places = exact.astype(np.float64)
    step = (places[-1] - places[0]) / (size - 1)
    if not (np.isfinite(places).all() and step > 0):
        return None
    near = np.finfo(exact.dtype if exact.dtype.kind == "f" else np.float64).eps
    line = places[0] + step * np.arange(size)
    if np.abs(line - places).max() > 4 * near * max(np.abs(places).max(), size * step):
        return None
    digits = _DIGITS if near < _SINGLE else _FEW
    unit = scale.attrs.get("units", "")
    unit = unit.decode("utf-8", "replace") if isinstance(unit, bytes) else unit
    named = unit_named(unit) if isinstance(unit, str) else ""
    first = Fraction(f"{places[0]:.{digits}g}")
    return SampleStep(Fraction(f"{step:.{digits}g}"), named, first)


def _sizes(value: Any) -> Sequence[SampleStep] | None:
    """What ``element_size_um`` says; None where that makes no sense."""
    found = np.atleast_1d(value) if isinstance(value, np.ndarray | list | tuple) else None
    if found is None or found.shape != (3,) or found.dtype.kind not in "iuf":
        return None
    if not all(isfinite(one) and one > 0 for one in found):
        return None
    return [SampleStep(Fraction(str(one)), "micrometer") for one in found]


def _plain(value: Any) -> object | None:
    """An attribute as plain data; None for what is none."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return value.item()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and value.size <= _MOST:
        return value.tolist()
    return value if isinstance(value, (str, bool, int, float)) else None


def _attribute(value: object) -> Any:
    """Plain data as an attribute; None for what HDF5 has no type for."""
    if isinstance(value, (str, bool, int, float)):
        return value
    if not isinstance(value, (list, tuple)):
        return None
    try:
        found = np.array(value)
    except ValueError:
        return None
    return found if found.dtype.kind in "biuf" and found.nbytes <= _LARGEST else None


_SIZE = "element_size_um"
_OWN = frozenset(
    {_SIZE, "DIMENSION_LIST", "DIMENSION_LABELS", "REFERENCE_LIST", "CLASS", "NAME",
     "_Netcdf4Dimid", "_Netcdf4Coordinates", "_NCProperties"}
)  # fmt: skip
"""Attributes that say what the fields above do, or how the file is made."""
_MICRO, _TWO = 10**6, 2
_DIGITS, _FEW, _SINGLE = 12, 6, 1e-10
_MOST, _LARGEST = 4096, 1 << 15
"""Numbers of an attribute that are taken over, and the bytes that one may have (64 KiB in HDF5)."""
