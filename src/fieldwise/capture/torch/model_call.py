"""A model with its example: how the model is called, and with inputs of which dtypes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from operator import index

import torch
from torch import Tensor, nn

from fieldwise.capture.torch.capture import record
from fieldwise.capture.torch.example import as_example, placed
from fieldwise.capture.torch.given import check_model
from fieldwise.capture.torch.inputs import T, as_tensor, ordered
from fieldwise.capture.torch.other_inputs import explained
from fieldwise.capture.torch.running import copied, doubled, in_double, undisturbed
from fieldwise.capture.torch.tree import map_tensors, tensors_in
from fieldwise.errors import CaptureError, UsageError
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Shape
from fieldwise.written import counted


@dataclass(frozen=True, eq=False)
class ModelCall:
    """A model in eval mode, which is not changed, and an example of what it is called with.

    example: a tensor, or a tuple or dict of tensors; its sizes along streamed or tiled axes do not
             matter
    """

    model: nn.Module
    example: object

    @classmethod
    def of(cls, model: nn.Module, example: object) -> ModelCall:
        """A call whose example may also be a shape, or shapes (see ``as_example``).

        Raises UsageError for what is no model, or no example.
        """
        check_model(model)
        return cls(model, as_example(example, model))

    @cached_property
    def inputs(self) -> list[Tensor]:
        """The tensors of the example, each once."""
        return list({id(tensor): tensor for tensor in tensors_in(self.example)}.values())

    @property
    def shapes(self) -> list[Shape]:
        """The shapes of these tensors."""
        return [tuple(tensor.shape) for tensor in self.inputs]

    @property
    def device(self) -> torch.device:
        """Where the model runs: on the device of its weights, or of the example if it has none."""
        tensors = chain(self.model.parameters(), self.model.buffers(), self.inputs)
        return next((t.device for t in tensors if not t.is_meta), torch.device("cpu"))

    def ordered(self, given: Sequence[T], named: Mapping[str, T]) -> list[T]:
        """The given inputs in the order of the example's.

        Raises UsageError for names that the example does not have, and for too few or too many.
        """
        inputs = ordered(self.example, given, named)
        self.check_count(len(inputs))
        return inputs

    def check_count(self, count: int) -> None:
        """Raise UsageError where so many inputs are fewer, or more, than the example has."""
        if count != len(self.inputs):
            if count == sum(1 for _ in tensors_in(self.example)):
                raise UsageError(
                    f"The example has one tensor in several places, which is one input, and "
                    f"{count} were given; make an example with a tensor of its own for each."
                )
            wanted = counted(len(self.inputs), "input")
            raise UsageError(f"The model takes {wanted} and was given {count}.")

    def resized(self, shapes: Sequence[Sequence[int]]) -> object:
        """The example with tensors of these shapes, without data.

        Raises UsageError for too few or too many shapes, and for what is none.
        """
        self.check_count(len(shapes))
        for shape in shapes:
            _check_shape(shape)
        return self._nested(
            torch.empty(tuple(shape), dtype=like.dtype, device="meta")
            for shape, like in zip(shapes, self.inputs, strict=True)
        )

    def graph(self, shapes: Sequence[Shape] | None = None) -> Graph:
        """The model captured on the example, or on inputs of these shapes.

        Raises CaptureError where it fails.
        """
        if shapes is not None:
            return record(self.model, self.resized(shapes))
        try:
            return record(self.model, self.example)
        except CaptureError as error:
            raise explained(self.model, self.example, error, record) from error

    def cast(self, number: int, x: object, *, own: bool = False) -> Tensor:
        """Input ``number`` as the model takes it; see ``inputs.as_tensor``."""
        return as_tensor(x, self.device, self.inputs[number].dtype, own=own)

    def run(self, given: Iterable[object], *, draws: bool = True, writes: bool = True) -> object:
        """What the model returns for copies of the given inputs; see ``running.forward``."""
        with undisturbed(self.model, draws=draws, writes=writes):
            return self.called(given)

    def called(
        self, given: Iterable[object], *, own: Callable[[Tensor], Tensor] | None = None
    ) -> object:
        """The same, in whatever surrounds the call (see ``running.undisturbed``).

        own: copies an input for the model, which may write to it; by default as it lies
        """
        inputs = self._nested(
            self.cast(number, x, own=True) if own is None else own(self.cast(number, x))
            for number, x in enumerate(given)
        )
        args, kwargs = placed(inputs)
        return self.model(*args, **kwargs)

    def doubled(self) -> ModelCall:
        """A copy of the model, and the example, in float64."""
        return ModelCall(doubled(copied(self.model)), self._nested(map(in_double, self.inputs)))

    def without_data(self) -> ModelCall:
        """The same model; the data of the example stay behind."""
        return ModelCall(self.model, self.resized(self.shapes))

    def _nested(self, tensors: Iterable[object]) -> object:
        """Tensors in the places of the example's."""
        twins = {id(like): x for like, x in zip(self.inputs, tensors, strict=True)}
        return map_tensors(lambda tensor: twins[id(tensor)], self.example)


def _check_shape(shape: Sequence[object]) -> None:
    try:
        least = min((index(size) for size in shape), default=0)  # type: ignore[arg-type]
    except TypeError:
        least = -1
    if least < 0:
        raise UsageError(f"A shape is a list of sizes, each 0 or more; got {shape!r}.")
