"""What a constant mask hides is not read: compared with the Jacobian, element by element."""

import pytest
import torch
import torch.nn.functional as F

from fieldwise.capture.torch import capture
from tests.capture.torch.ops.oracle import Op, agree, marks

INF = float("inf")
T = 4
CAUSAL = torch.ones(T, T, dtype=torch.bool).tril()
WIDER = torch.ones(T, T, dtype=torch.bool).tril(1)
BAND = CAUSAL & ~CAUSAL.tril(-2)
HEADS = torch.stack([CAUSAL, CAUSAL.T, BAND])
QKV = [(1, T, 2)] * 3
MANY = [(2, 3, T, 2)] * 3


def additive(mask):
    return torch.zeros(mask.shape).masked_fill(~mask, -INF)


def scores(q, k):
    return q @ k.transpose(-1, -2)


def filled(q, k, v, mask=CAUSAL):
    return scores(q, k).masked_fill(~mask, -INF).softmax(-1) @ v


def chosen(q, k, v, mask=CAUSAL):
    return torch.where(mask, scores(q, k) / 2, -INF).softmax(-1) @ v


def chosen_from_a_tensor(q, k, v, mask=CAUSAL):
    return F.softmax(torch.where(mask, scores(q, k), torch.full(mask.shape, -INF)), dim=-1) @ v


def added(q, k, v, mask=CAUSAL):
    return F.dropout((scores(q, k) + additive(mask)).softmax(-1), 0.1, training=False) @ v


def added_in_place(q, k, v, mask=CAUSAL):
    weights = scores(q, k)
    weights += additive(mask)
    return weights.softmax(-1) @ v


def added_by_baddbmm(q, k, v):
    mask = additive(CAUSAL).to(q.dtype).expand(q.shape[0], T, T)
    return torch.baddbmm(mask, q, k.transpose(-1, -2)).softmax(-1).bmm(v)


def assigned(q, k, v):
    weights = scores(q, k)
    weights[:, :, 2:] = -INF
    return weights.softmax(-1) @ v


def by_einsum(q, k, v, mask=CAUSAL):
    weights = torch.einsum("...id,...jd->...ij", q, k).masked_fill(~mask, -INF).softmax(-1)
    return torch.einsum("...ij,...jd->...id", weights, v)


def by_a_sum(q, k, v):
    weights = scores(q, k).masked_fill(~CAUSAL, -INF).softmax(-1)
    return (weights.unsqueeze(-1) * v.unsqueeze(-3)).sum(-2)


def by_hand(q, k, v):
    """Of two or more: that e / e is one, whatever e is, is algebra and is not followed."""
    weights = scores(q, k).masked_fill(~WIDER, -INF).exp()
    return (weights / weights.sum(-1, keepdim=True)) @ v


def transposed(q, k, v):
    weights = (k @ q.transpose(-1, -2)).masked_fill(~CAUSAL.T, -INF).softmax(-2)
    return v.transpose(-1, -2) @ weights


def linear(q, k, v):
    return scores(q, k).tril() @ v


def linear_by_zeros(q, k, v):
    return scores(q, k).masked_fill(~CAUSAL, 0) @ v


@pytest.mark.parametrize(
    "attention",
    [
        filled, chosen, chosen_from_a_tensor, added, added_in_place, added_by_baddbmm, assigned,
        by_einsum, by_a_sum, by_hand, transposed, linear, linear_by_zeros,
    ],
)  # fmt: skip
def test_attention_with_a_hand_written_mask_reads_what_the_mask_leaves_open(attention):
    agree(attention, *QKV)


@pytest.mark.parametrize("attention", [filled, chosen, added, by_einsum])
@pytest.mark.parametrize("mask", [HEADS, BAND, CAUSAL[:1], HEADS[:, :1]], ids=str)
def test_masks_may_differ_between_heads_and_be_shared_by_rows(attention, mask):
    agree(lambda q, k, v: attention(q, k, v, mask), *MANY)


@pytest.mark.parametrize("low", [-100.0, -1e9])
def test_a_finite_addend_hides_nothing(low):
    """Swin's −100 leaves small weights: every value is read, and nothing is marked."""
    mask = torch.zeros(T, T).masked_fill(~CAUSAL, low)
    graph = capture(Op(lambda q, k, v: (scores(q, k) + mask).softmax(-1) @ v), _empty(QKV))
    free = capture(Op(lambda q, k, v: (scores(q, k) + 1.0).softmax(-1) @ v), _empty(QKV))
    assert [node.reads for node in graph.nodes] == [node.reads for node in free.nodes]
    assert not marks(graph)


def _empty(shapes):
    return tuple(torch.empty(*shape) for shape in shapes)
