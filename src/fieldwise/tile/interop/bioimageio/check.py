"""Whether the blocks of a description give what the whole image gives, away from its borders.

A tool cuts an image into blocks of ``min + n · step`` samples, the first of which begins one halo
before the image, crops the halo from either side of each output, and puts the rest side by side.
That is exact where every output that is kept sees its block only, and where blocks begin on the
network's grid: at multiples of its total stride.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil, floor, gcd, lcm

from torch import nn

from fieldwise.capture.torch import as_example, capture
from fieldwise.errors import CaptureError, UsageError
from fieldwise.graph.graph import Graph
from fieldwise.tile.crops.grid import Geometry, geometry
from fieldwise.tile.interop.bioimageio.description import Axis, Description


@dataclass(frozen=True, slots=True)
class AxisCheck:
    """One axis of one output, as declared and as it is.

    halo:   declared, in samples of the output; needed: what outputs see beyond their own stretch,
            in whole samples of the input; good: the least from there on that keeps blocks on grid
    step:   declared, in samples of the input (0: one size only); grid: the total stride
    wrong:  what makes the blocks differ from the whole, in sentences; empty where nothing does
    """

    output: str
    axis: str
    halo: int
    needed: int
    good: int
    step: int
    grid: int
    wrong: tuple[str, ...]


def check_description(model: nn.Module, found: Description) -> tuple[AxisCheck, ...]:
    """Hold a description against the network, per output and spatial axis.

    Raises TileError where a layer sees the whole image, so that no halo is large enough;
    UsageError where the description is not of this model; CaptureError where the model cannot run
    on the sizes that it declares.
    """
    axes = tuple(d for d, axis in enumerate(found.inputs[0]) if axis.kind == "space")
    if not axes or any(
        tuple(d for d, axis in enumerate(tensor) if axis.kind == "space") != axes
        for tensor in found.inputs
    ):
        raise UsageError("The inputs do not have spatial axes at the same places; none is tiled.")
    graph = _captured(model, found.shapes(at_least=_BLOCK))
    if len(graph.outputs) != len(found.outputs):
        raise UsageError(
            f"The description has {len(found.outputs)} outputs and the model {len(graph.outputs)}; "
            "it is of another model."
        )
    shape = geometry(graph, axes)
    blocks = [graph, *_larger(model, found, shape)]
    least = _least(model, found)
    return tuple(
        _checked(blocks, least, shape, found, number, place)
        for number in range(len(graph.outputs))
        for place in range(len(axes))
    )


def _larger(model: nn.Module, found: Description, shape: Geometry) -> list[Graph | None]:
    """Captured at the next sizes, until blocks meet the grid as the first did; None: it fails."""
    steps = [found.inputs[0][axis].step for axis in shape.axes]
    turns = lcm(*(g // gcd(s, g) for s, g in zip(steps, shape.grid, strict=True) if s))
    graphs: list[Graph | None] = []
    for further in range(1, min(turns, _TURNS)):
        try:
            graphs.append(_captured(model, found.shapes(at_least=_BLOCK, further=further)))
        except CaptureError:
            graphs.append(None)
    return graphs


def _least(model: nn.Module, found: Description) -> Graph | None:
    """Captured at the least sizes that are declared; None: it fails."""
    try:
        return _captured(model, found.shapes())
    except CaptureError:
        return None


def _captured(model: nn.Module, shapes: Sequence[tuple[int, ...]]) -> Graph:
    examples = tuple(as_example(shape, model) for shape in shapes)
    return capture(model, examples if len(examples) > 1 else examples[0])


def _checked(
    graphs: Sequence[Graph | None],
    least: Graph | None,
    shape: Geometry,
    found: Description,
    number: int,
    place: int,
) -> AxisCheck:
    runs = [graph for graph in graphs if graph is not None]
    output, dim = runs[0].outputs[number], shape.dims[number][place]
    axis = _declared(found.outputs[number], dim, runs[0].shape(output))
    entry = found.inputs[0][shape.axes[place]]
    blocks = [
        _Block(g.shape(g.inputs[0])[shape.axes[place]], g.shape(g.outputs[number])[dim])
        for g in runs
    ]
    scale, grid = shape.scales[number][place], shape.grid[place]
    needed = max(block.needed(shape.halos[place], scale) for block in blocks)
    good = _good(needed, scale, grid)
    off = [block for block in blocks if block.advance(axis.halo, scale) % grid]
    wrong = []
    if axis.halo < needed:
        wrong.append(f"the halo of {axis.halo} is too small: outputs see {needed} beyond it")
    if (axis.halo / scale) % grid:
        wrong.append(
            f"the halo of {axis.halo} puts blocks off the grid of {grid} samples; use {good}"
        )
    elif off:
        what = f"the step of {entry.step}" if entry.step % grid else f"the least of {entry.least}"
        wrong.append(
            f"{what} is not a multiple of the stride {grid}: blocks of {off[0].size} samples "
            f"advance by {off[0].advance(axis.halo, scale)}"
        )
    if least is None:
        wrong.append(f"the model fails on the least size of {entry.least}")
    elif (given := least.shape(least.outputs[number])[dim]) <= 2 * axis.halo:
        wrong.append(
            f"the halo of {axis.halo} leaves nothing of the least blocks, which give {given}"
        )
    if len(runs) < len(graphs):
        wrong.append(f"the step of {entry.step} allows sizes on which the model fails")
    return AxisCheck(
        found.output_names[number], entry.name, axis.halo, needed, good, entry.step, grid,
        tuple(wrong),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Block:
    """Samples of the input, and of the output that they give."""

    size: int
    given: int

    def needed(self, halos: tuple[int, int], scale: Fraction) -> int:
        """How many outputs at either end see beyond the block."""
        before, behind = halos
        return max(ceil(before * scale), self.given - floor((self.size - behind) * scale), 0)

    def advance(self, halo: int, scale: Fraction) -> Fraction:
        """Input samples from block to block."""
        return (self.given - 2 * halo) / scale


def _declared(tensor: Sequence[Axis], dim: int, shape: Sequence[int]) -> Axis:
    if len(tensor) != len(shape):
        raise UsageError(
            f"An output has {len(shape)} dimensions and {len(tensor)} are described; the "
            "description is of another model."
        )
    return tensor[dim]


def _good(needed: int, scale: Fraction, grid: int) -> int:
    """The least halo of whole grid steps, and of whole outputs.

    >>> _good(20, Fraction(1), 16), _good(3, Fraction(1, 2), 4), _good(1, Fraction(2), 1)
    (32, 4, 2)
    """
    step = (grid * scale).numerator
    return ceil(Fraction(needed, step)) * step


_BLOCK = 512
"""Blocks are looked at from this size on, where the description leaves them free: large enough to
have an interior.  What is found does not depend on it."""

_TURNS = 64
"""At most so many sizes of blocks are looked at."""
