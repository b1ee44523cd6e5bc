"""The running mean: as numpy's, however it is put together, and what is not of the same run."""

from __future__ import annotations

import numpy as np
import pytest

from fieldwise.effective.mean import MapMean
from fieldwise.errors import UsageError


def test_it_is_the_mean_and_the_standard_error_in_any_grouping():
    """One by one, and in two parts of unequal length."""
    maps = np.random.default_rng(0).normal(5, 2, (9, 3, 4))
    ones = [MapMean.one(values) for values in maps]
    left, right = sum(ones[:2], MapMean.none((3, 4))), sum(ones[2:], MapMean.none((3, 4)))
    for found in (sum(ones, MapMean.none((3, 4))), left + right, right + left):
        assert found.count == 9
        np.testing.assert_allclose(found.mean, maps.mean(0), rtol=1e-13)
        error = maps.std(0, ddof=1) / 3
        np.testing.assert_allclose(found.standard_error, error, rtol=1e-12)


def test_a_map_that_is_not_finite_is_counted_apart():
    """It has no part in the mean."""
    found = MapMean.one(np.ones(2)) + MapMean.one(np.array([np.nan, 0]))
    assert (found.count, found.skipped, found.done) == (1, 1, 2)
    np.testing.assert_array_equal(found.mean, [1, 1])
    assert np.isnan(found.standard_error).all()


def test_a_saved_mean_is_taken_up_by_the_same_run_alone(tmp_path):
    """Another run is told by what differs; another file is no mean at all."""
    path = tmp_path / "erf.npz"
    kept = MapMean.one(np.arange(4.0)) + MapMean.one(np.zeros(4))
    kept.save(path, {"layer": "a", "unit": (1, 2)})
    again = MapMean.load(path, {"layer": "a", "unit": [1, 2]})
    np.testing.assert_array_equal(again.mean, kept.mean)
    np.testing.assert_array_equal(again.spread, kept.spread)
    assert again.done == 2
    with pytest.raises(UsageError, match="its layer was 'a', and now is 'b'"):
        MapMean.load(path, {"layer": "b", "unit": [1, 2]})
    for content in (b"", b"PK\x03\x04 no archive", b"no archive"):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="holds no effective field"):
            MapMean.load(path, {"layer": "a"})
    np.savez(path, mean=np.zeros(4))
    with pytest.raises(UsageError, match="holds no effective field"):
        MapMean.load(path, {"layer": "a"})
