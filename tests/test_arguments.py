"""``example``, ``axes`` and ``layers`` mean the same in every verb."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from fieldwise.capture.torch import as_example, as_inputs, capture
from fieldwise.errors import UsageError
from fieldwise.field import connections, receptive_fields
from fieldwise.field.probes import GradientProbe, nan_field
from fieldwise.folding import fold
from fieldwise.graph.spatial import chosen_axes
from fieldwise.shift import antialias, certify, circular, lie_derivative, measure, polyphase
from fieldwise.testing import check_field, check_fold, check_shift, check_streamed, check_tiled
from fieldwise.tile import plan_tiles, streamed, suggest_tile, tiled

SHAPE = (1, 2, 16, 16)


class Sum(nn.Module):
    """Two inputs, by the names that their dict has."""

    def __init__(self):
        super().__init__()
        self.left = nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular")
        self.right = nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular")

    def forward(self, left, right):
        return (self.left(left) + self.right(right)).relu()


def one() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.BatchNorm2d(3), nn.MaxPool2d(2)).eval()


def two() -> nn.Module:
    return Sum().eval()


ONE = {
    "a tensor": torch.ones(SHAPE),
    "a tuple of one tensor": (torch.ones(SHAPE),),
    "a shape": SHAPE,
    "a list": list(SHAPE),
    "a torch.Size": torch.Size(SHAPE),
    "sizes of NumPy": tuple(np.array(SHAPE)),
    "a tuple of one shape": (SHAPE,),
}
TWO = {
    "tensors": (torch.ones(SHAPE), torch.ones(SHAPE)),
    "named tensors": {"left": torch.ones(SHAPE), "right": torch.ones(SHAPE)},
    "shapes": (SHAPE, SHAPE),
    "shapes as lists": (list(SHAPE), list(SHAPE)),
    "named shapes": {"left": SHAPE, "right": SHAPE},
}
VERBS = {
    "receptive_fields": lambda net, x: receptive_fields(net, x).rows[-1].axes,
    "connections": lambda net, x: connections(net, x).field,
    "capture": lambda net, x: [node.op for node in capture(net, x).nodes],
    "gradient probe": lambda net, x: GradientProbe(net, x).field(None, (3, 3)).mask.tolist(),
    "fold": lambda net, x: fold(net, x, verify=False).report.folded,
    "certify": lambda net, x: certify(net, x).outputs,
    "measure": lambda net, x: measure(net, x, shift=2).verdict,
    "lie_derivative": lambda net, x: [found.axis for found in lie_derivative(net, x)],
    "circular": lambda net, x: circular(net, x).changes,
    "antialias": lambda net, x: antialias(net, x).changes,
    "polyphase": lambda net, x: polyphase(net, x).changes,
    "plan_tiles": lambda net, x: str(plan_tiles(net, x, tile=8)),
    "suggest_tile": lambda net, x: suggest_tile(net, x, memory=1 << 20),
}


def run_in_pieces(made, net, example) -> None:
    inputs = [torch.randn(1, 2, 24, 16) for _ in range(len(tuple(net.parameters())) // 2)]
    inputs = inputs[: 2 if isinstance(net, Sum) else 1]
    with torch.no_grad():
        wanted = net(*inputs)
    if isinstance(example, dict):
        assert torch.allclose(made(**dict(zip(example, inputs, strict=True))), wanted, atol=1e-5)
    else:
        assert torch.allclose(made(*inputs), wanted, atol=1e-5)


@pytest.mark.parametrize("verb", VERBS)
def test_every_form_of_one_input_gives_the_same_answer(verb):
    net, ask = one(), VERBS[verb]
    wanted = ask(net, ONE["a tensor"])
    assert [name for name, example in ONE.items() if ask(net, example) != wanted] == []


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "gradient probe"])
def test_every_form_of_two_inputs_gives_the_same_answer(verb):
    net, ask = two(), VERBS[verb]
    wanted = ask(net, TWO["tensors"])
    assert [name for name, example in TWO.items() if ask(net, example) != wanted] == []


@pytest.mark.parametrize("form", ONE)
def test_streamed_and_tiled_take_every_form_of_one_input(form):
    net = one()
    run_in_pieces(streamed(net, ONE[form], band=4), net, ONE[form])
    run_in_pieces(tiled(net, ONE[form], tile=8), net, ONE[form])


@pytest.mark.parametrize("form", TWO)
def test_streamed_and_tiled_take_every_form_of_two_inputs(form):
    net = two()
    run_in_pieces(streamed(net, TWO[form], band=4, axis=3), net, TWO[form])


@pytest.mark.parametrize(
    "example", [(1, 1, 9), ((1, 1, 9),), torch.randn(1, 1, 9)], ids=["shape", "shapes", "tensor"]
)
def test_checks_take_shapes_for_which_they_draw_numbers(example):
    net = nn.Sequential(nn.Conv1d(1, 2, 3, padding=1), nn.BatchNorm1d(2)).eval()
    assert check_field(net, example).verdict == "exact"
    assert check_fold(net, example).verdict == "exact"
    assert check_streamed(net, example, axis=-1).verdict == "exact"
    assert check_tiled(net, example).verdict == "exact"
    assert check_shift(net, example).compared


def test_the_nan_probe_takes_a_shape():
    net = nn.Conv2d(1, 1, 3)
    assert nan_field(net, (1, 1, 6, 6), None, (1, 1)).mask.sum() == 9


def test_beside_tensors_integers_are_inputs_and_no_shape():
    given = (torch.ones(1, 3), (4, 4))
    assert as_example(given) is given


def test_truth_values_are_no_sizes():
    assert as_example((True, False)) == (True, False)


def test_a_shape_stands_for_a_tensor_of_the_precision_of_the_model():
    (made,) = as_example(((1, 3),), nn.Linear(3, 1).double())
    assert (made.dtype, made.is_meta) == (torch.float64, True)
    drawn = as_inputs((1, 3), nn.Linear(3, 1).double())
    assert (drawn.dtype, drawn.is_meta) == (torch.float64, False)


def test_a_negative_size_is_refused():
    with pytest.raises(UsageError, match=r"sizes of a shape are 0 or more, and one of \(1, -3\)"):
        receptive_fields(nn.ReLU(), (1, -3))


# ------------------------------------------------------------------------------- axes

AXES = {
    "receptive_fields": lambda axes: [
        axis.axis for axis in receptive_fields(one(), SHAPE, axes=axes).rows[-1].axes
    ],
    "certify": lambda axes: [
        axis.axis for axis in certify(one(), SHAPE, axes=axes).outputs[0].axes
    ],
    "measure": lambda axes: [found.axis for found in measure(one(), SHAPE, axes=axes).outputs],
    "lie_derivative": lambda axes: [
        found.axis for found in lie_derivative(two(), TWO["shapes"], axes=axes)
    ],
    "circular": lambda axes: [
        found.axis for found in circular(one(), SHAPE, axes=axes).measurement.outputs
    ],
    "plan_tiles": lambda axes: [
        axis.axis for axis in plan_tiles(one(), SHAPE, tile=8, axes=axes).axes
    ],
    "tiled": lambda axes: [
        axis.axis for axis in tiled(one(), SHAPE, tile=8, axes=axes).plan(SHAPE).axes
    ],
}


@pytest.mark.parametrize("verb", AXES)
def test_axes_are_one_or_several_from_either_end(verb):
    ask = AXES[verb]
    for axes in (3, -1, (3,), [-1], (3, -1), np.int64(3)):
        assert ask(axes) == [3], axes
    for axes in ((2, 3), (-2, -1), range(2, 4), (2, -1)):
        assert ask(axes) == [2, 3], axes


@pytest.mark.parametrize("verb", AXES)
@pytest.mark.parametrize("axes", [4, -5, (2, 9)])
def test_an_axis_that_the_input_lacks_is_refused_alike(verb, axes):
    with pytest.raises(UsageError, match=r"axes 0 to 3; axis -?\d is none of them"):
        AXES[verb](axes)


@pytest.mark.parametrize("axes", ["H", 1.5, ("H",), None])
def test_an_axis_that_is_no_integer_is_refused(axes):
    with pytest.raises(UsageError, match=r"An axis is named by an integer; .* is none"):
        chosen_axes(axes, 4)


# ------------------------------------------------------------------------------- layers


def test_a_single_glob_may_be_given_as_it_is():
    net = one()
    report, found = receptive_fields(net, SHAPE), certify(net, SHAPE)
    assert report.select("[01]") == report.select(["[01]"])
    assert found.select("0") == found.select(["0"])
    assert measure(net, SHAPE, layers="0").layers == measure(net, SHAPE, layers=["0"]).layers


# ------------------------------------------------------------------------------- what is given


def told(verb: str, model, example) -> str:
    with pytest.raises(UsageError) as caught:
        VERBS[verb](model, example)
    return str(caught.value)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("model", "remedy"),
    [
        (Sum, "the class 'Sum'; make one of it: Sum(...)."),
        (one().state_dict(), "a 'OrderedDict' of weights; build the model and load them"),
        (torch.relu, "; put what it computes into the forward of one."),
        (None, "a 'NoneType'; put what it computes into the forward of one."),
    ],
)
def test_what_is_no_model_is_told_what_it_is_and_the_remedy(verb, model, remedy):
    said = told(verb, model, SHAPE)
    assert said.startswith("A model is a torch.nn.Module, and this is ")
    assert remedy in said


@pytest.mark.parametrize("verb", VERBS)
def test_an_array_is_no_example_and_the_remedy_is_said(verb):
    for example in (np.zeros(SHAPE), (np.zeros(SHAPE),)):
        assert told(verb, one(), example) == (
            "An example is of tensors or shapes, and this is of type 'ndarray'; give "
            "torch.from_numpy(...) of it, or its shape."
        )
