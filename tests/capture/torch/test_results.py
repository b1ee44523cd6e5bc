"""Where a result's layout is worked out without torch, it is the one that the CPU gives."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import permutations, product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fieldwise.capture.torch.results import SHORTCUTS, run_on_meta, shortcut

aten = torch.ops.aten
SHAPES = [
    (2, 3, 4, 5),
    (1, 3, 1, 1),
    (3, 1, 1),
    (3,),
    (1,),
    (4, 5),
    (2, 4, 5),
    (2, 3, 4, 1),
    (),
    (0, 3),
]


def tensors(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Tensors of many shapes and layouts."""
    found = [torch.ones(shape, dtype=dtype) for shape in SHAPES]
    found.append(torch.ones(2, 3, 4, 5, dtype=dtype).to(memory_format=torch.channels_last))
    found.append(torch.ones(2, 4, 5, 3, dtype=dtype).permute(0, 3, 1, 2))
    found.append(torch.ones(2, 3, 4, 10, dtype=dtype)[..., ::2])
    found.append(torch.ones(5, 4, dtype=dtype).t())
    found.append(torch.ones(2, 3, 1, 1, dtype=dtype).to(memory_format=torch.channels_last))
    found.append(torch.ones(2, 1, 4, 5, dtype=dtype).to(memory_format=torch.channels_last))
    found.append(torch.ones(2, 5, 4, dtype=dtype).transpose(1, 2))
    found.append(torch.ones(1, 3, 1, 5, dtype=dtype).expand(2, 3, 4, 5))
    return found


