"""Crops of the unmodified model give what the whole image gives, or are refused by name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn
from torchvision.ops import FeaturePyramidNetwork

from fieldwise.errors import UsageError
from fieldwise.tile import plan_tiles, streamed, tiled
from fieldwise.tile.errors import TileError
from tests.field.networks import (
    CATALOGUE,
    Attention,
    BidirectionalLstm,
    BilinearUNet,
    Chain,
    FusedAttention,
    Lstm,
    NearestUNet,
    ShiftedWindows,
    SqueezeExcitation,
    TransposedUNet,
)
from tests.tile.bands.laws import Net

GLOBAL = {SqueezeExcitation, Attention, FusedAttention, Lstm, BidirectionalLstm}
LOCAL = sorted(set(CATALOGUE) - GLOBAL - {ShiftedWindows}, key=lambda kind: kind.__name__)
UNETS = {TransposedUNet, NearestUNet, BilinearUNet}


def assert_tiles(
    model: nn.Module, shape: Sequence[int], *, tile: int | Sequence[int], tolerance: float = 1e-10
) -> None:
    """The float64 model on more than one crop, each smaller than the image, gives the whole's."""
    torch.manual_seed(0)
    model = model.double().eval()
    x = torch.randn(tuple(shape), dtype=torch.float64)
    run = tiled(model, x, tile=tile)
    plan = run.plan(shape)
    assert len(plan) > 1
    assert any(piece.length < axis.size for axis in plan.axes for piece in axis.pieces)
    with torch.no_grad():
        wanted = outputs(model(x))
    found = outputs(run(x))
    assert len(found) == len(wanted)
    for one, two in zip(found, wanted, strict=True):
        assert one.shape == two.shape
        assert (one - two).abs().max() <= tolerance * two.abs().max().clamp(min=1)


def outputs(result: object) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    assert isinstance(result, (dict, tuple, list))
    return list(result.values() if isinstance(result, dict) else result)


def large(shape: Sequence[int], *, odd: bool) -> tuple[int, ...]:
    """A larger shape of the same rank."""
    side = {1: 256, 2: 128, 3: 24}[len(shape) - 2]
    return (*shape[:2], *(side - (3 * place + 5 if odd else 0) for place in range(len(shape) - 2)))


@pytest.mark.parametrize("odd", [False, True], ids=["even", "odd"])
@pytest.mark.parametrize("kind", LOCAL, ids=lambda kind: kind.__name__)
def test_every_local_micro_network_tiles_at_even_and_odd_sizes(kind, odd):
    if odd and kind in UNETS:
        pytest.skip("the network itself fails on sizes that its strides do not divide")
    shape = large(CATALOGUE[kind], odd=odd)
    assert_tiles(kind(), shape, tile=48 if len(shape) < 5 else 8)


@pytest.mark.parametrize("kind", sorted(GLOBAL, key=lambda kind: kind.__name__))
def test_a_global_layer_is_refused_by_name(kind):
    with pytest.raises(TileError, match=r"these layers see all of it:\n  '"):
        plan_tiles(kind().eval(), large(CATALOGUE[kind], odd=False), tile=16)


class Pyramid(nn.Module):
    """A feature pyramid over three strides: nearest upsampling to the size of the lateral."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=2, padding=1)
            for before, after in ((3, 4), (4, 6), (6, 8))
        )
        self.fpn = FeaturePyramidNetwork([4, 6, 8], 5)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        found = {}
        for number, layer in enumerate(self.stem):
            x = found[f"p{number}"] = layer(x).relu()
        return self.fpn(found)


def test_a_feature_pyramid_tiles_with_all_its_outputs():
    assert_tiles(Pyramid(), (1, 3, 192, 160), tile=64)


def trunk(model: nn.Module) -> nn.Module:
    """A torchvision ResNet to layer4, with statistics that keep its values moderate."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.1, 0.1)
    return nn.Sequential(*list(model.children())[:-2])


def test_resnet50_to_its_last_layer_tiles():
    torch.manual_seed(0)
    model = trunk(torchvision.models.resnet50(weights=None))
    assert_tiles(model, (1, 3, 576, 32), tile=(288, 32))


def test_convnext_without_its_head_tiles():
    torch.manual_seed(0)
    model = torchvision.models.convnext_tiny(weights=None).features[:4]
    assert_tiles(model, (1, 3, 256, 32), tile=(64, 32))


