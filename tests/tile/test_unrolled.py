"""Rows that a loop takes one by one, in bands and in crops: as the whole, or refused."""

from __future__ import annotations

import pytest
import torch

from fieldwise.errors import FieldwiseError
from fieldwise.tile import streamed, tiled
from tests.unrolled import LOOPS, example, made


@pytest.mark.parametrize("kind", LOOPS)
def test_a_loop_is_streamed_as_the_whole(kind):
    model, x = made(kind), example()
    torch.testing.assert_close(streamed(model, x, axis=1, band=2)(x), model(x))


@pytest.mark.parametrize("kind", LOOPS)
def test_a_loop_in_crops_is_the_whole_or_refused(kind):
    model, x = made(kind), example()
    try:
        found = tiled(model, x, axes=(1,), tile=4)(x)
    except FieldwiseError as refused:
        assert "stream" in str(refused) or "whole" in str(refused)
    else:
        torch.testing.assert_close(found, model(x))
