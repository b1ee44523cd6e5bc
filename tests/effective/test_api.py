"""Effective fields: against path counts, against published scripts, resumed, shared, refused."""

from __future__ import annotations

import numpy as np
import onnx.parser
import pytest
import torch
from PIL import Image
from torch import nn

from fieldwise import effective_field, receptive_fields
from fieldwise.effective import PROTOCOLS
from fieldwise.effective.inputs import IMAGENET, Noise, normalisation_of
from fieldwise.errors import UsageError
from fieldwise.field.paths import path_counts


def stack(*, layers=4, bias=False, stride=1):
    return nn.Sequential(
        *(nn.Conv2d(1, 1, 3, stride, padding=1, bias=bias) for _ in range(layers))
    ).eval()


def uniform(net):
    for weight in net.parameters():
        nn.init.constant_(weight, float(weight.dim() > 1))
    return net


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True),
        nn.Conv2d(6, 6, 3, 2, padding=1), nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4),
    ).eval()  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_of_a_linear_network_it_is_the_path_count(protocol):
    """To 1e-10, at every protocol, for a unit in the middle and one at the border."""
    model = uniform(stack(layers=6, stride=1)).double()
    report = receptive_fields(model, (1, 1, 24, 24))
    ones = [torch.ones(1, 1, 24, 24, dtype=torch.float64)]
    for unit in [(11, 12), (0, 3)]:
        found = effective_field(model, (1, 1, 24, 24), images=ones, unit=unit, protocol=protocol)
        counts = path_counts(report, "5", unit)
        np.testing.assert_allclose(found.map / found.map.sum(), counts.shares, atol=1e-10, rtol=0)


def test_replknet_is_what_its_script_computes():
    """Written down step by step: positive outputs, positive gradients, log10(x + 1), loops."""
    model, images = net(), Noise((1, 3, 40, 40), 4)
    found = effective_field(
        model, (1, 3, 40, 40), images=images, layer="4", unit=(10, 10), protocol="replknet"
    )
    total = np.zeros((40, 40))
    for image in images:
        given = image.clone().requires_grad_()
        output = model[:5](given.clone())
        middle = output[:, :, output.shape[2] // 2, output.shape[3] // 2].relu().sum()
        (gradient,) = torch.autograd.grad(middle, given)
        total += gradient.relu().sum((0, 1)).double().numpy()
    np.testing.assert_allclose(found.map, total / 4, rtol=1e-6)
    logs = np.log10(total / 4 + 1)
    for row in found:
        n = next(
            n for n in range(1, 20)
            if logs[20 - n : 21 + n, 20 - n : 21 + n].sum() / logs.sum() > row.share
        )  # fmt: skip
        assert row.published.side == 2 * n + 1
        assert row.published.ratio == (2 * n + 1) ** 2 / 1600


def test_openerf_averages_channels_before_it_drops_signs():
    """The mean of the unit's channels; the input's are averaged first."""
    model, images = net(), Noise((1, 3, 24, 24), 3)
    found = effective_field(
        model, (1, 3, 24, 24), images=images, layer="3", unit=(6, 6), protocol="openerf"
    )
    total = np.zeros((24, 24))
    for image in images:
        given = image.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(model[:4](given.clone())[0, :, 6, 6].mean(), given)
        total += gradient.mean((0, 1)).clamp(min=0).double().numpy()
    np.testing.assert_allclose(found.map, total / 3, rtol=1e-6)


def test_nothing_contributes_outside_the_theoretical_field():
    """At borders and in the middle, of a network with a nonlinearity."""
    for unit in [(0, 0), (5, 6), (11, 11)]:
        found = effective_field(net(), (1, 3, 24, 24), noise=2, layer="3", unit=unit)
        assert found.outside == 0
        assert not found.is_silent
        assert found.seen.mask()[found.map > 0].all()


def test_the_model_and_its_gradients_stay_as_they_were():
    """Buffers, modes, parameters, and what they have gathered."""
    model = net()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    effective_field(model, (1, 3, 16, 16), noise=2)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(model[0].weight.grad, torch.ones_like(model[0].weight))
    assert not model[0]._forward_hooks


def test_the_last_layer_with_several_positions_is_looked_at_by_default():
    """Behind the pool a position sees everything."""
    found = effective_field(net(), (1, 3, 24, 24), noise=1)
    assert found.layer == "4"
    assert found.seen.shape == (24, 24)
    with pytest.raises(UsageError, match="No layer has several output positions"):
        effective_field(net()[5:], (1, 6, 1, 1), noise=1)


def test_a_value_of_an_onnx_file_is_looked_at_through_its_node(tmp_path):
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]>'
        "net (float[1, 2, 8, 8] x) => (float[1, 2, 1, 1] y)"
        "{ [first] map = Tanh(x) [pool] y = GlobalAveragePool(map) }"
    )
    onnx.save(model, tmp_path / "net.onnx")
    path = str(tmp_path / "net.onnx")
    by_default, named = (effective_field(path, noise=1, layer=one) for one in (None, "map"))
    assert by_default.layer == named.layer == "first"
    assert np.array_equal(by_default.map, named.map)


