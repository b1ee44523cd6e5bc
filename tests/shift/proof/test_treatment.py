"""Every op that a capture can record is described to the prover, or given up with a reason."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fieldwise.capture.torch import registry, rules
from fieldwise.capture.torch.overloads import is_element_wise
from fieldwise.graph.ir import Node, identity
from fieldwise.graph.kinds import ELEMENTWISE
from fieldwise.graph.treatment import (
    CONTRACTIONS,
    OTHERS,
    POINTWISE,
    RANDOM,
    UNJUDGED,
    treatment,
)

SPEAKS = {"equal": "its result is a Python value"}
"""Ops that torch calls element-wise and that make no tensor."""


def recorded() -> set[str]:
    """The canonical names of all ops with a rule of ours; other tests register their own."""
    own = rules.__name__
    return {name for name, rule in registry._RULES.values() if rule.__module__.startswith(own)}


def element_wise() -> set[str]:
    """The ops that need no rule, since torch itself calls them element-wise."""
    found = set()
    for full in torch._C._dispatch_get_all_op_names():
        space, _, name = full.partition("::")
        base, _, overload = name.partition(".")
        packet = getattr(torch.ops.aten, base, None) if space == "aten" else None
        op = getattr(packet, overload or "default", None)
        if op is not None and is_element_wise(op):
            found.add(base if base.endswith("__") else base.removesuffix("_"))
    return {name for name in found if registry.find_rule(f"aten::{name}") is None}


def claimed() -> set[str]:
    """The canonical names of all ops whose rule says how they combine what they read."""
    return {name for name, rule in registry._RULES.values() if hasattr(rule, "__wrapped__")}


def test_every_op_with_a_rule_is_described_or_given_up_with_a_reason():
    described = claimed() | CONTRACTIONS | OTHERS | RANDOM | UNJUDGED.keys()
    assert recorded() - described == set()


def test_every_element_wise_op_is_described():
    for name in element_wise() - OTHERS - RANDOM - SPEAKS.keys():
        read = replace(identity(0, 1), kind=ELEMENTWISE)
        assert treatment(Node(name, ("x",), ("y",), ((read,),))) is POINTWISE, name


def test_an_op_without_a_kind_is_not_described():
    assert treatment(Node("odd", ("x",), ("y",), ((identity(0, 1),),))) is None


@pytest.mark.parametrize(("one", "two"), [(OTHERS, UNJUDGED), (RANDOM, UNJUDGED), (OTHERS, RANDOM)])
def test_no_op_is_described_twice(one, two):
    assert not set(one) & set(two)
