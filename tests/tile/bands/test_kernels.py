"""Op by op: what a network may contain, streamed along its rows, or refused with the reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldwise.tile import streamed
from fieldwise.tile.bands import StreamError
from fieldwise.tile.bands.kernels import Executor, registry


class Net(nn.Module):
    """A function of a tensor and a layer."""

    def __init__(self, function: Callable[..., Tensor], layer: nn.Module | None) -> None:
        super().__init__()
        self.function, self.layer = function, layer

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x) if self.layer is None else self.function(x, self.layer)


def _written(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, :, 2:5] = 0.0
    y[:, :, 6::3] = x[:, :, :5] ** 2
    return y


def _padded_by_writing(x: Tensor) -> Tensor:
    y = torch.zeros(1, 3, x.shape[2] + 4, x.shape[3], dtype=x.dtype)
    y[:, :, 2:-2] = x
    return y


def _channels_written(x: Tensor) -> Tensor:
    y = torch.ones(1, 6, x.shape[2], x.shape[3], dtype=x.dtype)
    y[:, 1:4] = x
    return y


def _coordinates(x: Tensor) -> Tensor:
    line = torch.linspace(-1, 1, x.shape[2], dtype=x.dtype).view(1, 1, -1, 1)
    return torch.cat([x, line.expand(1, 1, -1, x.shape[3]), torch.ones_like(x[:, :1])], 1)


def _axial_attention(x: Tensor) -> Tensor:
    rows = x.permute(0, 2, 3, 1)
    return F.scaled_dot_product_attention(rows, rows, rows)


def _channels_written_one_by_one(x: Tensor) -> Tensor:
    y = torch.empty(1, 4, x.shape[2], x.shape[3], dtype=x.dtype)
    for channel in range(3):
        y[:, channel] = x[:, 2 - channel] * 2
    y[:, -1] = torch.linspace(-1, 1, x.shape[2], dtype=x.dtype)[:, None]
    return y


def _scaled(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, [0, 2]] *= 3
    y[:, [1]] = 0.5
    return y


def _rows_put(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, :, [1, 3]] = torch.tensor([[0.5], [1.5]])
    return y


def _space_to_depth(x: Tensor) -> Tensor:
    parts = x.view(1, 3, x.shape[2] // 2, 2, x.shape[3] // 2, 2)
    return parts.permute(0, 1, 3, 5, 2, 4).reshape(1, 12, x.shape[2] // 2, x.shape[3] // 2)


_KEYS = torch.randn(1, 3, 20, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
_MASK = torch.randn(20, 20, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
_HALVES, _BACKWARDS = torch.arange(20) // 2, torch.arange(8).flip(0)


def _attention_by_hand(x: Tensor) -> Tensor:
    closed = torch.full((20, 20), -torch.inf, dtype=x.dtype).triu(1)
    return (x @ _KEYS.transpose(2, 3) + closed).softmax(-1) @ _KEYS


def _rotated(x: Tensor) -> Tensor:
    angles = torch.outer(torch.arange(20, dtype=x.dtype), torch.ones(8, dtype=x.dtype))
    turned = torch.cat([-x[..., 4:], x[..., :4]], -1)
    return x * angles.cos() + turned * angles.sin()


OPS: dict[str, Callable[..., Tensor]] = {
    "attention to constants behind a mask of its own": lambda x: F.scaled_dot_product_attention(
        x, _KEYS, _KEYS, attn_mask=_MASK
    ),
    "attention to constants behind a causal mask": lambda x: F.scaled_dot_product_attention(
        x, _KEYS, _KEYS, attn_mask=torch.ones(20, 20).tril().bool()
    ),
    "causal attention to constants by hand": _attention_by_hand,
    "rotary table": _rotated,
    "channels written one by one": _channels_written_one_by_one,
    "cumulative mask": lambda x: x * torch.ones(x.shape[2], dtype=x.dtype).cumsum(0)[:, None],
    "one matrix per row": lambda x: x.transpose(1, 2) @ _KEYS[0].permute(1, 2, 0),
    "sum added to a constant": lambda x: torch.addmm(_MASK[:, :3], x[0, 0], _KEYS[0, 0, :8, :3]),
    "product added to a constant": lambda x: torch.baddbmm(
        _KEYS[0, :, :, :5], x[0], _KEYS[0, :, :8, :5]
    ),
    "norm of rows as channels": lambda x: F.batch_norm(
        x.transpose(1, 2), _MASK[0], _MASK[1].abs(), _MASK[2], _MASK[3]
    ),
    "slopes of rows as channels": lambda x: F.prelu(x.transpose(1, 2), _MASK[0]),
    "rows as samples of a convolution": lambda x: F.conv2d(x.permute(2, 1, 0, 3), _KEYS[:, :, :1]),
    "rows as channels of a pool": lambda x: F.avg_pool2d(x.transpose(1, 2), 2),
    "rows as channels of an adaptive pool": lambda x: x - F.adaptive_avg_pool1d(x[0], 1),
    "rows as channels resized": lambda x: F.interpolate(x[0].transpose(0, 1), size=5, mode="area"),
    "rows and columns by index": lambda x: x[:, :, _HALVES[:, None], _BACKWARDS],
    "columns by index at every row": lambda x: x[:, :, torch.arange(20)[:, None], _BACKWARDS],
    "rows by a square of indices": lambda x: x[:, :, torch.arange(20).view(10, 2)],
    "rows by the identity": lambda x: x[:, :, torch.arange(20)],
    "bicubic by 0.2": lambda x: F.interpolate(x, scale_factor=0.2, mode="bicubic"),
    "bicubic by a third": lambda x: F.interpolate(x, scale_factor=1 / 3, mode="bicubic"),
    "bicubic, corners aligned": lambda x: F.interpolate(
        x, size=(4, 3), mode="bicubic", align_corners=True
    ),
    "pool of a volume without a batch": lambda x: F.max_pool3d(x.expand(2, -1, -1, -1), 2),
    "windows of other axes as data": lambda x: x.unfold(3, 3, 1),
    "the second of two pieces of which one is empty": lambda x: x.split([0, 20], 2)[1],
    "mask that differs by row": lambda x: x * torch.eye(20, 8, dtype=x.dtype),
    "coordinates": _coordinates,
    "rows by index": lambda x: x[:, :, torch.tensor([0, 3, 5, 9, 12, 19])],
    "rows by index, backwards": lambda x: x[:, :, torch.tensor([9, 3, 5])],
    "rows written": _written,
    "padded by writing": _padded_by_writing,
    "channels written": _channels_written,
    "buffer added to": lambda x: torch.ones(20, 8, dtype=x.dtype).add_(x[0, 0])[None],
    "roll": lambda x: x.roll((3, 1), (2, 3)),
    "flip": lambda x: x.flip((2, 3)),
    "repeat": lambda x: x.repeat(1, 2, 2, 1),
    "repeat_interleave": lambda x: x.repeat_interleave(3, 2),
    "halves of the rows": lambda x: torch.add(*x.chunk(2, 2)),
    "cat behind": lambda x: torch.cat([torch.zeros(1, 3, 2, 8, dtype=x.dtype), x, x[:, :, :3]], 2),
    "stack": lambda x: torch.stack([x, 2 * x], 0),
    "where": lambda x: torch.where(x > 0, x, torch.zeros((), dtype=x.dtype)),
    "softmax over channels and columns": lambda x: x.softmax(1) + x.softmax(3),
    "attention along columns": _axial_attention,
    "running sum": lambda x: x.cumsum(2).cumprod(3),
    "largest channels": lambda x: x.topk(2, 1)[0],
    "windows as data": lambda x: x.unfold(2, 4, 2),
    "local response": lambda x: F.local_response_norm(x, 3),
    "average, ceil, pads not counted": lambda x: F.avg_pool2d(
        x, 3, 2, 1, ceil_mode=True, count_include_pad=False
    ),
    "average, ceil, divisor": lambda x: F.avg_pool2d(x, 3, 2, 1, True, True, 5),
    "lp pool": lambda x: F.lp_pool2d(x.abs(), 2, 3, 2),
    "adaptive average": lambda x: F.adaptive_avg_pool2d(x, (7, 3)),
    "adaptive max": lambda x: F.adaptive_max_pool2d(x, 5),
    "area": lambda x: F.interpolate(x, size=(11, 5), mode="area"),
    "nearest by 1.37": lambda x: F.interpolate(x, scale_factor=1.37),
    "bilinear by 1.37": lambda x: F.interpolate(x, scale_factor=1.37, mode="bilinear"),
    "bicubic by 0.7": lambda x: F.interpolate(x, scale_factor=0.7, mode="bicubic"),
    "products of columns": lambda x: torch.einsum("bchw,bdhw->bcdh", x, x).flatten(1, 2),
    "product with a constant": lambda x: torch.einsum(
        "bchw,wv->bchv", x, torch.arange(40, dtype=x.dtype).view(8, 5)
    ),
    "rows weighted by einsum": lambda x: torch.einsum("bchw,h->bchw", x, _MASK[0]),
    "distances": lambda x: torch.cdist(x.transpose(1, 2)[..., :3, :], _KEYS.transpose(1, 2)),
    "a form of two inputs": lambda x: F.bilinear(x, x.flip(3), _KEYS[0, :, :8, :8]),
    "cross product": lambda x: torch.linalg.cross(x, x.flip(3), dim=1),
    "cross product with constants": lambda x: torch.linalg.cross(x, _KEYS, dim=1),
    "order of columns": lambda x: x.argsort(3) + x.argsort(1, descending=True),
    "buckets": lambda x: torch.bucketize(x, torch.linspace(-2, 2, 9, dtype=x.dtype)),
    "buckets of each row": lambda x: torch.searchsorted(_MASK[:, :9].sort(-1)[0], x[0, 0]),
    "one of a list": lambda x: x * torch.isin(x.round(), torch.ones(1, dtype=x.dtype)),
    "classes": lambda x: F.one_hot(x.argmax(3), 8),
    "looked up": lambda x: F.embedding(x.argmax(3), _MASK),
    "unreduced loss": lambda x: F.smooth_l1_loss(x, _KEYS, reduction="none"),
    "unreduced loss of two": lambda x: F.huber_loss(x, x.flip(1), reduction="none"),
    "windows that roll around in columns": lambda x: F.unfold(x[:, :, :, :4], (1, 2))[..., :4],
    "space to depth by views": _space_to_depth,
    "channels shuffled by views": lambda x: (
        x.repeat(1, 2, 1, 1)
        .view(1, 2, 3, *x.shape[2:])
        .transpose(1, 2)
        .contiguous()
        .view(1, 6, *x.shape[2:])
    ),
    "columns beside channels": lambda x: x.permute(0, 2, 1, 3).contiguous().view(1, 20, -1),
    "columns as complex numbers": lambda x: torch.view_as_complex(x.view(1, 3, 20, 4, 2)).abs(),
    "channels by a list": lambda x: x[:, [2, 0, 1]],
    "channels by a mask": lambda x: x[:, torch.tensor([True, False, True])],
    "channels written at a list": _scaled,
    "squeezed": lambda x: x.mean(1).unsqueeze(1).squeeze(),
}
LAYERS: dict[str, tuple[nn.Module, Callable[..., Tensor]]] = {
    "dilated transposed": (
        nn.ConvTranspose2d(3, 4, 3, stride=3, dilation=2, padding=2, output_padding=1),
        lambda x, layer: layer(x),
    ),
    "transposed with gaps": (
        nn.ConvTranspose2d(3, 4, 1, stride=3, output_padding=2), lambda x, layer: layer(x),
    ),
    "rows as samples of an lstm": (
        nn.LSTM(3, 4, batch_first=True, bidirectional=True),
        lambda x, layer: layer(x[0].permute(1, 2, 0).contiguous())[0],
    ),
    "unbatched": (nn.Conv2d(3, 4, 3, padding="same"), lambda x, layer: layer(x[0])),
    "product": (nn.Linear(8, 5), lambda x, layer: x @ layer.weight.T),
}  # fmt: skip
CASES = {name: (None, function) for name, function in OPS.items()} | LAYERS


@pytest.mark.parametrize(("layer", "function"), CASES.values(), ids=CASES)
@pytest.mark.parametrize("band", [1, 6])
def test_an_op_streams(layer, function, band):
    torch.manual_seed(0)
    model, x = Net(function, layer).double().eval(), torch.randn(1, 3, 20, 8, dtype=torch.float64)
    run = streamed(model, x, band=band)
    with torch.no_grad():
        wanted = model(x)
    found = run(x)
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= 1e-13 * wanted.abs().max().clamp(min=1)
    assert run.peak_bytes <= run.plan(x.shape).peak_bytes


_DROPPING = nn.LSTM(8, 2, num_layers=2, dropout=0.5, batch_first=True).train()

REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "sampling": (
        lambda x: F.grid_sample(x, torch.zeros(1, 20, 8, 2), align_corners=True),
        r"\(grid_sample\): a row of its result reads other rows than itself",
    ),
    "unpooling": (
        lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2),
        "count from the first row",
    ),
    "one row": (lambda x: x[:, :, 3], "picks fixed rows"),
    "causal attention to constants": (
        lambda x: F.scaled_dot_product_attention(x, _KEYS.float(), _KEYS.float(), is_causal=True),
        r"\(attention\): it treats rows by their position",
    ),
    "depthwise along channels": (
        lambda x: F.conv1d(x[0], torch.ones(20, 1, 3), groups=20),
        r"\(conv\): it cannot be run on fewer rows",
    ),
    "one window of all rows": (lambda x: x.unfold(2, 20, 1), "gives as many rows whatever"),
    "several values written at a list": (_rows_put, "several values at places of the streamed"),
    "kernel from the data": (lambda x: F.conv2d(x, x[:, :, :3, :3]), r"\(conv\)"),
    "diagonal": (lambda x: x.diagonal(dim1=2, dim2=3), "diagonal"),
    "rows as the samples of a layer that drops": (
        lambda x: _DROPPING(x[0].transpose(0, 1))[0], r"\(lstm\): it draws random numbers",
    ),
    "rows mixed with columns": (
        lambda x: x.transpose(2, 3).reshape(1, 3, 5, 32), "mixes the rows of the streamed axis",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("function", "why"), REFUSED.values(), ids=REFUSED)
def test_an_op_is_refused_with_its_reason(function, why):
    with pytest.raises(StreamError, match=why):
        streamed(Net(function, None), torch.empty(1, 3, 20, 8), axis=2).plan((1, 3, 20, 8))


def test_a_fault_of_ours_is_told_as_one(monkeypatch):
    def broken(site: object) -> None:
        raise KeyError("rows")

    monkeypatch.setitem(registry._MAKERS, "roll", broken)
    with pytest.raises(StreamError, match=r"\(roll\): fieldwise failed on it .* please report it"):
        streamed(Net(lambda x: x.roll(1, 2), None), torch.empty(1, 3, 20, 8), axis=2).plan(
            (1, 3, 20, 8)
        )


def test_a_fault_while_it_runs_is_told_as_one(monkeypatch):
    def broken(site: object) -> Executor:
        return Executor(lambda rows, lo, hi: (torch.ones(3),))

    monkeypatch.setitem(registry._MAKERS, "roll", broken)
    with pytest.raises(
        StreamError, match=r"'roll' \(roll\) came out as \(3,\) .* please report it"
    ):
        streamed(Net(lambda x: x.roll(1, 2), None), torch.empty(1, 3, 20, 8), band=5)(
            torch.zeros(1, 3, 20, 8)
        )


def test_rows_of_another_type_than_planned_are_never_passed_on(monkeypatch):
    """Torch's word on the meta device may be wrong: of ``huber_loss`` of two types it is."""

    def other(site: object) -> Executor:
        return Executor(lambda rows, lo, hi: (rows.inside(0, lo, hi).double(),))

    monkeypatch.setitem(registry._MAKERS, "relu", other)
    with pytest.raises(StreamError, match=r"came out as torch.float64, where .* torch.float32"):
        streamed(Net(torch.relu, None), torch.empty(1, 3, 20, 8), band=5)(torch.zeros(1, 3, 20, 8))


