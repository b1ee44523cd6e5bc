"""The oracle notices what it is there to notice."""

from __future__ import annotations

import pytest
import torch

from tests.capture.torch.ops.oracle import agree


def test_a_read_that_the_graph_lacks_fails():
    runs = []

    def reads_more_from_the_second_run_on(x: torch.Tensor) -> torch.Tensor:
        runs.append(x)
        return x if len(runs) == 1 else x + x.flip(0)

    with pytest.raises(AssertionError, match="output misses input: 0<-2, 2<-0"):
        agree(reads_more_from_the_second_run_on, (3,))


def test_a_read_that_the_graph_has_too_many_fails():
    with pytest.raises(AssertionError, match="output wrongly reads input"):
        agree(lambda x: x.sort().values, (3,), inputs="smooth")


def test_a_mark_where_none_is_expected_fails_and_the_other_way_round():
    with pytest.raises(AssertionError):
        agree(lambda x: x * 2, (3,), exact=False)
    with pytest.raises(AssertionError, match="take with indices that depend on the data"):
        agree(lambda x: x.take(x.argsort()[:1]), (1,))
