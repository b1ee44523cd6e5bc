"""Crops in batches give what the whole image gives, where each is proven to be by itself in one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from fieldwise.errors import UsageError
from fieldwise.tile import plan_tiles, tiled
from fieldwise.tile.crops import batches
from fieldwise.tile.errors import TileError
from tests.field.networks import CATALOGUE, Chain, TransposedUNet
from tests.tile.crops.test_tiled import LOCAL, large, outputs


def drawn(kind, shape):
    torch.manual_seed(0)
    return kind().double().eval(), torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize("kind", LOCAL, ids=lambda kind: kind.__name__)
def test_every_local_micro_network_gives_the_same_in_batches(kind):
    shape = large(CATALOGUE[kind], odd=False)
    model, x = drawn(kind, shape)
    run = tiled(model, x, tile=32 if len(shape) < 5 else 8, batch=4)
    plan = run.plan(shape)
    assert plan.batch == max(batch.count for batch in plan.batches()) > 1
    with torch.no_grad():
        wanted = outputs(model(x))
    for one, two in zip(outputs(run(x)), wanted, strict=True):
        assert (one - two).abs().max() <= 1e-10 * two.abs().max().clamp(min=1)


def test_batches_hold_every_crop_once_and_are_equal_for_each_shape():
    plan = plan_tiles(Chain().eval(), (1, 3, 320, 416), tile=32, batch=6)
    of_shape = dict[tuple[int, ...], set[int]]()
    for batch in plan.batches():
        assert {tile.lengths for tile in batch.tiles} == {batch.tiles[0].lengths}
        of_shape.setdefault(batch.tiles[0].lengths, set()).add(batch.count)
    assert all(len(counts) == 1 for counts in of_shape.values())
    held = [tile.reads for batch in plan.batches() for tile in batch.tiles]
    assert sorted(map(str, held)) == sorted(str(tile.reads) for tile in plan.tiles())
    assert max(map(max, of_shape.values())) <= 6


def test_the_model_is_called_on_no_other_number_of_crops_than_is_planned():
    model, x = drawn(Chain, (2, 3, 160, 160))
    run, called = tiled(model, x, tile=32, batch=4), list[int]()
    model.register_forward_pre_hook(lambda _, args: called.append(args[0].shape[0]))
    run(x)  # captures the model too
    called.clear()
    run(x)
    assert set(called) == {2 * batch.count for batch in run.plan(x.shape).batches()}
    assert len(called) == len(list(run.plan(x.shape).batches()))


def test_the_certificate_is_of_the_batches_that_are_run():
    model, x = drawn(Chain, (1, 3, 160, 192))
    run, called = tiled(model, x, tile=32, batch=4), set[int]()
    plan = run.plan(x.shape)
    assert len(plan.shortened()) < len(plan)
    model.register_forward_pre_hook(lambda _, args: called.add(args[0].shape[0]))
    assert run.verify(x).kind in ("float64", "bit-identical")
    assert called == {1, *(batch.count for batch in plan.batches())}


def test_windows_of_tokens_stand_in_batches_too():
    """One batch is one digit of a dimension that holds windows and tokens of all crops."""
    torch.manual_seed(0)
    model = nn.Sequential(torchvision.models.swin_t(weights=None).features[:2]).double().eval()
    x = torch.randn(1, 3, 280, 56, dtype=torch.float64)
    run = tiled(model, x, tile=(56, 56), batch=3)
    assert run.plan(x.shape).batch == 3
    with torch.no_grad():
        assert torch.allclose(run(x), model(x), atol=1e-10)


class Conv(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)


class FromTheMean(Conv):
    def forward(self, x):
        y = self.conv(x)
        return y - y.mean(0, keepdim=True)


class Reversed(Conv):
    def forward(self, x):
        return self.conv(x).flip(0)


class Numbered(Conv):
    def forward(self, x):
        return self.conv(x) + torch.arange(x.shape[0]).view(-1, 1, 1, 1)


class Branches(Conv):
    def forward(self, x):
        return self.conv(x) * (2 if x.shape[0] > 2 else 1)


class OneOnly(Conv):
    def forward(self, x):
        return self.conv(x.reshape(1, 1, *x.shape[2:]))


REFUSED = {
    FromTheMean: r"\(mean\): it reads the whole axis",
    Reversed: r"it holds the crops in another order",
    Numbered: r"\(add\): ",
    Branches: r"\(mul\): its argument 'other' depends on the size of the image",
    OneOnly: r"It does not run on 3 of them: ",
}


@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: kind.__name__)
def test_what_depends_on_the_rest_of_the_batch_is_refused_at_once_with_the_layer(kind):
    model = kind().eval()
    with pytest.raises(TileError, match=REFUSED[kind]) as caught:
        tiled(model, (1, 1, 96, 96), tile=32, batch=3)
    assert "Crops are not computed in batches" in str(caught.value)
    assert "Compute them one by one: batch=1 (--batch 1)." in str(caught.value)
    assert tiled(model, (1, 1, 96, 96), tile=32).plan((1, 1, 96, 96)).batch == 1


def test_inputs_of_other_first_axes_are_refused():
    class Beside(Conv):
        def forward(self, x, y):
            return self.conv(x) + y

    with pytest.raises(TileError, match="no first axis in common"):
        plan_tiles(Beside().eval(), ((1, 1, 96, 96), (2, 1, 96, 96)), tile=32, batch=2)


def test_channels_are_no_batch():
    class Unbatched(Conv):
        def forward(self, x):
            return self.conv(x)

    model = Unbatched().eval()
    with pytest.raises(TileError, match="It does not run on 2 of them"):
        plan_tiles(model, (1, 96, 96), tile=32, axes=(1, 2), batch=2)


@pytest.mark.parametrize("batch", [0, -1, 1.5, "many"])
def test_what_is_no_number_of_crops_is_refused(batch):
    with pytest.raises(UsageError, match="A batch is a whole number of crops, 1 or more, got"):
        tiled(Chain().eval(), (1, 3, 96, 96), tile=32, batch=batch)


def test_automatic_batches_are_what_fits_and_crops_stay_alone_where_they_are_not_proven(
    monkeypatch,
):
    shape = (1, 3, 320, 320)
    assert tiled(Chain().eval(), shape, tile=32).plan(shape).batch == 1  # on the processor
    monkeypatch.setattr(batches, "fitting", lambda plan, sizes: 5)
    found = tiled(Chain().eval(), shape, tile=32).plan(shape)
    assert found.batch == 5
    assert found.single_because == ""
    shape = (1, 1, 320, 320)
    alone = tiled(FromTheMean().eval(), shape, tile=32).plan(shape)
    assert alone.batch == 1
    assert "'the model itself' (mean)" in alone.single_because


def test_as_many_as_fit_is_by_the_bytes_of_one():
    plan = plan_tiles(TransposedUNet().eval(), (1, 3, 128, 128), tile=32)
    assert batches.within(plan, 7 * plan.crop_bytes + 1) == 7
    assert batches.within(plan, 0) == 1


def test_a_plan_counts_the_memory_of_its_batches():
    model, shape = TransposedUNet().eval(), (1, 3, 256, 256)
    one, eight = (plan_tiles(model, shape, tile=32, batch=batch) for batch in (1, 8))
    most = max(batch.count for batch in eight.batches())
    assert one.crop_bytes < eight.crop_bytes <= most * one.crop_bytes
    assert f"at most {most} per call" in str(eight)


def test_any_callable_takes_the_batches_of_its_plan():
    model, x = drawn(Chain, (1, 3, 128, 128))
    called = list[int]()

    def server(crop):
        called.append(len(crop))
        with torch.no_grad():
            return model(torch.from_numpy(crop)).numpy()

    run = tiled(server, plan_tiles(model, x.shape, tile=32, batch=4))
    with torch.no_grad():
        np.testing.assert_allclose(run(x.numpy()), model(x).numpy(), atol=1e-10)
    assert max(called) == 4


def test_a_callable_that_returns_less_than_its_batch_is_refused():
    model, shape = Chain().eval(), (1, 3, 128, 128)

    def server(crop):
        return model(torch.from_numpy(crop[:1])).detach().numpy()

    run = tiled(server, plan_tiles(model, shape, tile=32, batch=4))
    with pytest.raises(UsageError, match="the plan was made for another network"):
        run(np.zeros(shape, dtype="float32"))


def test_a_plan_leaves_no_batch_to_choose():
    plan = plan_tiles(Chain().eval(), (1, 3, 96, 96), tile=32)
    with pytest.raises(UsageError, match="give no tile, axes or batch beside it"):
        tiled(Chain(), plan, batch=2)
