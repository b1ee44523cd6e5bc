"""What a file says of its samples beside their values: steps, units, places, names, attributes.

Steps and places are fractions, so that nothing is rounded before it is written.  A place is that of
the centre of a sample: sample i of an axis lies at origin + size·i.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Protocol, runtime_checkable

from fieldwise.tile.files.georeference import Georeference
from fieldwise.tile.files.units import is_time, metres_of, symbol_of
from fieldwise.tile.files.voxel_map import VoxelMap


@dataclass(frozen=True, slots=True)
class SampleStep:
    """How far samples lie from one another along an axis.

    size:   from the centre of one to that of the next, in the unit (see units)
    origin: the place of the first one's centre; None where it has none that is known
    """

    size: Fraction
    unit: str = ""
    origin: Fraction | None = Fraction(0)

    def __str__(self) -> str:
        at = f" from {number(self.origin)}" if self.origin else ""
        return f"{number(self.size)} {symbol_of(self.unit)}".rstrip() + at


@dataclass(frozen=True, slots=True)
class OutputGrid:
    """Where the positions of a result lie along an axis of the input: at start + step·i.

    They are counted in input samples, of which 0 is the centre of the first.

    start: None where the fields have no centre (all of the past)
    off:   how far the centre of a position's field lies from there at most
    """

    step: Fraction
    start: Fraction | None = Fraction(0)
    off: Fraction = Fraction(0)

    @property
    def is_identity(self) -> bool:
        """Whether position i is sample i."""
        return self.step == 1 and self.start == 0


@dataclass(frozen=True, slots=True)
class Calibration:
    """What a file says of its samples.

    steps:      by the letter of an axis: T, Z, Y, X; by its number where none is known
    channels:   their names, in order
    place:      where pixels lie in the world
    nodata:     the value that stands for no data
    attributes: whatever else is said, by name, as plain data
    names:      what the file calls its axes, by their letters
    affines:    where voxels lie in the world, as NIfTI says it
    style:      how the file says it, as 'ome', 'imagej', 'geotiff', 'resolution', 'ome-zarr 0.4'
    """

    steps: Mapping[str, SampleStep] = field(default_factory=dict)
    channels: tuple[str, ...] = ()
    place: Georeference | None = None
    nodata: str | None = None
    attributes: Mapping[str, object] = field(default_factory=dict)
    style: str = ""
    names: Mapping[str, str] = field(default_factory=dict)
    affines: tuple[VoxelMap, ...] = ()

    def __bool__(self) -> bool:
        """Whether anything is said."""
        found = (
            self.steps, self.channels, self.place, self.nodata, self.attributes, self.names,
            self.affines,
        )  # fmt: skip
        return any(one is not None and one not in ({}, ()) for one in found)

    def __str__(self) -> str:
        """In one line."""
        return "; ".join(self.parts())

    def parts(self) -> Iterator[str]:
        """What is said, in words, each part by itself.

        >>> step = SampleStep(Fraction(13, 20), "micrometer")
        >>> list(Calibration({"Y": step, "X": step}, ("DAPI",)).parts())
        ['Y 0.65 µm, X 0.65 µm', 'channels DAPI']
        """
        if self.steps:
            yield ", ".join(f"{letter} {step}" for letter, step in self.steps.items())
        if self.channels:
            yield f"channels {', '.join(self.channels)}"
        if self.place is not None:
            yield "georeference"
        if self.affines:
            yield f"affine {' and '.join(one.name for one in self.affines)}"
        if self.nodata is not None:
            yield f"nodata {self.nodata}"
        if self.attributes:
            yield f"attributes {', '.join(self.attributes)}"
        if any(name.upper() != letter for letter, name in self.names.items()):
            yield f"axes {', '.join(self.names.values())}"

    def with_letters(self, axes: str, own: str = "") -> Calibration:
        """The same, where the axes of the file have these letters, each in its place.

        own: those that the file itself gives them, where it does
        """
        letters = {str(number): axis_letter(letter) for number, letter in enumerate(axes)}
        if len(own) == len(axes):
            pairs = zip(map(axis_letter, own.upper()), map(axis_letter, axes.upper()), strict=True)
            letters |= {was: now for was, now in pairs if was != now}
        return replace(
            self,
            names={letters.get(axis, axis): name for axis, name in self.names.items()},
            steps={
                letters.get(axis, axis): step
                for axis, step in self.steps.items()
                if letters.get(axis) not in _WITHOUT_STEP
            },
            affines=tuple(one.named(letters) for one in self.affines),
        )

    def on(self, grids: Mapping[str, OutputGrid | None]) -> tuple[Calibration, tuple[str, ...]]:
        """That of a result whose positions lie so, by axis, and what it lacks, in sentences.

        grids: by letter; None where the positions have no regular place along that axis, and no
               letter where the result has no such axis

        A network's outputs are other channels than its inputs, so names of channels are not its
        own; nor is the value that stands for no data, as long as nothing puts it there.
        """
        lost: list[str] = []
        steps: dict[str, SampleStep] = {}
        for letter, step in self.steps.items():
            grid = grids.get(letter)
            if grid is not None and grid.step < 0:
                lost.append(f"{letter} {step}: results run against the axis")
            elif grid is not None:
                steps[letter] = _stepped(step, grid)
            elif letter in grids:
                lost.append(f"{letter} {step}: results have no regular place along {letter}")
        place, affines = self._placed(grids, lost), tuple(self._mapped(grids, lost))
        if self.channels:
            names = ", ".join(self.channels)
            lost.append(f"channels {names}: they name the input's channels, not the result's")
        if self.nodata is not None:
            lost.append(f"nodata {self.nodata}: no value of the result stands for it")
        kept = replace(self, steps=steps, channels=(), place=place, nodata=None, affines=affines)
        return kept, tuple(lost)

    def _mapped(
        self, grids: Mapping[str, OutputGrid | None], lost: list[str]
    ) -> Iterator[VoxelMap]:
        def ends(axis: str) -> tuple[Fraction, Fraction] | None:
            return None if axis in _WITHOUT_STEP else _start_and_step(grids.get(axis))

        for one in self.affines:
            found = one.regridded(ends)
            if found is None:
                along = ", ".join(axis for axis in one.axes if axis and ends(axis) is None)
                lost.append(f"affine {one.name}: results have no regular place along {along}")
            else:
                yield found

    def _placed(
        self, grids: Mapping[str, OutputGrid | None], lost: list[str]
    ) -> Georeference | None:
        if self.place is None:
            return None
        ends = [_start_and_step(grids.get(letter)) for letter in "XY"]
        if ends[0] is None or ends[1] is None:
            lost.append("georeference: results have no regular place along Y and X")
            return None
        return self.place.regridded(ends[0], ends[1])


@runtime_checkable
class Calibrated(Protocol):
    """A source whose file says more than values; one that has no such property says nothing."""

    @property
    def about(self) -> Calibration | None:
        """What it says; None where it says nothing."""


def calibration_of(source: object, axes: str = "") -> Calibration | None:
    """What the file of a source says beside values; None where that is nothing.

    axes: the letters of its axes, as they are read, whatever the file calls them; without them,
          axes that it does not name are called by their numbers
    """
    about = source.about if isinstance(source, Calibrated) else None
    return None if not about else about.with_letters(axes, getattr(source, "axes", None) or "")


def of_other_kind(letter: str, step: SampleStep) -> str:
    """Why OME's formats do not say a step of an axis: seconds in space, metres in time; else ''.

    >>> of_other_kind("Z", SampleStep(Fraction(2), "second"))
    'OME gives an axis of space a length; give the axis the letter T'
    """
    if letter == "T":
        return "OME gives an axis of time a duration" if metres_of(step.unit) is not None else ""
    of_space = "OME gives an axis of space a length; give the axis the letter T"
    return of_space if is_time(step.unit) else ""


def axis_letter(letter: str) -> str:
    """The letter under which the step of an axis is kept, whatever a layout calls it.

    >>> [axis_letter(letter) for letter in "HWLDTC"]
    ['Y', 'X', 'X', 'Z', 'T', 'C']
    """
    return _SAME.get(letter, letter)


def number(value: Fraction) -> str:
    """A number in at most nine digits.

    >>> number(Fraction(13, 20)), number(Fraction(3)), number(Fraction(1, 3))
    ('0.65', '3', '0.333333333')
    """
    return f"{float(value):.9g}"


def _stepped(step: SampleStep, grid: OutputGrid) -> SampleStep:
    known = step.origin is not None and grid.start is not None
    origin = step.origin + grid.start * step.size if known else None  # type: ignore[operator]
    return SampleStep(step.size * grid.step, step.unit, origin)


def _start_and_step(grid: OutputGrid | None) -> tuple[Fraction, Fraction] | None:
    return None if grid is None or grid.start is None else (grid.start, grid.step)


_WITHOUT_STEP = ("C", "S", "N")
"""Axes along which nothing lies: channels and samples."""
_SAME = {"H": "Y", "W": "X", "L": "X", "D": "Z"}