def test_swin_blocks_tile_in_whole_windows():
    """Shifted windows with their masks are local: the crop's own mask acts at the real border."""
    torch.manual_seed(0)
    model = nn.Sequential(torchvision.models.swin_t(weights=None).features[:2])
    assert_tiles(model, (1, 3, 224, 56), tile=(56, 56))


def test_swin_with_its_head_is_refused():
    model = torchvision.models.swin_t(weights=None).eval()
    with pytest.raises(
        TileError, match=r"'avgpool' \(adaptive_avg_pool\): it reads the whole axis"
    ):
        plan_tiles(model, (1, 3, 224, 224), tile=224)


def test_efficientnet_is_refused_with_all_its_squeezes():
    model = torchvision.models.efficientnet_b0(weights=None).eval().features
    with pytest.raises(TileError, match=r"'1\.0\.block\.1\.avgpool' \(adaptive_avg_pool\)") as told:
        plan_tiles(model, (1, 3, 512, 512), tile=128)
    assert len(told.value.refusals) == 16


def test_a_unet_with_group_norm_is_refused_with_every_norm():
    class Normed(BilinearUNet):
        def __init__(self) -> None:
            super().__init__()
            self.down = nn.ModuleList(
                nn.Sequential(layer, nn.GroupNorm(1, 2)) for layer in self.down
            )

    with pytest.raises(TileError, match=r"'down\.0\.1' \(group_norm\)") as told:
        plan_tiles(Normed().eval(), (1, 3, 64, 64), tile=16)
    assert [refusal.op for refusal in told.value.refusals] == ["group_norm"] * 2


def test_group_norm_is_refused_by_the_path_of_its_module():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.GroupNorm(2, 4)).eval()
    with pytest.raises(TileError, match=r"'1' \(group_norm\): it reads the whole axis"):
        plan_tiles(model, (1, 3, 64, 64), tile=32)


