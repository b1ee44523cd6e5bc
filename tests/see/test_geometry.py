"""The page cuts tiles as the planner does, and keeps the rows that a streamed run keeps."""

from __future__ import annotations

from math import prod

import pytest
from torch import nn

from fieldwise import latency, plan_tiles, receptive_fields, streamed
from tests.field import networks as zoo
from tests.field.networks import CATALOGUE, conv
from tests.see.asking import ask_node, needs_node

pytestmark = needs_node

NETWORKS = {
    "chain": (
        nn.Sequential(conv(3, 4), nn.MaxPool2d(2), conv(4, 4, 5, stride=2), conv(4, 2, dilation=2)),
        (1, 3, 64, 48),
    ),
    "up": (
        nn.Sequential(conv(3, 4, stride=2), nn.Upsample(scale_factor=2), conv(4, 2)),
        (1, 3, 64, 48),
    ),
    "transposed": (
        nn.Sequential(nn.Conv1d(3, 4, 7, padding=3), nn.ConvTranspose1d(4, 2, 4, 2, 1)),
        (1, 3, 64),
    ),
    "valid": (nn.Sequential(conv(3, 4, padding=0), nn.MaxPool2d(2), conv(4, 2, padding=0)),
              (1, 3, 62, 50)),
    **{
        kind.__name__: (kind(), CATALOGUE[kind])
        for kind in (zoo.Residual, zoo.Concat, zoo.InceptionLike, zoo.DownUp, zoo.NearestUNet,
                     zoo.ParallelStrides, zoo.EvenKernels, zoo.Reflect, zoo.Replicate, zoo.Signal,
                     zoo.Volume)
    },
}  # fmt: skip
every_network = pytest.mark.parametrize("name", NETWORKS)


def reported(name):
    model, shape = NETWORKS[name]
    report = receptive_fields(model.eval(), shape)
    names = [row.name for row in report.rows]
    return model, shape, report, names.index(report.graph.outputs[0])


@every_network
def test_tiles_read_what_the_plan_reads(name):
    model, shape, report, row = reported(name)
    plan = plan_tiles(model, shape, tile=16)
    asked = {"row": row, "tile": [16] * len(report.axes)}
    (found,) = ask_node(report, tiles=[asked])["tiles"]
    assert found["grid"] == [axis.grid for axis in plan.axes]
    for crops, axis in zip(found["crops"], plan.axes, strict=True):
        assert [(crop["reads"],) for crop in crops] == [
            tuple(map(list, piece.reads)) for piece in axis.pieces
        ]
        assert [crop["writes"] for crop in crops] == [list(p.writes[0]) for p in axis.pieces]
    read = prod(
        cost["read"] / axis.size for cost, axis in zip(found["costs"], plan.axes, strict=True)
    )
    assert read == pytest.approx(plan.recompute)


@every_network
def test_a_stream_keeps_what_the_plan_keeps(name):
    band = 4
    model, shape, report, row = reported(name)
    axis = report.axes[0]
    plan = streamed(model, shape, axis=axis, band=band).plan(shape)
    asked = {"row": row, "axis": 0, "band": band, "stride": float(report.rows[row].stride[0])}
    (found,) = ask_node(report, streams=[asked])["streams"]
    assert {name: rows for name, rows in found["kept"] if rows} == {
        kept.name: kept.rows for kept in plan.kept
    }
    assert max(found["bytes"]) <= plan.state_bytes  # whose blocks may be larger than their rows
    assert found["steps"] == plan.steps
    assert found["finished"] == report.rows[row].shape[axis]


@pytest.mark.parametrize("name", ["chain", "transposed", "valid", "Signal"])
def test_a_row_waits_as_long_as_latency_says(name):
    model, shape, report, row = reported(name)
    known = latency(model, shape, axis=report.axes[0])["output"]
    asked = {"row": row, "axis": 0, "band": 4, "stride": float(report.rows[row].stride[0])}
    (found,) = ask_node(report, streams=[asked])["streams"]
    assert found["latency"] == max(known.latency, known.at_start)


def test_what_sees_the_whole_input_is_not_cut():
    report = receptive_fields(zoo.SqueezeExcitation().eval(), CATALOGUE[zoo.SqueezeExcitation])
    asked = {"row": len(report.rows) - 1, "tile": [4, 4]}
    (found,) = ask_node(report, tiles=[asked])["tiles"]
    assert "sees all of the input since 'mean'" in found["why"]
