"""Which zeros of constants are a part of the structure: those that stay whatever is learned.

A mask multiplies a kernel, a matrix or a value, and what it multiplies by zero is not read.  A zero
counts if it is in a buffer, or in what the model computes from constants, such as
``weight * mask``, and is there for any values of the parameters: these are drawn anew several
times.  A parameter that holds zero today counts as non-zero, and so does a constant of zeros alone,
which nobody has filled yet.  By elements only a mask multiplies: all its other values are equal.  A
table of sines or a window has zeros too, but those are weights.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace

import numpy as np
from torch import nn

from fieldwise.capture.torch.masked import factors, hides, is_product, opened_call
from fieldwise.capture.torch.redrawn import redrawn
from fieldwise.capture.torch.registry import known_values
from fieldwise.capture.torch.running import is_inexact
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node
from fieldwise.graph.tensors import Values

_NONE = np.array([])
_SIGNS = (1, -1, 1)
"""How often parameters are drawn: a rectified weight is zero for one sign alone."""


def with_zeros(graph: Graph, model: nn.Module, recorded: Callable[[nn.Module], Graph]) -> Graph:
    """The graph, which says of every product where its constants are zero for good.

    recorded: records the model once more, with other parameters
    """
    made = {node.results[0]: node for node in graph.nodes if any(_factors(node, graph))}
    if not made:
        return graph
    learned = {
        name
        for name, tensor in model.named_parameters(remove_duplicate=False)
        if is_inexact(tensor) and not tensor.is_meta
    }
    behind = {name: learned.intersection(node.parameters) for name, node in made.items()}
    found = {name: _zeros(node, graph) for name, node in made.items() if not behind[name]}
    if any(behind.values()):
        found |= _staying(graph, model, behind, recorded)
    hiding = {n: zeros for n, zeros in found.items() if zeros and hides(made[n], graph, zeros)}
    return replace(graph, zeros=hiding) if hiding else graph


def _staying(
    graph: Graph,
    model: nn.Module,
    behind: Mapping[str, Collection[str]],
    recorded: Callable[[nn.Module], Graph],
) -> dict[str, dict[int, Values]]:
    """The zeros that are the same whatever the parameters behind these values hold.

    Where those of the first draw hide nothing that can be said, no more is drawn.
    """
    left = {name: own for name, own in behind.items() if own}
    found: dict[str, dict[int, Values]] = {}
    for seed, sign in enumerate(_SIGNS):
        try:
            other = recorded(redrawn(model, set().union(*left.values()), seed=seed, sign=sign))
        except Exception:  # noqa: BLE001  (a model that cannot be copied, or stops at such numbers)
            return {}
        nodes = {node.results[0]: node for node in other.nodes}
        if [*nodes] != [node.results[0] for node in graph.nodes]:
            return {}
        for name in left:
            zeros = _zeros(nodes[name], other)
            found[name] = {
                number: opened
                for number, opened in zeros.items()
                if (
                    np.array_equal(found[name].get(number, _NONE), opened)
                    if name in found
                    else hides(nodes[name], other, {number: opened})
                )
            }
        left = {name: own for name, own in left.items() if found[name]}
        if not left:
            break
    return found


def _zeros(node: Node, graph: Graph) -> dict[int, Values]:
    """Where the factors of a product are not zero, of those of which some zeros count."""
    return {
        number: values != 0
        for number, values in _factors(node, graph)
        if (values != 0).any() and (node.op != "mul" or _is_mask(values))
    }


def _is_mask(values: Values) -> bool:
    """Whether all that is not zero is the same."""
    others = values[values != 0]
    return bool((others == others[0]).all())


def _factors(node: Node, graph: Graph) -> Iterator[tuple[int, Values]]:
    """The constant factors of a product in which there are zeros, parameters aside."""
    if not is_product(node):
        return
    call, constants = opened_call(node, graph)
    for number in factors(node, call):
        place = number - len(node.operands)
        if place >= 0 and not isinstance(constants[place], nn.Parameter):
            values = known_values(constants[place])
            if values is not None and (values == 0).any():
                yield number, values
