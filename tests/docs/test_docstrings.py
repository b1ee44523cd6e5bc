"""Docstrings become sections of the reference."""

from __future__ import annotations

from tests.docs.docstrings import sections

WRITTEN = """The field of a network.

model, example: as for ``field``
axes:  the dimensions to report; by default all
       from 2 on

It is exact.  Note: this is no parameter.

Raises CaptureError where it cannot be recorded, UsageError for an unknown
name.

>>> 1 + 1
2
"""
MADE = """The field of a network.

It is exact.  Note: this is no parameter.

Args:
    model: as for `field`
    example: as for `field`
    axes: the dimensions to report; by default all from 2 on

Raises:
    CaptureError: where it cannot be recorded
    UsageError: for an unknown name.

Examples:
    >>> 1 + 1
    2"""


def test_parameters_errors_and_examples_become_sections():
    assert sections(WRITTEN, {"model", "example", "axes"}, "Args") == MADE


def test_a_paragraph_that_names_no_parameter_stays():
    text = "A note: it is exact.\n\nclosed: not a parameter here"
    assert sections(text, {"model"}, "Args") == text


def test_examples_with_empty_lines_stay_together():
    made = sections(
        "It.\n\n>>> for i in (1, 2):\n...     print(i)\n1\n2\n\n>>> 3\n3", set(), "Args"
    )
    assert made.count("Examples:") == 1
    assert made.endswith("    2\n\n    >>> 3\n    3")
