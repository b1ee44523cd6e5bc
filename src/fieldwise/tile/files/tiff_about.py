"""What a TIFF file says of its samples: OME-XML, ImageJ's words, GeoTIFF's tags, the resolution."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from math import isfinite
from typing import Any
from xml.etree import ElementTree

import tifffile

from fieldwise.tile.files.calibration import Calibration, SampleStep
from fieldwise.tile.files.geotiff import RATIONAL_POLYNOMIAL, georeference_of
from fieldwise.tile.files.units import unit_named

NODATA, GDAL_TEXT = 42113, 42112
"""GDAL_NODATA, GDAL_METADATA."""


def about_tiff(file: tifffile.TiffFile) -> Calibration:
    """What the first series says.

    OME-XML goes before ImageJ's words, and these before the resolution of a page, which means
    nothing by itself where it is 1 and has no unit.

    Raises ValueError where that cannot be read.
    """
    page = file.series[0].keyframe
    tags = {tag.code: tag.value for tag in page.tags if tag.code in _READ}
    place = georeference_of(tags)
    nodata = str(tags[NODATA]).strip("\0 ") if NODATA in tags else None
    attributes = _gdal(str(tags[GDAL_TEXT])) if GDAL_TEXT in tags else {}
    if RATIONAL_POLYNOMIAL in tags:
        attributes[_POLYNOMIAL] = tags[RATIONAL_POLYNOMIAL]
    found, channels, style = _scaled(file, page)
    if place is not None:
        style = "geotiff"
    return Calibration(found, channels, place, nodata or None, attributes, style)


def _scaled(
    file: tifffile.TiffFile, page: Any
) -> tuple[dict[str, SampleStep], tuple[str, ...], str]:
    """Steps, names of channels, and who says them."""
    if file.ome_metadata:
        found, channels = _ome(file.ome_metadata)
        return found, channels, "ome"
    if file.is_imagej:
        return _imagej(file.imagej_metadata or {}, page), (), "imagej"
    if file.is_svs:
        return _aperio(page.description), (), "resolution"
    return _resolution(page), (), "resolution"


def _ome(text: str) -> tuple[dict[str, SampleStep], tuple[str, ...]]:
    """The steps and the names of the channels of the first image."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"its OME-XML is none: {error}") from error
    pixels = next((one for one in root.iter() if _local(one) == "Pixels"), None)
    if pixels is None:
        return {}, ()
    steps = {}
    for letter, name, usual in _OME_SIZES:
        size = pixels.get(name)
        if size is not None:
            steps[letter] = SampleStep(
                _positive(size), unit_named(pixels.get(f"{name}Unit", usual))
            )
    names = [one.get("Name") or "" for one in pixels if _local(one) == "Channel"]
    return steps, tuple(names) if any(names) else ()


def _local(element: ElementTree.Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _imagej(said: Mapping[str, Any], page: Any) -> dict[str, SampleStep]:
    """Pixels of a unit, slices of a spacing, frames of an interval; origins count in pixels."""
    unit = unit_named(str(said.get("unit", "")))
    steps = {}
    if unit and unit not in ("pixel", "pixels"):
        sizes = {"Z": said.get("spacing"), "Y": _per(page, "YResolution"),
                 "X": _per(page, "XResolution")}  # fmt: skip
        for letter, size in sizes.items():
            if size:
                own = unit_named(str(said.get(f"{letter.lower()}unit", unit)))
                at = _exact(said.get(f"{letter.lower()}origin", 0))
                steps[letter] = SampleStep(_positive(size), own, -at * _positive(size))
    if said.get("finterval"):
        tunit = unit_named(str(said.get("tunit", "sec")))
        steps = {"T": SampleStep(_positive(said["finterval"]), tunit), **steps}
    return steps


def _resolution(page: Any) -> dict[str, SampleStep]:
    """Pixels per inch or centimetre."""
    unit = _RESOLUTION_UNITS.get(_value(page, "ResolutionUnit"))
    sizes = {"Y": _per(page, "YResolution"), "X": _per(page, "XResolution")}
    if unit is None:
        return {}
    return {letter: SampleStep(size, unit) for letter, size in sizes.items() if size}


def _aperio(description: str) -> dict[str, SampleStep]:
    """Micrometres per pixel of a slide of Aperio's."""
    words = (part.partition("=") for part in description.split("|"))
    size = next((value for key, _, value in words if key.strip() == "MPP"), None)
    if size is None:
        return {}
    return {letter: SampleStep(_positive(size.strip()), "micrometer") for letter in "YX"}


def _gdal(text: str) -> dict[str, object]:
    """Items of GDAL's XML that speak of the whole file: those of a band are not the result's."""
    try:
        root = ElementTree.fromstring(text.strip("\0"))
    except ElementTree.ParseError as error:
        raise ValueError(f"its GDAL_METADATA is no XML: {error}") from error
    items: Iterator[ElementTree.Element] = root.iter("Item")
    return {
        one.get("name", ""): one.text or ""
        for one in items
        if one.get("sample") is None and one.get("name") and one.get("domain") is None
    }


def _per(page: Any, name: str) -> Fraction | None:
    """The inverse of a resolution; None where that is not known."""
    value = _value(page, name)
    if not isinstance(value, tuple) or not all(value):
        return None
    return Fraction(int(value[1]), int(value[0]))


def _value(page: Any, name: str) -> Any:
    tag = page.tags.get(name)
    return None if tag is None else tag.value


def _positive(value: object) -> Fraction:
    """A length as it is written.  Raises ValueError for one that is none."""
    found = _exact(value)
    if found <= 0:
        raise ValueError(f"a step of {value} is none")
    return found


def _exact(value: object) -> Fraction:
    """A number as it is written.  Raises ValueError for one that is none or beyond a float."""
    if isinstance(value, Fraction):
        return value
    near = float(str(value))
    if not isfinite(near):
        raise ValueError(f"{value} is no number")
    return Fraction(str(value)) if near else Fraction(0)


_OME_SIZES = (
    ("T", "TimeIncrement", "s"),
    ("Z", "PhysicalSizeZ", "µm"),
    ("Y", "PhysicalSizeY", "µm"),
    ("X", "PhysicalSizeX", "µm"),
)
_RESOLUTION_UNITS = {2: "inch", 3: "centimeter"}
_POLYNOMIAL = "RPCCoefficient"
_READ = frozenset(
    {33550, 33922, 34264, 34735, 34736, 34737, RATIONAL_POLYNOMIAL, NODATA, GDAL_TEXT}
)
