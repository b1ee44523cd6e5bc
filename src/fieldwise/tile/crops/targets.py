"""What is run on crops: a model, which is planned for each size, or any callable with its plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol

import torch

from fieldwise.capture.torch.keeping import remembered
from fieldwise.capture.torch.model_call import ModelCall
from fieldwise.capture.torch.private import prepared
from fieldwise.capture.torch.running import undisturbed
from fieldwise.capture.torch.tree import named_state
from fieldwise.capture.torch.unchanged import ModelMark
from fieldwise.errors import CaptureError, UsageError, summary_of
from fieldwise.graph.spatial import Axes
from fieldwise.tile.arrays import Readable, Shapes, owned
from fieldwise.tile.crops.batches import BatchSize, prove_batch
from fieldwise.tile.crops.layout import lies_channels_last
from fieldwise.tile.crops.plan import TilePlan
from fieldwise.tile.crops.planner import plan_tiles, tile_sizes
from fieldwise.tile.crops.sizes import Sizes, sizes_along, tiled_axes
from fieldwise.tile.crops.trial import has_inner_crop, several_tiles
from fieldwise.tile.errors import TileError
from fieldwise.tile.inputs import check_readable
from fieldwise.tile.memory_format import copied_channels_last
from fieldwise.tile.replaying import Replayer, state_key


@dataclass(frozen=True, slots=True)
class Arguments:
    """The inputs of a run in the order of a plan's shapes; ``names`` are those of the last ones."""

    arrays: tuple[Readable, ...]
    names: tuple[str, ...] = ()

    @property
    def shapes(self) -> Shapes:
        """The shapes of the inputs."""
        return tuple(tuple(x.shape) for x in self.arrays)

    def holding(self, arrays: Iterable[Readable]) -> Arguments:
        """Other arrays in the same places."""
        return replace(self, arrays=tuple(arrays))

    def passed_to(self, call: Callable[..., object]) -> object:
        """What ``call`` returns for them."""
        positional = len(self.arrays) - len(self.names)
        named = dict(zip(self.names, self.arrays[positional:], strict=True))
        return call(*self.arrays[:positional], **named)


@dataclass(frozen=True, slots=True)
class AnyCallable:
    """A callable and the plan of the network that it runs; what it raises is its own."""

    call: Callable[..., object]
    planned: TilePlan

    def ordered(self, inputs: Sequence[Readable], named: Mapping[str, Readable]) -> Arguments:
        """The inputs of a run.  Raises UsageError for what cannot be read."""
        given = Arguments((*inputs, *named.values()), tuple(named))
        for number, x in enumerate(given.arrays):
            check_readable(number, x)
        return given

    def plan(self, *shapes: Sequence[int]) -> TilePlan:
        """The plan.  Raises UsageError for inputs of another size."""
        given = tuple(tuple(shape) for shape in shapes)
        if given and given != self.planned.shapes:
            raise UsageError(
                f"The plan is for inputs of {_by(self.planned.shapes)}, and these are "
                f"{_by(given)}; plan for this size."
            )
        return self.planned

    def cast(self, given: Arguments) -> Arguments:
        """The inputs as they are handed over."""
        return given

    def whole(self, given: Arguments, _: TilePlan) -> object:
        """What is returned for copies of the inputs, since a callable may change them."""
        return given.holding(map(owned, given.arrays)).passed_to(self.call)

    def crop(self, given: Arguments, plan: TilePlan) -> object:
        """What is returned for copies of crops of the inputs, or of a batch of them."""
        return self.whole(given, plan)

    def between_crops(self, _: TilePlan) -> AbstractContextManager[None]:
        """Nothing holds from the first crop of a run to the last."""
        return nullcontext()

    def doubled(self) -> None:
        """None: it cannot be had in float64."""


