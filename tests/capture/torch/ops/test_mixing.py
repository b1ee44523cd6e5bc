"""Ops that mix whole dimensions (products, attention, norms, scans), against the Jacobian."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fieldwise.capture.torch import capture
from fieldwise.errors import CaptureError
from tests.capture.torch.ops.oracle import agree, decides, marks

EINSUMS = [
    ("ij,jk->ik", [(2, 3), (3, 4)]),
    ("ij,jk", [(2, 3), (3, 4)]),
    ("bhid,bhjd->bhij", [(1, 2, 3, 2), (1, 2, 4, 2)]),
    ("...ij,...jk->...ik", [(2, 3, 2), (2, 2)]),
    ("...ij,...jk->...ik", [(1, 3, 2), (4, 2, 2)]),
    ("ii->i", [(3, 3)]),
    ("ii", [(3, 3)]),
    ("ij->ji", [(2, 3)]),
    ("ba", [(2, 3)]),
    ("i,j->ij", [(2,), (3,)]),
    ("bijk,ik->bjk", [(2, 2, 3, 2), (2, 2)]),
    ("iij->j", [(3, 3, 2)]),
    ("b i d -> b d", [(2, 3, 2)]),
]


def stft(x, length, hop, **options):
    """With a generic window: a symmetric one lets the samples mirrored at the border cancel."""
    window = torch.linspace(1, 2, length, dtype=x.dtype)
    return torch.stft(x, 8, hop, length, window, return_complex=True, **options)


def istft(x, length, hop, **options):
    window = torch.ones(length, dtype=x.dtype)
    return torch.istft(torch.complex(x, 2 * x), 8, hop, length, window, **options)


SMOOTH: dict[str, tuple[Any, list[tuple[int, ...]]]] = {
    **{f"einsum {e}": (lambda *x, e=e: torch.einsum(e, *x), shapes) for e, shapes in EINSUMS},
    "linear": (nn.Linear(3, 2), [(2, 2, 3)]),
    "linear vector": (nn.Linear(3, 2), [(3,)]),
    "linear derived": (F.linear, [(2, 3), (4, 3), (4,)]),
    "bilinear": (nn.Bilinear(2, 3, 2), [(2, 2), (2, 3)]),
    "bilinear derived": (F.bilinear, [(2, 2), (2, 3), (2, 2, 3), (2,)]),
    "matmul": (torch.matmul, [(2, 3), (3, 2)]),
    "matmul batched": (torch.matmul, [(2, 1, 2, 3), (2, 3, 2)]),
    "matmul vectors": (torch.matmul, [(3,), (3,)]),
    "matmul vector matrix": (torch.matmul, [(3,), (2, 3, 2)]),
    "matmul matrix vector": (torch.matmul, [(2, 2, 3), (3,)]),
    "bmm": (torch.bmm, [(2, 2, 3), (2, 3, 2)]),
    "mv": (torch.mv, [(2, 3), (3,)]),
    "addmm": (torch.addmm, [(2,), (2, 3), (3, 2)]),
    "baddbmm": (torch.baddbmm, [(2, 2, 2), (2, 2, 3), (2, 3, 2)]),
    "addmv": (torch.addmv, [(2,), (2, 3), (3,)]),
    "addbmm": (torch.addbmm, [(2, 2), (3, 2, 3), (3, 3, 2)]),
    "mse_loss": (lambda x, y: F.mse_loss(x, y * 2), [(2, 3), (2, 3)]),
    "smooth_l1_loss": (
        lambda x, y: F.smooth_l1_loss(x, y * 2, reduction="none"),
        [(2, 3), (2, 3)],
    ),
    "softmax of one": (lambda x: x.softmax(1) + x, [(2, 1)]),
    "addr": (torch.addr, [(2, 3), (2,), (3,)]),
    "outer": (torch.outer, [(2,), (3,)]),
    "kron": (torch.kron, [(2, 2), (1, 3)]),
    "tensordot": (lambda x, y: torch.tensordot(x, y, 1), [(2, 3), (3, 2)]),
    "cross": (lambda x, y: torch.cross(x, y, dim=1), [(2, 3), (2, 3)]),
    "cdist": (torch.cdist, [(2, 3, 2), (2, 2, 2)]),
    "pdist": (F.pdist, [(4, 2)]),
    "dist": (torch.dist, [(2, 2), (2, 2)]),
    "cosine_similarity": (F.cosine_similarity, [(2, 3), (2, 3)]),
    "pairwise_distance": (F.pairwise_distance, [(2, 3), (2, 3)]),
    "trace": (torch.trace, [(3, 4)]),
    "inverse": (torch.linalg.inv, [(2, 2, 2)]),
    "attention": (F.scaled_dot_product_attention, [(1, 2, 3, 2), (1, 2, 4, 2), (1, 2, 4, 3)]),
    "causal attention": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        [(1, 4, 2), (1, 4, 2), (1, 4, 2)],
    ),
    "derived mask": (
        F.scaled_dot_product_attention,
        [(1, 3, 2), (1, 4, 2), (1, 4, 2), (1, 1, 4)],
    ),
    "grouped queries": (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, enable_gqa=True),
        [(1, 4, 2, 2), (1, 2, 3, 2), (1, 2, 3, 2)],
    ),
    "softmax": (nn.Softmax(1), [(2, 3, 2)]),
    "Softmax2d": (nn.Softmax2d(), [(1, 3, 2, 2)]),
    "log_softmax": (nn.LogSoftmax(-1), [(2, 3)]),
    "softmin": (nn.Softmin(0), [(3, 2)]),
    "mean": (lambda x: x.mean((1, 3)), [(2, 2, 2, 3)]),
    "mean of all": (lambda x: x.mean(), [(2, 3)]),
    "sum": (lambda x: x.sum(-1, keepdim=True), [(2, 3)]),
    "var": (lambda x: x.var(1), [(2, 4)]),
    "std_mean": (lambda x: torch.std_mean(x, 0), [(4, 2)]),
    "logsumexp": (lambda x: x.logsumexp(0), [(3, 2)]),
    "prod": (lambda x: x.prod(1), [(2, 3)]),
    "norm": (lambda x: x.norm(dim=1), [(2, 3)]),
    "vector_norm": (lambda x: torch.linalg.vector_norm(x, 3), [(2, 3)]),
    "normalize": (F.normalize, [(2, 3, 2)]),
    "cumsum": (lambda x: x.cumsum(1), [(2, 4)]),
    "cumprod": (lambda x: x.cumprod(0), [(4, 2)]),
    "logcumsumexp": (lambda x: x.logcumsumexp(-1), [(2, 4)]),
    "glu": (nn.GLU(1), [(2, 4, 2)]),
    "LayerNorm": (nn.LayerNorm((2, 3)), [(2, 2, 3)]),
    "RMSNorm": (nn.RMSNorm(3), [(2, 3)]),
    "GroupNorm": (nn.GroupNorm(2, 4), [(1, 4, 2, 2)]),
    "GroupNorm, one group": (nn.GroupNorm(1, 2), [(2, 2, 3)]),
    "InstanceNorm": (nn.InstanceNorm2d(2, affine=True), [(1, 2, 2, 3)]),
    "InstanceNorm, stored": (nn.InstanceNorm1d(2, track_running_stats=True), [(1, 2, 4)]),
    "InstanceNorm, unbatched": (nn.InstanceNorm1d(2), [(2, 4)]),
    "BatchNorm": (nn.BatchNorm2d(2), [(2, 2, 2, 2)]),
    "BatchNorm, of features": (nn.BatchNorm1d(3), [(2, 3)]),
    "BatchNorm, no stored": (nn.BatchNorm1d(2, track_running_stats=False), [(2, 2, 3)]),
    "LocalResponseNorm": (nn.LocalResponseNorm(3, alpha=1.0), [(1, 5, 2)]),
    "LocalResponseNorm, even": (nn.LocalResponseNorm(4, alpha=1.0), [(1, 6, 2, 1)]),
    "LocalResponseNorm, 3-D": (nn.LocalResponseNorm(2, alpha=1.0), [(1, 4, 1, 2, 1)]),
    "PReLU": (nn.PReLU(2), [(1, 2, 3)]),
    "PReLU derived": (lambda x, w: F.prelu(x - 9, w), [(1, 2, 3), (2,)]),
    "fft": (lambda x: torch.fft.fft(x, dim=1).abs(), [(2, 5)]),
    "rfft2": (lambda x: torch.fft.rfft2(x).abs(), [(2, 3, 4)]),
    "rfft, trimmed": (lambda x: torch.fft.rfft(x, n=4).abs(), [(2, 6)]),
    "irfft": (lambda x: torch.fft.irfft(torch.fft.rfft(x) * (1 + 2j), n=5)[..., :1], [(5,)]),
    "fftshift": (lambda x: torch.fft.fftshift(x, 1), [(2, 5)]),
    "stft": (lambda x: torch.stft(x, 8, 3, center=False, return_complex=True).abs(), [(2, 20)]),
    "stft, windowed": (lambda x: stft(x, 8, 3).abs(), [(2, 20)]),
    "stft, short window": (lambda x: stft(x, 5, 2, center=False).abs(), [(20,)]),
    "istft": (lambda x: torch.istft(torch.complex(x, 2 * x), 8, 3), [(5, 6)]),
    "istft, windowed": (lambda x: istft(x, 8, 3), [(1, 5, 6)]),
    "istft, short window": (lambda x: istft(x, 5, 2, center=True), [(5, 7)]),
    "istft, long hop": (lambda x: istft(x, 8, 7, center=False), [(5, 3)]),
    "renorm": (lambda x: x.renorm(2, 1, 0.1), [(2, 3, 2)]),
    "nll_loss": (lambda x: F.nll_loss(x, torch.tensor([1, 0])), [(2, 3)]),
    "nll_loss of a picture": (
        lambda x: F.nll_loss(x, torch.tensor([[1, -100], [0, 2]]), reduction="none"),
        [(2, 3, 2)],
    ),
    "nll_loss of one sample": (lambda x: F.nll_loss(x, torch.tensor(1)), [(3,)]),
    "cross_entropy": (
        lambda x: F.cross_entropy(x, torch.tensor([1, 0]), reduction="none"),
        [(2, 3)],
    ),
    "polar": (lambda x, y: torch.view_as_real(torch.polar(x, y)), [(3,), (3,)]),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_a_mixing_op_reads_what_its_jacobian_says(name):
    function, shapes = SMOOTH[name]
    agree(function, *shapes)


SCALAR: dict[str, Any] = {
    "softmax": lambda x: x.softmax(0) + x,
    "cumsum": lambda x: x.cumsum(0),
    "sum": lambda x: x.sum(0),
    "max": lambda x: x.max(0).values,
    "sort": lambda x: x.sort(-1).values,
    "topk": lambda x: x.topk(1, 0).values,
    "flip": lambda x: x.flip(0),
    "gather": lambda x: x.gather(0, torch.tensor([0, 0])),
    "gather a scalar": lambda x: x[None].gather(0, torch.tensor(0)),
    "index_select": lambda x: x.index_select(0, torch.tensor([0])),
    "index_add": lambda x: x.index_add(0, torch.tensor(0), x * x),
    "index_copy": lambda x: x.index_copy(0, torch.tensor([0]), x * x),
    "index_fill": lambda x: x.index_fill(0, torch.tensor([0]), 2) + x,
    "scatter": lambda x: x.scatter(0, torch.tensor(0), x * x),
    "scatter_add": lambda x: x.scatter_add(0, torch.tensor([0]), x * x),
    "scatter_reduce": lambda x: x.scatter_reduce(0, torch.tensor(0), x * x, "prod"),
    "take": lambda x: x.take(torch.tensor([0, 0])),
    "unfold": lambda x: x.unfold(0, 1, 1),
    "transpose": lambda x: x.transpose(0, -1),
    "quantile": lambda x: x.quantile(0.3, 0),
    "mean before softmax": lambda x: x * torch.softmax(x.mean(), 0),
}


@pytest.mark.parametrize("name", SCALAR)
def test_a_scalar_counts_as_a_line_where_an_op_takes_a_dimension(name):
    agree(SCALAR[name], ())


PEAKED: dict[str, tuple[Any, tuple[int, ...]]] = {
    "amax": (lambda x: x.amax((0, 2), keepdim=True), (2, 2, 2)),
    "max": (lambda x: x.max(1).values, (2, 3)),
    "max of all": (lambda x: x.max(), (2, 3)),
    "amin": (lambda x: (-x).amin(1), (2, 3)),
    "cummax": (lambda x: x.cummax(1).values, (2, 4)),
    "cummin": (lambda x: (-x).cummin(0).values, (4, 2)),
    "maximum": (torch.maximum, (2, 3)),
}


@pytest.mark.parametrize("name", PEAKED)
def test_a_maximum_may_come_from_anywhere_it_looks(name):
    function, shape = PEAKED[name]
    shapes = (shape, shape) if function is torch.maximum else (shape,)
    agree(function, *shapes, inputs="peaks")


def test_both_ends_of_a_range_may_come_from_anywhere_it_looks():
    """By changes alone: not every torch has a derivative of it."""
    line = torch.arange(6.0, dtype=torch.float64)
    draws = [(line.roll(step).view(2, 3),) for step in range(6)]
    decides(lambda x: torch.aminmax(x, dim=1), *draws)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.sort(1).values,
        lambda x: x.topk(3, 1).values,
        lambda x: x.median(1).values,
        lambda x: x.kthvalue(2, 1).values,
        lambda x: x.quantile(0.4, 1),
        lambda x: x.nanquantile(torch.tensor([0.2, 0.4, 0.8], dtype=x.dtype), 1),
        lambda x: x.msort().t().sort(0).values[:, :1],
    ],
)
def test_an_order_statistic_may_come_from_anywhere_in_its_line(function):
    agree(function, (2, 3), inputs="random")


@pytest.mark.parametrize("shape", [(3, 4), (1, 3, 4), (2, 1, 3, 4), (1, 2, 3, 4), (2, 2, 1, 4)])
@pytest.mark.parametrize("as_floats", [False, True])
def test_a_constant_mask_closes_keys_per_batch_entry_and_head(shape, as_floats):
    generator = torch.Generator().manual_seed(3)
    mask = torch.rand(shape, generator=generator) < 0.7
    mask[..., 0] = mask[..., 3] = True
    added = torch.zeros(shape).masked_fill(~mask, -torch.inf) if as_floats else mask

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        given = added.to(q.dtype) if as_floats else mask
        return F.scaled_dot_product_attention(q, k, v, attn_mask=given)

    agree(attend, (2, 2, 3, 2), (2, 2, 4, 2), (2, 2, 4, 2))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_recurrent_layer_sees_its_past_or_everything(make, layers, bidirectional, batch_first):
    layer = make(2, 2, layers, batch_first=batch_first, bidirectional=bidirectional)
    agree(Gentle(layer), (2, 3, 2))


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_recurrent_layer_reads_the_states_it_starts_from(layers, bidirectional):
    layer = nn.GRU(2, 2, layers, bidirectional=bidirectional)
    rows = layers * (2 if bidirectional else 1)
    agree(Gentle(layer), (3, 2, 2), (rows, 2, 2))
    agree(Gentle(nn.LSTM(2, 3, layers, proj_size=1, bidirectional=bidirectional)), (2, 2, 2))


class Gentle(nn.Module):
    """A recurrent layer at small inputs, so that no gate saturates."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.layer(*(x / 9 for x in inputs))


