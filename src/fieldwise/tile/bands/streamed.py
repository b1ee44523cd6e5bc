"""The callable: a large input in, the model's outputs out, band by band along one axis."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fieldwise.capture.torch.devices import total_bytes
from fieldwise.errors import CaptureError, UsageError
from fieldwise.graph.ir import Shape
from fieldwise.tile.arrays import Readable, any_dask, as_numpy
from fieldwise.tile.bands.ahead import bytes_ahead, rows_of
from fieldwise.tile.bands.choosing import (
    NO_OTHER_AXIS,
    OTHER_AXIS,
    TooLittleError,
    best_axis,
    nearest,
    other_axes,
    room_on,
    too_little,
    widest_band,
)
from fieldwise.tile.bands.corners import corners, telling_shapes
from fieldwise.tile.bands.drive import drive
from fieldwise.tile.bands.emitted import EmittedStream
from fieldwise.tile.bands.live import Session
from fieldwise.tile.bands.pass_run import Prepared, run_passes
from fieldwise.tile.bands.plan import StreamPlan
from fieldwise.tile.bands.programs import Planned, Programs, Streaming
from fieldwise.tile.bands.run import Engine, OutputRows
from fieldwise.tile.bands.sections import steps
from fieldwise.tile.bands.store import Store
from fieldwise.tile.certificate import RunCertificate, verify
from fieldwise.tile.errors import ANOTHER_AXIS, StreamError
from fieldwise.tile.inputs import check_readable
from fieldwise.tile.outputs import as_is
from fieldwise.tile.replaying import Replayer, state_key
from fieldwise.written import counted

Band = tuple[str, int, int, Tensor]


@dataclass(frozen=True, slots=True)
class Choices:
    """What is chosen for each size.

    axes:   those that come into question; band: None where it is chosen too
    memory: bytes at most, of rows and of what is kept between passes; None: what is enough
    apart:  whether what is kept is in files, and takes no memory
    """

    axes: tuple[int, ...]
    band: int | None = None
    memory: int | None = None
    apart: bool = False

    def of(self, run: Programs, shapes: tuple[Shape, ...]) -> Streaming:
        """How a model is streamed at these shapes.

        Raises StreamError where it cannot be along any axis, UsageError where memory is too little.
        """
        dearer: dict[int, int] = {}

        def steps_of(axis: int) -> tuple[int, StreamPlan]:
            errors = []
            for price in self._prices(run):
                dearer[axis] = price
                try:
                    return self._steps(run, run.planned_along(axis, shapes, price), shapes, axis)
                except TooLittleError as error:
                    errors.append(error)
            raise nearest(errors)

        axis, band = best_axis(self.axes, steps_of, enough=room_on(run.device).enough)
        return replace(run.streaming, axis=axis, band=band, dearer=dearer[axis])

    def _prices(self, run: Programs) -> Sequence[int]:
        """By how much keeping a byte may be dearer, until what is kept and the rows fit."""
        limited = self.memory is not None and not self.apart and run.streaming.weighs
        return range(0, _DEAREST + 1, 2) if limited else (0,)

    def _steps(
        self, run: Programs, planned: Planned, shapes: tuple[Shape, ...], axis: int
    ) -> tuple[int, StreamPlan]:
        """The band along an axis, and its plan.  Raises TooLittleError where none fits."""
        kept = 0 if self.apart else planned.kept_bytes

        def held(band: int) -> int:
            ahead = bytes_ahead(planned.program, run.device, band)
            return planned.peak_bytes(band) + kept + ahead

        if self.band is None:
            rows = max(shape[axis] for shape in shapes)
            band, _ = widest_band(rows, held, memory=self.memory, room=room_on(run.device))
        else:
            band = self.band
            if self.memory is not None and held(band) > self.memory:
                raise too_little(band, held(band), self.memory)
        return band, planned.plan(band)


_SHARE_OF_INPUTS, _SHARE_OF_ROWS = 64, 16
"""Of a card's memory, one part in so many may be kept for a recorded run: inputs, and its rows."""
_MOST_SIZES = 2
"""Runs of so many sizes are recorded at a time."""
_DEAREST = 10
"""Doublings of a price after which little is kept that can be computed again."""


