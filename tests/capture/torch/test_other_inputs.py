"""Examples of another type, with channels last, or without a batch: taken, or the remedy named."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fieldwise.errors import CaptureError, UsageError
from fieldwise.field import receptive_fields
from fieldwise.folding import fold
from fieldwise.shift import certify
from fieldwise.views.tables import shown


@pytest.fixture
def net():
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.ReLU()).eval()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.uint8])
def test_where_structure_counts_the_type_of_the_example_does_not(net, dtype):
    x = torch.zeros(1, 3, 17, 17, dtype=dtype)
    wanted = receptive_fields(net, (1, 3, 17, 17))
    assert receptive_fields(net, x)["output"].row == wanted["output"].row
    assert receptive_fields(net, x)["output"].at(2, 3) == wanted["output"].at(2, 3)
    assert str(certify(net, x)) == str(certify(net, (1, 3, 17, 17)))


SHAPES = [
    (
        (1, 16, 24, 3),
        "The model runs on 1x3x16x24, with the channels first: give that shape (--input "
        "1x3x16x24), or of a tensor x give x.permute(0, 3, 1, 2).",
    ),
    (
        (3, 16, 24),
        "The model runs on 1x3x16x24, with a batch before it: give that shape (--input "
        "1x3x16x24), or of a tensor x give x.unsqueeze(0).",
    ),
    (
        (16, 24, 3),
        "The model runs on 1x3x16x24, with a batch and the channels first: give that shape "
        "(--input 1x3x16x24), or of a tensor x give x.permute(2, 0, 1).unsqueeze(0).",
    ),
]


@pytest.mark.parametrize(("shape", "said"), SHAPES)
@pytest.mark.parametrize("verb", [receptive_fields, fold, certify])
def test_channels_last_and_a_missing_batch_are_recognised_and_the_remedy_works(
    net, verb, shape, said
):
    x = torch.zeros(shape)
    with pytest.raises(CaptureError) as caught:
        verb(net, x)
    assert str(caught.value).endswith(said)
    remedy = str(caught.value).rpartition("give ")[2].rstrip(".")
    assert verb(net, eval(remedy, {"x": x})) is not None


@pytest.mark.parametrize("verb", [receptive_fields, fold, certify])
def test_another_number_of_channels_is_named_where_one_alone_goes(net, verb):
    with pytest.raises(CaptureError) as caught:
        verb(net, torch.zeros(1, 5, 16, 16))
    assert str(caught.value).endswith(
        " The model runs on 1x3x16x16, with 3 channels instead of 5: give that shape (--input "
        "1x3x16x16)."
    )
    assert verb(net, torch.zeros(1, 3, 16, 16)) is not None


def test_an_input_on_which_the_model_runs_in_no_such_form_is_told_as_ever():
    net = nn.Sequential(nn.Conv2d(30, 4, 3), nn.BatchNorm2d(4)).eval()
    with pytest.raises(CaptureError) as caught:
        receptive_fields(net, (1, 5, 16, 16))
    assert "The model runs on" not in str(caught.value)


def test_a_function_that_makes_a_model_is_none():
    def make():
        return nn.ReLU()

    said = (
        "A model is a torch.nn.Module, and this is the function 'make'; give what it makes, "
        "make(...), or put what it computes into a forward."
    )
    for verb in (receptive_fields, fold, certify):
        with pytest.raises(UsageError) as caught:
            verb(make, (1, 1, 8, 8))
        assert str(caught.value) == said


def test_a_shape_stands_for_the_tokens_that_a_model_takes():
    net = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 4)).eval()
    row = receptive_fields(net, (1, 20))["output"].row
    assert (row.shape, row.extent, row.stride) == ((1, 20, 4), (1,), (1,))
    assert row == receptive_fields(net, torch.zeros(1, 20, dtype=torch.int64))["output"].row


def test_a_model_that_returns_its_input_has_a_row_for_it():
    report = receptive_fields(nn.Identity(), (1, 3, 8, 8))
    assert [row.name for row in shown(report)] == ["input"]
    assert "input  input  1x3x8x8       1       1      0  also output" in str(report)
    assert [row.name for row in shown(receptive_fields(nn.ReLU(), (1, 3, 8, 8)))] == ["relu"]


def test_inputs_of_another_number_are_told_how_to_be_given(net):
    with pytest.raises(CaptureError, match=r"give what it takes, in this order or by name\.$"):
        receptive_fields(net, ((1, 3, 8, 8), (1, 3, 8, 8)))
