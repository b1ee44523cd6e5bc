"""A model with its example, and the programs that compute it band by band, one per size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn

from fieldwise.capture.torch import as_example, capture
from fieldwise.capture.torch.autocast import autocast_dtype
from fieldwise.capture.torch.running import copied, doubled, forward, in_double
from fieldwise.capture.torch.tree import map_tensors, tensors_in
from fieldwise.errors import CaptureError, UsageError, check_choice
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Shape
from fieldwise.tile.bands.compile import compile_program
from fieldwise.tile.bands.passes import Pass, run_passes
from fieldwise.tile.bands.plan import StreamPlan, plan_of
from fieldwise.tile.bands.program import Program
from fieldwise.tile.good_sizes import runs_on
from fieldwise.tile.inputs import as_tensor

GlobalOps = Literal["refuse", "multipass"]


class Programs:
    """A model, captured and compiled for the sizes that are asked for.

    model:   in eval mode; it is not changed, and runs where its weights are
    example: a tensor, a tuple or a dict of tensors; shapes along ``axis`` do not matter
    axis:    of the inputs, along which bands are cut
    band:    input rows per step
    global_ops: 'refuse' layers that read the whole axis, or sum up what they need in further
             passes over the input ('multipass')
    """

    def __init__(
        self,
        model: nn.Module,
        example: Any,
        *,
        axis: int,
        band: int,
        global_ops: GlobalOps,
    ) -> None:
        check_choice("global_ops", global_ops, get_args(GlobalOps))
        if band < 1:
            raise UsageError(f"A band has at least one row, got {band}.")
        self.model, self.example = model, as_example(example, model)
        self.axis, self.band = axis, band
        self.global_ops = global_ops
        self.device = _device(model, self.example)
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

    def planned(self, shapes: tuple[Shape, ...]) -> tuple[list[Pass], Program]:
        """The passes for layers that read the whole axis, and the program that gives the outputs.

        Nothing is run: what passes find out is not in it yet (see ``prepared``).
        """
        if self.global_ops == "refuse":
            return [], self.program(shapes)
        return run_passes(self.graph(shapes), self.axis, lambda _: False, self.device)

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

    def whole(self, *given: Any) -> Any:
        """The model at once, as it returns its outputs."""
        tensors = distinct(self.example)
        pairs = zip(tensors, given, strict=True)
        twins = {id(like): as_tensor(x, self.device, like.dtype, own=True) for like, x in pairs}
        inputs = map_tensors(lambda tensor: twins[id(tensor)], self.example)
        shapes = tuple(tuple(x.shape) for x in given)
        return forward(self.model, inputs, writes=self.graph(shapes).writes)

    def doubled(self) -> Self:
        """The same in float64."""
        twins = {id(tensor): in_double(tensor) for tensor in distinct(self.example)}
        example = map_tensors(lambda tensor: twins[id(tensor)], self.example)
        return type(self)(
            doubled(copied(self.model)),
            example,
            axis=self.axis,
            band=self.band,
            global_ops=self.global_ops,
        )

    def of_band(self, band: int) -> Self:
        """The same with another number of input rows per step."""
        return type(self)(
            self.model, self.example, axis=self.axis, band=band, global_ops=self.global_ops
        )

    def single_input(self) -> Tensor:
        """The example of the only input.  Raises UsageError where there are several."""
        tensors = distinct(self.example)
        if len(tensors) != 1:
            raise UsageError(f"A session has one input; this model takes {len(tensors)}.")
        return tensors[0]


def _device(model: nn.Module, example: Any) -> torch.device:
    """Where the model runs: on the device of its weights, or of the example if it has none."""
    tensors = (*model.parameters(), *model.buffers(), *distinct(example))
    return next((t.device for t in tensors if not t.is_meta), torch.device("cpu"))


def distinct(example: Any) -> list[Tensor]:
    """The tensors of an example, each once."""
    return list({id(tensor): tensor for tensor in tensors_in(example)}.values())


def _resized(example: Any, shapes: Sequence[Shape]) -> Any:
    """Tensors without data in place of the example's, of other shapes."""
    twins = {
        id(tensor): torch.empty(shape, dtype=tensor.dtype, device="meta")
        for tensor, shape in zip(distinct(example), shapes, strict=True)
    }
    return map_tensors(lambda tensor: twins[id(tensor)], example)
