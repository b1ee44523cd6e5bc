"""Read the tensors of a model description (rdf.yaml), of format 0.3 and 0.4 or of 0.5.

Sources: the bioimage.io model specification 0.4 (axes as letters; ``shape`` as a list or as ``min``
and ``step``; ``halo`` a list) and 0.5 (a list of axes with ``size`` and ``halo``).  A halo counts
samples of the output, and is cropped from either side: ``size_after_crop = size - 2 * halo``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite
from pathlib import Path
from reprlib import Repr
from typing import Any, Literal

from fieldwise.errors import UsageError
from fieldwise.written import ratio as ratio_of
from fieldwise.written import shown

AxisKind = Literal["batch", "channel", "space"]
Plain = Mapping[str, Any]
"""What the file holds by name, of whatever type: it is looked at before it is believed."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a tensor.

    least: its size, or the least where it may grow; step: by what it grows, 0 where it does not
    halo:  of an output, what is cropped from either side
    """

    name: str
    kind: AxisKind
    least: int = 1
    step: int = 0
    halo: int = 0

    def __post_init__(self) -> None:
        for what, value, smallest in (
            ("size", self.least, 1), ("step", self.step, 0), ("halo", self.halo, 0),
        ):  # fmt: skip
            if not smallest <= value <= _MAX:
                raise ValueError(f"the {what} of axis {shown(self.name)} is {value}")


Tensor = tuple[Axis, ...]


@dataclass(frozen=True, slots=True)
class Description:
    """Inputs and outputs in the order of the model's arguments and results."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    output_names: tuple[str, ...]

    def shapes(self, *, at_least: int = 1, further: int = 0) -> tuple[tuple[int, ...], ...]:
        """Shapes of the inputs: axes that may grow have the first size from ``at_least`` on.

        further: or one that is so many steps larger
        """
        return tuple(
            tuple(_size(axis, at_least, further) for axis in tensor) for tensor in self.inputs
        )