def calls() -> Iterator[tuple[Any, tuple[Any, ...]]]:
    floats, doubles = tensors(), tensors(torch.float64)
    pairs = [*product(floats, floats), *product(floats[:4], doubles[:4])]
    for name in ("add", "sub", "mul", "div", "add_", "sub_", "mul_", "div_"):
        op = getattr(aten, name).Tensor
        yield from ((op, (x, y)) for x, y in pairs)
        yield from ((op, (x, scalar)) for x in floats for scalar in (2, 2.5, 1j))
        yield op, (torch.ones(3, dtype=torch.int64), 2.5)
    yield from ((aten.matmul.default, pair) for pair in pairs)
    yield from ((aten.softmax.int, (x, dim)) for x in floats for dim in (0, 1, -1, 4))
    yield aten.softmax.int, (floats[0], 1, torch.float64)
    bounds = (torch.tensor(0.0), torch.ones(5), torch.tensor(1.0, dtype=torch.float64), None)
    for x in (*floats, doubles[0], torch.ones(3, dtype=torch.int64)):
        yield from ((aten.clamp.default, (x, *pair)) for pair in ((0, 6.0), (0.5,), (None, 2), ()))
        yield from ((aten.clamp.Tensor, (x, *pair)) for pair in product(bounds, bounds))
    yield from ((aten.cat.default, (pair, dim)) for pair in pairs for dim in (0, 1, -1, 3))
    for func in unary():
        yield from ((func, (x,)) for x in (*floats, doubles[0], torch.ones(3, dtype=torch.int64)))
    yield from ((aten.leaky_relu.default, (x, 0.3)) for x in floats)
    yield from ((aten.hardtanh_.default, (x, 0, 6.0)) for x in floats)
    yield from ((aten.softplus.default, (x, 2.0, 20)) for x in floats)
    for x, size in product(floats, ([1, 1], [2, 3], [7, 1], [0, 1], [1])):
        yield aten.adaptive_avg_pool2d.default, (x, size)
    yield from pooled(floats)
    yield from resized([*floats, torch.ones(2, 3, 4, 5, 6), torch.ones(3, 2, 4, dtype=torch.uint8)])
    for x, dims in product(floats, ([0], [-1], [1, 2], [2, -1], [1, -3], [7], [], None)):
        yield from ((aten.mean.dim, (x, dims, keep)) for keep in (False, True))
    yield aten.mean.dim, (torch.ones(3, 4, dtype=torch.int64), [1])
    yield from ((aten.gelu.default, (x,)) for x in floats)
    yield from ((aten.roll.default, (x, [1], [dim])) for x in floats for dim in (0, -1, 2))
    yield aten.gelu.default, (torch.ones(3, dtype=torch.int64),)
    for x in floats:
        for size in (3, 4, 5):
            weight = torch.ones(size)
            yield aten.layer_norm.default, (x, [size], weight, weight)
            yield aten.layer_norm.default, (x, [size])
            yield aten.layer_norm.default, (x, [size], weight[:-1])
            for mean in (weight, torch.ones(3)):
                options = (weight, weight, mean, mean, False, 0.1, 1e-5, True)
                yield aten.batch_norm.default, (x, *options)
            yield aten.linear.default, (x, torch.ones(7, size), torch.ones(7))
            yield aten.linear.default, (x, torch.ones(7, size).double())
            yield aten.linear.default, (x, torch.ones(size))
        for groups, *options in product((1, 3), ([1, 1], [2]), ([0, 0], [1, 2]), ([1, 1], [2])):
            yield aten.conv2d.default, (x, torch.ones(6, 3 // groups, 2, 3), None, *options, groups)
        last = torch.ones(6, 3, 1, 1).to(memory_format=torch.channels_last)
        yield aten.conv2d.default, (x, last)
        yield aten.conv2d.default, (x, torch.ones(6, 3, 2, 3).to(memory_format=torch.channels_last))
    yield from ((aten.scaled_dot_product_attention.default, args) for args in attended())
    yield from recurrent()


def pooled(floats: list[Tensor]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Windows of many shapes, rounded down and up; some do not fit."""
    images = [*floats, torch.ones(2, 3, 9, 14), torch.ones(1, 1, 2, 2), torch.ones(2, 3, 0, 4)]
    windows = product(([2], [3, 2], [5]), ([], [2], [3, 1]), ([0], [1], [1, 0]), (False, True))
    for x, (kernel, stride, padding, ceil) in product(images, windows):
        yield aten.avg_pool2d.default, (x, kernel, stride, padding, ceil)
        yield from (
            (aten.max_pool2d.default, (x, kernel, stride, padding, dilation, ceil))
            for dilation in ([1], [2, 1])
        )
    yield aten.avg_pool2d.default, (images[-3], [2], [], [0], False, True, 0)
    yield aten.max_pool2d.default, (torch.ones(2, 3, 9, 9, dtype=torch.int64), [2])


def resized(images: list[Tensor]) -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """To sizes and by factors of one number of axes and of others; some are empty."""
    smooth = ("linear1d", "bilinear2d", "bicubic2d", "trilinear3d")
    for x, axes in product(images, (1, 2, 3)):
        sizes = ([7, 1, 3][:axes], [0, 2, 2][:axes], None)
        factors = ([2.0, 1.7, 0.4][:axes], [0.1] * axes, None)
        for size, scales in product(sizes, factors):
            yield getattr(aten, f"upsample_nearest{axes}d").vec, (x, size, scales)
            for name, align in product(smooth, (False, True)):
                yield getattr(aten, f"upsample_{name}").vec, (x, size, align, scales)


def recurrent() -> Iterator[tuple[Any, tuple[Any, ...]]]:
    """Layers of each sort over sequences in three layouts, of one step and of more."""
    sorts = ((nn.LSTM, aten.lstm.input), (nn.GRU, aten.gru.input), (nn.RNN, aten.rnn_tanh.input))
    sorts += ((partial(nn.RNN, nonlinearity="relu"), aten.rnn_relu.input),)
    options = product((1, 2), (False, True), (False, True))
    for (sort, func), (layers, both, first) in product(sorts, options):
        layer = sort(4, 3, layers, bidirectional=both, batch_first=first)
        parameters = tuple(weight.detach() for weight in layer._flat_weights)
        state = torch.zeros(layers * (1 + both), 2 if first else 7, 3)
        states = (state, state) if sort is nn.LSTM else state
        for x in (torch.ones(2, 7, 4), torch.ones(7, 2, 4).transpose(0, 1)):
            yield func, (x, states, parameters, True, layers, 0.0, False, both, first)
        x, one = torch.ones(2, 4, 7).mT, state[:, :1].contiguous()
        lone = (one, one) if sort is nn.LSTM else one
        yield func, (x, states, parameters, True, layers, 0.0, False, both, first)
        x = torch.ones(1, 9, 4) if first else torch.ones(9, 1, 4)
        yield func, (x, lone, parameters, True, layers, 0.0, False, both, first)


def unary() -> Iterator[Any]:
    """Ops of one operand with numbers that may be left away, and their in-place twins."""
    names = (
        "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardtanh",
        "hardswish", "hardsigmoid", "softplus", "sigmoid", "tanh", "sqrt", "rsqrt", "neg", "abs",
        "square", "exp",
    )  # fmt: skip
    for name in names:
        yield getattr(aten, name).default
        if hasattr(aten, f"{name}_"):
            yield getattr(aten, f"{name}_").default


def attended() -> Iterator[tuple[Any, ...]]:
    """Queries, keys and values in many layouts, then masks and options."""
    queries = [torch.ones(2, 3, 5, 4).permute(*order) for order in permutations(range(4))]
    queries += [torch.ones(2, 3, 5, 8)[..., :4], torch.ones(1, 3, 5, 4).expand(2, 3, 5, 4)]
    queries += [torch.ones(2, 5, 9, 3, 4)[:, :, 2].transpose(1, 2), torch.ones(2, 3, 0, 4)]
    for query in queries:
        batch, heads, _, features = query.shape
        yield query, *[torch.ones(batch, heads, 6, features)] * 2
        yield query, *[torch.ones(batch, 6, heads, features).transpose(1, 2)] * 2
    query, key = torch.ones(2, 5, 3, 4).transpose(1, 2), torch.ones(2, 3, 6, 4)
    keys = [key, key[:, :1], key[:1], key[..., :3], key.double(), key.mT, key[0]]
    yield from ((query, one, other) for one, other in product(keys, keys))
    yield query, key[:, :, :0], key[:, :, :0]
    yield from ((x, x, x) for x in (query[0], query.double(), query.bfloat16(), query.long()))
    shapes = [(5, 6), (1, 6), (5, 1), (6,), (3, 5, 6), (2, 1, 1, 6), (1, 3, 5, 6), (2, 6), (1,) * 5]
    for shape in shapes:
        mask = torch.ones(shape)
        for given in (mask, mask.clone().requires_grad_(True), mask > 0):
            yield query, key, key, given
    yield from ((query, key, key, None, 0.0, True), (query, key, key, None, 0.5))


def test_a_shortcut_gives_the_layout_that_the_cpu_gives_or_none():
    taken = set()
    for func, args in calls():
        meta = [_meta(arg) for arg in args]
        found = shortcut(func, meta, {})
        try:
            wanted = func(*args)
        except (RuntimeError, IndexError):
            assert found is None, (func, args)
            continue
        if found is not None:
            taken.add(func)
            assert _layout(found) == _layout(wanted), (func, [_layout(a) for a in args])
            assert all(result.is_meta for result in _tensors(found))
    assert taken == set(SHORTCUTS) - {
        aten._softmax_backward_data.default,
        aten._log_softmax_backward_data.default,
    }


@pytest.mark.parametrize("func", [aten.relu.default, aten.gelu.default])
def test_torch_is_asked_where_there_is_no_shortcut(func):
    x = torch.empty(2, 3, 4, device="meta")[..., ::2]
    assert run_on_meta(func, (x,), {}).shape == (2, 3, 2)


def _meta(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_meta(item) for item in value]
    if isinstance(value, Tensor):
        size, stride = value.shape, value.stride()
        return torch.empty_strided(size, stride, dtype=value.dtype, device="meta")
    return value


def _tensors(value: Any) -> tuple[Tensor, ...]:
    return value if isinstance(value, tuple) else (value,)


def _layout(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_layout(item) for item in value]
    if not isinstance(value, Tensor):
        return value
    strides = [stride for stride, size in zip(value.stride(), value.shape, strict=True) if size > 1]
    return tuple(value.shape), value.dtype, strides
