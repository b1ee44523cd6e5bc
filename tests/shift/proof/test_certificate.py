"""Certificates: which values they are of, what they name, and how they are asked for."""

from __future__ import annotations

import json

import pytest
import torch
from torch import nn

from fieldwise.capture.torch import capture
from fieldwise.errors import UsageError
from fieldwise.shift import certify


def conv(**options) -> nn.Conv2d:
    return nn.Conv2d(2, 2, 3, padding=1, **options)


class Heads(nn.Module):
    """Two zero-padded branches that are joined, a circular one, and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = conv(), conv()
        self.after = conv()
        self.ring = conv(padding_mode="circular", stride=(1, 2))

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"joined": self.after(self.left(x) + self.right(x)), "ring": self.ring(x)}


class Rolled(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.roll(1, 2)


def test_every_output_has_its_own_periods_and_axes():
    joined, ring = certify(Heads(), (1, 2, 8, 12)).outputs
    assert (joined.name, ring.name) == ("joined", "ring")
    assert [axis.circular.period for axis in ring.axes] == [1, 2]
    assert not any(axis.circular.holds for axis in joined.axes)


def test_independent_first_breakers_are_all_named_and_nothing_downstream():
    found = certify(Heads(), (1, 2, 8, 12))["after"].along(3)
    assert [(b.module, b.why) for b in found.broken_by] == [
        ("left", "zero padding"),
        ("right", "zero padding"),
    ]
    assert (
        found.broken_by[0].remedy
        == "pad circularly: fieldwise.shift.circular, or --repair circular"
    )


def test_longitude_may_be_periodic_where_latitude_is_not():
    model = nn.Sequential(
        nn.CircularPad2d((1, 1, 0, 0)), nn.ZeroPad2d((0, 0, 1, 1)), nn.Conv2d(2, 2, 3)
    )
    latitude, longitude = certify(model, (1, 2, 8, 12)).outputs[0].axes
    assert (latitude.circular.holds, latitude.interior.range) == (False, (1, 7))
    assert (longitude.circular.period, longitude.circular.step) == (1, 1)


def test_values_are_asked_for_by_name_and_by_glob():
    found = certify(Heads(), (1, 2, 8, 12))
    assert [c.name for c in found.select(["left", "ri*t"])] == ["left", "right"]
    with pytest.raises(UsageError, match="No value or module is called 'middle'"):
        found["middle"]
    with pytest.raises(UsageError, match=r"Axis 1 was not certified; only 2, 3\."):
        found["left"].along(1)
    with pytest.raises(UsageError, match="has axes 0 to 3; axis 4 is none of them"):
        certify(Heads(), (1, 2, 8, 12), axes=[4])


def test_an_op_that_is_not_supported_breaks_the_proof_and_is_named():
    class Backward(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.ops.aten.glu_backward(x, torch.cat([x, x], 1), 1)

    axis = certify(Backward(), (1, 2, 8)).outputs[0].axes[0]
    (breaker,) = axis.broken_by
    assert breaker.why == (
        "'glu_backward' is not supported: how it treats positions is not described"
    )
    assert not breaker.known
    assert axis.undecided


def test_what_is_broken_for_a_known_reason_is_decided():
    axis = certify(Heads(), (1, 2, 8, 12)).outputs[0].axes[1]
    assert all(breaker.known for breaker in axis.broken_by)
    assert not axis.undecided


def test_a_full_turn_of_the_axis_proves_nothing():
    axis = certify(nn.AvgPool2d(4), (1, 2, 4, 8)).outputs[0].along(2)
    assert axis.circular.step == 0
    strided = certify(nn.Conv2d(2, 2, 4, stride=4), (1, 2, 4, 8)).outputs[0].along(2)
    assert "only the periodic wrap of the axis is left, 4 of 4" in strided.broken_by[0].why


def test_a_second_input_stays_where_it_is():
    class Sum(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x + y

    axis = certify(Sum(), (torch.zeros(1, 1, 8), torch.zeros(1, 1, 8))).outputs[0].axes[0]
    assert "does not move" in axis.broken_by[0].why


def test_the_input_that_is_shifted_is_asked_for_by_name():
    class Second(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3), keepdim=True) * y[..., :-1]

    example = (torch.zeros(1, 1, 8, 6), torch.zeros(1, 1, 8, 6))
    graph = capture(Second(), example)
    first, second = (certify(graph, wrt=name).outputs[0] for name in (None, graph.inputs[1]))
    assert [axis.circular.step for axis in first.axes] == [0, 0]
    assert [axis.circular.step for axis in second.axes] == [1, None]


def test_values_that_do_not_depend_on_the_input_have_no_certificate():
    class Beside(nn.Module):
        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return x.mean(2, keepdim=True) * torch.ops.aten.glu_backward(y[:, :1], y, 1)

    found = certify(Beside(), (torch.zeros(1, 2, 8), torch.zeros(1, 2, 8)))
    first, second = found.graph.inputs
    assert found.input == first
    assert second not in found.by_value
    assert not any("glu" in name for name in found.by_value)
    assert found.outputs[0].axes[0].circular.step == 0


@pytest.mark.parametrize(
    ("layer", "is_conditional"),
    [
        (nn.CircularPad2d((0, 0, 1, 1)), True),
        (nn.ZeroPad2d((1, 1, 0, 0)), False),
        (Rolled(), False),
    ],
    ids=["circular", "zeros along the other axis", "rolled"],
)
def test_circular_padding_alone_must_not_be_larger_than_its_axis(layer, is_conditional):
    model = nn.Sequential(layer, nn.Conv2d(2, 2, (3 if is_conditional else 1, 1)))
    circular = certify(model, (1, 2, 8, 12)).outputs[0].along(2).circular
    assert circular.holds
    assert bool(circular.conditions) == is_conditional


def test_a_certificate_is_plain_data_for_json():
    (axis, _) = certify(Heads(), (1, 2, 8, 12)).outputs[1].to_dict()["axes"]
    assert json.loads(json.dumps(axis)) == {
        "axis": 2,
        "size": 8,
        "circular": {
            "holds": True,
            "period": 1,
            "step": 1,
            "conditions": ["no circular padding is larger than the axis that it pads"],
            "undecided": False,
        },
        "interior": {"range": [1, 6], "empty": False, "carried": [1, 5], "period": 1, "step": 1},
        "broken_by": [],
    }


class Biased(nn.Module):
    """Attention over columns with a learnt bias per distance, or per distance around the axis."""

    def __init__(self, *, around: bool) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(12))
        columns = torch.arange(12)
        apart = (columns[:, None] - columns).abs()
        self.register_buffer("apart", torch.minimum(apart, 12 - apart) if around else apart)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores = x.transpose(1, 2) @ x + self.bias[self.apart]
        return (scores.softmax(-1) @ x.transpose(1, 2)).transpose(1, 2)


@pytest.mark.parametrize("around", [False, True])
def test_a_learnt_table_that_is_zero_today_counts_as_generic(around):
    model = Biased(around=around)
    found = certify(model, torch.zeros(1, 3, 12)).outputs[0].along(2)
    assert found.circular.holds is around
    assert not model.bias.any(), "the model itself is not changed"
    assert [breaker.node for breaker in found.broken_by] == ([] if around else ["add"])


def test_the_interior_of_rows_side_by_side_is_counted_in_positions_of_a_row():
    """Four planes of 8 × 6 in one line: what moves with H moves by six positions."""
    model = nn.Sequential(nn.Conv3d(1, 1, (1, 3, 3), padding=(0, 1, 1)), nn.Flatten())
    interior = certify(model, (1, 1, 4, 8, 6), axes=[3]).outputs[0].along(3).interior
    assert (interior.range, interior.step, interior.carried) == ((6, 42), 6, (6, 36))


def test_the_interior_of_a_flip_is_carried_backwards():
    class Flipped(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flip(3)

    model = nn.Sequential(conv(), Flipped())
    interior = certify(model, (1, 2, 8, 12), axes=[3]).outputs[0].along(3).interior
    assert (interior.range, interior.step, interior.carried) == ((1, 11), -1, (2, 11))


class _Training(nn.Module):
    """A BatchNorm that takes the statistics of the batch, which no argument says."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        state = (self.norm.weight, self.norm.bias, self.norm.running_mean, self.norm.running_var)
        return torch.ops.aten._batch_norm_with_update(x[..., 1:-1], *state, 0.1, 1e-5)[0]


def test_a_batch_norm_that_always_trains_has_no_interior():
    axis = certify(_Training().eval(), (1, 3, 16)).outputs[0].axes[0]
    assert axis.interior.range is None
    assert not axis.circular.holds


def test_an_axis_without_positions_is_refused():
    with pytest.raises(UsageError, match="Axis 3 of 'input' is empty; nothing can be shifted"):
        certify(nn.Softsign(), (1, 2, 8, 0))


def test_a_value_that_no_module_returns_is_called_what_it_is_called_in_the_graph():
    report = certify(
        nn.Sequential(nn.Conv1d(1, 2, 3, padding=1, padding_mode="circular")), (1, 1, 8)
    )
    names = {value: found.name for value, found in report.by_value.items()}
    assert names.pop("0/pad") == "0/pad"
    assert all(isinstance(name, str) and name for name in names.values())
