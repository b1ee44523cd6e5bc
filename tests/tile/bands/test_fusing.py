"""On a card a ReLU adds the bias of the convolution before it, with the bits of the two ops."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from fieldwise.graph.calls import bind
from fieldwise.tile import streamed
from fieldwise.tile.bands import StreamedModel, programs
from fieldwise.tile.bands.kernels.add_relu import ADD_RELU
from fieldwise.tile.bands.programs import Programs


@pytest.fixture(autouse=True)
def _as_on_a_card(monkeypatch):
    monkeypatch.setattr(programs, "fuses_on", lambda _: True)


def _fusing(model: nn.Module, x: Tensor, band: int = 8, axis: int = -2) -> StreamedModel:
    return streamed(model, x, axis=axis, band=band)


def _fused(run: StreamedModel, x: Tensor) -> list[str]:
    """The values that are made of a convolution's result and its bias."""
    nodes = run.graph((tuple(x.shape),)).nodes
    return [n.results[0] for n in nodes if n.source is not None and n.source.target is ADD_RELU]


class _Read(nn.Module):
    """A convolution whose result something else reads too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return y + torch.relu(y)


def _images(*layers: nn.Module) -> Callable[[], tuple[nn.Module, Tensor]]:
    return lambda: (nn.Sequential(*layers), torch.randn(2, 3, 40, 12))


NETWORKS = {
    "images": (_images(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(True), nn.Conv2d(4, 2, 3), nn.ReLU()), 2),
    "transposed": (_images(nn.ConvTranspose2d(3, 4, 2, 2), nn.ReLU()), 1),
    "grouped": (_images(nn.Conv2d(3, 6, 3, groups=3), nn.ReLU()), 0),
    "without a bias": (_images(nn.Conv2d(3, 6, 3, bias=False), nn.ReLU()), 0),
    "read twice": (lambda: (_Read(), torch.randn(1, 3, 40, 12)), 0),
    "volumes": (
        lambda: (nn.Sequential(nn.Conv3d(2, 3, 3), nn.ReLU()), torch.randn(1, 2, 6, 30, 5)), 1,
    ),
    "one image": (
        lambda: (nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.randn(3, 30, 9)), 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_a_relu_adds_the_bias_that_only_it_reads(name):
    make, count = NETWORKS[name]
    torch.manual_seed(0)
    model, x = make()
    run = _fusing(model.eval(), x)
    assert len(_fused(run, x)) == count
    with torch.no_grad():
        torch.testing.assert_close(run(x), model(x), rtol=0, atol=1e-6)
    plain = Programs(run.streaming, fuses=False)
    assert run.plan(x.shape).peak_bytes == plain.plan(x.shape).peak_bytes


def test_along_channels_each_row_adds_its_own_bias():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Upsample(scale_factor=2)).eval()
    x = torch.randn(5, 3, 6, 6)
    run = _fusing(model, x, band=2, axis=0)
    assert _fused(run, x) == ["1"]
    with torch.no_grad():
        torch.testing.assert_close(run(x), model(x), rtol=0, atol=1e-6)


def test_under_autocast_the_bias_is_added_in_the_type_of_the_result():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    x = torch.randn(1, 3, 30, 9)
    run = _fusing(model, x)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        assert _fused(run, x) == ["1"]
        torch.testing.assert_close(run(x), model(x), rtol=0.02, atol=0.02)


def test_weights_that_change_are_followed():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    x = torch.randn(1, 3, 30, 9)
    run = _fusing(model, x)
    run(x)
    with torch.no_grad():
        model[0].bias.add_(1)  # type: ignore[operator, union-attr]
        torch.testing.assert_close(run(x), model(x), rtol=0, atol=1e-6)


class _Seen(TorchDispatchMode):
    """Notes which ops are run."""

    def __init__(self) -> None:
        super().__init__()
        self.ops = list[str]()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.ops.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_the_bias_is_added_once_and_relu_is_no_op_of_its_own():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 3)).eval()
    x = torch.randn(1, 3, 32, 9)
    run = _fusing(model, x)
    conv, behind = (n for n in run.graph((tuple(x.shape),)).nodes if n.op == "conv")
    assert bind(conv.source)["bias"] is None
    assert bind(behind.source)["bias"] is model[2].bias
    run(x)
    with _Seen() as seen:
        run(x)
    assert "add_relu" in seen.ops
    assert not {"relu", "clamp_min"}.intersection(seen.ops)


def test_what_is_emitted_has_ops_of_torch_alone():
    model = nn.Sequential(nn.Conv1d(3, 4, 3), nn.ReLU()).eval()
    x = torch.randn(1, 3, 64)
    emitted = _fusing(model, x, axis=-1).emit(chunk=8)
    ops = {str(node.target) for node in emitted.step.graph.nodes if node.op == "call_function"}
    assert ops
    assert not any("fieldwise" in op for op in ops)


_ON_A_PROCESSOR = """
import torch
from fieldwise.tile.bands.kernels.add_relu_triton import add_bias_relu
layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
for dtype in (torch.float32, torch.float64, torch.float16):
    for shape in ((1, 32, 5, 9), (2, 3, 4, 5), (1, 5000, 2, 2), (2, 7, 2, 3, 4)):
        x = torch.randn(shape).to(dtype).contiguous(memory_format=layouts[len(shape)])
        y = torch.randn(shape[1], *[1] * (len(shape) - 2)).to(dtype)
        x[0, 0, 0, 0], out = torch.nan, torch.full_like(x, 7)
        add_bias_relu(x, y, out)
        torch.testing.assert_close(out, (x + y).relu(), rtol=0, atol=0, equal_nan=True)
        assert out[0, 0, 0, 0].isnan().all()
print("compared")
"""


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_the_kernel_for_cards_has_the_bits_of_torchs_ops():
    done = subprocess.run(
        [sys.executable, "-c", _ON_A_PROCESSOR],
        env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "compared\n", done.stderr
