"""How a TIFF file says what is known of its samples, and what it does not hold.

A file named .ome.tif has OME-XML; one whose input has a place in the world, GeoTIFF's tags; one
whose input was ImageJ's is ImageJ's again where that program holds such an array; any other says
how many pixels there are per centimetre.
"""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction
from math import prod
from typing import Any, Literal
from uuid import NAMESPACE_URL, uuid5
from xml.sax.saxutils import escape, quoteattr

from fieldwise.errors import UsageError
from fieldwise.tile.files.calibration import Calibration, SampleStep, number, of_other_kind
from fieldwise.tile.files.geotiff import ExtraTag, tags_of
from fieldwise.tile.files.protocol import PlannedFile
from fieldwise.tile.files.tiff_about import GDAL_TEXT, NODATA
from fieldwise.tile.files.units import metres_of, symbol_of

TiffStyle = Literal["ome", "geotiff", "imagej", "resolution"]


def style_of(file: PlannedFile) -> TiffStyle:
    """How this file says it."""
    if is_ome(file):
        return "ome"
    about = file.about
    if about is None or not about:
        return "resolution"
    if about.place is not None:
        return "geotiff"
    plain = about.style == "imagej" and file.compression is None
    return "imagej" if plain and _is_for_imagej(file) else "resolution"


def is_ome(file: PlannedFile) -> bool:
    """Whether its name says that it is an OME-TIFF file."""
    return re.search(r"\.ome\.\w+$", file.path.name.lower()) is not None


def kept_about(file: PlannedFile) -> tuple[Calibration, tuple[str, ...]]:
    """What of its ``about`` a file will say, and in sentences what it will not."""
    about, style = file.about or Calibration(), style_of(file)
    lost: list[str] = []
    steps = dict[str, SampleStep]()
    for letter, step in about.steps.items():
        reason = _not_held(letter, step, style)
        if reason:
            lost.append(f"{letter} {step}: {reason}")
            continue
        if step.origin and style != "imagej":
            lost.append(
                f"origin {number(step.origin)} of {letter}: TIFF has no word for it; zarr named "
                ".ome.zarr has"
            )
            step = replace(step, origin=Fraction(0))
        steps[letter] = step
    place = about.place if style == "geotiff" else None
    if about.place is not None and place is None:
        lost.append("georeference: OME-TIFF has none; name the result .tif")
    attributes = {
        name: value
        for name, value in about.attributes.items()
        if style == "geotiff" and isinstance(value, str)
    }
    left = [name for name in about.attributes if name not in attributes]
    if left:
        lost.append(f"attributes {', '.join(left)}: they are not taken over into TIFF")
    nodata = about.nodata if style == "geotiff" else None
    if about.nodata is not None and nodata is None:
        lost.append(f"nodata {about.nodata}: only a GeoTIFF file has it")
    channels = about.channels if style == "ome" else ()
    if about.channels and not channels:
        lost.append(f"channels {', '.join(about.channels)}: name the result .ome.tif to keep them")
    return Calibration(steps, channels, place, nodata, attributes, style), tuple(lost)


def options_of(file: PlannedFile, axes: str) -> dict[str, Any]:
    """Options of ``tifffile.imwrite`` by which it says it; axes: as TIFF has them."""
    about, style = file.about or Calibration(), style_of(file)
    if style == "ome":
        if file.dtype.name not in _OME_TYPES:
            raise UsageError(
                f"An OME-TIFF file holds no {file.dtype}; name the result .tif, or write zarr."
            )
        return {"ome": True, "metadata": _ome(file, about, axes)}
    options: dict[str, Any] = {"ome": False, "metadata": {"axes": axes}}
    if style == "imagej":
        return {"imagej": True, "metadata": _imagej(about, axes), **_per_unit(about, None)}
    if style == "geotiff":
        options["extratags"] = list(_geotiff(about))
    return {**options, **_per_unit(about, "centimeter")}


