"""Op by op: what a network may contain, streamed along its rows, or refused with the reason."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldwise.tile import streamed
from fieldwise.tile.stream import StreamError


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


def _scaled(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, [0, 2]] *= 3
    y[:, [1]] = 0.5
    return y


def _rows_put(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, :, [1, 3]] = 0.5
    return y


def _space_to_depth(x: Tensor) -> Tensor:
    parts = x.view(1, 3, x.shape[2] // 2, 2, x.shape[3] // 2, 2)
    return parts.permute(0, 1, 3, 5, 2, 4).reshape(1, 12, x.shape[2] // 2, x.shape[3] // 2)


OPS: dict[str, Callable[..., Tensor]] = {
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
def test_an_op_streams(layer: nn.Module | None, function: Callable[..., Tensor], band: int) -> None:
    torch.manual_seed(0)
    model, x = Net(function, layer).double().eval(), torch.randn(1, 3, 20, 8, dtype=torch.float64)
    run = streamed(model, x, band=band)
    with torch.no_grad():
        wanted = model(x)
    found = run(x)
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= 1e-13 * wanted.abs().max().clamp(min=1)
    assert run.peak_bytes <= run.plan(x.shape).peak_bytes


REFUSED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "sampling": (
        lambda x: F.grid_sample(x, torch.zeros(1, 20, 8, 2), align_corners=True),
        r"\(grid_sample\): nobody knows which rows",
    ),
    "unpooling": (
        lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2),
        "count from the first row",
    ),
    "one row": (lambda x: x[:, :, 3], "picks fixed rows"),
    "rows weighted by einsum": (
        lambda x: torch.einsum("bchw,h->bchw", x, torch.arange(20, dtype=x.dtype)),
        "other numbers for each row",
    ),
    "no executor": (lambda x: x.triu(), "nobody has told yet how to run this op"),
    "rows written at a list": (_rows_put, "at places of the streamed axis"),
    "kernel from the data": (lambda x: F.conv2d(x, x[:, :, :3, :3]), r"\(conv\)"),
    "diagonal": (lambda x: x.diagonal(dim1=2, dim2=3), "diagonal"),
    "tokens of columns": (
        lambda x: x.transpose(2, 3).flatten(2), "in front of the rows of the streamed axis",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("function", "why"), REFUSED.values(), ids=REFUSED)
def test_an_op_is_refused_with_its_reason(function: Callable[[Tensor], Tensor], why: str) -> None:
    with pytest.raises(StreamError, match=why):
        streamed(Net(function, None), torch.empty(1, 3, 20, 8)).plan((1, 3, 20, 8))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_half_precision_model_stays_in_its_dtype(dtype: torch.dtype) -> None:
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


def test_inputs_of_several_sizes_stream_side_by_side() -> None:
    class Pair(nn.Module):
        def forward(self, large: Tensor, small: Tensor) -> tuple[Tensor, Tensor]:
            return F.max_pool2d(large, 2) + small, large

    torch.manual_seed(0)
    large, small = torch.randn(1, 3, 40, 8), torch.randn(1, 3, 20, 4)
    found = streamed(Pair(), (large, small), band=6)(large, small)
    assert torch.equal(found[0], F.max_pool2d(large, 2) + small)
    assert torch.equal(found[1], large)
