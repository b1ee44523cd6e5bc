"""Reports written by hand, for the views: no analysis runs."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace

from fieldwise.axes import AxisMap, IndexSet, until
from fieldwise.field import UnitField
from fieldwise.field.report import AxisField, Piece, Row
from fieldwise.graph import Value


def axis(number, extent, *, count=None, stride=1, start=0, **more):
    return AxisField(
        axis=number,
        extent=extent,
        count=extent if count is None else count,
        stride=Fraction(stride),
        start=start,
        centre=start + Fraction(extent - 1, 2),
        period=1,
        **more,
    )


def full(number, by):
    return AxisField(axis=number, full=True, full_by=by)


def row(name, axes, **more):
    shape = more.pop("shape", (1, 8, 32, 32))
    return Row(name=name, op=more.pop("op", "conv"), module=name, shape=shape, axes=axes, **more)


def report(*rows):
    source = Value("input", (1, 3, 64, 64))
    graph = SimpleNamespace(outputs=("output",))
    return SimpleNamespace(input=source, axes=(2, 3), rows=rows, not_analysed={}, graph=graph)


PLAIN = row("conv1", (axis(2, 3, start=-1), axis(3, 3, start=-1)))
CROSSED = row(
    "mixed",
    (axis(2, 7, stride="1/2"), axis(3, 3, stride="1/2")),
    products=2,
    aliases=("mixed", "block"),
)
HOLED = row("dilated", (axis(2, 9, count=3), axis(3, 9, count=3)))
GLOBAL = row(
    "se.scale",
    (full(2, "se.mean"), full(3, "se.mean")),
    op="mul",
    local=(axis(2, 5, stride=2), axis(3, 5, stride=2)),
)
OPAQUE = row(
    "warp", (axis(2, 64), axis(3, 64)), exact=False, why="grid_sample reads where data says"
)
CUT = row("deep", (axis(2, 97, clipped=64), axis(3, 97, clipped=64)))
PHASED = row(
    "up",
    (
        axis(
            2,
            3,
            stride="1/2",
            map=AxisMap(1, (IndexSet.range(-1, 2), IndexSet.range(-1, 3))),
        ),
        axis(3, 3),
    ),
)
JOINED = row("join", (axis(2, 5), axis(3, 5)), misaligned="join", at_this_size=True)

UNITS = {
    "conv1": UnitField((3, 4), (64, 64), ((IndexSet.range(2, 5), IndexSet.range(3, 6)),)),
    "dilated": UnitField((0, 0), (64, 64), ()),
}

PAST = row(
    "lstm",
    (
        AxisField(axis=2, past=True, stride=Fraction(4), period=1, map=AxisMap(4, (until(2),))),
        axis(3, 1),
    ),
    op="lstm",
)

PIECED = row(
    "head",
    (
        AxisField(2, extent=911, count=911, clipped=64, least=95),
        axis(3, 7, stride=8),
    ),
    op="cat",
    at_this_size=True,
    pieces=(
        Piece((IndexSet.range(0, 16), IndexSet.range(0, 8)), (axis(2, 95, stride=8), axis(3, 7))),
        Piece(
            (IndexSet.range(16, 20), IndexSet.range(0, 8)),
            (axis(2, 911, stride=32, start=-440), axis(3, 7)),
            why="a bound",
        ),
    ),
)
LONE = row("mask", (axis(2, 9), axis(3, 9)), at_this_size=True, of_unit=(4, 5))
