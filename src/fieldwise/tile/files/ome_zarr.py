"""OME-Zarr (0.4 in zarr version 2, 0.5 in version 3): images of several levels in a group.

A level is an array whose sample i lies at origin + size·i along an axis.  That is taken for its
centre: 0.6 says so, 0.4 and 0.5 leave it open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite
from pathlib import Path
from typing import Any

from fieldwise.errors import UsageError
from fieldwise.tile.files.calibration import Calibration, SampleStep, axis_letter
from fieldwise.tile.files.units import unit_named

Attributes = Mapping[str, Any]
"""Of a group or an array, as plain data."""


@dataclass(frozen=True, slots=True)
class OmeImage:
    """The image of a group.

    levels: the paths of its arrays in the group, largest first
    """

    version: str
    axes: tuple[Mapping[str, Any], ...]
    levels: tuple[str, ...]
    _multiscale: Mapping[str, Any]
    _attributes: Attributes

    @classmethod
    def of(cls, attributes: Attributes) -> OmeImage | None:
        """What the attributes of a group say; None where it is no image.

        Raises ValueError where they say what makes no sense.
        """
        said = attributes.get("ome", attributes)
        if not isinstance(said, Mapping) or not said.get("multiscales"):
            return None
        try:
            one = said["multiscales"][0]
            version = str(said.get("version") or one.get("version") or "0.4")
            axes = tuple(
                {"name": axis} if isinstance(axis, str) else dict(axis) for axis in one["axes"]
            )
            levels = tuple(str(level["path"]) for level in one["datasets"])
        except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"its multiscales make no sense: {error!r}") from error
        if not levels:
            raise ValueError("its multiscales name no dataset")
        return cls(version, axes, levels, one, said)

    @property
    def letters(self) -> str | None:
        """A letter per axis; None where two would be the same."""
        found = "".join(_letter(axis) for axis in self.axes)
        return found if len(set(found)) == len(found) else None

    def about(self, level: str) -> Calibration:
        """What is said of the samples of a level.

        Raises ValueError where that makes no sense.
        """
        number = self.levels.index(level)
        scales, origins = [Fraction(1)] * len(self.axes), [Fraction(0)] * len(self.axes)
        own = self._multiscale["datasets"][number].get("coordinateTransformations", ())
        for one in (*own, *self._multiscale.get("coordinateTransformations", ())):
            kind = one.get("type")
            if kind == "scale":
                by = _numbers(one["scale"], len(self.axes))
                scales = [a * b for a, b in zip(scales, by, strict=True)]
                origins = [a * b for a, b in zip(origins, by, strict=True)]
            elif kind == "translation":
                by = _numbers(one["translation"], len(self.axes))
                origins = [a + b for a, b in zip(origins, by, strict=True)]
            elif kind != "identity":
                raise ValueError(f"a transformation of the kind {kind!r} is not read")
        steps = {}
        for axis, size, origin in zip(self.axes, scales, origins, strict=True):
            unit = unit_named(axis.get("unit"))
            if _letter(axis) in "TZYX" and (unit or size != 1 or origin) and size > 0:
                steps[_letter(axis)] = SampleStep(size, unit, origin)
        omero = self._attributes.get("omero") or {}
        channels = [str(one.get("label") or "") for one in omero.get("channels", ())]
        names = tuple(channels) if any(channels) else ()
        return Calibration(steps, names, style=f"ome-zarr {self.version}")


def collection_of(attributes: Attributes, groups: Sequence[str]) -> tuple[str, list[str]] | None:
    """What a group holds in place of an image, and the paths of the images in it.

    groups: the names of the groups in it
    """
    said = attributes.get("ome", attributes)
    if not isinstance(said, Mapping):
        return None
    plate, well = said.get("plate"), said.get("well")
    if isinstance(plate, Mapping):
        wells = [str(one.get("path")) for one in plate.get("wells", ()) if isinstance(one, Mapping)]
        return "is a plate, whose wells hold images", [f"{one}/0" for one in wells]
    if isinstance(well, Mapping):
        images = [str(one.get("path")) for one in well.get("images", ())]
        return "is a well of a plate", images
    if isinstance(said.get("labels"), (list, tuple)):
        return "holds labels", [str(one) for one in said["labels"]]
    if "bioformats2raw.layout" in said:
        return "holds images of one file", [one for one in groups if one.isdigit()]
    return None


def multiscales(
    axes: str,
    steps: Mapping[str, SampleStep],
    factors: Sequence[Mapping[str, int]],
    name: str,
    *,
    means: bool,
) -> dict[str, Any]:
    """The attributes of a group with levels '0', '1', …, in version 0.5.

    factors: per level, by the letter of an axis, how many samples of level 0 one stands for
    means:   whether it is their mean, and lies at their centre; else it is the first of them
    """
    datasets = []
    for number, factor in enumerate(factors):
        scale, origin = [], []
        for letter in axes:
            step = steps.get(axis_letter(letter), SampleStep(Fraction(1)))
            by = factor.get(letter, 1)
            scale.append(float(step.size * by))
            behind = step.size * Fraction(by - 1, 2) if means else Fraction(0)
            origin.append(float((step.origin or 0) + behind))
        own: list[dict[str, Any]] = [{"type": "scale", "scale": scale}]
        if any(origin):
            own.append({"type": "translation", "translation": origin})
        datasets.append({"path": str(number), "coordinateTransformations": own})
    one: dict[str, Any] = {"name": name, "axes": [_axis(letter, steps) for letter in axes]}
    one["datasets"] = datasets
    if len(factors) > 1:
        one["type"] = "mean" if means else "nearest"
    return {"ome": {"version": "0.5", "multiscales": [one]}}


def check_axes(axes: str, path: Path) -> None:
    """Raise UsageError for axes that no OME-Zarr image has."""
    letters = [axis_letter(letter) for letter in axes]
    order = iter("TCZYX")
    if letters[-2:] != ["Y", "X"] or not all(letter in order for letter in letters):
        raise UsageError(
            f"An OME-Zarr image has axes such as CYX or TCZYX, in this order, and the result has "
            f"{axes}; name it {path.name.removesuffix('.ome.zarr')}.zarr."
        )


def _axis(letter: str, steps: Mapping[str, SampleStep]) -> dict[str, Any]:
    same = axis_letter(letter)
    kind = {"C": "channel", "T": "time"}.get(same, "space")
    found = {"name": same.lower(), "type": kind}
    unit = steps[same].unit if same in steps else ""
    return {**found, "unit": unit} if unit else found


def _letter(axis: Mapping[str, Any]) -> str:
    kind = {"channel": "C", "time": "T"}.get(str(axis.get("type")), "")
    return kind or str(axis.get("name", "?"))[:1].upper()


def _numbers(found: Any, count: int) -> list[Fraction]:
    if not isinstance(found, (list, tuple)) or len(found) != count:
        raise ValueError(f"a transformation has not {count} numbers")
    if not all(isinstance(one, (int, float)) and isfinite(one) for one in found):
        raise ValueError("a transformation holds what is no number")
    return [Fraction(str(one)) for one in found]