@pytest.mark.parametrize("axis", [2, 3, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_volumes_that_a_convolution_has_laid_in_channels_last_are_unshuffled(dtype, axis):
    """Torch's convolution of bfloat16 volumes makes that layout, which its unshuffle refuses."""
    model = torch.nn.Sequential(torch.nn.Conv3d(2, 4, 3, padding=1), torch.nn.PixelUnshuffle(2))
    model, x = model.eval().to(dtype), torch.randn(1, 2, 8, 12, 16).to(dtype)
    with torch.no_grad():
        found, wanted = streamed(model, x, axis=axis, band=4)(x), model(x)
    torch.testing.assert_close(
        found, wanted, atol=0.02 if dtype == torch.bfloat16 else 1e-5, rtol=0
    )


def test_an_empty_batch_streams():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, stride=2), nn.Flatten(2)).eval()
    x = torch.empty(0, 3, 20, 8)
    assert streamed(model, x, band=3, verify=True)(x).shape == (0, 4, 40)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_half_precision_model_stays_in_its_dtype(dtype):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.Upsample(scale_factor=3, mode="bilinear")
    )
    model, x = model.to(dtype).eval(), torch.randn(1, 3, 20, 8).to(dtype)
    with torch.no_grad():
        wanted = model(x)
    found = streamed(model, x, band=5)(x)
    assert found.dtype is dtype
    torch.testing.assert_close(found, wanted, atol=0.02, rtol=0)


