"""The way from an operand to a result, as everyone goes it."""

from __future__ import annotations

from fieldwise.axes import AxisMap, IndexSet
from fieldwise.graph.ir import (
    WHOLE,
    Along,
    Node,
    Read,
    Reshape,
    Separable,
    identity,
    reshape,
    separable,
)

HALVED = Along(0, AxisMap.affine(2, 0))
THROUGH = Read(0, (Separable((HALVED, WHOLE)), Reshape()), ((3,),))


def test_a_read_is_walked_from_the_operand_to_the_result_and_back():
    forward = list(THROUGH.forward((6, 5), (3, 1)))
    assert forward == [(THROUGH.steps[0], (6, 5), (3,)), (Reshape(), (3,), (3, 1))]
    assert list(THROUGH.backward((6, 5), (3, 1))) == forward[::-1]


def test_a_read_of_one_step_lies_between_the_two_shapes():
    assert list(reshape(0).forward((2, 3), (6,))) == [(Reshape(), (2, 3), (6,))]


def test_only_a_read_of_one_separable_step_is_single():
    assert identity(0, 2).single == Separable((Along(0), Along(1)))
    assert reshape(0).single is None
    assert THROUGH.single is None


def test_coordinates_of_all_steps_and_all_reads_are_looked_at():
    node = Node("op", ("x",), ("y",), ((THROUGH, identity(0, 1)),))
    assert list(THROUGH.coords()) == [HALVED, WHOLE]
    assert list(node.coords()) == [HALVED, WHOLE, Along(0)]


def test_a_dimension_is_kept_where_its_map_is_the_identity_and_its_size_the_same():
    assert Along(1).keeps(4, 4)
    assert not Along(1).keeps(4, 3)
    assert not HALVED.keeps(4, 4)


def test_a_step_is_the_identity_where_every_dimension_is_read_at_its_own_place():
    assert Separable((Along(0), Along(1))).is_identity
    assert Separable((Along(0),), where=((0, IndexSet.range(0, 2)),)).is_identity
    assert not Separable((Along(1), Along(0))).is_identity
    assert not Separable((HALVED,)).is_identity
    assert separable(0, WHOLE).single is not None
    assert not Separable((WHOLE,)).is_identity