@pytest.mark.parametrize("cell", [nn.RNNCell(2, 2), nn.GRUCell(2, 2)])
def test_a_recurrent_cell_reads_its_sample_and_its_state(cell):
    agree(Gentle(cell), (2, 2), (2, 2))


class SelfAttention(nn.Module):
    def __init__(self, need_weights: bool) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(4, 2, batch_first=True)
        self.need_weights = need_weights

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.attend(x / 9, x / 9, x / 9, need_weights=self.need_weights)[0]


@pytest.mark.parametrize("need_weights", [False, True])
def test_multi_head_attention_mixes_positions_but_not_the_batch(need_weights):
    agree(SelfAttention(need_weights), (2, 3, 4))


def test_a_transformer_encoder_layer_mixes_positions_but_not_the_batch():
    agree(nn.TransformerEncoderLayer(4, 2, 5, batch_first=True), (2, 3, 4))


def test_fused_encoder_layers_mix_positions_but_not_the_batch():
    qkv, proj = (torch.rand(12, 4), torch.rand(12)), (torch.rand(4, 4), torch.rand(4))

    def fused(x: torch.Tensor) -> torch.Tensor:
        weights = [w.to(x.dtype) for w in (*qkv, *proj)]
        return torch._native_multi_head_attention(x, x, x, 4, 2, *weights, need_weights=False)[0]

    graph = capture(_module(fused), torch.empty(2, 3, 4))
    assert [node.op for node in graph.nodes] == ["attention"]


