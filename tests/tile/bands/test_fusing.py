"""On a card a ReLU makes the sum or the BatchNorm before it too, with the bits of the two ops."""

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
from fieldwise.tile.bands import StreamedModel, fusing
from fieldwise.tile.bands.kernels.fused import ADD_RELU, BATCH_NORM_RELU
from fieldwise.tile.bands.programs import Programs
from fieldwise.tile.bands.run import BandState, Engine


@pytest.fixture(autouse=True)
def _as_on_a_card(monkeypatch):
    monkeypatch.setattr(fusing, "fuses_on", lambda _: True)


def _fusing(model: nn.Module, x: Tensor, band: int = 8, axis: int = -2) -> StreamedModel:
    return streamed(model, x, axis=axis, band=band)


def _fused(run: StreamedModel, x: Tensor) -> list[str]:
    """The values that are made by a ReLU and what was before it."""
    targets = [(n.results[0], n.source) for n in run.graph((tuple(x.shape),)).nodes]
    fused = (ADD_RELU, BATCH_NORM_RELU)
    return [name for name, call in targets if call is not None and call.target in fused]


class _Read(nn.Module):
    """A convolution whose result something else reads too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return y + torch.relu(y)


class _Residual(nn.Module):
    """Two blocks of a ResNet: the skip is the second operand of the sum, or the first."""

    def __init__(self, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.convs = nn.ModuleList(nn.Conv2d(3, 3, 3, 1, 1, bias=False) for _ in range(4))
        self.norms = nn.ModuleList(nn.BatchNorm2d(3) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        for block in range(2):
            y = torch.relu(self.norms[2 * block](self.convs[2 * block](x)))
            y = self.norms[2 * block + 1](self.convs[2 * block + 1](y))
            if self.first:
                x = torch.relu(x + y)
            else:
                y += x
                x = torch.relu_(y)
        return x


class _Uneven(nn.Module):
    """One operand of a sum has rows that the other has later, whichever comes first."""

    def __init__(self, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.near, self.far = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 9, padding=4)
        self.last = nn.Conv2d(4, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        near, far = self.near(x), self.far(x)
        return self.last(torch.relu(near + far if self.first else far + near))


class _Whole(nn.Module):
    """One operand of a sum is known whole before the rows of the other come."""

    def __init__(self, *, first: bool) -> None:
        super().__init__()
        self.first, self.conv = first, nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        whole = self.conv(x).mean((2, 3), keepdim=True).expand_as(x)
        return self.conv(torch.relu(whole + x if self.first else x + whole))


class _Sums(nn.Module):
    """Sums that are left as they are: broadcast, scaled, of a value with itself, of two types."""

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(x + x[:, :1])
        y = torch.relu(torch.add(y, x, alpha=2))
        y = torch.relu(y + y)
        return torch.relu(y + x.double())


def _images(*layers: nn.Module) -> Callable[[], tuple[nn.Module, Tensor]]:
    return lambda: (nn.Sequential(*layers), torch.randn(2, 3, 40, 12))


NETWORKS = {
    "images": (_images(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(True), nn.Conv2d(4, 2, 3), nn.ReLU()), 2),
    "transposed": (_images(nn.ConvTranspose2d(3, 4, 2, 2), nn.ReLU()), 1),
    "grouped": (_images(nn.Conv2d(3, 6, 3, groups=3), nn.ReLU()), 0),
    "without a bias": (_images(nn.Conv2d(3, 6, 3, bias=False), nn.ReLU()), 0),
    "read twice": (lambda: (_Read(), torch.randn(1, 3, 40, 12)), 0),
    "residual": (lambda: (_Residual(first=False), torch.randn(1, 3, 40, 9)), 4),
    "skip first": (lambda: (_Residual(first=True), torch.randn(1, 3, 40, 9)), 4),
    "normed": (_images(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), 1),
    "normed without weights": (_images(nn.BatchNorm2d(3, affine=False), nn.ReLU()), 1),
    "sums": (lambda: (_Sums(), torch.randn(1, 3, 40, 9)), 0),
    "volumes": (
        lambda: (nn.Sequential(nn.Conv3d(2, 3, 3), nn.ReLU()), torch.randn(1, 2, 6, 30, 5)), 1,
    ),
    "one image": (
        lambda: (nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.randn(3, 30, 9)), 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
def test_a_relu_makes_what_only_it_reads(name):
    make, count = NETWORKS[name]
    torch.manual_seed(0)
    model, x = make()
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2)
    run = _fusing(model.eval(), x)
    assert len(_fused(run, x)) == count
    with torch.no_grad():
        torch.testing.assert_close(run(x), model(x), rtol=0, atol=1e-6)
    fused, plain = run.plan(x.shape), Programs(run.streaming, fuses=False).plan(x.shape)
    assert fused.peak_bytes <= plain.peak_bytes
    assert fused.state_bytes == plain.state_bytes


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("there", [False, True])
def test_a_run_goes_on_in_the_other_graph(first, there):
    torch.manual_seed(0)
    model, x = _Uneven(first=first).eval(), torch.randn(1, 3, 40, 9)
    runs = [Programs(_fusing(model, x).streaming, fuses=fuses) for fuses in (there, not there)]
    one, other = (run.program((tuple(x.shape),)) for run in runs)

    def rows(number, lo, hi):
        return x[:, :, lo:hi]

    with torch.no_grad():
        wanted = model(x)
        engine, made = Engine(one, x.device), []
        for available in (8, 16):
            made += [part[2] for part in engine.step([available], [8], rows)]
        state = BandState.of(engine.state().plain())
        engine = Engine(other, x.device, state)
        for available in (24, 32, 40, 40, 40):
            made += [part[2] for part in engine.step([available], [8], rows)]
    torch.testing.assert_close(torch.cat(made, 2), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("first", [False, True])
def test_one_of_two_values_may_be_known_whole(first):
    torch.manual_seed(0)
    model, x = _Whole(first=first).eval(), torch.randn(1, 3, 40, 9)
    run = streamed(model, x, axis=-2, band=8, global_ops="multipass")
    assert len(_fused(run, x)) == 1
    with torch.no_grad():
        torch.testing.assert_close(run(x), model(x), rtol=0, atol=1e-5)


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
from fieldwise.tile.bands.kernels.fused_triton import add_relu, batch_norm_relu
layouts = {4: torch.channels_last, 5: torch.channels_last_3d}

def same(kernel, *given, wanted):
    out = torch.full_like(wanted, 7)
    kernel(*given, out)
    torch.testing.assert_close(out, wanted, rtol=0, atol=0, equal_nan=True)
    assert out[0, 0, 0, 0].isnan().all()

for dtype in (torch.float32, torch.float64, torch.float16):
    for shape in ((1, 32, 5, 9), (2, 3, 4, 5), (1, 5000, 2, 2), (2, 7, 2, 3, 4)):
        x, y = (torch.randn(shape).to(dtype).contiguous(memory_format=layouts[len(shape)])
                for _ in range(2))
        x[0, 0, 0, 0] = torch.nan
        same(add_relu, x, y, wanted=(x + y).relu())
        bias = torch.randn(shape[1], *[1] * (len(shape) - 2)).to(dtype)
        same(add_relu, x, bias, wanted=(x + bias).relu())
        if dtype != torch.float16:
            w, b, mean, spread = (torch.rand(shape[1], dtype=dtype) + 0.1 for _ in range(4))
            wanted = w.double() * ((x.double().movedim(1, -1) - mean) / (spread + 1e-5).sqrt()) + b
            out = torch.full_like(x, 7)
            batch_norm_relu(x, w, b, mean, spread, 1e-5, out)
            close = {torch.float32: 1e-5, torch.float64: 1e-13}[dtype]
            torch.testing.assert_close(
                out.double(), wanted.movedim(-1, 1).relu(), rtol=close, atol=close, equal_nan=True
            )
print("compared")
"""


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_the_kernel_for_cards_has_the_bits_of_torchs_ops():
    done = subprocess.run(
        [sys.executable, "-c", _ON_A_PROCESSOR],
        env=os.environ | {"TRITON_INTERPRET": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "compared\n", done.stderr


_FOR_CARDS = """
from triton import compile
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
import triton.language as tl
from fieldwise.tile.bands.kernels import fused_triton

KERNELS = fused_triton._add_relu, fused_triton._add_bias_relu, fused_triton._batch_norm_relu
NUMBERS = {"eps": "fp32"} | dict.fromkeys(("count", "places", "channels"), "i32")
for dtype, card in (("fp16", 90), ("bf16", 80), ("fp32", 90), ("fp32", 75)):
    for kernel in KERNELS:
        cut = {"samples": 4096, "rows": 128, "columns": 32, "wide": tl.float32}
        kinds, constants, aligned = {}, {}, {}
        for number, name in enumerate(kernel.arg_names):
            kinds[name] = "constexpr" if name in cut else NUMBERS.get(name, f"*{dtype}")
            if name in cut:
                constants[number,] = cut[name]
            elif name != "eps":
                aligned[number,] = [["tt.divisibility", 16]]
        source = ASTSource(kernel, kinds, constants, aligned)
        text = compile(source, target=GPUTarget("cuda", card, 32)).asm["ptx"]
        print("st.global.v4" in text and "ld.global.v4" in text)
"""


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_the_kernels_compile_for_cards_and_move_sixteen_bytes_at_a_time():
    done = subprocess.run([sys.executable, "-c", _FOR_CARDS], capture_output=True, text=True)
    assert done.stdout.split() == ["True"] * 12, done.stderr