def test_the_default_unit_lies_in_the_middle_and_squares_are_around_its_own_field():
    """Stride 8 without padding: the middle unit of the map is 4 samples from the middle."""
    model = nn.Sequential(*(nn.Conv2d(1, 1, 2, 2) for _ in range(3)))
    found = effective_field(model, (1, 1, 64, 64), noise=1)
    assert found.unit == (3, 3)
    assert found.centre == (27.5, 27.5)
    assert found.rows[-1].linear.side == 8
    assert found.rows[-1].published.side > 8


def test_a_run_goes_on_from_where_it_was_interrupted(tmp_path):
    """To the same bits, whatever it was interrupted at."""
    whole = effective_field(net(), (1, 3, 16, 16), noise=5)

    def stop(done, total):
        assert total == 5
        if done == 2:
            raise KeyboardInterrupt

    state = tmp_path / "erf.npz"
    with pytest.raises(KeyboardInterrupt):
        effective_field(net(), (1, 3, 16, 16), noise=5, state=state, progress=stop)
    done = []
    found = effective_field(
        net(), (1, 3, 16, 16), noise=5, state=state, progress=lambda n, _: done.append(n)
    )
    assert done == [3, 4, 5]
    np.testing.assert_array_equal(found.map, whole.map)
    np.testing.assert_array_equal(found.standard_error, whole.standard_error)
    other = net()
    nn.init.zeros_(other[0].bias)
    with pytest.raises(UsageError, match="its weights was"):
        effective_field(other, (1, 3, 16, 16), noise=5, state=state)


def test_workers_share_the_inputs():
    """The same mean, in the same order, from a cluster without processes."""
    from distributed import Client

    alone = effective_field(net(), (1, 3, 16, 16), noise=19)
    with Client(
        processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None
    ) as client:
        shared = effective_field(net(), (1, 3, 16, 16), noise=19, client=client)
    assert shared.count == 19
    np.testing.assert_allclose(shared.map, alone.map, rtol=1e-12)
    np.testing.assert_allclose(shared.standard_error, alone.standard_error, rtol=1e-9)


def test_images_come_from_a_folder(tmp_path):
    """Pictures are resized and normalised, arrays are taken as they are; in the order of names."""
    pixels = np.random.default_rng(0).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    array = np.random.default_rng(1).normal(size=(3, 16, 16)).astype(np.float32)
    np.save(tmp_path / "b.npy", array)
    (tmp_path / "notes.txt").write_text("no picture")
    found = effective_field(net(), (1, 3, 16, 16), images=tmp_path)
    sized = Image.fromarray(pixels).resize((16, 16), Image.Resampling.BICUBIC)
    scaled = (np.asarray(sized) / 255 - IMAGENET[0]) / IMAGENET[1]
    given = [torch.tensor(scaled.transpose(2, 0, 1)[None], dtype=torch.float32),
             torch.tensor(array[None])]  # fmt: skip
    wanted = effective_field(net(), (1, 3, 16, 16), images=given)
    assert found.count == 2
    np.testing.assert_allclose(found.map, wanted.map, rtol=1e-4)


def test_a_run_does_not_go_on_with_pictures_normalised_otherwise(tmp_path):
    """Its mean would be over two kinds of inputs."""
    folder, state = tmp_path / "images", tmp_path / "erf.npz"
    folder.mkdir()
    Image.new("RGB", (8, 8), "red").save(folder / "a.png")
    shape = (1, 3, 16, 16)
    effective_field(net(), shape, images=folder, state=state)
    again = effective_field(net(), shape, images=folder, state=state)
    assert again.count == 1
    half = ((0.5,) * 3, (0.5,) * 3)
    with pytest.raises(UsageError, match="its normalisation was"):
        effective_field(net(), shape, images=folder, state=state, normalisation=half)


def test_what_is_no_picture_is_named(tmp_path):
    """A damaged file, an array of another shape, an empty folder, none at all."""
    with pytest.raises(UsageError, match="There is no folder"):
        effective_field(net(), (1, 3, 16, 16), images=tmp_path / "none")
    with pytest.raises(UsageError, match="no pictures in"):
        effective_field(net(), (1, 3, 16, 16), images=tmp_path)
    np.save(tmp_path / "x.npy", np.zeros((2, 16, 16)))
    with pytest.raises(UsageError, match="holds 2x16x16 of float64; the input is 1x3x16x16"):
        effective_field(net(), (1, 3, 16, 16), images=tmp_path)
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"a.png' is no readable picture"):
        effective_field(net(), (1, 3, 16, 16), images=tmp_path)


def test_pictures_are_normalised_as_the_model_says():
    """timm's models have a config; others have ImageNet's."""
    model = nn.Identity()
    assert normalisation_of(model, 3) == IMAGENET
    model.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    assert normalisation_of(model, 3) == ((0.5,) * 3, (0.25,) * 3)
    assert normalisation_of(model, 1) == ((0.5,), (0.25,))


