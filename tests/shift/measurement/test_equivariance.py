"""The measurement against ops whose verdicts are known, and against what fools others."""

from __future__ import annotations

from fractions import Fraction

import pytest
import timm
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models import resnet18

from fieldwise.errors import UsageError
from fieldwise.shift.generic import generic
from fieldwise.shift.measurement.equivariance import measure
from fieldwise.shift.measurement.motion import Motion
from fieldwise.shift.measurement.translations import translated
from tests.shift.proof.singles import SINGLES, Single

WHOLE = {name: case for name, case in SINGLES.items() if case.parts is None}
HOLDING = {name: case for name, case in WHOLE.items() if case.period}
BROKEN = {name: case for name, case in WHOLE.items() if not case.period}


def motion_of(case: Single) -> Motion:
    if case.result_axis is None or not case.step:
        return Motion(None)
    assert case.period
    return Motion(case.result_axis, Fraction(case.step, case.period))


@pytest.mark.parametrize("name", HOLDING)
def test_an_op_that_holds_holds_at_its_period_and_not_below(name):
    case = HOLDING[name]
    motions = {"output": motion_of(case)}
    size = case.shape[case.axis]
    for shift in {1, case.period, 2 * case.period} - {size}:
        found = measure(case.make(), case.shape, shift=shift, axis=case.axis, motions=motions)
        assert found.verdict == ("broken" if shift % case.period else "holds"), shift


@pytest.mark.parametrize("name", BROKEN)
def test_an_op_that_breaks_equivariance_is_broken_at_every_shift(name):
    case = BROKEN[name]
    for shift in (1, 2, 4, 8):
        assert measure(case.make(), case.shape, shift=shift, axis=case.axis).verdict == "broken"


@pytest.mark.parametrize("name", ["transpose", "flip", "nearest x2", "softmax over the axis"])
def test_how_a_value_moves_is_found_without_being_told(name):
    case = SINGLES[name]
    found = measure(case.make(), case.shape, shift=case.period, axis=case.axis)
    assert found.verdict == "holds"
    assert found["output"].motion == motion_of(case)


# ---------------------------------------------------------------------- no evidence


def test_a_full_turn_shows_nothing():
    assert measure(nn.Conv1d(1, 1, 3, padding=1), (1, 1, 16), shift=16).verdict == "no evidence"


def test_a_dead_map_shows_nothing():
    class Dead(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * 0.0

    assert measure(Dead(), (1, 1, 16)).verdict == "no evidence"


def test_a_map_of_one_unit_that_only_echoes_a_constant_shows_nothing():
    class Echo(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3)) * 1e-20 + 1.0

    assert measure(Echo(), (1, 1, 8, 8)).verdict == "no evidence"


def test_values_that_are_not_finite_show_nothing():
    class Log(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.log()

    assert measure(Log(), (1, 1, 16), shift=1).verdict == "no evidence"


def test_values_that_move_in_no_known_way_show_nothing():
    class Windows(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.unflatten(-1, (4, 4))

    assert measure(Windows(), (1, 1, 16), shift=4).verdict == "no evidence"


# ---------------------------------------------------------------------- what hides a break


def test_a_residual_branch_that_starts_at_zero_does_not_hide_its_padding():
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2)
            nn.init.zeros_(self.norm.weight)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.norm(self.conv(x))

    assert measure(Block(), (1, 2, 8, 8), randomise=False).verdict == "holds"
    assert measure(Block(), (1, 2, 8, 8)).verdict == "broken"


def test_layer_scale_hides_the_padding_of_convnext_from_its_own_weights_only():
    torch.manual_seed(0)
    net = timm.create_model("convnext_atto", pretrained=False, ls_init_value=1e-6).eval()
    own = measure(net, (1, 3, 64, 64), axis=3, layers=["stages.0"], randomise=False)
    decided = measure(net, (1, 3, 64, 64), axis=3, layers=["stages.0"])
    assert own["stages.0"].error < 1e-4
    assert decided["stages.0"].error > 1e-1
    assert decided["stages.0"].verdict == "broken"


def test_a_large_constant_does_not_hide_an_error():
    class Raised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x) * 1e-3 + 1e3

    moved = measure(Raised(), (1, 1, 16, 16)).outputs[0]
    assert moved.error > 0.1


