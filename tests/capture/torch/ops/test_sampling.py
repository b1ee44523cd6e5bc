"""Ops that look where the data say: never less than the Jacobian, and marked."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import torchvision.ops as tv

from fieldwise.capture.torch.capture import capture
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Separable, Unknown
from tests.capture.torch.ops.oracle import agree


def unknown_dims(graph: Graph, op: str) -> list[list[int]]:
    """Per read of the only node of this op, the operand dimensions that are not known."""
    (node,) = [node for node in graph.nodes if node.op == op]
    steps = [read.steps[0] for read in node.reads[0]]
    return [
        [dim for dim, coord in enumerate(step.coords) if isinstance(coord, Unknown)]
        for step in steps
        if isinstance(step, Separable)
    ]


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_grid_sample_is_unknown_along_space_and_reads_its_grid_in_place(mode):
    def sample(x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        return F.grid_sample(x, grid - 1, mode=mode, align_corners=False)

    graph = agree(sample, (2, 2, 3, 4), (2, 2, 3, 2), inputs="random", exact=False)
    assert unknown_dims(graph, "grid_sample") == [[2, 3], []]


def affine(*rows: list[float], size: tuple[int, int], corners: bool) -> torch.Tensor:
    matrix = torch.tensor([rows], dtype=torch.float64)
    return F.affine_grid(matrix, [1, 1, *size], align_corners=corners)


DICE = torch.Generator().manual_seed(0)
GRIDS = {
    "anywhere": torch.rand(1, 4, 3, 2, dtype=torch.float64, generator=DICE) * 3 - 1.5,
    "by rows and columns": affine([0.7, 0, 0.1], [0, 0.9, -0.2], size=(4, 3), corners=False),
    "on the elements": affine([1.0, 0, 0], [0, 1.0, 0], size=(3, 4), corners=True),
}


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("mode", ["bilinear", "nearest", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_a_constant_grid_says_which_elements_are_read(name, mode, padding):
    def sample(x: torch.Tensor) -> torch.Tensor:
        grid = GRIDS[name].expand(len(x), -1, -1, -1)
        corners = name == "on the elements"
        return F.grid_sample(x, grid, mode=mode, padding_mode=padding, align_corners=corners)

    agree(sample, (2, 2, 3, 4))


def test_a_constant_grid_in_three_dimensions():
    def sample(x: torch.Tensor) -> torch.Tensor:
        grid = torch.linspace(-1.2, 1.1, 24, dtype=torch.float64).reshape(1, 2, 2, 2, 3)
        return F.grid_sample(x, grid, align_corners=True)

    agree(sample, (1, 2, 2, 3, 4))


def test_grids_that_differ_between_images_are_not_known():
    def sample(x: torch.Tensor) -> torch.Tensor:
        return F.grid_sample(
            x, torch.linspace(-1, 1, 24).reshape(2, 2, 3, 2).double(), align_corners=True
        )

    agree(sample, (2, 1, 3, 4), exact=False)


def test_of_a_grid_of_many_positions_a_bound_is_told():
    places = torch.rand(1, 600, 500, 2, generator=DICE) - 0.5
    graph = capture(Sampled(places), (torch.zeros(1, 1, 4, 4),))
    assert unknown_dims(graph, "grid_sample") == [[2, 3]]


class Sampled(torch.nn.Module):
    def __init__(self, grid: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("grid", grid)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.grid_sample(x, self.grid, align_corners=False)


def test_grid_sample_in_three_dimensions():
    def sample(x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        return F.grid_sample(x, grid - 1, align_corners=True)

    agree(sample, (1, 1, 2, 2, 3), (1, 2, 1, 2, 3), exact=False)


@pytest.mark.parametrize("size", [(2, 1, 2, 4), (2, 1, 2, 2, 4)])
def test_an_affine_grid_reads_one_row_of_its_matrix(size):
    rank = len(size) - 2
    agree(lambda t: F.affine_grid(t, list(size), align_corners=True), (2, rank, rank + 1))


@pytest.mark.parametrize(("groups", "offset_groups"), [(1, 1), (2, 1), (1, 2), (2, 2), (2, 4)])
def test_a_deformable_convolution_is_unknown_along_space_only(groups, offset_groups):
    weight = torch.rand(4, 4 // groups, 2, 2)

    def deform(x: torch.Tensor, offset: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return tv.deform_conv2d(x, offset / 3, weight.to(x.dtype), mask=mask)

    taps = offset_groups * 4
    shapes = (1, 4, 3, 3), (1, 2 * taps, 2, 2), (1, taps, 2, 2)
    graph = agree(deform, *shapes, exact=False)
    assert unknown_dims(graph, "deform_conv2d") == [[2, 3], [], []]


@pytest.mark.parametrize("pool", [tv.roi_align, tv.roi_pool])
def test_region_pooling_keeps_the_channel(pool):
    boxes = torch.tensor([[0, 0, 0, 2, 2], [1, 1, 1, 3, 3]])

    graph = agree(lambda x: pool(x, boxes.to(x.dtype), 2), (2, 2, 4, 4), exact=False)
    assert unknown_dims(graph, pool.__name__) == [[0, 2, 3]]


@pytest.mark.parametrize("pool", [tv.ps_roi_align, tv.ps_roi_pool])
def test_position_sensitive_pooling_is_unknown_in_the_channel_too(pool):
    boxes = torch.tensor([[0, 0, 0, 3, 3]])
    agree(lambda x: pool(x, boxes.to(x.dtype), 2), (1, 4, 4, 4), exact=False)
