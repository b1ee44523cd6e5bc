"""How ``fieldwise tile`` reads its input: normalised, and which part of it is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fieldwise.cli.console import note, parse_numbers, warn
from fieldwise.cli.progress import progress
from fieldwise.cli.tile_options import InputOptions, OutputOptions, parse_scale
from fieldwise.errors import UsageError

if TYPE_CHECKING:
    from torch import nn

    from fieldwise.tile.files import AxisLayout, Source


def normalised(
    reading: InputOptions, array: Source, layout: AxisLayout, model: nn.Module, spec: str
) -> dict[str, Any]:
    """The scale, and mean and deviation per channel, by the names of ``Request``.

    Raises UsageError for options that contradict each other, and for a model without a config.
    """
    from fieldwise.tile.files import check_normalisation

    scale = 1.0 if reading.scale is None else parse_scale(reading.scale)
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    ways = [reading.mean or reading.std, reading.normalize, reading.percentiles]
    if sum(way is not None for way in ways) > 1:
        raise UsageError(
            "--mean and --std, --normalize and --percentiles are three ways to normalise; give one."
        )
    if reading.mean is not None or reading.std is not None:
        if reading.mean is None or reading.std is None:
            raise UsageError("--mean and --std belong together; give both.")
        mean, std = parse_numbers("--mean", reading.mean), parse_numbers("--std", reading.std)
    elif reading.normalize is not None:
        scale, (mean, std) = _own(reading, array, model, spec, scale)
    elif reading.percentiles is not None:
        mean, std = _between(reading.percentiles, array, layout, scale)
    if mean:
        check_normalisation(mean, std, layout.model_shape(array.shape))
    return {"scale": scale, "mean": mean, "std": std}


def _own(
    reading: InputOptions, array: Source, model: nn.Module, spec: str, scale: float
) -> tuple[float, tuple[tuple[float, ...], tuple[float, ...]]]:
    """As the model's own config says, of samples that whole numbers stand for from 0 to 1."""
    from fieldwise.capture.torch.normalisation import own_normalisation

    found = own_normalisation(model, spec)
    if found is None:
        raise UsageError(
            f"{spec!r} has no config that says a mean and a deviation (timm's and torchvision's "
            "have); give --mean and --std."
        )
    if reading.scale is None and array.dtype.kind in "iu":
        import numpy as np

        most = int(np.iinfo(array.dtype.str).max)
        scale = 1 / most
        note(f"samples are divided by {most} first, the most that {array.dtype} holds")
    mean, std = (tuple(map(float, one)) for one in found)
    said = ", ".join(f"{one:g}" for one in mean), ", ".join(f"{one:g}" for one in std)
    note(f"then {said[0]} is subtracted and divided by {said[1]}")
    return scale, (mean, std)


def _between(
    text: str, array: Source, layout: AxisLayout, scale: float
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """What takes two percentiles of each channel to 0 and to 1."""
    from fieldwise.tile.files import percentiles

    shares = parse_numbers("--percentiles", text)
    if len(shares) != 2 or not 0 <= shares[0] < shares[1] <= 100:
        raise UsageError(
            f"--percentiles {text!r} is no pair of percentages; write for example 1,99.8."
        )
    with progress(f"percentiles of {array.path}"):
        found = percentiles(array, layout, shares)
    flat = [number for number, (low, high) in enumerate(found) if low == high]
    if flat:
        raise UsageError(
            f"Channel {flat[0]} of {str(array.path)!r} is {found[flat[0]][0]:g} at both "
            "percentiles, so nothing can be divided by their difference; give wider ones."
        )
    said = "; ".join(f"{low:g} to {high:g}" for low, high in found)
    note(f"percentiles {shares[0]:g} and {shares[1]:g} of the channels: {said}")
    return tuple(low * scale for low, _ in found), tuple((hi - lo) * scale for lo, hi in found)


def wanted(reading: InputOptions, writing: OutputOptions, array: Source) -> dict[str, Any]:
    """The mask, the value for no data and the fill value, by the names of ``Request``."""
    from fieldwise.tile.files import calibration_of, open_source

    mask = None if reading.mask is None else open_source(reading.mask.absolute())
    about = calibration_of(array)
    said = None if about is None else about.nodata
    text = said if reading.nodata is None else reading.nodata
    nodata = None if text is None or text.lower() == "none" else _value("--nodata", text)
    fill = None if writing.fill is None else _value("--fill", writing.fill)
    if fill is not None and mask is None and nodata is None:
        raise UsageError("--fill stands where --mask or --nodata leave something out; give one.")
    given = fill is not None or reading.nodata is not None
    if nodata is not None and not given and not _is_held(nodata, writing):
        warn(
            f"the value for no data, {nodata:g}, is none of the whole numbers that are written, "
            "so it is not kept; --fill 255 puts another there"
        )
        nodata = None
    if fill is None:
        fill = 0.0 if nodata is None else nodata
    return {"mask": mask, "nodata": nodata, "fill": fill}


def _is_held(value: float, writing: OutputOptions) -> bool:
    """Whether what is written has this value: a byte does, of classes and masks."""
    import numpy as np

    from fieldwise.tile.files import holds_value

    ending = writing.ending()
    steps = ending.first == "argmax" or ending.above is not None
    name = ending.dtype or ("uint8" if steps else "float32")
    return holds_value(np.dtype(name), value)


def _value(option: str, text: str) -> float:
    if text.strip().lower() == "nan":
        return float("nan")
    return parse_numbers(option, text)[0]
