"""Whether numbers bear out that a value is broken, as far as asking them costs little.

A value is broken where no shift of the input short of a full turn is answered by a roll of it.  If
one is, all multiples of it are, and among these is one that makes a full turn for the first time
after a prime number of steps.  These *least* shifts are few (of 224 positions 112 and 32): the
recorded calls are executed on generic numbers, as they are and under these shifts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node
from fieldwise.shift.proof.replays import Replays
from fieldwise.shift.rolls import Slices, answer

Claims = Mapping[str, Mapping[int, bool]]
"""Value → axis along which it is said to be broken → whether all its positions would have to move.

A value that is not followed any more may hold something that stays (a class token) beside.
"""

_EFFORT = 1 << 27


def refuted(
    graph: Graph, source: str, claims: Claims, given: Sequence[Tensor] = ()
) -> frozenset[tuple[str, int]]:
    """The values, and the axes, of which some shift is answered by a roll after all.

    given: inputs of the graph, of which integers are taken as they are

    A claim stands where to look would cost too much, and where a call does not run on such numbers.
    """
    shape = graph.shape(source)
    axes = sorted({axis for along in claims.values() for axis in along})
    turns = {(axis, by): n for axis in axes for by, n in least_shifts(shape[axis])}
    replays = Replays(graph, source, tuple(turns), given)
    found = set[tuple[str, int]]()
    for node in replays.executed(_needed(graph, claims), _EFFORT):
        for name in claims.keys() & set(node.results):
            before = Slices.of(replays[name][None])
            for axis, whole in claims[name].items():
                if any(
                    answer(before, Slices.of(run, before), turns[shift], whole=whole) is not None
                    for shift, run in replays[name].items()
                    if shift is not None and shift[0] == axis
                ):
                    found.add((name, axis))
    return frozenset(found)


def least_shifts(size: int) -> list[tuple[int, int]]:
    """The shifts that make a full turn after a prime number of steps, with that number.

    >>> least_shifts(224), least_shifts(7), least_shifts(1)
    ([(112, 2), (32, 7)], [(1, 7)], [])
    """
    found, rest, prime = [], size, 2
    while rest > 1:
        prime = prime if prime * prime <= rest else rest
        if rest % prime == 0:
            found.append((size // prime, prime))
        while rest % prime == 0:
            rest //= prime
        prime += 1
    return found


def _needed(graph: Graph, claims: Claims) -> list[Node]:
    """The nodes on which these values depend, in execution order."""
    wanted, found = set(claims), []
    for node in reversed(graph.nodes):
        if not wanted.isdisjoint(node.results):
            wanted.update(node.operands)
            found.append(node)
    return found[::-1]
