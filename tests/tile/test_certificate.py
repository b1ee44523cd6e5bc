"""A run certifies itself, and a wrong plan does not pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from fieldwise.errors import UsageError
from fieldwise.tile import plan_tiles, streamed, tiled
from fieldwise.tile.bands.buffers import Buffer
from fieldwise.tile.certificate import MismatchError, verify
from fieldwise.tile.crops.parts import AxisPlan, AxisTile
from fieldwise.tile.crops.plan import TilePlan
from tests.field.networks import BilinearUNet, CeilMode, Chain, Circular, TransposedUNet

KINDS = (Chain, TransposedUNet, BilinearUNet, CeilMode, Circular)
SHAPE = (1, 3, 384, 128)
TILE = 32


class GroupNormed(nn.Sequential):
    """With a layer that needs a pass of its own."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.Conv2d(4, 2, 3))


def called(model: nn.Module) -> object:
    """The model as a callable without a dtype of its own."""

    def call(crop: Tensor) -> Tensor:
        with torch.no_grad():
            return model(crop)

    return call


def network(kind: type[nn.Module], dtype: torch.dtype = torch.float32) -> nn.Module:
    """With biases that keep its ReLUs open: what is behind a closed one cannot differ."""
    torch.manual_seed(0)
    model = kind().eval().to(dtype)
    for layer in model.modules():
        if getattr(layer, "bias", None) is not None:
            nn.init.constant_(layer.bias, 0.5)
    return model


def spoilt(plan: TilePlan, change: object) -> TilePlan:
    """The plan with every inner piece of its first axis changed."""
    first, *rest = plan.axes
    pieces = tuple(
        change(piece, first)
        if len(piece.reads) == 1 and piece.reads[0][0] > 0 and piece.reads[0][1] < first.size
        else piece
        for piece in first.pieces
    )
    assert pieces != first.pieces
    return replace(plan, axes=(replace(first, pieces=pieces), *rest))


def shorter_before(piece: AxisTile, axis: AxisPlan) -> AxisTile:
    """One step of the grid is missing in front."""
    ((start, stop),) = piece.reads
    steps = axis.grid
    keeps = tuple((a - scaled(axis, steps), b - scaled(axis, steps)) for a, b in piece.keeps)
    return replace(piece, reads=((start + steps, stop),), keeps=keeps, gives=fewer(piece, axis))


def fewer(piece: AxisTile, axis: AxisPlan) -> tuple[int, ...]:
    """What a crop gives that is one step of the grid shorter."""
    return tuple(length - scaled(axis, axis.grid) for length in piece.gives)


def scaled(axis: AxisPlan, samples: int) -> int:
    stretch = axis.pieces[1].writes[0]
    return samples * (stretch[1] - stretch[0]) // axis.tile


def shorter_behind(piece: AxisTile, axis: AxisPlan) -> AxisTile:
    """One step of the grid is missing behind."""
    ((start, stop),) = piece.reads
    return replace(piece, reads=((start, stop - axis.grid),), gives=fewer(piece, axis))


def one_off(piece: AxisTile, axis: AxisPlan) -> AxisTile:
    """The crop is taken one sample further on: large enough, and misaligned."""
    ((start, stop),) = piece.reads
    return replace(piece, reads=((start + 1, stop + 1),))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_float64_run_is_equal_within_float64(kind):
    model = network(kind, torch.float64)
    x = torch.randn(SHAPE, dtype=torch.float64)
    found = tiled(model, x, tile=TILE).verify(x)
    assert found.kind in ("bit-identical", "float64")
    assert found.double == ()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_float32_run_is_equal_within_the_noise_floor_and_in_float64(kind):
    x = torch.randn(SHAPE)
    found = tiled(network(kind), x, tile=TILE).verify(x)
    assert found.kind in ("bit-identical", "noise")
    assert all(one.kind in ("bit-identical", "float64") for one in found.double)
    assert len(found.double) == 1


@pytest.mark.parametrize("change", [shorter_before, shorter_behind, one_off])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_wrong_halo_does_not_pass_in_float64(kind, change):
    """Crops hold up to one grid step more than is seen: two steps less are always too few."""
    model = network(kind, torch.float64)
    plan = plan_tiles(model, torch.empty(SHAPE, dtype=torch.float64), tile=TILE)
    wrong = spoilt(plan, change)
    if change is not one_off:
        wrong = spoilt(wrong, change)
    x = torch.randn(SHAPE, dtype=torch.float64)
    with pytest.raises((MismatchError, UsageError), match=r"the plan (is wrong|was made) for "):
        tiled(called(model), wrong).verify(x)


