"""The axis and the band where they are not given: by the bytes that a run holds at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from fieldwise.capture.torch.devices import total_bytes
from fieldwise.errors import UsageError
from fieldwise.graph.ir import Shape
from fieldwise.tile.amounts import enough_text, size_text
from fieldwise.tile.bands.plan import StreamPlan
from fieldwise.tile.errors import StreamError
from fieldwise.written import counted

BAND = 64
"""Rows of a step that are not many, whatever they take."""

STEPS = 64
"""Steps of a run that are not many, whatever one costs."""

FEW = 8
"""Steps below which wider bands save nothing."""

LITTLE, ENOUGH = 1 << 20, 64 << 20
"""Bytes that rows may take where no memory is given: of a run of a few steps, and of many; more
make a step no cheaper per row."""


@dataclass(frozen=True, slots=True)
class BandRoom:
    """How wide bands may be where no memory is given.

    little, enough: bytes that rows may take in a run of a few steps, and of many
    few: steps below which a wider band is of no use however little rows take
    """

    little: int = LITTLE
    enough: int = ENOUGH
    few: int = FEW


def room_on(device: torch.device, *, few: int = FEW) -> BandRoom:
    """How wide bands may be on a device.  few: on a processor"""
    return room_for(device.type, total_bytes(device), few=few)


def room_for(kind: str, total: int | None, *, few: int = FEW) -> BandRoom:
    """The same for a kind of device with so much memory, free or not: a plan should not depend on
    what else runs there.

    A card computes thousands of rows at once, and a step that does not fill it takes as long as one
    that does; so a band may take a share of its memory that is still small beside a whole image,
    and no more than fills the largest cards.

    >>> [room_for("cuda", gib << 30).enough >> 20 for gib in (2, 24, 80, 140)]
    [64, 384, 1280, 1280]
    >>> room_for("cpu", 80 << 30) == BandRoom()
    True
    """
    if kind == "cpu" or total is None:
        return BandRoom(few=few)
    enough = min(max(total // _SHARE, ENOUGH), _FULL)
    return BandRoom(enough, enough, few=_FEW_ON_CARD)


_SHARE = 64
"""Of a card's memory, what rows may take where none is given."""
_FULL = 1280 << 20
"""What rows take, at most, to fill a card."""
_FEW_ON_CARD = 4
"""Steps below which wider bands are of no use on a card."""


def candidate_axes(shapes: Iterable[Shape]) -> tuple[int, ...]:
    """Axes of inputs along which they may be streamed, the usual one first, from the end.

    Those behind batch and channels, in order, then channels: they are last in tables of tokens.

    >>> candidate_axes([(1, 3, 64, 64)]), candidate_axes([(1, 1, 100)]), candidate_axes([(4, 9)])
    ((-2, -1, -3), (-1, -2), (-1,))
    """
    rank = min((len(shape) for shape in shapes), default=1)
    return (*range(2 - rank, 0), *([1 - rank] if rank > 1 else [-1]))


def candidate_bands(rows: int, room: BandRoom = BandRoom()) -> Iterator[tuple[int, int]]:
    """Bands from the widest that is of use to the narrowest, powers of two, and the bytes that are
    enough for each.

    More steps than STEPS cost more than they save, and fewer are of use where rows take little.

    >>> [(band, enough >> 20) for band, enough in candidate_bands(9_000)][:4]
    [(2048, 1), (1024, 1), (512, 1), (256, 64)]
    >>> [band for band, _ in candidate_bands(200)]
    [64, 32, 16, 8, 4, 2, 1]
    """
    band = max(BAND, _power(rows, room.few))
    many = max(BAND, _power(rows, STEPS))
    while band >= 1:
        yield band, room.little if band > many else room.enough
        band //= 2


def _power(rows: int, steps: int) -> int:
    """The least power of two of which so many steps are enough."""
    return 1 << max(-(-rows // steps) - 1, 0).bit_length()


def widest_band(
    rows: int,
    peak_of: Callable[[int], int],
    *,
    memory: int | None = None,
    room: BandRoom = BandRoom(),
) -> tuple[int, int]:
    """The widest band of use that holds no more than is enough, or BAND rows, and its bytes.

    peak_of: what a band holds at once; memory: at most so much, even if a band gets narrower

    Raises UsageError where a band of one row needs more memory, with the least that is enough.
    """
    for band, enough in candidate_bands(rows, room):
        peak = peak_of(band)
        fits = memory is None or peak <= memory
        if fits and (peak <= enough or band <= BAND):
            break
    else:
        raise too_little(band, peak, memory or 0)
    return band, peak


class TooLittleError(UsageError):
    """Memory in which the narrowest band does not fit; ``needed`` bytes are enough."""

    def __init__(self, text: str, needed: int = 0) -> None:
        super().__init__(text)
        self.needed = needed

    def with_option(self, option: str) -> TooLittleError:
        """The same with an option that would work."""
        return TooLittleError(f"{self} {option}", self.needed)


def nearest(errors: Sequence[StreamError | UsageError]) -> StreamError | UsageError:
    """The error to tell where each axis has one: of the least memory that is enough; the first."""
    little = [error for error in errors if isinstance(error, TooLittleError)]
    return min(little, key=lambda error: error.needed) if little else errors[0]


def too_little(band: int, peak: int, memory: int) -> TooLittleError:
    """The error for a memory in which a band does not fit."""
    return TooLittleError(
        f"A band of {counted(band, 'row')} holds {size_text(peak)} at once, and "
        f"{size_text(memory)} are given; give more memory ({enough_text(peak)} is enough).",
        peak,
    )


def best_axis(
    axes: Sequence[int],
    steps_of: Callable[[int], tuple[int, StreamPlan]],
    *,
    enough: int = ENOUGH,
) -> tuple[int, int]:
    """An axis along which a model can be streamed, and the band.

    steps_of: the band along an axis, and the plan of it; may raise

    It is the first that holds no more than is ``enough``, what is kept between passes included;
    else the one that holds least.  Where there is none, raises what ``nearest`` gives.
    """
    found = list[tuple[int, int, int]]()
    errors = list[StreamError | UsageError]()
    for axis in axes:
        try:
            band, plan = steps_of(axis)
        except (StreamError, UsageError) as error:
            errors.append(error)
            continue
        held = plan.peak_bytes + plan.kept_bytes
        found.append((held, axis, band))
        if held <= enough:
            return axis, band
    if not found:
        raise nearest(errors)
    _, axis, band = min(found, key=lambda one: one[0])
    return axis, band


def other_axes(shapes: Sequence[Shape], tried: Sequence[int]) -> list[int]:
    """Axes that come into question beside those that were tried.

    >>> other_axes([(1, 3, 64, 64)], [2]), other_axes([(1, 3, 64, 64)], [-2, -1])
    ([-1, -3], [-3])
    """
    rank = min(map(len, shapes), default=1)
    return [n for n in candidate_axes(shapes) if n not in tried and n + rank not in tried]


OTHER_AXIS = "Along axis {axis} it can be streamed: leave axis out, or give axis={axis}."
NO_OTHER_AXIS = (
    "Nor can it be along another axis; cut these layers off, or run the model on the whole input."
)
