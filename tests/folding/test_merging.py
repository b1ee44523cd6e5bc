"""Branches that are added to a convolution of the same value become part of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from benchmarks.fold_subjects import randomise
from fieldwise.capture.torch import capture
from fieldwise.folding import Folded, fold
from fieldwise.folding import run as running
from fieldwise.folding.branches import Zeros

IMAGE = torch.randn(2, 4, 9, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
LINE = IMAGE[:, :, 0]
SPACE = IMAGE.reshape(2, 4, 3, 3, 8)


class Net(nn.Module):
    """Modules by name, and the forward function over them."""

    def __init__(self, run: Callable[..., Any], **parts: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Any:
        return self.run(self, x)


class Block(Net):
    """The same as a part of a model."""


def conv(kernel: Any = 3, before: int = 4, after: int = 4, **options: Any) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, **options)


def bn() -> nn.BatchNorm2d:
    return nn.BatchNorm2d(4)


def norm(*modules: nn.Module) -> nn.Sequential:
    return nn.Sequential(*modules, bn())


def folded(model: nn.Module, example: Tensor = IMAGE, **options: Any) -> Folded:
    torch.manual_seed(0)
    randomise(model).double().eval()
    found = fold(model, example, **options)
    with torch.no_grad():
        torch.testing.assert_close(found.model(example), model(example), rtol=1e-12, atol=1e-12)
    return found


def ops(model: nn.Module, example: Tensor = IMAGE) -> Counter[str]:
    return Counter(node.op for node in capture(model, example).nodes)


def merges(found: Folded) -> dict[str, str | None]:
    """Where every branch went; None for those that stay."""
    branches = [item for item in found.report.items if item.op in ("conv", "add", "sub")]
    return {item.module: item.into for item in branches}


def reasons(found: Folded) -> dict[str, str]:
    return {item.module: item.because for item in found.report.items if item.because}


def pair(big: nn.Module, small: nn.Module, combine: Any = torch.add) -> Net:
    return Net(lambda net, x: combine(net.big(x), net.small(x)).relu(), big=big, small=small)


# ----------------------------------------------------------------------- which kernels merge

PAIRS: dict[str, tuple[nn.Module, nn.Module, Tensor]] = {
    "1 x 1": (conv(padding=1), conv(1), IMAGE),
    "without biases": (conv(padding=1, bias=False), conv(1, bias=False), IMAGE),
    "of the same size": (conv(padding=1), conv(padding=1), IMAGE),
    "strided": (conv(padding=1, stride=2), conv(1, stride=2), IMAGE),
    "on one axis": (conv(padding=1), conv((1, 3), padding=(0, 1)), IMAGE),
    "dilated": (conv(5, padding=2), conv(padding=2, dilation=2), IMAGE),
    "unpadded": (conv(3), conv(3), IMAGE),
    "off centre": (conv(4, padding=1), conv(2), IMAGE),
    "padding same": (conv(5, padding="same"), conv(3, padding="same"), IMAGE),
    "even, padding same": (conv(4, padding="same"), conv(1), IMAGE),
    "grouped": (conv(padding=1), conv(1, groups=2), IMAGE),
    "depthwise": (conv(padding=1, groups=4), conv(1, groups=4), IMAGE),
    "depthwise in groups": (conv(padding=1, groups=2), conv(1, groups=4), IMAGE),
    "to more channels": (conv(3, 4, 6, padding=1, groups=2), conv(1, 4, 6, groups=2), IMAGE),
    "one dimension": (nn.Conv1d(4, 5, 3, padding=1), nn.Conv1d(4, 5, 1), LINE),
    "three dimensions": (nn.Conv3d(4, 3, 3, padding=1), nn.Conv3d(4, 3, 1), SPACE),
}


@pytest.mark.parametrize("allow_graph", [False, True], ids=["modules", "graph"])
@pytest.mark.parametrize("name", PAIRS)
def test_a_branch_merges(name, allow_graph):
    big, small, example = PAIRS[name]
    found = folded(pair(big, small), example, allow_graph=allow_graph)
    assert merges(found) == {"small": "big"}
    assert ops(found.model, example)["conv"] == 1
    assert found.report.parameters_saved == sum(one.numel() for one in small.parameters())


def test_a_subtracted_branch_merges_with_the_other_sign():
    for combine in (torch.sub, lambda big, small: small - big):
        assert merges(folded(pair(conv(padding=1), conv(1), combine))) == {"small": "big"}


def test_a_subtracted_convolution_takes_what_it_is_subtracted_from():
    model = Net(lambda net, x: (x.sin() - net.big(x.sin())).relu(), big=conv(padding=1))
    assert ops(folded(model, allow_graph=True).model)["sub"] == 1
    model = Net(lambda net, x: ((y := x.sin()) - net.big(y)).relu(), big=conv(padding=1))
    assert ops(folded(model, allow_graph=True).model)["sub"] == 0


WINDOWS = [(k, d, p) for k in range(1, 5) for d in (1, 2) for p in range(4)]


@st.composite
def equally_long(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    """Kernel, dilation and padding of two convolutions whose outputs are of one length."""
    k, d, p = draw(st.sampled_from(WINDOWS))
    lost = d * (k - 1) - 2 * p
    other = st.sampled_from([w for w in WINDOWS if w[1] * (w[0] - 1) - 2 * w[2] == lost])
    return [(k, d, p), draw(other)]


@given(equally_long(), st.tuples(*[st.sampled_from([1, 2, 4])] * 2), st.integers(1, 2))
@settings(max_examples=60, deadline=None)
def test_whatever_the_kernels_the_function_stays(windows, groups, stride):
    one, two = (
        nn.Conv1d(4, 4, k, stride=stride, padding=p, dilation=d, groups=g)
        for (k, d, p), g in zip(windows, groups, strict=True)
    )
    found = folded(pair(one, two), LINE)
    reads = [{tap * d - p for tap in range(k)} for k, d, p in windows]
    nested = (reads[0] <= reads[1] and groups[0] % groups[1] == 0) or (
        reads[1] <= reads[0] and groups[1] % groups[0] == 0
    )
    assert (None not in merges(found).values()) == nested


# ---------------------------------------------------------------------------- which stay apart

APART = {
    "its taps": (conv((3, 1), padding=(1, 0)), conv((1, 3), padding=(0, 1)), "beside the taps"),
    "its channels": (conv(padding=1, groups=4), conv(1), "connects channels that 'big' keeps"),
    "a transposed conv": (conv(padding=1), nn.ConvTranspose2d(4, 4, 3, padding=1), None),
    "another padding": (conv(padding=1), conv(padding=1, padding_mode="circular"), None),
}


@pytest.mark.parametrize("name", APART)
def test_a_branch_stays_apart(name):
    big, small, words = APART[name]
    found = folded(pair(big, small), allow_graph=True)
    assert merges(found) == ({} if words is None else {"small": None})
    assert words is None or words in reasons(found)["small"]


def test_branches_of_different_values_stay_apart():
    model = Net(lambda net, x: net.big(x) + net.small(x.cos()), big=conv(padding=1), small=conv(1))
    assert merges(folded(model, allow_graph=True)) == {}


def test_a_branch_that_is_read_elsewhere_stays_apart():
    model = Net(
        lambda net, x: net.big(x) + (y := net.small(x)) + y.abs(),
        big=conv(padding=1),
        small=conv(1),
    )
    assert merges(folded(model, allow_graph=True)) == {}


def test_a_convolution_that_runs_elsewhere_takes_no_branch():
    model = Net(
        lambda net, x: (net.big(x) + net.small(x)).relu() + net.big(x.cos()),
        big=conv(padding=1),
        small=conv(1),
    )
    assert "'big' runs 2 times" in reasons(folded(model))["small"]


def test_a_weight_that_is_read_elsewhere_stays():
    model = Net(
        lambda net, x: (net.big(x) + net.small(x)).relu() + net.lone(x).mul(net.small.weight.sum()),
        big=conv(padding=1),
        small=conv(1),
        lone=conv(padding=1),
    )
    found = folded(model)
    assert found.report.verify is not None
    assert found.report.verify.passed


def test_merging_can_be_left_out():
    found = folded(pair(norm(conv(padding=1)), conv(1)), merge=False)
    assert merges(found) == {}
    assert found.report.folded == 1
    assert isinstance(found.model.small, nn.Conv2d)


# ------------------------------------------------------------------------- what becomes of modules


def rep_vgg(
    tail: Callable[..., Tensor] = lambda net, y: net.act(y), **parts: nn.Module
) -> nn.Sequential:
    parts = {"act": nn.ReLU(), **parts}
    block = Block(
        lambda net, x: tail(net, net.big(x) + net.small(x) + net.skip(x)),
        big=norm(conv(padding=1, bias=False)),
        small=norm(conv(1, bias=False)),
        skip=bn(),
        **parts,
    )
    return nn.Sequential(conv(), block)


def test_a_block_that_only_adds_is_one_convolution_and_what_follows():
    found = folded(rep_vgg())
    assert ops(found.model) == {"conv": 2, "relu": 1}
    assert list(found.model.state_dict()) == [
        "0.weight", "0.bias", "1.big.0.weight", "1.big.0.bias",
    ]  # fmt: skip
    assert type(found.model[1]) is nn.Sequential
    assert not found.model[1].training
    assert found.report.folded == found.report.exact_possible == 5


def test_what_follows_may_branch_inside():
    gate = Block(lambda net, x: x * net.fc(x.mean((2, 3), keepdim=True)).sigmoid(), fc=conv(1))
    found = folded(rep_vgg(lambda net, y: net.act(net.gate(y)), gate=gate))
    assert list(dict(found.model[1].named_children())) == ["big", "gate", "act"]
    assert type(found.model[1].gate) is Block


def test_blocks_merge_into_blocks_around_them():
    inner = rep_vgg(lambda net, y: y)[1]
    outer = Block(lambda net, x: x + net.scale(net.inner(x) - net.norm(x)), inner=inner, norm=bn(),
                  scale=norm(conv(1, groups=4)))  # fmt: skip
    found = folded(nn.Sequential(conv(), outer))
    assert ops(found.model)["conv"] == 3
    mixer = Block(lambda net, x: x + (net.inner(x) - net.norm(x)) * 1, inner=inner, norm=bn())
    found = folded(nn.Sequential(conv(), mixer))
    assert ops(found.model) == {"conv": 2}
    assert list(found.model.state_dict())[2:] == ["1.inner.big.0.weight", "1.inner.big.0.bias"]


@pytest.mark.parametrize(
    "tail",
    [
        lambda net, y: net.act(y) * 2,
        lambda net, y: net.act(y.abs()),
        lambda net, y: net.act(net.act(y)),
    ],
)
def test_a_forward_that_does_more_stays_and_a_branch_gives_zeros(
    tail,
):
    found = folded(rep_vgg(tail))
    block = found.model[1]
    assert type(block) is Block
    assert isinstance(block.small[0], Zeros)
    assert ops(found.model)["conv"] == 2
    assert "the forward of '1' adds" in next(iter(reasons(found).values()))
    again = folded(rep_vgg(tail), allow_graph=True)
    assert ops(again.model)["add"] == 0
    assert again.report.folded == again.report.exact_possible == found.report.exact_possible


def test_watched_branches_keep_their_modules():
    model, seen = rep_vgg(), []
    model[1].small.register_forward_hook(lambda module, args, out: seen.append(out.shape))
    found = folded(model)
    assert type(found.model[1]) is Block
    seen.clear()
    found.model(IMAGE)
    assert seen == [(2, 4, 7, 6)]


def test_zeros_that_are_written_to_have_memory():
    def run(net: Net, x: Tensor) -> Tensor:
        y = net.small(x)
        y += net.big(x)
        return y.relu()

    found = folded(Net(run, big=conv(padding=1), small=conv(1)))
    assert found.model.small.dense


def test_zeros_that_are_written_to_behind_a_batchnorm_have_memory():
    def run(net: Net, x: Tensor) -> Tensor:
        y = net.drop(net.small(x))
        y += net.big(x)
        return y.relu()

    found = folded(Net(run, big=conv(padding=1), small=norm(conv(1)), drop=nn.Dropout()))
    assert found.model.small[0].dense


def test_what_a_graph_module_could_do_is_counted_with_all_that_follows():
    def run(net: Net, x: Tensor) -> Tensor:
        return (net.big(x) * net.scale(x).new_full((4, 1, 1), 2.0) + net.small(x)).relu()

    model = Net(run, big=conv(padding=1), small=conv(1), scale=nn.Identity())
    here, there = folded(model).report, folded(model, allow_graph=True).report
    assert here.folded < here.exact_possible == there.folded


@pytest.mark.parametrize("name", PAIRS)
def test_zeros_have_the_shape_of_the_branch(name):
    _, small, example = PAIRS[name]
    big = PAIRS[name][0]
    found = folded(pair(big, small), example)
    assert found.model.small(example).shape == small(example).shape
    assert not found.model.small(example).any()


def test_a_conv_with_a_computed_weight_takes_and_is_taken():
    one, two = (nn.utils.parametrizations.weight_norm(conv(k, padding=k // 2)) for k in (3, 1))
    found = folded(pair(one, two))
    assert merges(found) == {"small": "big"}
    assert type(found.model.big) is nn.Conv2d


# --------------------------------------------------------------------------------- the checks


def test_a_merge_that_makes_the_model_wrong_is_undone(monkeypatch):
    rebuilt = running.rebuilt

    def spoiled(*given: Any, **more: Any) -> Any:
        copy, layers = rebuilt(*given, **more)
        if any(one.joined for one, *_ in layers):
            copy.big[0].weight.data += 1
        return copy, layers

    monkeypatch.setattr(running, "rebuilt", spoiled)
    found = folded(pair(norm(conv(padding=1)), norm(conv(1))))
    assert [item.folded for item in found.report.items] == [True, False, True]
    assert "undone" in reasons(found)["small.0"]


def test_a_sum_beyond_half_precision_is_refused():
    model = pair(conv(padding=1), conv(1)).eval()
    with torch.no_grad():
        for module, value in ((model.big, 4e4), (model.small, 4e4)):
            module.weight.zero_()
            module.weight[:, 0, module.kernel_size[0] // 2, module.kernel_size[1] // 2] = value
    report = fold(model.half(), IMAGE.half() / 1e4).report
    assert "channel 0 of 'big' would reach 8e+04" in (report.items[0].because or "")


def test_an_item_holds_the_error_of_the_merged_kernel():
    model = rep_vgg().eval()
    items = fold(model, IMAGE.float()).report.items
    assert all(item.error is not None and 0 < item.error < 1e-6 for item in items)


@pytest.mark.parametrize("tail", [lambda net, y: net.act(y), lambda net, y: net.act(y) * 2])
@pytest.mark.parametrize("allow_graph", [False, True], ids=["modules", "graph"])
def test_as_many_ops_are_saved_as_the_report_says(tail, allow_graph):
    model = rep_vgg(tail)
    found = folded(model, allow_graph=allow_graph)
    before, after = (sum(ops(one).values()) for one in (model, found.model))
    assert before - after == found.report.ops_saved
