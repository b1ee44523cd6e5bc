"""Percentiles of arrays that are read in rows: those that numpy gives for the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldwise.errors import UsageError
from fieldwise.tile.files import AxisLayout, open_source, percentiles

TYPES = "bool int8 uint8 int16 uint16 int32 uint32 int64 float16 float32 float64 >u2 >f4".split()


def drawn(dtype: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "b":
        return draw.random(shape) > 0.3
    if kind.kind == "f":
        values = draw.normal(size=shape) * 10.0 ** draw.integers(-3, 4, shape)
        values.flat[::5] = 0
        values.flat[::7] *= -0.0
        return values.astype(dtype)
    info = np.iinfo(kind)
    low, high = (max(info.min, -90), 90) if seed % 2 else (info.min, info.max)
    return draw.integers(low, high, shape, dtype=kind.newbyteorder("="), endpoint=True).astype(
        dtype
    )


@settings(max_examples=60, deadline=None)
@given(
    dtype=st.sampled_from(TYPES), seed=st.integers(0, 99),
    shares=st.tuples(st.floats(0, 100), st.floats(0, 100)),
)  # fmt: skip
def test_they_are_those_of_the_whole_array_channel_by_channel(
    tmp_path_factory, dtype, seed, shares
):
    path = tmp_path_factory.mktemp("a") / "a.npy"
    values = drawn(dtype, (23, 3, 31), seed)
    np.save(path, values)
    found = percentiles(open_source(path), AxisLayout.of("HCW"), shares)
    wide = values.astype(np.float64 if values.dtype.kind != "i" else np.longdouble)
    wanted = np.percentile(wide, shares, axis=(0, 2)).T
    np.testing.assert_allclose(np.array(found, float), wanted.astype(float), rtol=1e-12)


def test_bands_change_nothing_and_what_is_no_number_counts_nowhere(tmp_path, monkeypatch):
    values = drawn("float32", (400, 50), 4)
    values[::3, ::4] = np.nan
    np.save(tmp_path / "a.npy", values)
    source, layout = open_source(tmp_path / "a.npy"), AxisLayout.of("HW")
    whole = percentiles(source, layout, (1, 99.8))
    monkeypatch.setattr("fieldwise.tile.files.order_statistics._AT_ONCE", 170)
    assert percentiles(source, layout, (1, 99.8)) == whole
    np.testing.assert_allclose(whole[0], np.nanpercentile(values.astype(float), (1, 99.8)))


def test_a_channel_without_numbers_is_told(tmp_path):
    np.save(tmp_path / "a.npy", np.full((2, 4, 4), np.nan, np.float32))
    with pytest.raises(UsageError, match=r"Channel 0 of .* holds no number"):
        percentiles(open_source(tmp_path / "a.npy"), AxisLayout.of("CHW"), (1, 99))
