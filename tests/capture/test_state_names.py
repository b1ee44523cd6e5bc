"""Names of weights, matched with those of a model."""

from __future__ import annotations

import pytest

from fieldwise.capture.state_names import match_names

MODEL = ["stem.weight", "stem.bias", "head.weight", "head.bias"]


@pytest.mark.parametrize(
    ("prefix", "wrappers"),
    [
        ("", ()),
        ("module.", ()),
        ("model.", ()),
        ("module._orig_mod.", ("_orig_mod",)),
        ("_orig_mod.module.", ("_orig_mod",)),
        ("_orig_mod.", ("_orig_mod",)),
        ("net.backbone.", ()),
    ],
)
def test_a_prefix_that_all_names_have_is_left_out_and_named(prefix, wrappers):
    found = match_names(MODEL, [f"{prefix}{name}" for name in MODEL])
    assert found.names == {name: f"{prefix}{name}" for name in MODEL}
    assert (found.missing, found.left_over, found.added) == ((), (), "")
    assert found.prefix == prefix.replace("_orig_mod.", "")
    assert found.wrappers == wrappers


def test_a_prefix_that_the_model_alone_has_is_put_before_each_name():
    found = match_names([f"net.{name}" for name in MODEL], MODEL)
    assert found.added == "net."
    assert found.missing == ()


def test_wrappers_within_names_are_passed_over_on_either_side():
    found = match_names(["a._orig_mod.w", "b.w"], ["a.w", "b._checkpoint_wrapped_module.w"])
    assert found.names == {"a._orig_mod.w": "a.w", "b.w": "b._checkpoint_wrapped_module.w"}


def test_the_prefix_under_which_the_most_names_match_is_taken():
    given = [*(f"student.{name}" for name in MODEL), "teacher.stem.weight", "stem.weight"]
    found = match_names(MODEL, given)
    assert (found.prefix, found.missing) == ("student.", ())
    assert found.left_over == ("teacher.stem.weight", "stem.weight")


def test_nothing_in_common_is_all_missing_and_all_left_over():
    found = match_names(MODEL, ["x", "y"])
    assert (found.names, found.missing, found.left_over) == ({}, tuple(MODEL), ("x", "y"))


def test_what_is_left_over_within_parts_of_the_model_is_told_from_other_heads():
    given = [f"model.{name}" for name in (*MODEL, "stem.2.weight", "scale")]
    found = match_names(MODEL, [*given, "loss.weight"])
    assert found.within(["stem", "head"]) == ("model.stem.2.weight", "model.scale")