# ---------------------------------------------------------------------- arguments


def test_layers_are_named_as_in_the_report_and_moved_by_their_strides():
    found = measure(resnet18(), (1, 3, 64, 64), axis=3, layers=["layer[12]", "layer1.0.relu"])
    assert {moved.name for moved in found.layers} == {
        "layer1", "layer2", "layer1.0.relu#1", "layer1.0.relu#2",
    }  # fmt: skip
    assert found["layer2"].motion == Motion(3, Fraction(1, 8))
    assert [moved.name for moved in found.outputs] == ["output"]
    assert found["output"].shift == 32


def test_shifts_can_differ_per_axis():
    found = measure(nn.Conv2d(1, 1, 3), (1, 1, 8, 8), shift={2: 3, 3: 5})
    assert [moved.shift for moved in found.outputs] == [3, 5]


def test_a_fraction_of_a_sample_moves_a_band_limited_op_exactly_and_relu_not():
    conv = nn.Conv1d(1, 2, 3, padding=1, padding_mode="circular")
    assert measure(conv, (1, 1, 16), shift=0.5).verdict == "holds"
    assert measure(nn.Sequential(conv, nn.ReLU()), (1, 1, 16), shift=0.5).verdict == "broken"
    assert measure(nn.Sequential(conv, nn.ReLU()), (1, 1, 16), shift=1.0).verdict == "holds"


def test_the_model_is_left_as_it_was():
    net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2)).train()
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    measure(net, (1, 1, 16))
    assert net.training
    assert net[0].weight.dtype == torch.float32
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())


def test_an_unknown_module_is_refused_with_what_to_name():
    with pytest.raises(UsageError, match=r"No module is called 'head'.*use a module's path"):
        measure(nn.Sequential(nn.ReLU()), (1, 1, 8), layers=["head"])


def test_an_unknown_axis_is_refused():
    with pytest.raises(UsageError, match="axes 0 to 2; axis 3 is none of them"):
        measure(nn.ReLU(), (1, 1, 8), axis=3)


def test_a_model_that_insists_on_float32_is_refused():
    class Single32(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.linear(x, torch.ones(8, 8, dtype=torch.float32))

    with pytest.raises(UsageError, match=r"failed in float64.*runs in that precision"):
        measure(Single32(), (1, 1, 8))


# ---------------------------------------------------------------------- its parts


@given(st.integers(-20, 20), st.integers(1, 9))
def test_whole_translations_are_indexed_modulo_the_size(amount, size):
    value = torch.arange(float(size))
    moved = translated(value, amount, 0)
    assert all(moved[(i + amount) % size] == value[i] for i in range(size))


@given(st.floats(-3, 3), st.floats(-3, 3), st.integers(1, 4))
def test_translations_of_odd_axes_add_up(one, two, half):
    value = torch.randn(2 * half + 1, dtype=torch.float64)
    both = translated(translated(value, one, 0), two, 0)
    assert torch.allclose(both, translated(value, one + two, 0), atol=1e-9)


def test_every_parameter_and_statistic_is_drawn_and_other_buffers_are_kept():
    net = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.LayerNorm(4))
    net.register_parameter("scale", nn.Parameter(torch.full((3, 1, 1), 1e-6)))
    net.register_buffer("mask", torch.tensor([0.0, -100.0]))
    drawn = generic(net)
    for (name, before), after in zip(
        net.state_dict().items(), drawn.state_dict().values(), strict=True
    ):
        same = torch.equal(before.to(after.dtype), after)
        assert same == (name in ("mask", "1.num_batches_tracked")), name
    assert (drawn.scale > 0.1).all()
    assert (drawn[1].running_var > 0.1).all()


