"""Outputs handed back in the structure in which the model hands them back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from fieldwise.capture.torch.tree import find_hidden, map_leaves
from fieldwise.errors import UsageError
from fieldwise.graph.ir import Ref


def structured(
    structure: object, results: Sequence[object], given: Callable[[Tensor], object]
) -> Any:
    """A model's output (see ``Graph.structure``) with ``results`` in their places.

    given: the form in which a tensor is handed back that does not depend on the input; it gets a
           copy, since the model may own that tensor

    >>> structured({"maps": [Ref(1), (Ref(0),)], "scale": 4, "aux": None}, ["a", "b"], as_is)
    {'maps': ['b', ('a',)], 'scale': 4, 'aux': None}

    Raises UsageError where the model also returns outputs in an object of another kind, whose
    values nobody has put together.
    """
    for holder, tensor in find_hidden(structure):
        if tensor is None or tensor.is_meta:
            raise UsageError(
                f"The model returns a '{type(holder).__name__}' that holds outputs, which is not "
                f"put together from pieces; return tensors in tuples, lists, dicts, named tuples "
                f"or dataclasses."
            )

    def leaf(found: Ref | Tensor) -> object:
        return results[found.operand] if isinstance(found, Ref) else given(found.detach().clone())

    return map_leaves(leaf, structure, (Ref, Tensor))


def as_is(tensor: Tensor) -> Tensor:
    """The form in which tensors are handed back as tensors."""
    return tensor
