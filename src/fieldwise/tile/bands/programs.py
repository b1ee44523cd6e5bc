"""A model captured and compiled to be computed band by band, for one size after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch
from torch import Tensor

from fieldwise.capture.torch.autocast import autocast_dtype
from fieldwise.capture.torch.model_call import ModelCall
from fieldwise.capture.torch.unchanged import ModelMark
from fieldwise.errors import CaptureError, UsageError, check_choice
from fieldwise.graph.flops import flops_by_result
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Shape
from fieldwise.graph.spatial import axis_number
from fieldwise.tile.amounts import check_count
from fieldwise.tile.arrays import Readable
from fieldwise.tile.bands.compile import compile_program
from fieldwise.tile.bands.fusing import as_run_on
from fieldwise.tile.bands.pass_planner import PassPlanner, kept_bytes, planned_passes
from fieldwise.tile.bands.passes import Pass
from fieldwise.tile.bands.plan import StreamPlan, plan_of, work_of
from fieldwise.tile.bands.positions import GraphLaws, laws_of
from fieldwise.tile.bands.program import Program
from fieldwise.tile.choices import GlobalOps
from fieldwise.tile.errors import StreamError
from fieldwise.tile.good_sizes import runs_on

PRICES: Mapping[GlobalOps, int | None] = {"multipass": None, "materialise": 1, "auto": 8 << 10}
"""Of keeping a byte between passes, in 1024ths of an operation; None: nothing is kept."""

_AT_HAND = 4
"""How many times cheaper a byte is that an op reads or writes than one that is kept."""


@dataclass(frozen=True, slots=True)
class Streaming:
    """How a model is streamed.

    axis: of the inputs, along which bands are cut
    band: input rows per step
    global_ops: 'refuse' layers that read the whole axis; sum up what they need in further passes
          over the input ('multipass'); keep what they read and run them once ('materialise'); or
          keep what costs less than computing it again ('auto')
    dearer: how many times the price of keeping a byte is doubled, so that less is kept
    """

    call: ModelCall
    axis: int
    band: int
    global_ops: GlobalOps
    dearer: int = 0

    def __post_init__(self) -> None:
        """Raise UsageError for what is no axis, no band, or no way to treat global ops."""
        check_choice("global_ops", self.global_ops, get_args(GlobalOps))
        axis_number(self.axis)
        check_count(self.band, "A band is", 1, of="rows")

    @property
    def is_multipass(self) -> bool:
        """Whether layers may have passes of their own."""
        return self.global_ops != "refuse"

    @property
    def weighs(self) -> bool:
        """Whether what is kept is weighed against what computing it again costs."""
        return self.global_ops == "auto"

    def planner(self, graph: Graph) -> PassPlanner:
        """What plans the passes over the inputs of a graph."""
        price = PRICES[self.global_ops]
        if price is None:
            return PassPlanner(graph, self.axis)
        return PassPlanner(graph, self.axis, price << self.dearer, price // _AT_HAND)

    def check(self, graph: Graph) -> None:
        """Raise StreamError where a graph cannot be streamed so; what would help is not tried."""
        if self.is_multipass:
            planned_passes(self.planner(graph))
        else:
            compile_program(graph, self.axis)

    def doubled(self) -> Streaming:
        """The same of a copy of the model in float64."""
        return replace(self, call=self.call.doubled())


@dataclass(frozen=True, slots=True)
class Planned:
    """A streamed model at one size, before anything has run.

    passes:  for layers that read the whole axis
    program: gives the outputs; what passes find out is not in it yet (see ``passes.run_passes``)
    """

    graph: Graph
    passes: tuple[Pass, ...]
    program: Program

    def peak_bytes(self, band: int) -> int:
        """The most that is there at once, passes included."""
        plans = [plan_of(self.program, band), *(one.plan(band) for one in self.passes)]
        return max(plan.peak_bytes for plan in plans)

    @property
    def kept_bytes(self) -> int:
        """The most that is kept between passes."""
        return kept_bytes(self.graph, self.passes)

    def plan(self, band: int) -> StreamPlan:
        """What a run keeps and computes, passes included."""
        last = plan_of(self.program, band)
        if not self.passes:
            return last
        plans = [one.plan(band) for one in self.passes]
        programs = [*(one.program for one in self.passes), self.program]
        costs = flops_by_result(self.graph)
        work = sum(work_of(program, costs) for program in programs) / max(sum(costs.values()), 1)
        nodes = [one.nodes for one in self.passes]
        return last.after(plans, nodes, kept_bytes=self.kept_bytes, work=work)


class Programs:
    """The programs of a streamed model; the last graph and the last program are kept.

    fuses: whether what is run may be other ops of the same bits, where that is quicker (``fusing``)
    """

    def __init__(self, streaming: Streaming, *, fuses: bool = True) -> None:
        self.streaming, self.call, self.fuses = streaming, streaming.call, fuses
        self.axis, self.band = streaming.axis, streaming.band
        self._captured: tuple[object, Graph] | None = None
        self._planner: PassPlanner | None = None
        self._last: tuple[object, Program] | None = None
        self._mark: ModelMark | None = None

    def is_renewed(self) -> bool:
        """Forget what was captured of a model that has changed since; whether it has."""
        if self._mark is None or self._mark.holds():
            return False
        self._captured = self._planner = self._last = self._mark = None
        return True

    @property
    def mark(self) -> ModelMark:
        """The model as it was when it was captured last."""
        return ModelMark(self.call.model) if self._mark is None else self._mark

    def take(self, streaming: Streaming) -> None:
        """Stream in another way from now on."""
        if (streaming.axis, streaming.dearer) != (self.axis, self.streaming.dearer):
            self._planner = self._last = None
        self.streaming, self.axis, self.band = streaming, streaming.axis, streaming.band

    def planned_along(self, axis: int, shapes: tuple[Shape, ...], dearer: int = 0) -> Planned:
        """The graph, passes and program for inputs of these shapes, streamed along an axis.

        dearer: see Streaming
        """
        if (axis, dearer) != (self.axis, self.streaming.dearer):
            self.take(replace(self.streaming, axis=axis, dearer=dearer))
        return Programs.planned(self, shapes)

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return self.call.device

    def plan(self, *shapes: Sequence[int]) -> StreamPlan:
        """What a run on inputs of these shapes keeps and computes, before anything runs."""
        return self.planned(tuple(tuple(shape) for shape in shapes)).plan(self.band)

    def planned(self, shapes: tuple[Shape, ...]) -> Planned:
        """The graph, passes and program for inputs of these shapes; nothing is run."""
        graph = self.graph(shapes)
        if not self.streaming.is_multipass:
            return Planned(graph, (), self.program(shapes))
        try:
            passes, program = planned_passes(self.planner(shapes))
        except StreamError as error:
            raise self._with_option(error, graph) from error.__cause__
        return Planned(graph, tuple(passes), program)

    def _with_option(self, error: StreamError, graph: Graph) -> StreamError:
        """A refusal that says whether keeping values would help, which is tried."""
        if error.passable or PRICES.get(self.streaming.global_ops) is not None:
            return error
        try:
            planned_passes(replace(self.streaming, global_ops="auto").planner(graph))
        except StreamError:
            return error
        return error.that_is_keepable()

    def planner(self, shapes: tuple[Shape, ...]) -> PassPlanner:
        """What plans the passes over inputs of these shapes; the last one is kept."""
        graph = self.graph(shapes)
        if self._planner is None or self._planner.graph is not graph:
            self._planner = self.streaming.planner(graph)
        return self._planner

    def program(self, shapes: tuple[Shape, ...]) -> Program:
        """The program for inputs of these shapes, captured at that size.

        The last one is kept, as long as it is asked for again.

        Raises CaptureError where the model cannot run at this size, StreamError where it cannot
        be streamed.
        """
        key = (shapes, autocast_dtype(self.device))
        if self._last is None or self._last[0] != key:
            graph = self.graph(shapes)
            try:
                made = compile_program(graph, self.axis)
            except StreamError as error:
                raise self._with_option(error, graph) from error.__cause__
            self._last = (key, made)
        return self._last[1]

    def endless(self, shapes: tuple[Shape, ...], laws: GraphLaws) -> Program:
        """The program without a right end, captured at these shapes.

        laws: how constants that are as long as the axis go on
        """
        graph = self.graph(shapes)
        try:
            return compile_program(graph, self.axis, endless=True, laws=laws_of(graph, laws))
        except StreamError as error:
            raise self._with_option(error, graph) from error.__cause__

    def graph(self, shapes: tuple[Shape, ...]) -> Graph:
        """The model captured at these shapes; the last graph is kept.

        Raises CaptureError where the model cannot run at this size, with near ones at which it can.
        """
        key = (shapes, autocast_dtype(self.device))
        if self._captured is None or self._captured[0] != key:
            try:
                graph = self.call.graph(shapes)
            except CaptureError as error:
                raise CaptureError(f"{error}{runs_on(shapes, self.call.graph)}") from error
            self._captured = (key, as_run_on(self.device, graph) if self.fuses else graph)
            self._mark = ModelMark(self.call.model, values=not graph.writes)
        return self._captured[1]

    def axis_that_streams(self, shapes: tuple[Shape, ...], axes: Sequence[int]) -> int | None:
        """The first of these axes along which inputs of these shapes can be streamed, or None."""
        try:
            graph = self.call.graph(shapes)
        except CaptureError:
            return None
        for axis in axes:
            with suppress(StreamError, UsageError):
                replace(self.streaming, axis=axis).check(graph)
                return axis
        return None

    def whole(self, *given: Readable) -> Any:
        """The model at once, as it returns its outputs."""
        shapes = tuple(tuple(x.shape) for x in given)
        return self.call.run(given, writes=self.graph(shapes).writes)

    def single_input(self) -> Tensor:
        """The example of the only input.  Raises UsageError where there are several."""
        inputs = self.call.inputs
        if len(inputs) != 1:
            raise UsageError(f"A session has one input; this model takes {len(inputs)}.")
        return inputs[0]