def _size(axis: Axis, at_least: int, further: int) -> int:
    if axis.kind != "space" or not axis.step:
        return axis.least
    steps = max(-(-(at_least - axis.least) // axis.step), 0) + further
    return axis.least + steps * axis.step


def read_description(path: Path) -> Description:
    """The tensors of an rdf.yaml.

    Raises UsageError where it cannot be read, or says nothing of inputs and outputs.
    """
    try:
        from fieldwise.tile.interop.bioimageio.yaml_file import read_yaml
    except ImportError as error:
        raise UsageError(
            "Reading a description needs PyYAML; install it with pip install 'fieldwise[tile]'."
        ) from error
    try:
        found = read_yaml(path)
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or error
        raise UsageError(f"Cannot read {str(path)!r}: {said}; check the file.") from error
    try:
        return described(found)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        known = type(error) is ValueError
        said = str(error) if known else f"{type(error).__name__}: {shown(str(error))}"
        raise UsageError(
            f"{str(path)!r} is no model description of format 0.3 to 0.5 ({said}); check its "
            "inputs and outputs."
        ) from error


def described(data: Plain) -> Description:
    """The tensors of a description as plain data.

    >>> found = described({
    ...     "inputs": [{"axes": "bcyx", "shape": {"min": [1, 1, 64, 64], "step": [0, 0, 16, 16]}}],
    ...     "outputs": [{"name": "mask", "axes": "bcyx", "halo": [0, 0, 32, 32]}],
    ... })
    >>> found.inputs[0][2], found.outputs[0][3].halo
    (Axis(name='y', kind='space', least=64, step=16, halo=0), 32)
    """
    if not all(isinstance(data[key], list) for key in ("inputs", "outputs")):
        raise ValueError("its inputs and outputs are no lists")
    inputs = tuple(map(_tensor, _settled(data["inputs"])))
    outputs = tuple(map(_tensor, data["outputs"]))
    if not inputs or not outputs:
        raise ValueError("it has no inputs or no outputs")
    names = tuple(
        str(one.get("id", one.get("name", number))) for number, one in enumerate(data["outputs"])
    )
    return Description(inputs, outputs, names)


def _settled(inputs: Sequence[Plain]) -> list[Plain]:
    """The inputs with the sizes that refer to another axis replaced by what they refer to.

    Format 0.5: such a size is the other's, times its scale over the axis's own, plus an offset.
    """
    sized = {
        (one.get("id"), axis.get("id", axis["type"])): axis
        for one in inputs
        if not isinstance(one["axes"], str)
        for axis in one["axes"]
    }

    def settled(axis: Plain) -> Plain:
        size = axis.get("size")
        if not isinstance(size, Mapping) or "axis_id" not in size:
            return axis
        other = sized[size.get("tensor_id"), size["axis_id"]]
        ratio = _scale(other) / _scale(axis)
        least, step = _sizes(other["size"])
        offset = _whole("offset", size.get("offset", 0))
        found = {"min": least * ratio + offset, "step": step * ratio}
        return {**axis, "size": found}

    return [
        one if isinstance(one["axes"], str) else {**one, "axes": [settled(a) for a in one["axes"]]}
        for one in _shaped(inputs)
    ]


def _scale(axis: Plain) -> Fraction:
    given = axis.get("scale", 1)
    found = None if isinstance(given, bool) else ratio_of(str(given))
    if found is None or not 1 / _MAX <= found <= _MAX:
        raise ValueError(f"the scale {_quoted(given)} is no positive number")
    return found


def _shaped(inputs: Sequence[Plain]) -> Sequence[Plain]:
    for one in inputs:
        if isinstance(one["axes"], str) and "shape" not in one:
            raise ValueError(f"the input {_quoted(one.get('name'))} has no shape")
    return inputs


def _tensor(data: Plain) -> Tensor:
    axes = data["axes"]
    if isinstance(axes, str):
        return _lettered(axes, data)
    return tuple(map(_axis, axes))


def _lettered(axes: str, data: Plain) -> Tensor:
    """Format 0.3 and 0.4."""
    shape, count = data.get("shape"), len(axes)
    least, step = [1] * count, [0] * count
    if isinstance(shape, Mapping) and "min" in shape:
        least = _numbers("min", shape["min"], count)
        step = _numbers("step", shape.get("step"), count)
    elif isinstance(shape, Sequence):
        least = _numbers("shape", shape, count)
    halo = _numbers("halo", data.get("halo") or [0] * count, count)
    return tuple(
        Axis(letter, _LETTERS.get(letter, "space"), *sizes)
        for letter, *sizes in zip(axes, least, step, halo, strict=True)
    )


def _numbers(what: str, values: object, count: int) -> list[int]:
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"the {what} {_quoted(values)} is not one number for each of {count} axes")
    return [_whole(what, value) for value in values]


def _whole(what: str, value: Any) -> int:
    is_number = isinstance(value, (int, float, Fraction)) and not isinstance(value, bool)
    number = Fraction(value) if is_number and isfinite(value) else None
    if number is None or number.denominator != 1:
        raise ValueError(f"the {what} {_quoted(value)} is no whole number")
    if abs(number) > _MAX:
        raise ValueError(f"the {what} {_quoted(value)} is larger than {_MAX}")
    return int(number)


def _quoted(value: object) -> str:
    """A value as a message names it."""
    text = _short().repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _short() -> Repr:
    """Three levels, and as much of each as fits in a message."""
    found = Repr()
    found.maxlevel, found.maxlist, found.maxdict, found.maxstring = 3, 8, 8, _SHOWN
    return found


def _axis(data: Plain) -> Axis:
    """Format 0.5."""
    if data["type"] not in _TYPES:
        raise ValueError(f"an axis of type {_quoted(data['type'])} is none of {', '.join(_TYPES)}")
    kind, halo = _TYPES[data["type"]], _whole("halo", data.get("halo", 0))
    name, size = str(data.get("id", data["type"])), data.get("size", 1)
    if kind == "channel" and "channel_names" in data:
        names = data["channel_names"]
        if not isinstance(names, list):
            raise ValueError(f"the channel names {_quoted(names)} are no list")
        size = len(names)
    if isinstance(size, Mapping) and "axis_id" in size:
        return Axis(name, kind, halo=halo)
    least, step = _sizes(1 if size is None else size)
    return Axis(name, kind, least, step if kind == "space" else 0, halo)


def _sizes(size: object) -> tuple[int, int]:
    """The least size, and by what it grows."""
    if isinstance(size, Mapping):
        return _whole("min", size.get("min", 1)), _whole("step", size.get("step", 0))
    return _whole("size", size), 0


_MAX = 1 << 20
"""The largest size, step, halo or scale that is believed."""
_SHOWN = 80

_LETTERS: Mapping[str, AxisKind] = {"b": "batch", "c": "channel", "i": "channel"}
_TYPES: Mapping[str, AxisKind] = {
    "batch": "batch", "channel": "channel", "index": "channel", "time": "space", "space": "space",
}  # fmt: skip
