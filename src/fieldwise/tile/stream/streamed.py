"""The callable: a large input in, the model's outputs out, band by band along one axis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fieldwise.capture.torch import capture
from fieldwise.capture.torch.autocast import as_recorded, autocast_dtype
from fieldwise.capture.torch.running import copied, doubled, forward, in_double
from fieldwise.capture.torch.tree import map_tensors, tensors_in
from fieldwise.errors import CaptureError, UsageError
from fieldwise.graph.ir import Graph, Shape
from fieldwise.tile.arrays import as_numpy
from fieldwise.tile.good_sizes import runs_on
from fieldwise.tile.intake import as_tensor, check_readable, ordered
from fieldwise.tile.lazy import any_dask
from fieldwise.tile.stream.certify import corners, telling_shapes
from fieldwise.tile.stream.engine import Engine
from fieldwise.tile.stream.multipass import Pass, run_passes
from fieldwise.tile.stream.plan import StreamPlan, plan_of, steps
from fieldwise.tile.stream.program import Program, compile_program
from fieldwise.tile.stream.session import Session
from fieldwise.tile.structure import as_is
from fieldwise.tile.verify import Certificate, verify

GlobalOps = Literal["refuse", "multipass"]
Band = tuple[str, int, int, Tensor]


class StreamedModel:
    """A model that computes its outputs band by band; made by ``streamed``.

    model:   in eval mode; it is not changed, and runs where its weights are
    example: a tensor, a tuple or a dict of tensors; shapes along ``axis`` do not matter
    axis:    of the inputs, along which bands are cut
    band:    input rows per step
    global_ops: 'refuse' layers that read the whole axis, or sum up what they need in further
             passes over the input ('multipass')
    verify:  before the first run on inputs of some shapes; what was found is in ``certificates``
    """

    def __init__(
        self,
        model: nn.Module,
        example: Any,
        *,
        axis: int,
        band: int,
        global_ops: GlobalOps,
        verify: bool = False,
    ) -> None:
        if band < 1:
            raise UsageError(f"A band has at least one row, got {band}.")
        self.model, self.example, self.axis, self.band = model, example, axis, band
        self.global_ops = global_ops
        self.device = _device(model, example)
        self._verify, self.certificates = verify, dict[tuple[Shape, ...], Certificate]()
        self._planned = set[tuple[Shape, ...]]()
        self._captured: tuple[object, Graph] | None = None
        self._last: tuple[object, Program] | None = None

    def plan(self, *shapes: Sequence[int]) -> StreamPlan:
        """What a run on inputs of these shapes keeps and computes, before anything runs."""
        sizes = tuple(tuple(shape) for shape in shapes)
        passes, last = self.planned(sizes)
        if not passes:
            return plan_of(last, self.band)
        plans = [plan_of(one.program, self.band) for one in passes]
        return plan_of(last, self.band).after(plans, [one.nodes for one in passes])

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        """The outputs for a large input: a numpy array, a tensor, anything with shape and slices.

        They come in the structure in which the model returns them, constants and other leaves
        included: as tensors, as numpy arrays where the first input is no tensor, and as dask
        arrays, of which nothing is computed yet, where one is a dask array.
        """
        given = self._given(inputs, named)
        shapes = tuple(tuple(x.shape) for x in given)
        if self._verify and shapes not in self.certificates:
            self.certificates[shapes] = self.verify(*inputs, **named)
        if any_dask(given):
            from fieldwise.tile.distributed import streamed_array

            return streamed_array(self, *given)
        return self._assembled(self.prepared(given), given)

    def _assembled(self, program: Program, given: Sequence[Any]) -> Any:
        found: dict[int, Tensor] = {}
        for value in program.wiring.outputs:
            kind = program.values[value]
            found[value] = torch.empty(kind.shape, dtype=kind.dtype, device=self.device)
        for value, lo, rows in self._run(program, given):
            dim = program.values[value].dim
            found[value].narrow(dim, lo, rows.shape[dim]).copy_(rows)
        results = [found[value] for value in program.outputs]
        if isinstance(given[0], Tensor):
            return program.structured(results, as_is)
        return program.structured([as_numpy(result) for result in results], as_numpy)

    def bands(self, *inputs: Any, **named: Any) -> Iterator[Band]:
        """The outputs piece by piece: (name, first row, one more than the last row, rows)."""
        given = self._given(inputs, named)
        program = self.prepared(given)
        for value, lo, rows in self._run(program, given):
            hi = lo + rows.shape[program.values[value].dim]
            for name, output in zip(program.output_names, program.outputs, strict=True):
                if output == value:
                    yield name, lo, hi, rows

    def verify(self, *inputs: Any, **named: Any) -> Certificate:
        """Compare with the whole on the inputs' first corner: the same network and bands there.

        The corner has all borders, an interior and seams of bands; it is the whole input where
        nothing smaller has.  Both are run on random numbers in the range of what is there.

        Raises MismatchError where they differ by more than the arithmetic explains.
        """
        given = self._given(inputs, named)
        shapes = telling_shapes(
            lambda sizes: self.planned(sizes)[1],
            tuple(tuple(x.shape) for x in given),
            axis=self.axis,
            band=self.band,
        )
        double = self.doubled()
        return verify(
            self._plain,
            self.whole,
            *(
                as_tensor(x, self.device, like.dtype)
                for x, like in zip(corners(given, shapes), _distinct(self.example), strict=True)
            ),
            double=(double._plain, double.whole),
        )

    def doubled(self) -> StreamedModel:
        """The same in float64."""
        twins = {id(tensor): in_double(tensor) for tensor in _distinct(self.example)}
        example = map_tensors(lambda tensor: twins[id(tensor)], self.example)
        return StreamedModel(
            doubled(copied(self.model)),
            example,
            axis=self.axis,
            band=self.band,
            global_ops=self.global_ops,
        )

    def _plain(self, *given: Any) -> Any:
        """A run that is not verified; the inputs are in the order of the example."""
        return self._assembled(self.prepared(given), given)

    def whole(self, *given: Any) -> Any:
        """The model at once, as it returns its outputs."""
        tensors = _distinct(self.example)
        pairs = zip(tensors, given, strict=True)
        twins = {id(like): as_tensor(x, self.device, like.dtype, own=True) for like, x in pairs}
        inputs = map_tensors(lambda tensor: twins[id(tensor)], self.example)
        shapes = tuple(tuple(x.shape) for x in given)
        return forward(self.model, inputs, writes=self.graph(shapes).writes)

    def session(self, *, length: int | None = None, multiple: int = 1) -> Session:
        """A stream of live data: chunks in, and each output row as soon as it is certain.

        length:   the total length, where it is known; then nothing is refused for want of it
        multiple: what the total length will be a multiple of

        Raises StreamError for a network whose rows depend on the total length where that is not
        announced (TensorFlow's SAME, corners aligned, circular padding, a position table).
        """
        return Session(self, length=length, multiple=multiple)

    # ---------------------------------------------------------------- one run

    def planned(self, shapes: tuple[Shape, ...]) -> tuple[list[Pass], Program]:
        """The passes for layers that read the whole axis, and the program that gives the outputs.

        Nothing is run: what passes find out is not in it yet (see ``prepared``).
        """
        if self.global_ops == "refuse":
            return [], self.program(shapes)
        return run_passes(self.graph(shapes), self.axis, lambda _: False, self.device)

    def prepared(self, given: Sequence[Any]) -> Program:
        """The program that gives the outputs of these inputs, after all passes that it needs."""
        shapes = tuple(tuple(x.shape) for x in given)
        self.peak_bytes = 0
        if self.global_ops == "refuse":
            return self.program(shapes)

        if shapes not in self._planned:
            self.plan(*shapes)
            self._planned.add(shapes)

        def run(one: Pass) -> bool:
            for value, _, rows in self._run(one.program, given):
                with as_recorded():
                    for statistic in one.statistics[value]:
                        statistic.add(rows)
            return True

        return run_passes(self.graph(shapes), self.axis, run, self.device)[1]

    def _run(self, program: Program, given: Sequence[Any]) -> Iterator[tuple[int, int, Tensor]]:
        engine = Engine(program, self.device)
        values = [program.values[value] for value in program.wiring.inputs]
        pieces: list[tuple[int, int, Tensor]] = []

        def source(number: int, lo: int, hi: int) -> Tensor:
            value = values[number]
            rows = given[number][(slice(None),) * value.dim + (slice(lo, hi),)]
            return as_tensor(rows, self.device, value.dtype)

        def emit(value: int, lo: int, rows: Tensor) -> None:
            pieces.append((value, lo, rows))

        for available, limit in steps(program, self.band):
            engine.step(available, limit, source, emit)
            yield from pieces
            pieces.clear()
            if engine.schedule.finished:
                break
        self.peak_bytes = max(self.peak_bytes, engine.peak)

    def program(self, shapes: tuple[Shape, ...], *, endless: bool = False) -> Program:
        """The program for inputs of these shapes, captured at that size.

        The last one is kept, as long as it is asked for again.

        Raises CaptureError where the model cannot run at this size, StreamError where it cannot
        be streamed.
        """
        key = (shapes, endless, autocast_dtype(self.device))
        if self._last is None or self._last[0] != key:
            made = compile_program(self.graph(shapes), self.axis, endless=endless)
            self._last = (key, made)
        return self._last[1]

    def graph(self, shapes: tuple[Shape, ...]) -> Graph:
        """The model captured at these shapes; the last graph is kept.

        Raises CaptureError where the model cannot run at this size, with near ones at which it can.
        """
        key = (shapes, autocast_dtype(self.device))
        if self._captured is None or self._captured[0] != key:

            def captured(at: tuple[Shape, ...]) -> Graph:
                return capture(self.model, _resized(self.example, at))

            try:
                self._captured = (key, captured(shapes))
            except CaptureError as error:
                raise CaptureError(f"{error}{runs_on(shapes, captured)}") from error
        return self._captured[1]

    def of_band(self, band: int) -> StreamedModel:
        """The same with another number of input rows per step."""
        return StreamedModel(
            self.model, self.example, axis=self.axis, band=band, global_ops=self.global_ops
        )

    def single_input(self) -> Tensor:
        """The example of the only input.  Raises UsageError where there are several."""
        tensors = _distinct(self.example)
        if len(tensors) != 1:
            raise UsageError(f"A session has one input; this model takes {len(tensors)}.")
        return tensors[0]

    def _given(self, inputs: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
        tensors = _distinct(self.example)
        given = ordered(self.example, inputs, named)
        if len(given) != len(tensors):
            raise UsageError(f"The model takes {len(tensors)} inputs and was given {len(given)}.")
        for number, (x, like) in enumerate(zip(given, tensors, strict=True)):
            check_readable(number, x, like=like)
            if len(x.shape) != like.dim():
                raise UsageError(
                    f"Input {number} has {len(x.shape)} dimensions and the example has "
                    f"{like.dim()}; add or drop the batch dimension."
                )
        return given


def _device(model: nn.Module, example: Any) -> torch.device:
    """Where the model runs: on the device of its weights, or of the example if it has none."""
    tensors = (*model.parameters(), *model.buffers(), *_distinct(example))
    return next((t.device for t in tensors if not t.is_meta), torch.device("cpu"))


def _distinct(example: Any) -> list[Tensor]:
    """The tensors of an example, each once."""
    return list({id(tensor): tensor for tensor in tensors_in(example)}.values())


def _resized(example: Any, shapes: Sequence[Shape]) -> Any:
    """Tensors without data in place of the example's, of other shapes."""
    twins = {
        id(tensor): torch.empty(shape, dtype=tensor.dtype, device="meta")
        for tensor, shape in zip(_distinct(example), shapes, strict=True)
    }
    return map_tensors(lambda tensor: twins[id(tensor)], example)
