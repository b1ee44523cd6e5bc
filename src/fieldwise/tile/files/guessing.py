"""Which axes a file has, where only its shape says it, or what the file itself says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from fieldwise.errors import UsageError
from fieldwise.graph.ir import Shape
from fieldwise.tile.files.layout import SPATIAL, AxisLayout, axis_kind, example_axes
from fieldwise.written import counted


def guess_axes(
    shape: Sequence[int],
    *,
    model: Sequence[int],
    hint: str | None = None,
    channels: Sequence[int] = (),
    name: str = "the input",
) -> str:
    """The axes of a file, where only one reading fits the model's rank and channels.

    Four samples or fewer along an axis are rather channels than space (see ``without_thin``).

    hint:     what the file itself says, taken if it can be read that way
    channels: those that are read, there or not where the file says nothing; empty: all
    name:     of the file, for messages

    >>> guess_axes((480, 640, 3), model=(1, 3, 224, 224)), guess_axes((64, 64), model=(1, 1, 8, 8))
    ('HWC', 'HW')

    Raises UsageError where none fits, or several do, and for channels that are not there by what
    the file says.
    """
    rank, takes = len(model), model[1]
    written = _forms(spatial_letters(rank - _FIRST_SPATIAL))
    said = hint if hint is not None and len(hint) == len(shape) else None
    if said and channels:
        _check_said(said, shape, rank, channels)
    tried = [*written, *(_as_samples(said, rank) if said else ())]
    read = channels if said else (0,) * len(channels)
    found = ((axes, _seen(axes, shape, rank, read, batch=model[0])) for axes in tried)
    seen = {axes: one for axes, one in found if one is not None}
    fitting = [axes for axes, one in seen.items() if one[1] == takes]
    if said:
        same = [axes for axes in fitting if _same(axes, said)]
        fitting = same or [axes for axes in fitting if axes in written]
    fitting = list(without_thin({axes: seen[axes] for axes in fitting}))
    if len(fitting) == 1:
        return fitting[0]
    if not fitting:
        others = {
            axes: one[1]
            for axes, one in seen.items()
            if (_same(axes, said) if said else one[1] <= _FEW)
        }
        if len(others) == 1 and not channels:
            raise UsageError(channels_differ(takes, next(iter(others.values())), name))
    what = "No layout fits" if not fitting else f"{' and '.join(fitting)} both fit"
    raise UsageError(
        f"{what} the input's shape {'x'.join(map(str, shape))} and the model's {takes} "
        f"channels; give --layout, for example --layout {example_axes(rank)}."
    )


def channels_differ(takes: int, has: int, name: str) -> str:
    """What is said of a file of other channels than a model takes.

    >>> channels_differ(3, 4, "x.png")
    'The model takes 3 channels, x.png has 4 (RGBA); --channels 0,1,2 reads the first of them.'
    >>> channels_differ(3, 1, "x.tif")
    'The model takes 3 channels, x.tif has 1; --channels 0,0,0 repeats it.'
    """
    what = f"The model takes {counted(takes, 'channel')}, {name} has {has}"
    if has == 1:
        return f"{what}; --channels {','.join('0' * takes)} repeats it."
    if has < takes:
        return f"{what}; give a file that has as many."
    rgba = " (RGBA)" if (takes, has) == (3, 4) else ""
    first = ",".join(map(str, range(takes)))
    return f"{what}{rgba}; --channels {first} reads the first of them."


def readings(
    shape: Sequence[int], *, hint: str | None = None, channels: Sequence[int] = ()
) -> dict[str, Shape]:
    """What the axes of a file of this shape may be, and what a model then sees of it.

    hint:     what the file itself says; where that can be read, it is the only reading, but for
              times and planes, which may be samples too (see AxisLayout.of)
    channels: those that are read, there or not where the file says nothing; empty: all

    >>> readings((480, 640, 3), hint="YXC")
    {'YXC': (1, 3, 480, 640)}
    >>> readings((7, 480, 640), hint="ZYX")
    {'ZYX': (1, 1, 7, 480, 640), 'zYX': (1, 1, 480, 640)}
    >>> readings((2, 9000))
    {'HW': (1, 1, 2, 9000), 'CL': (1, 2, 9000), 'LC': (1, 9000, 2), 'NL': (2, 1, 9000)}

    Raises UsageError for channels that are not there by what the file says.
    """
    if hint is not None and len(hint) == len(shape):
        try:
            return read_as(hint, shape, channels)
        except UsageError:
            if channels:
                raise
    written = (
        form
        for count in (3, 2, 1)
        for spatial in [spatial_letters(count)]
        for form in (*_forms(spatial), f"N{spatial}")
        if len(form) == len(shape) and (form[0] != "N" or "C" in form or shape[0] > 1)
    )
    seen = {form: _seen(form, shape, None, (0,) * len(channels)) for form in written}
    return {form: one for form, one in seen.items() if one is not None}


def without_thin(readings: Mapping[str, Shape]) -> Mapping[str, Shape]:
    """Those with more than 4 samples along every axis in space, where one of as many axes has.

    >>> list(without_thin({"HWC": (1, 3, 60, 40), "NHW": (60, 1, 40, 3), "LC": (1, 3, 60)}))
    ['HWC', 'LC']
    """
    thin = [axes for axes, shape in readings.items() if min(shape[2:], default=0) <= _FEW]
    thick = {len(shape) for axes, shape in readings.items() if axes not in thin}
    return {
        axes: shape
        for axes, shape in readings.items()
        if axes not in thin or len(shape) not in thick
    }


def read_as(axes: str, shape: Sequence[int], channels: Sequence[int] = ()) -> dict[str, Shape]:
    """The readings of a file whose axes are said: times and planes may be samples.

    >>> list(read_as("TCZYX", (2, 1, 5, 64, 64)))
    ['TCZYX', 'tCZYX', 'tCzYX']

    Raises UsageError for axes that are none, and for channels that are not there.
    """
    found = {}
    for form in dict.fromkeys((axes, *_with_samples(axes))):
        layout = AxisLayout.of(form).on(shape, channels)
        if form == axes or len(layout.call_shape(shape)) > _FIRST_SPATIAL + 1:
            found[form] = layout.call_shape(shape)
    return found


def _with_samples(axes: str) -> Iterator[str]:
    """The same axes with times, then planes too, as samples."""
    if axes != axes.upper():
        return
    form = axes
    for letter in (one for group in SPATIAL[:2] for one in group if one in axes):
        form = form.replace(letter, letter.lower())
        yield form


def _as_samples(said: str, rank: int) -> list[str]:
    """What a file says of its axes, where that is images or volumes one after another."""
    try:
        return [said] if AxisLayout.of(said, rank=rank).one_by_one else []
    except UsageError:
        return []


def _seen(
    axes: str, shape: Sequence[int], rank: int | None, channels: Sequence[int], *, batch: int = 1
) -> Shape | None:
    """The shape that a model of this rank sees of a file; None where it cannot be read so.

    batch: how many samples it usually takes, beside one
    """
    if len(axes) != len(shape):
        return None
    if rank is not None and "N" in axes and shape[0] not in (1, batch):
        return None
    try:
        return AxisLayout.of(axes, rank=rank).on(shape, channels).call_shape(shape)
    except UsageError:
        return None


def _check_said(said: str, shape: Sequence[int], rank: int, channels: Sequence[int]) -> None:
    """Raise UsageError for channels that are not there by what the file says of its axes."""
    try:
        layout = AxisLayout.of(said, rank=rank)
    except UsageError:
        return
    if _CHANNELS in layout.dims:
        layout.on(shape, channels)


def spatial_letters(count: int) -> str:
    """The usual letters of so many spatial axes; a single one is a length."""
    return "L" if count == 1 else "".join(group[0] for group in SPATIAL[-count:])


def _forms(spatial: str) -> list[str]:
    return [spatial, f"C{spatial}", f"{spatial}C", f"NC{spatial}", f"N{spatial}C"]


def _same(axes: str, hint: str) -> bool:
    try:
        return [axis_kind(a, axes) for a in axes.upper()] == [
            axis_kind(a, hint) for a in hint.upper()
        ]
    except UsageError:
        return False


_CHANNELS, _FIRST_SPATIAL = 1, 2
_FEW = 4
"""Samples of an axis that are rather channels, of RGBA or fewer, where nothing says so."""