class StreamedModel(Programs):
    """A model that computes its outputs band by band; made by ``streamed`` (see ``Programs``).

    verify: before the first run on inputs of some shapes; what was found is in ``certificates``
    wanted: what is not given, and chosen for each size; None where nothing is
    store:  makes what values are kept in between passes
    replayed_steps: of the last run, how many a card has made again from a recording of one
    replayer: makes whole runs on tensors of a card, which are recorded where they come again
    """

    def __init__(
        self,
        streaming: Streaming,
        *,
        verify: bool = False,
        wanted: Choices | None = None,
        store: Callable[[], Store] = Store,
    ) -> None:
        super().__init__(streaming)
        self._store = store
        self._wanted, self._chosen_for = wanted, tuple[Shape, ...]()
        self._verify, self.certificates = verify, dict[tuple[Shape, ...], RunCertificate]()
        self._planned = set[tuple[Shape, ...]]()
        self.peak_bytes = self.replayed_steps = 0
        self.replayer = Replayer(share=_SHARE_OF_INPUTS, most=_MOST_SIZES)
        self._has_run = set[tuple[Shape, ...]]()

    def __call__(self, *inputs: Readable, **named: Readable) -> Any:
        """The outputs for a large input: a numpy array, a tensor, anything with shape and slices.

        They come in the structure in which the model returns them, constants and other leaves
        included: as tensors, as numpy arrays where the first input is no tensor, and as dask
        arrays, of which nothing is computed yet, where one is a dask array.
        """
        given = self._given(inputs, named)
        shapes = tuple(tuple(x.shape) for x in given)
        self._renew()
        if self._verify and shapes not in self.certificates:
            self.certificates[shapes] = self.verify(*inputs, **named)
        if any_dask(given):
            from fieldwise.tile.bands.dask_arrays import streamed_array

            return streamed_array(self, *given)
        tensors = [x for x in given if isinstance(x, Tensor) and x.device == self.device]
        if len(tensors) < len(given) or shapes not in self._has_run:
            self._has_run.add(shapes)
            return self._assembled(given)
        whole = partial(self._assembled, recorded=False)
        return self.replayer(
            whole, tensors, key=self._recorded_for, otherwise=self._assembled
        )  # fmt: skip

    def _recorded_for(self) -> Hashable | None:
        """What a recording of a run holds for; None where it would keep too much memory."""
        total = total_bytes(self.device)
        if total is not None and self.peak_bytes * _SHARE_OF_ROWS > total:
            return None
        state = state_key(self.call.model)
        return None if state is None else (state, self.axis, self.band)

    def _assembled(self, given: Sequence[Readable], *, recorded: bool = True) -> Any:
        prepared = self.prepared(given, recorded=recorded)
        program = prepared.program
        found: dict[int, Tensor] = {}
        for value in program.wiring.outputs:
            kind = program.values[value]
            found[value] = torch.empty(kind.shape, dtype=kind.dtype, device=self.device)
        for value, lo, rows in self._run(prepared, recorded=recorded):
            dim = program.values[value].dim
            found[value].narrow(dim, lo, rows.shape[dim]).copy_(rows)
            del rows  # before the next step takes its memory
        results = [program.values[value].folded(found[value]) for value in program.outputs]
        if isinstance(given[0], Tensor):
            return program.structured(results, as_is)
        return program.structured([as_numpy(result) for result in results], as_numpy)

    def bands(self, *inputs: Readable, **named: Readable) -> Iterator[Band]:
        """The outputs piece by piece: (name, first row, one more than the last row, rows).

        The rows are the caller's, to be written to as well.
        """
        given = self._given(inputs, named)
        prepared = self.prepared(given)
        program = prepared.program
        program.check_rows_apart()
        for value, lo, rows in self._run(prepared):
            hi = lo + rows.shape[program.values[value].dim]
            for name, output in zip(program.output_names, program.outputs, strict=True):
                if output == value:
                    yield name, lo, hi, rows.clone()
            del rows  # before the next step takes its memory

    def verify(self, *inputs: Readable, **named: Readable) -> RunCertificate:
        """Compare with the whole on the inputs' first corner: the same network and bands there.

        The corner has all borders, an interior and seams of bands; it is the whole input where
        nothing smaller has.  Both are run on random numbers in the range of what is there.

        Raises MismatchError where they differ by more than the arithmetic explains.
        """
        given = self._given(inputs, named)
        self._choose(tuple(tuple(x.shape) for x in given))
        fixed = StreamedModel(self.streaming)
        shapes = telling_shapes(
            lambda sizes: fixed.planned(sizes).program,
            tuple(tuple(x.shape) for x in given),
            axis=self.axis,
            band=self.band,
        )
        double = StreamedModel(self.streaming.doubled())
        return verify(
            fixed._plain,
            self.whole,
            *map(self.call.cast, range(len(given)), corners(given, shapes)),
            double=(double._plain, double.whole),
            names=fixed.planned(shapes).program.output_names,
        )

    def _plain(self, *given: Readable) -> Any:
        """A run that is not verified; the inputs are in the order of the example."""
        return self._assembled(given)

    def session(self, *, length: int | None = None, multiple: int | None = None) -> Session:
        """A stream of live data: chunks in, and each output row as soon as it is certain.

        length:   the total length, where it is known; then nothing is refused for want of it
        multiple: what the total length will be a multiple of; by default what it has to be for
                  the model to run: of anything, or of its total stride

        Raises StreamError for a network whose rows depend on the total length where that is not
        announced (TensorFlow's SAME, corners aligned, circular padding, a position table).
        """
        self._choose(tuple(self.call.shapes))
        return Session(self, length=length, multiple=multiple)

    def emit(
        self, *, chunk: int | None = None, rest: int = 0, longest: int | None = None
    ) -> EmittedStream:
        """The stream as three plain modules of torch ops, to be run and exported without fieldwise.

        chunk: input samples per step, a multiple of the total stride; by default about a band
        rest:  samples after the last step, by default none
        longest: samples of the longest stream, where a table of positions is as long as that

        The modules have constant shapes: ``start`` takes the first samples, ``step`` a chunk and
        the states, ``finish`` the rest and the states.  Other dimensions are the example's.  Their
        weights are the model's own, under their own names.

        Raises UsageError for a chunk off the grid; StreamError for what a session refuses without
        a length, and where what is kept grows for ever.
        """
        from fieldwise.tile.bands.emit import emit_stream

        self._choose(tuple(self.call.shapes))
        run = Programs(self.streaming, fuses=False)
        return emit_stream(run, chunk=chunk, rest=rest, longest=longest)

    # ---------------------------------------------------------------- what is chosen

    def planned(self, shapes: tuple[Shape, ...]) -> Planned:
        """See Programs; what was not given is chosen for these shapes."""
        self._choose(shapes)
        return super().planned(shapes)

    def _renew(self) -> None:
        """Forget what was found out of a model that has changed since."""
        if self.is_renewed():
            self._chosen_for = ()
            for known in (self._planned, self.certificates, self._has_run):
                known.clear()
            self.replayer = Replayer(share=_SHARE_OF_INPUTS, most=_MOST_SIZES)

    def _choose(self, shapes: tuple[Shape, ...]) -> None:
        self._renew()
        if self._wanted is not None and self._chosen_for != shapes:
            self.take(self._wanted.of(self, shapes))
            self._chosen_for = shapes

    def check_streams(self) -> None:
        """Raise StreamError where the model cannot be streamed, at the example's size or a larger.

        Where it does not run at this size, nothing is known yet.
        """
        shapes = tuple(self.call.shapes)
        try:
            self.planned(shapes)
        except CaptureError:
            return
        except StreamError as error:
            tried = (self.axis,) if self._wanted is None else self._wanted.axes
            if self.axis_that_streams(tuple(map(_larger, shapes)), tried) is None:
                raise self._told_other_axis(error, shapes, tried) from error.__cause__

    def _told_other_axis(
        self, error: StreamError, shapes: tuple[Shape, ...], tried: Sequence[int]
    ) -> StreamError:
        """A refusal that names another axis if the model can be streamed along that."""
        axis = self.axis_that_streams(shapes, other_axes(shapes, tried))
        if axis is not None:
            return error.with_option(OTHER_AXIS.format(axis=axis))
        return error.with_remedy(NO_OTHER_AXIS) if error.remedy == ANOTHER_AXIS else error

    # ---------------------------------------------------------------- one run

    def prepared(self, given: Sequence[Readable], *, recorded: bool = True) -> Prepared:
        """The program that gives the outputs of these inputs, after all passes that it needs.

        recorded: whether steps that are alike are recorded on a card
        """
        shapes = tuple(tuple(x.shape) for x in given)
        self.peak_bytes = self.replayed_steps = 0
        self._choose(shapes)
        if not self.streaming.is_multipass:
            return Prepared(self.program(shapes), tuple(given))
        if shapes not in self._planned:
            self.plan(*shapes)
            self._planned.add(shapes)
        store = self._store()
        store.device = self.device
        return run_passes(
            self.planner(shapes), given, lambda one, _: self._run(one, recorded=recorded), store
        )

    def _run(self, prepared: Prepared, *, recorded: bool = True) -> Iterator[OutputRows]:
        program = prepared.program
        engine = Engine(program, self.device)
        bands = steps(program, engine.schedule, self.band)
        with rows_of(program, self.device, prepared.arrays) as source:
            yield from drive(engine, bands, source, recorded=recorded)
        self.peak_bytes = max(self.peak_bytes, engine.peak)
        self.replayed_steps += engine.replayed

    def _given(self, inputs: Sequence[Readable], named: Mapping[str, Readable]) -> list[Readable]:
        given = self.call.ordered(inputs, named)
        for number, (x, like) in enumerate(zip(given, self.call.inputs, strict=True)):
            check_readable(number, x, like=like)
            if len(x.shape) != like.dim():
                raise UsageError(
                    f"Input {number} has {counted(len(x.shape), 'dimension')} and the example has "
                    f"{like.dim()}; add or drop the batch dimension."
                )
        return given


def _larger(shape: Shape) -> Shape:
    return tuple(_LARGER * n if d >= _SPATIAL and n > 1 else n for d, n in enumerate(shape))


_SPATIAL = 2
_LARGER = 4
"""By how much an example is enlarged before a refusal at its size is believed."""