def test_a_sum_that_is_constant_is_said_to_be_rounding():
    """The sum over channels behind a layer norm; a combination of them is a field."""
    model = nn.Sequential(nn.Conv1d(1, 8, 5, padding=2), nn.GroupNorm(1, 8), Positions()).eval()
    shape = (1, 1, 32)
    assert effective_field(model, shape, noise=1, protocol="openerf").is_rounding
    assert not effective_field(model, shape, noise=1).is_rounding


def test_a_gradient_of_zeros_is_no_rounding():
    """Where no channel of the position is positive, RepLKNet's protocol differentiates nothing."""
    model = nn.Conv2d(1, 2, 3, padding=1)
    nn.init.constant_(model.bias, -1e6)
    found = effective_field(model, (1, 1, 9, 9), noise=2, protocol="replknet")
    assert not found.map.any()
    assert not found.is_rounding


class Positions(nn.Module):
    """A layer norm over the channels of each position."""

    def forward(self, x):
        return torch.nn.functional.layer_norm(x.transpose(1, 2), (x.shape[1],)).transpose(1, 2)


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.conv = nn.Embedding(50, 4), nn.Conv1d(4, 2, 3)

    def forward(self, x):
        return self.conv(self.words(x).transpose(1, 2))


@pytest.mark.parametrize("example", [(1, 12), torch.zeros(1, 12, dtype=torch.int64)])
def test_whole_numbers_have_no_gradient(example):
    with pytest.raises(UsageError, match="The input holds int64, by which nothing is differ"):
        effective_field(Tokens().eval(), example)


def test_what_has_no_gradient_is_refused():
    """Integers, and a model that runs without gradients."""

    class Places(nn.Module):
        def forward(self, x):
            return x.argmax(1)

    class Blind(nn.Module):
        def forward(self, x):
            with torch.no_grad():
                return x * 2

    for model in (Places(), Blind()):
        with pytest.raises(UsageError, match="No gradient reaches the input"):
            effective_field(model, (1, 3, 8, 8), noise=1)


def test_wrong_requests_are_told():
    """An unknown protocol, two kinds of inputs, none, and inputs without finite numbers."""
    shape = (1, 3, 16, 16)
    with pytest.raises(UsageError, match="There is no protocol 'lua'"):
        effective_field(net(), shape, protocol="lua")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="give one of the two"):
        effective_field(net(), shape, images=[], noise=1)
    with pytest.raises(UsageError, match="has the shape 1x3x9x9; the input's is 1x3x16x16"):
        effective_field(net(), shape, images=[torch.zeros(1, 3, 9, 9)])
    with pytest.raises(UsageError, match="holds int64, by which nothing is differentiated"):
        effective_field(nn.Embedding(4, 2), torch.zeros(1, 6, dtype=torch.long))
    with pytest.raises(UsageError, match="resnet18"):
        effective_field("resnet18", shape)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="there were no inputs"):
        effective_field(net(), shape, images=[])
    smooth = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Tanh())
    with pytest.raises(UsageError, match="all 1 inputs gave numbers that are not finite"):
        effective_field(smooth, shape, images=[torch.full(shape, float("nan"))])


def test_an_image_may_come_without_its_batch():
    """As arrays of a data set do."""
    shape = (1, 3, 16, 16)
    image = torch.randn(shape)
    one, two = (effective_field(net(), shape, images=[x]) for x in (image, image[0].numpy()))
    np.testing.assert_array_equal(one.map, two.map)


def test_audio_and_volumes_have_maps_of_one_and_three_axes():
    """A causal stack looks back alone."""

    class Causal(nn.Conv1d):
        def forward(self, x):
            return super().forward(nn.functional.pad(x, (2, 0)))

    found = effective_field(nn.Sequential(Causal(1, 1, 3), Causal(1, 1, 3)), (1, 1, 32), noise=2)
    assert found.seen.hi == found.unit
    assert found.theoretical_side == 5
    volume = effective_field(nn.Conv3d(1, 1, 3, padding=1), (1, 1, 6, 6, 6), noise=1)
    assert volume.map.shape == (6, 6, 6)
    assert volume.theoretical_side == pytest.approx(3)


def test_a_layer_is_one_of_several_results_or_the_functional_output_and_no_other_value():
    class Pair(nn.Module):
        def forward(self, x):
            return nn.functional.avg_pool2d(x, 5, 1, 2), nn.functional.avg_pool2d(x, 3, 1, 1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.pair = Pair()

        def forward(self, x):
            five, three = self.pair(x)
            return five.relu() + three

    names = ("pair[0]", "pair[1]", "add")
    fields = [effective_field(Net(), (1, 3, 16, 16), noise=1, layer=name) for name in names]
    assert [found.layer for found in fields] == ["pair[0]", "pair[1]", None]
    assert [found.theoretical_side for found in fields] == [5, 3, 5]
    assert [np.count_nonzero(found.map) for found in fields] == [25, 9, 25]
    with pytest.raises(UsageError, match="A run of the model does not show 'relu': no module"):
        effective_field(Net(), (1, 3, 16, 16), noise=1, layer="relu")
