"""Random networks on random sizes in random tiles: what the whole image gives, or a reason."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fieldwise.capture.torch import capture, meta_tensor
from fieldwise.errors import CaptureError
from fieldwise.tile import tiled
from fieldwise.tile.crops import TiledCallable
from fieldwise.tile.crops.grid import geometry
from fieldwise.tile.errors import TileError
from tests.field.random_networks import networks

SIZES = {1: (40, 130), 2: (24, 48), 3: (10, 16)}
REASONS = (
    "these layers see all of it:\n  '",
    "does not follow axis",
    "is empty at this size",
    "Branches of different strides meet at '",
    "samples only, at this size",
    "is proven to give what the whole image gives; the crop differs from it here:\n  '",
)


@dataclass(frozen=True)
class Case:
    """A network, the shape of its input, and tiles on the grid."""

    model: nn.Module
    shape: tuple[int, ...]
    tile: tuple[int, ...]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    drawn = draw(networks())
    axes = len(drawn.shape) - 2
    sizes = [draw(st.integers(*SIZES[axes])) for _ in range(axes)]
    shape = (*drawn.shape[:2], *sizes)
    try:
        grid = geometry(capture(drawn.model, meta_tensor(shape)), range(2, 2 + axes)).grid
    except CaptureError:
        assume(False)
    except TileError:
        grid = (1,) * axes
    tile = tuple(
        step * max(draw(st.integers(1, 4)), -(-size // (step * 4)))
        for step, size in zip(grid, sizes, strict=True)
    )
    return Case(drawn.model, shape, tile)


def made(model: nn.Module, x: Tensor, tile: tuple[int, ...]) -> TiledCallable | str:
    """The engine, which has a plan for inputs like this one, or why there is none."""
    try:
        run = tiled(model, x, tile=tile)
        run.plan(x.shape)
    except TileError as why:
        return str(why)
    return run


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases())
def test_tiles_of_any_network_give_what_the_whole_gives(case):
    """Float64, to 1e-10; a refusal names the layer, and stands for something global if any does."""
    torch.manual_seed(0)
    model = case.model.double()
    x = torch.randn(case.shape, dtype=torch.float64)
    run = made(model, x, case.tile)
    if isinstance(run, str):
        assert any(reason in run for reason in REASONS)
        return
    found = run(x)
    with torch.no_grad():
        wanted = model(x)
    assert found.shape == wanted.shape
    assert torch.allclose(found, wanted, rtol=0, atol=1e-10 * max(1.0, float(wanted.abs().max())),
                          equal_nan=True)  # fmt: skip


def is_local(model: nn.Module) -> bool:
    """Whether nothing in it reads a whole axis or mixes axes: there is nothing to refuse."""
    kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ReLU, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d,
             nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.ConvTranspose1d, nn.ConvTranspose2d,
             nn.ConvTranspose3d)  # fmt: skip
    return all(isinstance(layer, kinds) for layer in model.modules() if not list(layer.children()))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(cases().filter(lambda case: is_local(case.model)))
def test_networks_of_windows_alone_are_never_refused(case):
    """Convolutions with every padding mode, pools and transposed convolutions: always planned.

    But where nothing of the input reaches the output (a stride that meets only inserted zeros), or
    the circular padding at its borders (then no crop is known to need the image's other end).
    """
    run = made(case.model, meta_tensor(case.shape), case.tile)
    told = ("it reads nothing that moves with it", "is empty at this size")
    empty = isinstance(run, str) and any(why in run for why in told)
    assert not isinstance(run, str) or empty or is_wrapped_after_gaps(case.model)


def is_wrapped_after_gaps(model: nn.Module) -> bool:
    """Whether circular padding may meet positions that a transposed convolution left empty."""
    layers = list(model.modules())
    transposed = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    return any(getattr(layer, "padding_mode", "") == "circular" for layer in layers) and any(
        isinstance(layer, transposed) and max(layer.stride) > min(layer.kernel_size)
        for layer in layers
    )