def test_a_numpy_image_gives_a_numpy_result():
    model = Chain().eval()
    image = np.random.default_rng(0).normal(size=(1, 3, 80, 64)).astype("float32")
    found = tiled(model, torch.empty(1, 3, 32, 32), tile=32)(image)
    assert isinstance(found, np.ndarray)
    with torch.no_grad():
        wanted = model(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_any_callable_runs_on_a_given_plan():
    model = Chain().eval()
    plan = plan_tiles(model, (1, 3, 80, 64), tile=32)
    seen = []

    def session(crop: np.ndarray) -> list[np.ndarray]:
        seen.append(crop.shape)
        with torch.no_grad():
            return [model(torch.from_numpy(crop)).numpy()]

    image = np.random.default_rng(0).normal(size=(1, 3, 80, 64)).astype("float32")
    found = tiled(session, plan)(image)
    with torch.no_grad():
        wanted = model(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert len(seen) == len(plan)


def test_a_plan_is_for_one_size():
    run = tiled(Chain(), plan_tiles(Chain().eval(), (1, 3, 80, 64), tile=32))
    with pytest.raises(UsageError, match="for inputs of 1x3x80x64, and these are 1x3x96x64"):
        run(np.zeros((1, 3, 96, 64), dtype="float32"))


class Calls(nn.Module):
    """A function as a network."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


KEYS = torch.randn(1, 2, 24, 8, generator=torch.Generator().manual_seed(0))
KNOW_POSITIONS = {
    "causal attention to constants": (
        lambda x: torch.nn.functional.scaled_dot_product_attention(x, KEYS, KEYS, is_causal=True)
    ),
    "rows by the identity": lambda x: x[:, :, torch.arange(24)],
    "rows by an index": lambda x: x.index_select(2, torch.arange(24)),
    "rows by gather": lambda x: x.gather(2, torch.arange(24).view(1, 1, 24, 1).expand_as(x)),
    "as many pieces as there are": lambda x: list(x.split(3, 2)),
    "a diagonal written that counts": lambda x: x.diagonal_scatter(
        torch.arange(x.shape[2]).float()[:, None, None].expand(-1, 1, 2).permute(1, 0, 2), 0, 1, 3
    ),
    "a table that knows the size, looked up": lambda x: torch.take_along_dim(
        torch.linspace(0, 1, x.shape[2]).view(1, 1, -1, 1), (x > 0).long(), 2
    ),
    "no dimension of size 1": lambda x: (x[:, :1] + 1).squeeze(),
}


@pytest.mark.parametrize("function", KNOW_POSITIONS.values(), ids=KNOW_POSITIONS)
@pytest.mark.parametrize("tile", [5, 12])
def test_what_knows_its_position_is_what_the_whole_gives_or_refused(function, tile):
    x = torch.randn(1, 2, 24, 8, generator=torch.Generator().manual_seed(1))
    try:
        found = tiled(Calls(function), x, tile=tile, axes=[2])(x)
    except TileError:
        return
    torch.testing.assert_close(found, function(x))


def test_causal_attention_to_constants_is_not_cut():
    plan = plan_tiles(Calls(KNOW_POSITIONS["causal attention to constants"]), (1, 2, 24, 8),
                      tile=8, axes=[2])  # fmt: skip
    first, *rest = plan.axes[0].pieces
    assert len(rest) == 2
    assert all(piece.reads[0][0] == 0 for piece in (first, *rest))


def test_attention_to_constants_that_sees_all_of_them_is_cut():
    model = Calls(lambda x: torch.nn.functional.scaled_dot_product_attention(x, KEYS, KEYS))
    x = torch.randn(1, 2, 24, 8, generator=torch.Generator().manual_seed(1))
    run = tiled(model, x, tile=8, axes=[2], verify=True)
    torch.testing.assert_close(run(x), model(x))
    assert [piece.reads for piece in run.plan(x.shape).axes[0].pieces] == [
        ((0, 8),), ((8, 16),), ((16, 24),)
    ]  # fmt: skip


def test_an_empty_batch_is_one_crop():
    model, x = Chain().eval(), torch.empty(0, 3, 80, 64)
    run = tiled(model, x, tile=32)
    assert len(run.plan(x.shape)) == 1
    with torch.no_grad():
        assert run(x).shape == model(x).shape


@pytest.mark.parametrize("tile", [None, "a", 2.5, (4, None)])
def test_what_is_no_tile_is_refused(tile):
    with pytest.raises(UsageError, match=r"the size of a tile|A tile is a number of samples"):
        plan_tiles(Chain().eval(), (1, 3, 80, 64), tile=tile)


def test_an_input_that_is_cut_short_is_refused():
    class Short:
        shape, dtype = (1, 3, 80, 64), np.dtype("float32")

        def __getitem__(self, key):
            return np.zeros(self.shape, "float32")[:, :, :70][key]

    for run in (tiled(Chain().eval(), torch.empty(1, 3, 80, 64), tile=32),
                streamed(Chain().eval(), torch.empty(1, 3, 80, 64), band=16)):  # fmt: skip
        with pytest.raises(UsageError, match=r"Input 0 gave .* where .* was to be read"):
            run(Short())


def test_a_fault_of_a_plan_is_told_as_one(monkeypatch):
    def broken(*_):
        raise KeyError("rows")

    monkeypatch.setattr("fieldwise.tile.crops.planner.prove", broken)
    with pytest.raises(TileError, match=r"fieldwise failed on it \(KeyError: 'rows'\).*report it"):
        plan_tiles(Chain().eval(), (1, 3, 80, 64), tile=32)


def test_a_run_leaves_the_functions_of_the_process_in_place_also_where_the_model_fails():
    fails = list[bool]()

    class Failing(nn.Module):
        def forward(self, x):
            if fails:
                raise ValueError("no")
            return x * 2

    before, model = torch.manual_seed, Failing().eval()
    run, x = tiled(model, torch.empty(1, 1, 8, 8), tile=4), torch.ones(1, 1, 16, 16)
    torch.testing.assert_close(run(x), 2 * x)
    assert torch.manual_seed is before
    fails.append(True)
    with pytest.raises(TileError, match="fails on a crop"):
        run(x)
    assert torch.manual_seed is before


def _put(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, :, [0, 17, 5]] = 2.0
    return y


WRITES = (
    _put,
    lambda x: x.index_fill(2, torch.tensor([0, 17, 5]), 2.0),
    lambda x: x.index_copy(2, torch.tensor([0, 17, 5]), torch.ones(2, 3, 3)),
    lambda x: x.index_add(2, torch.tensor([0, 17, 5]), torch.ones(2, 3, 3)),
)


@pytest.mark.parametrize("write", WRITES)
def test_writes_at_places_of_the_image_are_not_tiled(write):
    """A crop has other positions there."""
    with pytest.raises(TileError, match="not supported: how it treats positions"):
        tiled(Net(write), torch.empty(2, 3, 40), tile=4, axes=[2]).plan((2, 3, 40))