def _module(function: Any) -> nn.Module:
    class Net(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return function(x)

    return Net()


def test_batch_norm_in_training_mode_says_to_call_eval():
    with pytest.raises(CaptureError, match=r"call model\.eval\(\) first \(in module '0'\)"):
        capture(nn.Sequential(nn.BatchNorm1d(2)), torch.empty(2, 2, 3))


WEIGHTS = [torch.rand(2, dtype=torch.float64) + 0.5 for _ in range(4)]
NORMS = torch.ops.aten


@pytest.mark.parametrize(
    ("norm", "flags"),
    [
        (NORMS._batch_norm_with_update, ()),
        (NORMS._batch_norm_with_update_functional, ()),
        (NORMS._batch_norm_no_update, ()),
        (NORMS._native_batch_norm_legit, (True,)),
        (NORMS._native_batch_norm_legit, (False,)),
        (NORMS._native_batch_norm_legit_functional, (True,)),
        (NORMS._native_batch_norm_legit_no_training, ()),
        (NORMS.native_batch_norm, (True,)),
        (NORMS.native_batch_norm, (False,)),
    ],
)
def test_a_batch_norm_reads_the_batch_where_its_schema_or_flag_says_that_it_trains(norm, flags):
    def run(x: torch.Tensor) -> torch.Tensor:
        state = [weight.to(x.device, copy=True) for weight in WEIGHTS]
        return norm(x, *state, *flags, 0.1, 1e-5)[0]

    agree(run, (2, 2, 3))


def test_a_batch_norm_without_stored_statistics_takes_those_of_the_batch():
    weight, bias = WEIGHTS[:2]
    agree(
        lambda x: NORMS._native_batch_norm_legit.no_stats(x, weight, bias, True, 0.1, 1e-5)[0],
        (2, 2, 3),
    )


def test_a_training_flag_passed_by_hand_takes_the_statistics_of_the_batch():
    agree(lambda x: F.batch_norm(x, None, None, training=True), (2, 2, 3))


def test_an_attention_mask_without_values_is_marked():
    mask = torch.ones(3, 3, dtype=torch.bool, device="meta")

    class Masked(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.scaled_dot_product_attention(x, x, x, attn_mask=mask)

    graph = capture(Masked(), torch.empty(1, 3, 2, device="meta"))
    assert marks(graph) == {"an attention mask on the meta device, which has no values"}
