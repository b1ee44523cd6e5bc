"""Every node test of onnx: its values, or a reason on the list."""

from __future__ import annotations

import pytest

from fieldwise.errors import UsageError
from tests.capture.onnx.node_cases import (
    as_torch,
    differs,
    given,
    loaded,
    node_cases,
    reasons,
    run,
)

PARTS = 8


def problem(case, rtol=None, atol=None) -> str | None:
    """What is wrong with the values of a case; None where nothing is."""
    module = loaded(case.model)
    for inputs, expected in case.data_sets:
        found = run(module, given(case, inputs))
        wanted = [as_torch(one) for one in expected]
        why = differs(list(found), wanted, rtol or case.rtol, atol or case.atol)
        if why:
            return why
    return None


@pytest.mark.parametrize("part", range(PARTS))
def test_a_node_gives_what_onnx_says(part):
    listed = {**reasons("refused"), **reasons("rounded"), **reasons("other")}
    checked = [case for case in node_cases()[part::PARTS] if case.name not in listed]
    wrong = {case.name: why for case in checked if (why := problem(case))}
    assert not wrong
    assert len(checked) > 200


def test_a_node_that_is_refused_says_why_in_one_sentence():
    refused = reasons("refused")
    cases = [case for case in node_cases() if case.name in refused]
    assert {case.name for case in cases} == set(refused)
    for case in cases:
        with pytest.raises(UsageError) as caught:
            problem(case)
        assert refused[case.name] in str(caught.value), case.name
        assert str(caught.value).count(". ") == 0


def test_what_is_rounded_elsewhere_is_right_to_two_units_of_its_precision():
    rounded = reasons("rounded")
    cases = [case for case in node_cases() if case.name in rounded]
    assert {case.name for case in cases} == set(rounded)
    for case in cases:
        assert problem(case), case.name
        assert problem(case, rtol=2**-9, atol=2**-18) is None, case.name


def test_what_means_something_else_here_is_still_so():
    other = reasons("other")
    cases = [case for case in node_cases() if case.name in other]
    assert {case.name for case in cases} == set(other)
    for case in cases:
        assert problem(case), case.name