@pytest.mark.parametrize("kind", [Chain, CeilMode], ids=lambda kind: kind.__name__)
def test_a_wrong_halo_does_not_pass_in_float32(kind):
    plan = plan_tiles(network(kind), SHAPE, tile=TILE)
    wrong = spoilt(spoilt(plan, shorter_behind), shorter_behind)
    with pytest.raises((MismatchError, UsageError), match=r"the plan (is wrong|was made) for "):
        tiled(called(network(kind)), wrong).verify(torch.randn(SHAPE))


def test_a_halo_whose_edge_float32_cannot_show_is_caught_in_float64():
    """What is lost at the edge of the field of a deep network is less than float32's noise."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 1, 3, padding=1, bias=False) for _ in range(24)]
    for layer in layers:
        nn.init.constant_(layer.weight, 1 / 9)
    model = nn.Sequential(*layers).eval()
    plan = plan_tiles(model, (1, 1, 192, 16), tile=(32, 16))
    wrong = spoilt(plan, shorter_before)
    x = torch.randn(1, 1, 192, 16)
    assert tiled(called(model), wrong).verify(x).kind in ("bit-identical", "noise")
    run = tiled(model, x, tile=(32, 16))
    run.target._plans[plan.shapes] = wrong
    with pytest.raises(MismatchError, match=r"beyond 1e-12 of"):
        run.verify(x)


def test_a_run_verifies_itself_once_for_each_size():
    run = tiled(network(Chain), torch.empty(1, 3, 8, 8), tile=TILE, verify=True)
    x = torch.randn(SHAPE)
    run(x)
    run(x)
    assert list(run.certificates) == [(SHAPE,)]


def test_a_network_that_draws_at_random_shows_in_its_noise_floor():
    model = network(Chain)

    def call(crop: Tensor) -> Tensor:
        with torch.no_grad():
            found = model(crop)
        return found + 1e-3 * torch.rand(found.shape)

    floor = verify(call, call, torch.randn(SHAPE)).outputs[0].floor
    assert floor is not None
    assert floor > 1e-4


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_shortened_plan_is_the_plan_of_a_smaller_image(kind):
    model = network(kind, torch.float64)
    plan = plan_tiles(model, torch.empty(SHAPE, dtype=torch.float64), tile=TILE).shortened()
    assert plan.shapes[0][2] < SHAPE[2]
    assert plan.shapes[0][2] % plan.axes[0].grid == SHAPE[2] % plan.axes[0].grid
    x = torch.randn(plan.shapes[0], dtype=torch.float64)
    with torch.no_grad():
        wanted = model(x)
    assert wanted.shape == plan.outputs[0].shape
    assert (tiled(called(model), plan)(x) - wanted).abs().max() <= 1e-12


def test_nan_on_one_side_is_a_difference():
    with pytest.raises(MismatchError, match=r"differs from the whole's by inf at \(1,\)"):
        verify(lambda x: x, lambda x: np.array([1.0, np.nan]), np.array([1.0, 2.0]))


def test_outputs_of_other_shapes_are_told():
    with pytest.raises(MismatchError, match=r"has the shape \(1,\) from pieces and \(2,\) at once"):
        verify(lambda x: x[:1], lambda x: x, np.ones(2))


def test_resnet18_is_certified_within_the_noise_floor():
    torch.manual_seed(0)
    model = nn.Sequential(*list(torchvision.models.resnet18(weights=None).children())[:6]).eval()
    x = torch.randn(1, 3, 384, 64)
    found = tiled(model, x, tile=(64, 64)).verify(x)
    assert found.kind in ("bit-identical", "noise")
    assert found.double[0].kind in ("bit-identical", "float64")


# ------------------------------------------------------------------------------- streaming


@pytest.mark.parametrize("kind", [*KINDS, GroupNormed])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_streamed_run_certifies_itself_before_the_first_run_on_a_size(kind, dtype):
    run = streamed(
        network(kind, dtype), torch.empty(1, 3, 64, 64, dtype=dtype), band=16, verify=True,
        global_ops="multipass",
    )  # fmt: skip
    x = torch.randn(SHAPE, dtype=dtype)
    run(x)
    (certificate,) = run.certificates.values()
    assert certificate.shapes[0][2] <= SHAPE[2]
    assert certificate.kind != "noise" or dtype is torch.float32
    run(x)
    assert list(run.certificates) == [(SHAPE,)]


def test_a_streamed_run_is_compared_on_an_input_as_small_as_shows_borders_and_seams():
    run = streamed(network(Chain), torch.empty(1, 3, 64, 64), band=16)
    assert run.verify(np.zeros((1, 3, 4001, 3000), np.float32)).shapes[0][2:] < (200, 200)


def one_row_lost(self: Buffer, floor: int, *, trim: object = Buffer.trim) -> None:
    """The first cached row is forgotten: zeros in its place."""
    trim(self, floor)
    if self._chunks and self._chunks[0][0] == floor > 0:
        lo, rows = self._chunks[0]
        rows = rows.clone()
        rows.narrow(self._dim, 0, 1).zero_()
        self._chunks[0] = (lo, rows)


def wrong_padding(self, start, stop, border, fill, *, padded=Buffer.padded) -> Tensor:
    """What lies outside is not zero."""
    return padded(self, start, stop, border, fill + 0.01)


@pytest.mark.parametrize(("method", "planted"), [("trim", one_row_lost), ("padded", wrong_padding)])
@pytest.mark.parametrize("kind", [Chain, TransposedUNet])
def test_a_streaming_engine_that_is_wrong_by_one_row_does_not_pass(
    kind, method, planted, monkeypatch
):
    run = streamed(network(kind), torch.empty(1, 3, 64, 64), band=16, verify=True)
    monkeypatch.setattr(Buffer, method, planted)
    with pytest.raises(MismatchError, match="from pieces differs from the whole's"):
        run(torch.randn(SHAPE))


@pytest.mark.parametrize("engine", [tiled, streamed])
def test_a_model_with_old_weight_norm_is_verified_in_float64_too(engine):
    torch.manual_seed(0)
    conv = nn.utils.weight_norm(nn.Conv2d(1, 2, 3, padding=1))
    net = nn.Sequential(conv, nn.ReLU()).eval()
    net(torch.zeros(1, 1, 8, 8))
    size = {"tile": 16} if engine is tiled else {"band": 16}
    image = torch.randn(1, 1, 64, 64)
    found = engine(net, torch.empty(1, 1, 16, 16), verify=True, **size)(image)
    assert torch.allclose(found, net(image), atol=1e-6)


# ------------------------------------------------------------------- what there is to compare


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (lambda x: x * 0, "it is the same number throughout"),
        (lambda x: (x > 1e9).astype(np.int64), "it is the same number throughout"),
        (lambda x: x > 1e9, "it is the same number throughout"),
        (lambda x: x * np.nan, "it holds no number"),
        (lambda x: x[:, :0], "it is empty"),
        (lambda x: x[:, :0].astype(np.int64), "it is empty"),
    ],
)
def test_of_an_output_that_wrong_pieces_would_give_too_nothing_is_said(output, why):
    found = verify(output, output, np.ones((2, 30), dtype="float32"))
    assert (found.kind, found.outputs[0].why) == ("not checked", why)
    assert str(found).splitlines()[1] == f"  'output' is not checked: {why}"


@pytest.mark.parametrize(
    "output",
    [
        lambda x: x > 0,
        lambda x: x.mean(1, keepdims=True)[:1],
        lambda x: np.where(x > 0, x, np.nan),
        lambda x: np.fft.rfft(x),
        lambda x: x.argmax(1),
    ],
)
def test_integers_complex_numbers_and_single_ones_are_compared(output):
    x = np.linspace(-1, 1, 60, dtype="float32").reshape(2, 30)
    assert verify(output, output, x).kind == "bit-identical"
    with pytest.raises(MismatchError):
        verify(lambda x: output(x[:, ::-1] + 1), output, x)


def test_without_any_output_nothing_is_checked():
    assert verify(lambda _: (), lambda _: (), np.ones((2, 3))).kind == "not checked"


def test_bfloat16_has_a_noise_floor_without_a_twin_in_float64():
    x = torch.randn(2, 64).to(torch.bfloat16)
    assert verify(lambda x: x.sin(), lambda x: x.sin(), x).kind == "bit-identical"
    floor = verify(lambda x: x.sin(), lambda x: x.sin(), x).outputs[0].floor
    assert floor is not None
    assert 0 < floor < 0.1
    with pytest.raises(MismatchError):
        verify(lambda x: x.sin() + 0.5, lambda x: x.sin(), x)


def test_a_difference_names_the_type_that_the_run_was_in():
    """numpy has no bfloat16, so its values are compared in a wider one."""
    x = torch.randn(4, 8).to(torch.bfloat16)
    with pytest.raises(MismatchError, match=r"which bfloat16 allows"):
        verify(lambda x: x * 2, lambda x: x * 3, x)
    with pytest.raises(MismatchError, match=r"which float32 allows"):
        verify(lambda x: x * 2, lambda x: x * 3, x.float())
