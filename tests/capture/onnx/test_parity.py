"""A torch model and the file that torch writes of it give the same report."""

from __future__ import annotations

import contextlib
import io
import logging
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fieldwise
import fieldwise.onnx
from fieldwise.field import FieldReport


class Branches(nn.Module):
    """Strides, dilation, transposed convolutions, resizing, pads, pools and skips."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.wide = nn.Conv2d(8, 8, 3, padding=4, dilation=4, groups=8)
        self.up = nn.ConvTranspose2d(8, 8, 4, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.last = nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm(self.first(x)))
        up = self.up(F.max_pool2d(self.wide(x), 2, ceil_mode=True))
        near = F.interpolate(F.avg_pool2d(x, 2), scale_factor=2, mode="bilinear")
        x = torch.cat([up[..., : near.shape[2], : near.shape[3]], near], 1)
        return self.last(F.pad(x, (1, 1, 2, 0), mode="reflect"))


class Windows(nn.Module):
    """Windows of tokens, a shift by roll, attention within them, and pixel shuffle."""

    def __init__(self) -> None:
        super().__init__()
        self.cut = nn.Conv2d(3, 12, 4, stride=4)
        self.mixed = nn.Linear(12, 36)
        self.norm = nn.LayerNorm(12)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.roll(self.cut(x), (-1, -1), (2, 3))
        batch, depth, high, wide = x.shape
        x = x.reshape(batch, depth, high // 2, 2, wide // 2, 2).permute(0, 2, 4, 3, 5, 1)
        tokens = self.norm(x.reshape(-1, 4, depth))
        query, key, value = self.mixed(tokens).chunk(3, -1)
        tokens = torch.softmax(query @ key.transpose(-1, -2), -1) @ value
        x = tokens.reshape(batch, high // 2, wide // 2, 2, 2, depth).permute(0, 5, 1, 3, 2, 4)
        x = torch.roll(x.reshape(batch, depth, high, wide), (1, 1), (2, 3))
        return F.pixel_shuffle(x, 2)


class Sound(nn.Module):
    """Causal convolutions, an LSTM, and a strided decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 6, 7, dilation=3)
        self.lstm = nn.LSTM(6, 6, batch_first=True)
        self.up = nn.ConvTranspose1d(6, 1, 8, stride=4, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.elu(self.conv(F.pad(x, (18, 0))))[..., ::2]
        return self.up(self.lstm(x.transpose(1, 2))[0].transpose(1, 2))


CASES = {
    "branches": (Branches, (1, 3, 36, 40)),
    "windows": (Windows, (1, 3, 32, 48)),
    "sound": (Sound, (1, 1, 96)),
}


def exported(model: nn.Module, x: Tensor, path: Path, *, dynamo: bool) -> None:
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            torch.onnx.export(model, (x,), path, dynamo=dynamo, external_data=False)
    finally:
        logging.disable(logging.NOTSET)


def last(report: FieldReport) -> tuple[object, ...]:
    """What the last row says of the network."""
    row = report.rows[-1]
    axes = tuple(
        (a.extent, a.count, a.stride, a.start, a.full, a.past, a.look_ahead) for a in row.axes
    )
    return (row.shape, row.exact, axes)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dynamo", [True, False])
@pytest.mark.parametrize("name", CASES)
def test_the_file_sees_what_the_model_sees(tmp_path, name, dynamo):
    torch.manual_seed(0)
    make, shape = CASES[name]
    model, x = make().eval(), torch.randn(shape)
    exported(model, x, tmp_path / "net.onnx", dynamo=dynamo)
    net = fieldwise.onnx.load(tmp_path / "net.onnx")
    with torch.no_grad():
        torch.testing.assert_close(net(x), model(x), rtol=1e-4, atol=1e-5)
    mine, theirs = fieldwise.receptive_fields(model, x), fieldwise.receptive_fields(net, x)
    assert last(theirs) == last(mine)
    sizes = [mine.rows[-1].shape[dim] for dim in mine.roles(mine.rows[-1].name).unit]
    for unit in {
        tuple(0 for _ in sizes),
        tuple(n // 2 for n in sizes),
        tuple(n - 1 for n in sizes),
    }:
        seen, told = (report[report.rows[-1].name].at(*unit) for report in (mine, theirs))
        assert (seen.products, seen.exact) == (told.products, told.exact)
