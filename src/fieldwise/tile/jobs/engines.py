"""The work of a request, by the engine that it asks for: bands, strips of bands, or crops."""

from __future__ import annotations

from functools import partial

from fieldwise.errors import UsageError
from fieldwise.tile.bands.choosing import TooLittleError
from fieldwise.tile.jobs.banded import BandedInput
from fieldwise.tile.jobs.cached_strips import cached_strip_work
from fieldwise.tile.jobs.planes import plane_work
from fieldwise.tile.jobs.request import FIRST_SPATIAL, Request
from fieldwise.tile.jobs.result_files import rows_at_a_time
from fieldwise.tile.jobs.streams import stream_work
from fieldwise.tile.jobs.strips import strip_work, widest_strip_work
from fieldwise.tile.jobs.tiles import crop_work
from fieldwise.tile.jobs.work import Work


def work_for(asked: Request) -> Work:
    """What a request comes to along the axis that it asks for.

    Raises StreamError or TileError where the engine cannot give what the whole input gives, and
    UsageError for too little memory and for options that do not go together.
    """
    if asked.runtime == "ort" and asked.model.ending:
        raise UsageError(
            "ONNX Runtime gives the outputs of the file; leave --out and --out-dtype out."
        )
    work = _crops(asked) if asked.engine == "halo" else _streamed(asked)
    if asked.layout.one_by_one:
        return plane_work(work, asked.samples, asked.layout.one_by_one)
    return work


def _crops(asked: Request) -> Work:
    if asked.runtime == "ort" and asked.model.weights is not None:
        raise UsageError("ONNX Runtime takes the weights of the file; leave out --weights.")
    return crop_work(
        asked.model.call.model,
        asked.shape,
        dtype=asked.model.dtype,
        tile=asked.tile,
        batch=asked.batch,
        memory=asked.memory,
        runtime=asked.runtime,
        providers=asked.providers,
        multiple=asked.multiple,
    )


def _streamed(asked: Request) -> Work:
    """Bands as wide as the input; in strips where that is asked for, or memory needs it."""
    assert asked.along is not None
    shape = asked.shape
    others = [axis for axis in range(FIRST_SPATIAL, len(shape)) if axis != asked.along]
    across = max(others, key=lambda axis: shape[axis], default=None)
    _check_strips(asked, across)
    given = BandedInput(
        asked.model.call.model,
        shape,
        asked.model.dtype,
        axis=asked.along,
        band=asked.band,
        memory=asked.memory,
        grains=partial(rows_at_a_time, asked),
        beside=asked.bytes_beside,
        multiple=asked.multiple,
    )
    if across is not None and asked.cache == "both":
        return cached_strip_work(given, across=across, strip=asked.strip)
    if across is not None and asked.strip is not None:
        return strip_work(given, across=across, strip=asked.strip, section=asked.piece)
    try:
        return stream_work(
            given,
            section=asked.piece,
            global_ops=asked.global_ops,
        )
    except TooLittleError as error:
        if across is None or asked.cache != "rows":
            raise
        return widest_strip_work(given, across=across, nearest=error, section=asked.piece)


def _check_strips(asked: Request, across: int | None) -> None:
    """Raise UsageError for strips that are asked for where there can be none."""
    if asked.strip is not None or asked.cache == "both":
        wanted = "--strip" if asked.cache != "both" else "--cache both"
        if across is None:
            raise UsageError(
                f"{wanted} cuts a second spatial axis, and this input has one; omit it."
            )
        if asked.global_ops != "refuse":
            raise UsageError(f"Strips are streamed in one pass; give {wanted} or --global-ops.")
    if asked.cache == "both" and asked.samples > 1:
        raise UsageError(
            "--cache both hands columns on within one image, and IN has several; leave it out."
        )
    if asked.cache == "both" and asked.piece is not None:
        raise UsageError("With --cache both every strip is a piece; omit --piece.")
