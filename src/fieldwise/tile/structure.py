"""Outputs handed back in the structure in which the model hands them back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from fieldwise.capture.torch.tree import map_leaves
from fieldwise.graph.ir import Ref


def structured(structure: Any, results: Sequence[Any], given: Callable[[Tensor], Any]) -> Any:
    """A model's output (see ``Graph.structure``) with ``results`` in their places.

    given: the form in which a tensor is handed back that does not depend on the input; it gets a
           copy, since the model may own that tensor

    >>> structured({"maps": [Ref(1), (Ref(0),)], "scale": 4, "aux": None}, ["a", "b"], as_is)
    {'maps': ['b', ('a',)], 'scale': 4, 'aux': None}
    """

    def leaf(found: Ref | Tensor) -> Any:
        return results[found.operand] if isinstance(found, Ref) else given(found.detach().clone())

    return map_leaves(leaf, structure, (Ref, Tensor))


def constants_of(structure: Any) -> list[Tensor]:
    """The tensors of a model's output that do not depend on its input."""
    found: list[Tensor] = []
    map_leaves(found.append, structure, Tensor)
    return found


def as_is(tensor: Tensor) -> Tensor:
    """The form in which tensors are handed back as tensors."""
    return tensor