@dataclass(slots=True, eq=False)
class PlannedModel:
    """A model, and how it is tiled (see ``plan_tiles``); each plan is made once per model and size.

    The methods are those of ``AnyCallable``.
    """

    call: ModelCall
    tile: int | Sequence[int]
    axes: Axes | None = None
    batch: BatchSize = 1
    replayer: Replayer = field(default_factory=Replayer)
    _plans: dict[Shapes, TilePlan] = field(default_factory=dict)
    _channels_last: bool | None = None
    _mark: ModelMark | None = None
    _is_empty: bool = False

    def ordered(self, inputs: Sequence[Readable], named: Mapping[str, Readable]) -> Arguments:
        """The inputs of a run in the order of the example."""
        given = Arguments(tuple(self.call.ordered(inputs, named)))
        for number, (x, like) in enumerate(zip(given.arrays, self.call.inputs, strict=True)):
            check_readable(number, x, like=like)
        return given

    def plan(self, *shapes: Sequence[int]) -> TilePlan:
        """The plan for inputs of these shapes."""
        given = tuple(tuple(shape) for shape in shapes)
        if self._mark is not None and not self._mark.holds():
            self._plans, self._channels_last, self.replayer = {}, None, Replayer()
        if given not in self._plans:
            size = self.call.resized(given)
            self._plans[given] = plan_tiles(
                self.call.model, size, tile=self.tile, axes=self.axes, batch=self.batch
            )
            self._mark = ModelMark(self.call.model)
            self._is_empty = any(x.is_meta for _, x in named_state(self.call.model))
        return self._plans[given]

    def check(self) -> None:
        """Raise TileError where no image can be tiled so: of the example's size, or a larger one.

        Where the model does not run at these sizes, nothing is known yet.

        Raises UsageError for what is no tile, and for axes that the inputs do not have.
        """
        shapes = self.call.shapes
        if not shapes:
            return
        axes = tiled_axes(shapes, self.axes)
        tiles = tile_sizes(self.tile, len(axes))
        if len(sizes_along(shapes, axes)) > 1 or any(0 in shape for shape in shapes):
            return
        sizes = Sizes.of(self.call.model, self.call.example, axes)
        if has_inner_crop(sizes, tiles):
            if isinstance(self.batch, int) and self.batch > 1:
                prove_batch(sizes, sizes.image, self.batch)
            return
        found = [self._tried(tuple(shapes)), self._tried(tuple(several_tiles(sizes, tiles)))]
        errors = [one for one in found if isinstance(one, TileError)]
        if errors and not any(isinstance(one, TilePlan) and len(one) > 1 for one in found):
            raise errors[0]

    def _tried(self, shapes: Shapes) -> TilePlan | TileError | None:
        """The plan for these shapes, or what is in its way; None where the model does not run."""
        try:
            self.call.graph(shapes)
            return self.plan(*shapes)
        except CaptureError:
            return None
        except TileError as error:
            return error

    def cast(self, given: Arguments) -> Arguments:
        """The inputs as the model takes them."""
        return given.holding(self.call.cast(number, x) for number, x in enumerate(given.arrays))

    def whole(self, given: Arguments, plan: TilePlan) -> object:
        """What the model returns; it is kept as it was where the plan says that it writes."""
        return self.call.run(given.arrays, draws=plan.draws, writes=plan.writes)

    def crop(self, given: Arguments, plan: TilePlan) -> object:
        """What the model returns for a crop, or a batch.  Raises TileError where it fails.

        Raises UsageError where its weights hold nothing: ops of torch return unset memory then.
        """
        if self._is_empty:
            raise UsageError(
                "Weights of the model are on the meta device and hold nothing, so it can be "
                "planned and not run; load them first."
            )
        try:
            return self._run(given, plan)
        except (MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            raise TileError(
                f"The model fails on a crop of {_by(given.shapes)} ({summary_of(error)}), though "
                f"without data torch runs it on that size; tile another axis, or run it on "
                f"the whole input."
            ) from error

    def _run(self, given: Arguments, plan: TilePlan) -> object:
        """As ``whole``, in the layout and in the way that are quickest on the device."""

        def around() -> AbstractContextManager[None]:
            return undisturbed(self.call.model, draws=plan.draws, writes=plan.writes)

        def key() -> object:
            repeats = not (plan.draws or plan.writes)
            return state_key(self.call.model) if repeats else None

        tensors = [self.call.cast(number, x) for number, x in enumerate(given.arrays)]
        if self._channels_last is None:
            self._channels_last = lies_channels_last(self.call, [tuple(x.shape) for x in tensors])
        own = copied_channels_last if self._channels_last else None
        return self.replayer(partial(self.call.called, own=own), tensors, key=key, around=around)

    @contextmanager
    def between_crops(self, plan: TilePlan) -> Iterator[None]:
        """From the first crop of a run to the last, what a crop stores on the model is put back."""
        with remembered(self.call.model, parameters=plan.writes), prepared():
            yield

    def doubled(self) -> PlannedModel:
        """The same in float64."""
        return PlannedModel(self.call.doubled(), self.tile, self.axes, self.batch)


class CropTarget(Protocol):
    """What is run on crops."""

    def ordered(self, inputs: Sequence[Readable], named: Mapping[str, Readable]) -> Arguments:
        """The inputs of a run, in order."""

    def plan(self, *shapes: Sequence[int]) -> TilePlan:
        """The plan for inputs of these shapes."""

    def cast(self, given: Arguments) -> Arguments:
        """The inputs as they are handed over."""

    def whole(self, given: Arguments, plan: TilePlan, /) -> object:
        """What is returned for whole inputs."""

    def crop(self, given: Arguments, plan: TilePlan, /) -> object:
        """What is returned for a crop, or a batch of them."""

    def between_crops(self, plan: TilePlan, /) -> AbstractContextManager[None]:
        """Holds from the first crop of a run to the last."""

    def doubled(self) -> CropTarget | None:
        """The same in float64, if there is such."""


def _by(shapes: Sequence[Sequence[int]]) -> str:
    return ", ".join("x".join(map(str, shape)) for shape in shapes)
