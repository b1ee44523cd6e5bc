"""What zarr arrays and groups say of their samples, read and written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fieldwise.tile.files.calibration import Calibration, axis_letter, of_other_kind
from fieldwise.tile.files.ome_zarr import check_axes
from fieldwise.tile.files.protocol import PlannedFile


def is_ome_zarr(file: PlannedFile) -> bool:
    """Whether its name says that it is an OME-Zarr image."""
    return file.path.name.lower().endswith(".ome.zarr")


def about_array(attributes: Mapping[str, Any], names: Sequence[str | None]) -> Calibration:
    """What an array says that belongs to no image.

    attributes: its own; names: of its dimensions
    """
    letters = letters_of(names)
    own = dict(zip(letters, map(str, names), strict=True)) if letters else {}
    free = {key: value for key, value in attributes.items() if key not in _RESERVED}
    return Calibration(attributes=free, names=own, style="zarr")


def letters_of(names: Sequence[str | None]) -> str | None:
    """A letter for each dimension, by its name; None where they do not say.

    >>> letters_of(["time", "lat", "lon"]), letters_of(["c", "y", "x"]), letters_of(["a", "ab"])
    ('TYX', 'CYX', None)
    """
    found = [
        "" if name is None else name.upper() if len(name) == 1 else _WORDS.get(name.lower(), "")
        for name in names
    ]
    good = all(found) and len(set(found)) == len(found)
    return "".join(found) if found and good else None


def kept_about(file: PlannedFile) -> tuple[Calibration, tuple[str, ...]]:
    """What of its ``about`` a file will say, and in sentences what it will not."""
    about, lost = file.about or Calibration(), list[str]()
    if is_ome_zarr(file):
        check_axes(file.axes, file.path)
        reasons = {letter: of_other_kind(letter, step) for letter, step in about.steps.items()}
        lost += [f"{letter} {about.steps[letter]}: {why}" for letter, why in reasons.items() if why]
        kept = {letter: step for letter, step in about.steps.items() if not reasons[letter]}
        about = replace(about, steps=kept)
    elif about.steps:
        steps = next(replace(about, channels=(), place=None).parts())
        lost.append(f"{steps}: name the result .ome.zarr to keep them")
        about = replace(about, steps={})
    if about.place is not None:
        lost.append("georeference: zarr has no word for it; name the result .tif")
    free, encoded = free_attributes(about.attributes)
    if encoded:
        lost.append(f"attributes {', '.join(encoded)}: they speak of the input's values")
    if about.nodata is not None:
        free = {**free, "nodata": about.nodata}
    return replace(about, place=None, attributes=free, nodata=None), tuple(lost)


def free_attributes(attributes: Mapping[str, object]) -> tuple[dict[str, object], list[str]]:
    """Those that hold for a result too, and the names of those that speak of the input's values.

    >>> free_attributes({"title": "scan", "scale_factor": 2})
    ({'title': 'scan'}, ['scale_factor'])
    """
    encoded = [name for name in attributes if name in _OF_VALUES]
    return {name: one for name, one in attributes.items() if name not in encoded}, encoded


def dimension_names(file: PlannedFile) -> list[str]:
    """The names of the dimensions of a new array: those of the input's, where they are known."""
    names = file.about.names if file.about is not None else {}
    if is_ome_zarr(file):
        return [axis_letter(letter).lower() for letter in file.axes]
    return [names.get(axis_letter(letter), letter) for letter in file.axes]


_WORDS = {
    "time": "T", "channel": "C", "band": "C", "bands": "C", "channels": "C",
    "depth": "Z", "level": "Z", "height": "Y", "lat": "Y", "latitude": "Y", "row": "Y",
    "northing": "Y", "width": "X", "lon": "X", "longitude": "X", "col": "X", "column": "X",
    "easting": "X", "sample": "N", "batch": "N",
}  # fmt: skip
_OF_VALUES = frozenset(
    {"scale_factor", "add_offset", "_FillValue", "missing_value", "valid_min", "valid_max",
     "valid_range", "_Unsigned", "flag_values", "flag_masks", "flag_meanings", "units",
     "standard_name", "long_name", "calendar"}
)  # fmt: skip
"""Attributes that say how stored values are to be read, or what they are (CF conventions)."""
_RESERVED = frozenset(
    {"_ARRAY_DIMENSIONS", "ome", "multiscales", "omero", "labels", "plate", "well", "image-label",
     "bioformats2raw.layout", "_creator"}
)  # fmt: skip
