"""A network captured at the size of the image and of its crops, each once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn

from fieldwise.capture.torch.model_call import ModelCall
from fieldwise.errors import CaptureError, UsageError
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Shape
from fieldwise.graph.spatial import Axes, chosen_axes, usual_axes
from fieldwise.tile.crops.memory import CANNOT_REHEARSE, Rehearsal, peak_bytes
from fieldwise.tile.errors import TileError
from fieldwise.tile.good_sizes import near_sizes


def tiled_axes(shapes: Sequence[Shape], axes: Axes | None) -> tuple[int, ...]:
    """The axes of the inputs, of these shapes, that are tiled.

    Raises UsageError for one that the first input does not have.
    """
    rank = len(shapes[0])
    return usual_axes(rank) if axes is None else tuple(sorted(chosen_axes(axes, rank)))


def sizes_along(shapes: Sequence[Shape], axes: Sequence[int]) -> set[tuple[int, ...]]:
    """The sizes of the inputs along these axes; of one that is of another rank there are none."""
    rank = len(shapes[0])
    return {tuple(s[a] for a in axes) if len(s) == rank else () for s in shapes}


@dataclass(slots=True)
class Sizes:
    """A model with an input of the image's size, and the axes along which its sizes change.

    image: the sizes of those axes
    """

    call: ModelCall
    axes: tuple[int, ...]
    image: tuple[int, ...]
    _graphs: dict[tuple[tuple[int, ...], int], Graph] = field(default_factory=dict)
    _rehearsal: Rehearsal | None = None
    _peaks: dict[tuple[tuple[int, ...], int], int] = field(default_factory=dict)

    @classmethod
    def of(cls, model: nn.Module, size: object, axes: Axes | None) -> Sizes:
        """Raises UsageError where the inputs do not have one size in common."""
        call = ModelCall.of(model, size)
        if not call.shapes:
            raise UsageError("Give the shape of the large input, or tensors of its size.")
        chosen = tiled_axes(call.shapes, axes)
        image = sizes_along(call.shapes, chosen)
        if len(image) > 1:
            raise UsageError(
                f"Inputs that are tiled together have one size; these have {sorted(image)}."
            )
        return cls(call, chosen, image.pop())

    def whole(self) -> Graph:
        """At the size of the image.

        Raises TileError where the network fails on it, with the nearest sizes that pass.
        """
        try:
            return self.at(self.image)
        except CaptureError as error:
            near = near_sizes(self.image, self.at)
            if not near:
                raise
            sizes_that_pass = " or ".join(" x ".join(map(str, sizes)) for sizes in near)
            raise TileError(f"{error} It runs on {sizes_that_pass}.") from error

    def at(self, sizes: tuple[int, ...], count: int = 1) -> Graph:
        """At these sizes of the tiled axes, of so many inputs side by side along the first axis.

        Raises CaptureError where the network fails.
        """
        key = sizes, count
        if key not in self._graphs:
            self._graphs[key] = self.call.graph(self.shapes(sizes, count))
        return self._graphs[key]

    def with_elements(self) -> Sizes:
        """The same of inputs that hold one element where these hold none."""
        shapes = [tuple(size or 1 for size in shape) for shape in self.call.shapes]
        image = tuple(size or 1 for size in self.image)
        return Sizes(ModelCall(self.call.model, self.call.resized(shapes)), self.axes, image)

    def peak_bytes(self, sizes: tuple[int, ...], count: int = 1) -> int:
        """The most that a run at these sizes holds at once, weights excepted.

        As Python frees it; of a model that cannot be copied, or run on tensors of its own device
        without data, as its graph tells.  Raises CaptureError where the network fails.
        """
        key = sizes, count
        if key not in self._peaks:
            self._peaks[key] = self._peak_bytes(sizes, count)
        return self._peaks[key]

    def _peak_bytes(self, sizes: tuple[int, ...], count: int) -> int:
        graph = self.at(sizes, count)
        try:
            if self._rehearsal is None:
                self._rehearsal = Rehearsal(self.call.model)
            return self._rehearsal.peak_bytes(self.call.resized(self.shapes(sizes, count)))
        except CANNOT_REHEARSE:
            return peak_bytes(graph)

    def shapes(self, sizes: Sequence[int], count: int = 1) -> list[Shape]:
        """Of the inputs, at these sizes of the tiled axes, so many times along the first one."""
        new = dict(zip(self.axes, sizes, strict=True))
        return [
            tuple(new.get(axis, size) * (1 if axis else count) for axis, size in enumerate(shape))
            for shape in self.call.shapes
        ]