# -------------------------------------------------------------------- what there is to measure


class Ends(nn.Module):
    """A convolution, zero-padded or periodic, and what a network may end in."""

    def __init__(self, end, mode: str) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 4, 3, padding=1, padding_mode=mode)
        self.end = end

    def forward(self, x: Tensor) -> object:
        return self.end(self.conv(x))


@pytest.mark.parametrize(
    "end",
    [
        lambda y: y.argmax(1),
        lambda y: y > 0,
        lambda y: (y * 100).round().long(),
        lambda y: torch.complex(y, y.flip(1)),
        lambda y: (y.mean(), y.argmax(1)),
    ],
    ids=["argmax", "comparison", "integers", "complex", "one of two"],
)
def test_integers_truth_values_and_complex_numbers_are_measured_too(end):
    assert measure(Ends(end, "circular"), (1, 1, 32)).verdict == "holds"
    assert measure(Ends(end, "zeros"), (1, 1, 32)).verdict == "broken"


@pytest.mark.parametrize(
    "end", [lambda y: y[:, :0], lambda y: y * torch.nan, lambda y: (y > 1e9).long()],
    ids=["empty", "no number", "constant"],
)  # fmt: skip
def test_where_nothing_can_be_measured_there_is_no_evidence(end):
    assert measure(Ends(end, "zeros"), (1, 1, 32)).verdict == "no evidence"


# ---------------------------------------------------------------------- several axes in one


class Tokens(nn.Module):
    """A padded convolution, whose map is written into one dimension."""

    def __init__(self, padding_mode: str, flat) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1, padding_mode=padding_mode)
        self.flat = flat

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.flat(self.conv(x))


def with_class(x: Tensor) -> Tensor:
    tokens = x.flatten(2).transpose(1, 2)
    return torch.cat([tokens.mean(1, keepdim=True), tokens], 1)


IN_ONE = {
    "a line per channel": (lambda y: y.flatten(2), 2, (1, 8)),
    "tokens": (lambda y: y.flatten(2).transpose(1, 2), 1, (1, 8)),
    "columns first": (lambda y: y.transpose(2, 3).flatten(2), 2, (12, 1)),
    "one line": (lambda y: y.flatten(1), 1, (2, 16)),
    "rows that run back": (lambda y: y.flip(3).flatten(2), 2, (1, 8)),
}


@pytest.mark.parametrize("name", IN_ONE)
def test_rows_in_a_flattened_map_are_seen_to_move(name):
    """Along H whole rows move, along W positions within each row."""
    flat, dim, (planes, rows) = IN_ONE[name]
    down, across = measure(Tokens("circular", flat), (1, 1, 8, 12)).outputs
    assert (down.verdict, across.verdict) == ("holds", "holds")
    assert (down.motion.dim, across.motion.dim) == (dim, dim)
    assert (down.motion.outer, across.motion.outer) == (planes, rows)
    assert [one.verdict for one in measure(Tokens("zeros", flat), (1, 1, 8, 12)).outputs] == [
        "broken", "broken",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("flat", "where"),
    [(with_class, "1 to 96 of dimension 1"), (lambda y: y.mT @ y, "0 to 11 of dimension 2 and")],
)
def test_a_roll_that_no_motion_expresses_is_not_called_broken(flat, where):
    """A class token stays beside what moves; a matrix of all pairs moves along both dimensions."""
    found = measure(Tokens("circular", flat), (1, 1, 8, 12), axis=3)["output"]
    assert (found.verdict, where in found.note) == ("no evidence", True), found
    found = measure(Tokens("zeros", flat), (1, 1, 8, 12), axis=3)["output"]
    assert (found.verdict, found.note) == ("broken", "")