def test_inputs_of_several_sizes_stream_side_by_side():
    class Pair(nn.Module):
        def forward(self, large: Tensor, small: Tensor) -> tuple[Tensor, Tensor]:
            return F.max_pool2d(large, 2) + small, large

    torch.manual_seed(0)
    large, small = torch.randn(1, 3, 40, 8), torch.randn(1, 3, 20, 4)
    found = streamed(Pair(), (large, small), band=6)(large, small)
    assert torch.equal(found[0], F.max_pool2d(large, 2) + small)
    assert torch.equal(found[1], large)


def test_thin_slabs_of_a_volume_run_on_the_kernel_of_the_whole():
    torch.manual_seed(0)
    model, x = nn.Conv3d(8, 8, 3, padding=1).eval(), torch.randn(1, 8, 64, 64, 8)
    with torch.profiler.profile() as seen, torch.no_grad():
        found = streamed(model, x, axis=2, band=2)(x)
    assert not [event.key for event in seen.key_averages() if "slow_conv" in event.key]
    with torch.no_grad():
        torch.testing.assert_close(found, model(x), atol=1e-6, rtol=1e-6)


def test_a_volume_that_is_smaller_than_a_kernel_is_streamed():
    torch.manual_seed(0)
    model, x = nn.Conv3d(8, 8, 3, padding=1).eval(), torch.randn(1, 8, 2, 3, 3)
    with torch.no_grad():
        found = streamed(model, x, axis=2, band=1)(x)
        torch.testing.assert_close(found, model(x), atol=1e-6, rtol=1e-6)