def _not_held(letter: str, step: SampleStep, style: TiffStyle) -> str:
    """Why a file of this style does not say a step; empty where it does."""
    if style == "ome":
        return of_other_kind(letter, step)
    if style == "imagej":
        return ""
    if letter not in "YX":
        return "name the result .ome.tif to keep it"
    if metres_of(step.unit) is None:
        return "a TIFF file has inches and centimetres; name it .ome.tif, or write zarr"
    return ""


def _ome(file: PlannedFile, about: Calibration, axes: str) -> dict[str, Any]:
    """OME's names; the UUID follows from what the file is, so that a run can be repeated."""
    found: dict[str, Any] = {"axes": axes}
    for letter, step in about.steps.items():
        name = "TimeIncrement" if letter == "T" else f"PhysicalSize{letter}"
        found[name] = float(step.size)
        if step.unit:
            found[f"{name}Unit"] = symbol_of(step.unit)
    if about.channels:
        found["Channel"] = {"Name": list(about.channels)}
    identity = f"{file.path.name} {file.shape} {file.dtype} {about}"
    return {**found, "UUID": f"urn:uuid:{uuid5(NAMESPACE_URL, identity)}"}


def _imagej(about: Calibration, axes: str) -> dict[str, Any]:
    found: dict[str, Any] = {"axes": axes}
    steps = {letter: step for letter, step in about.steps.items() if letter in "ZYX"}
    for letter, step in steps.items():
        found["unit"] = symbol_of(step.unit).replace("µ", "u")
        if step.origin:
            found[f"{letter.lower()}origin"] = float(-step.origin / step.size)
    if "Z" in steps:
        found["spacing"] = float(steps["Z"].size)
    if "T" in about.steps:
        found["finterval"] = float(about.steps["T"].size)
    return found


def _is_for_imagej(file: PlannedFile) -> bool:
    """Whether ImageJ holds such an array: its types, its order of axes, one unit, 4 GiB."""
    about, order = file.about or Calibration(), iter("TZCYX")
    units = {step.unit for letter, step in about.steps.items() if letter in "ZYX"}
    seconds = about.steps["T"].unit == "second" if "T" in about.steps else True
    small = prod(file.shape) * file.dtype.itemsize < _CLASSIC
    letters = [{"D": "Z", "H": "Y", "W": "X"}.get(letter, letter) for letter in file.axes]
    fits = all(letter in order for letter in letters)
    return fits and file.dtype.name in _IMAGEJ_TYPES and len(units) <= 1 and seconds and small


def _per_unit(about: Calibration, unit: str | None) -> dict[str, Any]:
    """Pixels per centimetre, or per whatever the unit of the file is (None)."""
    x, y = (about.steps.get(letter) for letter in "XY")
    if x is None or y is None:
        return {}
    resolution = [_rational(_in(step, unit)) for step in (x, y)]
    return {"resolution": resolution, "resolutionunit": unit.upper() if unit else "NONE"}


def _in(step: SampleStep, unit: str | None) -> Fraction:
    """Samples per unit."""
    own, other = metres_of(step.unit), metres_of(unit) if unit else None
    return other / (step.size * own) if own and other else 1 / step.size


def _rational(value: Fraction) -> tuple[int, int]:
    """The nearest quotient of two numbers of 32 bits."""
    most = 1 << 32
    if max(value.numerator, value.denominator) >= most:
        value = value.limit_denominator(max(1, int(most / (value + 1)) - 1))
    return value.numerator, value.denominator


def _geotiff(about: Calibration) -> list[ExtraTag]:
    tags = list(tags_of(about.place)) if about.place is not None else []
    if about.attributes:
        items = "".join(
            f"<Item name={quoteattr(name)}>{escape(str(value))}</Item>"
            for name, value in about.attributes.items()
        )
        tags.append((GDAL_TEXT, 2, 0, f"<GDALMetadata>{items}</GDALMetadata>", True))
    if about.nodata is not None:
        tags.append((NODATA, 2, 0, about.nodata, True))
    return tags


_OME_TYPES = frozenset(
    {"int8", "int16", "int32", "uint8", "uint16", "uint32", "float32", "float64"}
)
_IMAGEJ_TYPES = frozenset({"uint8", "uint16", "float32"})
_CLASSIC = (1 << 32) - (1 << 25)
