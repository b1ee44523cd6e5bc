"""The plan: which op goes where, read off the graph, and the reasons of those that stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fieldwise.axes import AxisMap, Border
from fieldwise.capture.torch import capture
from fieldwise.folding.labels import BARE, channel_labels, per_channel, pulled, pushed
from fieldwise.folding.plan import Plan
from fieldwise.folding.planner import plan
from fieldwise.folding.refusal import Stays
from fieldwise.graph.ir import WHOLE, Along, reshape, separable

IMAGE = (1, 4, 6, 6)


class Net(nn.Module):
    def __init__(self, run: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


def planned(run: Callable[..., Any], shape: tuple[int, ...] = IMAGE, **parts: nn.Module) -> Plan:
    return plan(capture(Net(run, **parts).eval(), torch.empty(shape)))


def went(made: Plan) -> dict[str, tuple[str, str]]:
    return {fold.candidate.name: (fold.direction, fold.into) for fold in made.folds}


def reasons(made: Plan) -> dict[str, str]:
    return {candidate.name: why for candidate, why in made.stays}


def conv(before: int = 4, after: int = 4, kernel: int = 3, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, **options)


def bn(channels: int = 4) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels)


# -------------------------------------------------------------------- labels


def test_labels_follow_a_transposition():
    read = separable(0, Along(0), Along(2), Along(1))
    found = pulled(channel_labels(5, 1, 3), read, (2, 4, 5), (2, 5, 4))
    assert found.shape == (1, 1, 5)


def test_labels_follow_a_flattening_and_come_back():
    labels = channel_labels(3, 1, 3)
    flat = pushed(labels, reshape(0), (2, 3, 4), (2, 12))
    assert flat.tolist() == [[0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2]]
    assert np.array_equal(pulled(flat, reshape(0), (2, 3, 4), (2, 12)), labels)


def test_labels_of_a_wrapped_dimension_are_wrapped():
    read = separable(0, Along(0), Along(1, AxisMap.affine(1, -1), Border.WRAP))
    assert pulled(channel_labels(3, 1, 2), read, (2, 3), (2, 3)).tolist() == [[1, 2, 0]]


def test_what_a_slice_leaves_out_is_bare_if_others_read_it():
    read = separable(0, Along(0), Along(1, AxisMap.affine(1, 1)))
    found = pulled(channel_labels(2, 1, 2), read, (2, 4), (2, 2), shared=True)
    assert found.tolist() == [[BARE, 0, 1, BARE]]


def test_mixed_channels_have_no_labels():
    with pytest.raises(Stays, match="mixed"):
        pushed(channel_labels(3, 1, 2), separable(0, Along(0), WHOLE), (2, 3), (2, 1))


def test_labels_along_a_position_are_not_per_channel():
    with pytest.raises(Stays, match="varies along dimension 3 of 'conv', not along its channels"):
        per_channel(channel_labels(4, 3, 4), 1, 4, "conv")


# -------------------------------------------------------------------- directions


def test_a_chain_folds_into_its_conv_in_order():
    made = planned(lambda net, x: net.b(net.a(net.c(x))), c=conv(), a=bn(), b=bn())
    assert [fold.candidate.name for fold in made.folds] == ["a", "b"]
    assert set(went(made).values()) == {("backward", "c")}


def test_norms_before_an_unpadded_conv_fold_from_the_last_one_on():
    made = planned(lambda net, x: net.c(net.b(net.a(x))), c=conv(), a=bn(), b=bn())
    assert [fold.candidate.name for fold in made.folds] == ["b", "a"]


def test_a_norm_that_no_layer_takes_goes_into_the_next_norm():
    made = planned(lambda net, x: net.b(net.a(x)).relu(), a=bn(), b=bn())
    assert went(made) == {"b": ("backward", "a")}


def test_every_part_of_a_concat_takes_its_slice():
    made = planned(
        lambda net, x: net.n(torch.cat([net.a(x), net.b(x)], 1)), a=conv(4, 1), b=conv(4, 3), n=bn()
    )
    assert [taken.labels for taken in made.folds[0].absorptions] == [(0,), (1, 2, 3)]


def test_a_subtracted_skip_merges_with_the_other_sign():
    made = planned(
        lambda net, x: (net.c(y := x.sin()) - net.n(y)).relu(), c=conv(padding=1), n=bn()
    )
    (taken,) = made.folds[0].absorptions
    assert (made.folds[0].direction, taken.place, taken.sign) == ("merge", "beside", -1)


def test_a_skip_inside_a_normalised_sum_follows_the_scale_of_its_conv():
    made = planned(lambda net, x: net.n((y := x.sin()) + net.c(y)), c=conv(padding=1), n=bn())
    assert [taken.place for taken in made.folds[0].absorptions] == ["after", "beside"]


def test_sums_that_start_at_nothing_are_looked_through():
    made = planned(
        lambda net, x: (0 + net.n(y := x.sin()) + net.c(y)).relu(), c=conv(padding=1), n=bn()
    )
    assert went(made) == {"n": ("merge", "c")}


# -------------------------------------------------------------------- reasons


def test_a_reason_names_the_other_readers():
    made = planned(lambda net, x: net.n(y := net.c(x)).relu() + net.d(y), c=conv(), n=bn(),
                   d=conv(4, 4, 1))  # fmt: skip
    assert "'c' is also read by 'd'" in reasons(made)["n"]


def test_a_reason_names_the_part_of_a_concat():
    made = planned(
        lambda net, x: net.n(torch.cat([y := net.a(x), net.b(x)], 1)).relu()[:, :2] + y.relu(),
        a=conv(4, 2),
        b=conv(4, 2),
        n=bn(),
    )
    assert "it reads a concat of 2 values, of which 'a' is also read by 'relu" in reasons(made)["n"]


def test_a_reason_says_how_often_a_layer_runs():
    made = planned(lambda net, x: net.n(net.c(x)) + net.c(x.flip(2)), c=conv(), n=bn())
    assert "'c' runs 2 times, and only 1 of them can take it" in reasons(made)["n"]


def test_a_banned_fold_is_not_made_and_its_reason_is_told():
    graph = capture(nn.Sequential(conv(), bn()).eval(), torch.empty(IMAGE))
    made = plan(graph, {(1, "backward"): "the cat sits on it"})
    assert not made.folds
    assert "the cat sits on it" in made.stays[0][1]


def test_a_plan_prints_itself():
    made = planned(lambda net, x: net.n(net.c(x)), c=conv(), n=bn())
    assert str(made) == "n: backward into c"


def test_a_batch_norm_that_always_trains_stays_though_no_argument_says_so():
    made = planned(
        lambda net, x: torch.ops.aten._batch_norm_with_update(
            net.c(x), net.n.weight, net.n.bias, net.n.running_mean, net.n.running_var, 0.1, 1e-5
        )[0],
        c=conv(),
        n=bn(),
    )
    assert list(reasons(made).values()) == [
        "it normalises by the statistics of the batch, which are not constants"
    ]


def test_nothing_passes_a_dropout_whose_flag_is_none_which_torch_takes_for_active():
    made = planned(
        lambda net, x: net.n(torch.ops.aten.native_dropout(net.c(x), 0.5, None)[0]),
        c=conv(),
        n=bn(),
    )
    assert not made.folds
    assert "is a dropout that is active" in reasons(made)["n"]
