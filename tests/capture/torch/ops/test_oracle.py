"""The oracle notices what it is there to notice."""

from __future__ import annotations

import pytest
import torch

from tests.capture.torch.ops.oracle import agree


def test_a_read_that_the_graph_lacks_fails():
    def looks_aside_when_watched(x: torch.Tensor) -> torch.Tensor:
        return x if x.is_meta else x + x.flip(0)

    with pytest.raises(AssertionError, match="output misses input: 0<-2, 2<-0"):
        agree(looks_aside_when_watched, (3,))


def test_a_read_that_the_graph_has_too_many_fails():
    with pytest.raises(AssertionError, match="output wrongly reads input"):
        agree(lambda x: x.sort().values, (3,), inputs="smooth")


def test_a_mark_where_none_is_expected_fails_and_the_other_way_round():
    with pytest.raises(AssertionError):
        agree(lambda x: x * 2, (3,), exact=False)
    with pytest.raises(AssertionError, match="take with indices that depend on the data"):
        agree(lambda x: x.take(x.argsort()[:1]), (1,))
