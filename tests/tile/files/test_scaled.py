"""What a model is given: cast, scaled and normalised, element by element."""

from __future__ import annotations

import numpy as np
import pytest

from fieldwise.errors import UsageError
from fieldwise.tile.files import AxisLayout, ModelView, Scaled, check_normalisation, open_source

VALUES = np.arange(3 * 6 * 5, dtype=np.uint8).reshape(6, 5, 3)


@pytest.mark.parametrize("numbers", [((0.1, 0.2, 0.3), (2.0, 4.0, 5.0)), ((0.25,), (0.5,))])
def test_a_part_of_the_input_is_that_part_of_the_normalised_whole(tmp_path, numbers):
    np.save(tmp_path / "a.npy", VALUES)
    view = ModelView(open_source(tmp_path / "a.npy"), AxisLayout.of("HWC"))
    found = Scaled(view, np.dtype("f4"), 1 / 255, *numbers)
    mean, std = (np.array(one, np.float32).reshape(1, -1, 1, 1) for one in numbers)
    whole = VALUES.transpose(2, 0, 1)[None].astype("f4") * np.float32(1 / 255)
    whole = (whole - mean) / std
    np.testing.assert_array_equal(found[:], whole)
    index = (slice(0, 1), slice(1, 3), slice(2, 6))
    np.testing.assert_array_equal(found[index], whole[index])
    assert found[index].dtype == np.float32


@pytest.mark.parametrize(
    ("mean", "std", "said"),
    [
        (
            (1, 2),
            (1, 2, 3),
            "--mean has 2 numbers, and the input 3 channels; give one for each, or",
        ),
        ((1,), (1, 2), "--std has 2 numbers, and the input 3 channels"),
        ((1,), (0,), "--std holds a zero"),
    ],
)
def test_there_is_a_number_for_every_channel_or_one_for_all(mean, std, said):
    with pytest.raises(UsageError) as caught:
        check_normalisation(mean, std, (1, 3, 8, 8))
    assert said in str(caught.value)
