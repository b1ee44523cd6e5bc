"""What a constant multiplies by zero is not read: compared with the Jacobian."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fieldwise.capture.graphs import read_graph
from fieldwise.capture.torch import capture
from fieldwise.capture.torch.factors import MOST
from fieldwise.field import receptive_fields
from tests.capture.torch.ops.oracle import agree

A = torch.tensor([[1.0, 1, 1], [1, 0, 0], [0, 0, 0]])


def random_mask(*shape):
    return (torch.rand(shape, generator=torch.Generator().manual_seed(3)) > 0.5).float()


class Masked(nn.Module):
    """A function of the input, of a learned weight and of the mask that multiplies it."""

    def __init__(self, function, mask):
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.randn(mask.shape))
        self.register_buffer("mask", mask)

    def forward(self, x):
        return self.function(x, self.weight * self.mask)


def by_channel():
    """Autoregressive over three colours too: the tap in the middle sees the earlier ones."""
    colours = torch.arange(6)[:, None] // 2 > torch.arange(3)
    return A + torch.where(colours[:, :, None, None], 1, 0) * F.one_hot(torch.tensor(4), 9).view(
        3, 3
    )


KERNELS = {
    "causal in two dimensions": (
        lambda x, w: F.conv2d(x, w, padding=1), A.expand(2, 1, 3, 3).clone(), (1, 1, 5, 5)
    ),
    "colour after colour": (lambda x, w: F.conv2d(x, w, padding=1), by_channel(), (1, 3, 3, 3)),
    "two taps far apart": (
        lambda x, w: F.conv1d(x, w, stride=2, dilation=2, padding=3),
        torch.tensor([[[1.0, 0, 0, 1]]]), (1, 1, 12),
    ),
    "groups": (
        lambda x, w: F.conv1d(x, w, stride=2, padding=2, dilation=2, groups=2),
        random_mask(6, 2, 3), (1, 4, 7),
    ),
    "padding 'same'": (
        lambda x, w: F.conv1d(x, w, padding="same"), random_mask(2, 2, 4), (1, 2, 6)
    ),
    "no batch": (lambda x, w: F.conv1d(x, w), random_mask(2, 2, 3), (2, 6)),
    "transposed": (
        lambda x, w: F.conv_transpose2d(x, w, stride=2, padding=1, output_padding=1, groups=2),
        random_mask(4, 3, 3, 3), (1, 4, 3, 3),
    ),
    "transposed and dilated": (
        lambda x, w: F.conv_transpose1d(x, w, stride=2, dilation=2, padding=1),
        random_mask(4, 3, 4), (1, 4, 5),
    ),
    "convolution, transposed": (
        lambda x, w: torch.convolution(x, w, None, [2], [1], [1], True, [0], 1),
        random_mask(2, 3, 4), (1, 2, 4),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", KERNELS.values(), ids=KERNELS)
def test_a_signal_is_read_through_the_open_taps_of_a_kernel(case):
    function, mask, shape = case
    agree(Masked(function, mask), shape, inputs="random")


MATRICES = {
    "linear": (F.linear, random_mask(3, 5), (2, 5)),
    "a band": (lambda x, w: w @ x, torch.ones(4, 5).tril(1).triu(-1), (5, 2)),
    "from the right": (lambda x, w: x @ w, random_mask(5, 4), (1, 2, 5)),
    "a vector": (lambda x, w: x @ w, torch.tensor([1.0, 0, 1]), (2, 3)),
    "a batch of matrices": (lambda x, w: torch.bmm(w, x), random_mask(2, 3, 4), (2, 4, 2)),
    "a product that is added": (
        lambda x, w: torch.addmm(torch.zeros(3, 2).to(x), w, x), random_mask(3, 4), (4, 2)
    ),
    "heads": (lambda x, w: torch.einsum("bct,cts->bcs", x, w), random_mask(2, 4, 4), (1, 2, 4)),
    "a label of the mask alone": (
        lambda x, w: torch.einsum("bct,tsn->bcs", x, w), random_mask(4, 3, 2), (1, 2, 4)
    ),
    "one row": (lambda x, w: F.linear(x, w[1]), random_mask(2, 5), (2, 5)),
    "a diagonal": (lambda x, w: torch.einsum("bi,ii->bi", x, w), A, (2, 3)),
    "a diagonal beside a sum": (
        lambda x, w: torch.einsum("bi,iji->bj", x, w), random_mask(4, 3, 4), (2, 4)
    ),
    "a sum of copies": (lambda x, w: torch.einsum("bi,oi->bo", x, w), A, (2, 1)),
    "copies of a mask": (lambda x, w: torch.einsum("bi,oi->bo", x, w), A[:, 2:], (2, 4)),
    "two sums": (lambda x, w: torch.einsum("bij,oij->bo", x, w), random_mask(2, 3, 2), (2, 3, 2)),
    "three sums": (
        lambda x, w: torch.einsum("bijk,oijk->bo", x, w), random_mask(2, 2, 3, 2), (1, 2, 3, 2)
    ),
    "neighbours by kind (Yan et al. 2018)": (
        lambda x, w: torch.einsum("bkct,kts->bcs", x.view(1, 2, 2, 4), w), random_mask(2, 4, 4),
        (1, 4, 4),
    ),
    "two masks of one sum": (
        lambda x, w: torch.einsum("bi,oi,i->bo", x, w, w[2]), random_mask(3, 4), (2, 4)
    ),
    "two masks, each of its own output": (
        lambda x, w: torch.einsum("bi,oi,ci->boc", x, w, w.flip(0)[:2]), random_mask(3, 4), (2, 4)
    ),
    "a factor on either side": (
        lambda x, w: torch.einsum("bi,ij,bj->b", x, w, x), torch.eye(4)[[1, 2, 0, 3]], (2, 4)
    ),
    "a factor that is added": (lambda x, w: torch.addmm(x, x, w), random_mask(4, 4), (2, 4)),
    "a sum over a batch": (
        lambda x, w: torch.addbmm(torch.zeros(2, 3).to(x), x, w), random_mask(2, 4, 3), (2, 2, 4)
    ),
    "an outer product": (
        lambda x, w: torch.addr(torch.zeros(3, 2).to(x), x, w), torch.tensor([1.0, 0]), (3,)
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MATRICES.values(), ids=MATRICES)
def test_a_matrix_reads_what_its_mask_leaves_open(case):
    function, mask, shape = case
    agree(Masked(function, mask), shape, inputs="random")


class ByElements(nn.Module):
    def __init__(self, mask, function=torch.mul):
        super().__init__()
        self.register_buffer("mask", mask)
        self.function = function

    def forward(self, x):
        return self.function(x, self.mask)


def in_place(x, mask):
    y = x.clone()
    y *= mask
    return y


def coupled(x, mask):
    return mask * x + (1 - mask) * x.flip(-1)


CHECKERS = (torch.arange(4)[:, None] + torch.arange(4)) % 2


@pytest.mark.parametrize("function", [torch.mul, in_place, coupled])
@pytest.mark.parametrize("mask", [CHECKERS, CHECKERS * 0.25, CHECKERS[0], CHECKERS[:, :1] > 0])
def test_a_mask_hides_elements(function, mask):
    if mask.dtype == torch.bool and function is coupled:
        mask = mask.int()
    agree(ByElements(mask, function), (1, 4, 4), inputs="random")


PAST = torch.ones(4, 4).tril()


@pytest.mark.parametrize(
    "function",
    [
        lambda x, m: ((x @ x.mT) * m) @ x,
        lambda x, m: (x @ x.mT).exp() * m @ x,
        lambda x, m: x.mul(m).mul_(x.flip(-1)),
        lambda x, m: (x * m).mT @ x,
        lambda x, m: torch.relu(x * m + 2 * (x.flip(-1) * m)) * x.mT,
        lambda x, m: torch.einsum("bij,bkj,bkj->bi", x, x.sin() * m, x.mT),
        lambda x, m: (x.masked_fill(m.T == 0, -torch.inf).softmax(-1) * m.flip(-1)) @ x.mT,
    ],
)
def test_what_a_mask_makes_zero_hides_what_it_multiplies_later(function):
    agree(ByElements(PAST, function), (1, 4, 4), inputs="random")


def test_the_past_of_a_long_sequence_is_followed():
    model = ByElements(torch.ones(100, 100).tril(), lambda x, m: ((x @ x.mT) * m) @ x)
    report = receptive_fields(model.eval(), (1, 100, 2), axes=(1,))
    [output] = report.graph.outputs
    assert [report[output].at(n).count for n in (0, 50, 99)] == [1, 51, 100]


def test_zeros_that_would_make_too_many_reads_count_as_other_numbers_do():
    scattered = random_mask(40, 40, 5)
    graph = capture(Masked(F.conv1d, scattered), torch.empty(1, 40, 9))
    assert graph.zeros == {}
    few = capture(Masked(F.conv1d, random_mask(2, 2, 5)), torch.empty(1, 2, 9))
    assert 1 < len(read_graph(few).nodes[0].reads[0]) <= MOST


def test_zeros_are_followed_once():
    graph = read_graph(capture(Masked(F.conv1d, random_mask(2, 2, 5)), torch.empty(1, 2, 9)))
    assert graph.zeros
    assert read_graph(graph) is graph
