"""Running an op on the meta device, where nothing is computed but shapes, strides and dtypes.

For many ops torch works them out in Python, through decompositions, at a hundred times the cost
of the rest.  Those that networks use most are answered here, in their plain cases: a shortcut
returns None where it does not know, or where the op will fail, and torch is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch._ops import OpOverload

from fieldwise.capture.torch.blame import ask_torch
from fieldwise.graph.ir import Args, Kwargs

aten = torch.ops.aten
META = torch.device("meta")
Layouts = Tensor | tuple[Tensor, ...]
"""Tensors on the meta device: one result, or several."""


def run_on_meta(func: OpOverload, args: Args, kwargs: Kwargs) -> object:
    """The op's results as tensors on the meta device.  An error of torch's is the model's."""
    found = shortcut(func, args, kwargs)
    if found is not None:
        return found
    found = ask_torch(func, args, kwargs)
    if func in _CONVOLUTIONS:
        _check_room(*args[1].shape[2:], results=found)
    return found


def _check_room(*kernel: int, results: Tensor) -> None:
    """Refuse, in torch's name, what not every torch refuses on the meta device."""
    fits = 0 not in results.shape[-len(kernel) :]
    torch._check(fits, lambda: f"Kernel size {kernel} can't be greater than the padded input")


def shortcut(func: OpOverload, args: Args, kwargs: Kwargs) -> Layouts | None:
    """The result, or results, if their layout is known without asking torch."""
    known = SHORTCUTS.get(func)
    return None if known is None else known(*args, **kwargs)


def _contiguous(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device=META)


def _like(x: Tensor) -> Tensor:
    """The layout of the operand: its strides where it is dense, else their order."""
    if x.is_contiguous():
        return _contiguous(x.shape, x.dtype)
    if not _dense(x):
        return torch.empty_like(x)
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=META)


def _unary(x: Tensor, *options: object, **named: object) -> Tensor | None:
    return _like(x) if x.is_floating_point() else None


def _unary_in_place(x: Tensor, *options: object, **named: object) -> Tensor | None:
    """The operand itself, if it may be written to: no two of its elements share memory."""
    return x if x.is_floating_point() and _dense(x) else None


def _clamp(x: Tensor, low: object = None, high: object = None) -> Tensor | None:
    """Bounds are numbers, or tensors of one that have the operand's dtype."""
    bounds = [bound for bound in (low, high) if bound is not None]
    plain = all(
        bound.dtype == x.dtype and not bound.dim()
        if isinstance(bound, Tensor)
        else isinstance(bound, (int, float))
        for bound in bounds
    )
    return _like(x) if bounds and plain and x.is_floating_point() else None


def _binary(x: object, y: object, **options: object) -> Tensor | None:
    if not isinstance(x, Tensor) or not x.is_floating_point():
        return None
    if not isinstance(y, Tensor):
        return None if isinstance(y, complex) else _like(x)
    wide = _wider(x, y)
    return None if wide is None else _like(wide)


def _binary_in_place(x: Tensor, y: object, **options: object) -> Tensor | None:
    if isinstance(y, Tensor):
        return x if _wider(x, y) is x else None
    return None if isinstance(y, complex) else _unary_in_place(x)


def _wider(x: Tensor, y: Tensor) -> Tensor | None:
    """The one of two tensors that has the layout of what is made of both; None if unknown."""
    if y.dtype != x.dtype or not x.is_floating_point():
        return None
    if x.shape == y.shape:
        alike = _dense(x) if x.stride() == y.stride() else _both_contiguous(x, y)
        return x if alike else None
    wide, narrow = (x, y) if (x.dim(), x.numel()) >= (y.dim(), y.numel()) else (y, x)
    pairs = zip(reversed(wide.shape), reversed(narrow.shape), strict=False)
    fits = _dense(wide) and all(b in (1, a) for a, b in pairs)
    is_line = narrow.numel() == max(narrow.shape, default=1)
    return wide if fits and (is_line or _both_contiguous(x, y)) else None


def _dense(x: Tensor) -> bool:
    return x.is_contiguous() or (x.dim() == 4 and x.is_contiguous(memory_format=_LAST))


_ROWS, _LAST = torch.contiguous_format, torch.channels_last


def _both_contiguous(x: Tensor, y: Tensor) -> bool:
    return x.is_contiguous() and y.is_contiguous()


def _conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Tensor | None:
    if x.dim() != 4 or x.dtype != weight.dtype:
        return None
    last = not x.is_contiguous() and x.is_contiguous(memory_format=_LAST)
    if not (last or _row_major(x)) or not _row_major(weight):
        return None
    if x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        return None
    if bias is not None and (bias.dtype != x.dtype or bias.shape != weight.shape[:1]):
        return None
    space = [
        (size + 2 * _along(padding, axis) - _along(dilation, axis) * (taps - 1) - 1)
        // _along(stride, axis)
        + 1
        for axis, (size, taps) in enumerate(zip(x.shape[2:], weight.shape[2:], strict=True))
    ]
    if min(space) <= 0:
        return None
    shape, order = (x.shape[0], weight.shape[0], *space), _LAST if last else _ROWS
    return torch.empty(shape, dtype=x.dtype, device=META, memory_format=order)


def _adaptive_avg_pool2d(x: Tensor, size: Sequence[int]) -> Tensor | None:
    plain = x.dim() in (3, 4) and _row_major(x) and x.is_floating_point() and x.numel()
    fits = plain and len(size) == 2 and min(size) > 0
    return _contiguous((*x.shape[:-2], *size), x.dtype) if fits else None


def _max_pool2d(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    dilation: Sequence[int] = (1,),
    ceil: bool = False,
) -> Tensor | None:
    return _pooled(x, kernel, stride or kernel, padding, dilation, ceil=ceil)


def _avg_pool2d(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0,),
    ceil: bool = False,
    count_padding: bool = True,
    divisor: int | None = None,
) -> Tensor | None:
    return None if divisor == 0 else _pooled(x, kernel, stride or kernel, padding, (1,), ceil=ceil)


def _pooled(
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    *,
    ceil: bool,
) -> Tensor | None:
    """Windows start within the input or the padding before it, with ``ceil`` one more too."""
    if x.dim() != 4 or not _row_major(x) or not x.is_floating_point() or not x.numel():
        return None
    space = []
    for axis, size in enumerate(x.shape[2:]):
        taps, step, pad, spread = (_along(v, axis) for v in (kernel, stride, padding, dilation))
        if min(taps, step, spread) <= 0 or not 0 <= pad <= taps // 2:
            return None
        room = size + 2 * pad - spread * (taps - 1) - 1
        count = (room + (step - 1 if ceil else 0)) // step + 1
        space.append(count - (ceil and (count - 1) * step >= size + pad))
    return _contiguous((*x.shape[:2], *space), x.dtype) if min(space) > 0 else None


def _resized(
    axes: int,
    x: Tensor,
    size: Sequence[int] | None,
    align: bool,
    scales: Sequence[float] | None,
) -> Tensor | None:
    """To a size along these last axes, or to so many times what it is."""
    layout = _layout(x)
    plain = x.dim() == axes + 2 and x.is_floating_point() and x.numel()
    if layout is None or not plain or (size is None) == (scales is None):
        return None
    if len(size or scales or ()) != axes:
        return None
    wanted = size or [int(n * by) for n, by in zip(x.shape[2:], scales or (), strict=True)]
    if min(wanted) <= 0:
        return None
    return torch.empty((*x.shape[:2], *wanted), dtype=x.dtype, device=META, memory_format=layout)


def _layout(x: Tensor) -> torch.memory_format | None:
    """Row-major or channels-last; None for any other."""
    if _row_major(x):
        return torch.contiguous_format
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.dim())
    return last if last is not None and x.is_contiguous(memory_format=last) else None


def _to_nearest(
    axes: int, x: Tensor, size: Sequence[int] | None, scales: Sequence[float] | None
) -> Tensor | None:
    return _resized(axes, x, size, False, scales)


def _mean(
    x: Tensor,
    dims: Sequence[int] | None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor | None:
    rank = x.dim()
    plain = dtype is None and x.is_floating_point() and _row_major(x) and rank
    if not plain or not dims or not all(-rank <= dim < rank for dim in dims):
        return None
    gone = {dim % rank for dim in dims}
    if len(gone) < len(dims):
        return None
    sizes = ((1 if dim in gone else size) for dim, size in enumerate(x.shape))
    kept = [size for dim, size in enumerate(sizes) if keepdim or dim not in gone]
    return _contiguous(kept, x.dtype)


def _row_major(x: Tensor) -> bool:
    """Contiguous, and not in channels-last order too (as 1x1 weights may be)."""
    strides, step = list[int](), 1
    for size in reversed(x.shape):
        strides.append(step)
        step *= max(size, 1)
    return x.stride() == tuple(reversed(strides))


def _along(value: Sequence[int], axis: int) -> int:
    return value[axis] if len(value) > 1 else value[0]


def _roll(x: Tensor, shifts: Sequence[int], dims: Sequence[int] = ()) -> Tensor | None:
    fits = len(shifts) == len(dims) and all(-x.dim() <= dim < x.dim() for dim in dims)
    return _like(x) if fits and _dense(x) else None


def _batch_norm(x: Tensor, *options: object) -> Tensor | None:
    per_channel = [option for option in options if isinstance(option, Tensor)]
    fits = x.dim() > 1 and all(option.shape == x.shape[1:2] for option in per_channel)
    return _like(x) if fits and _dense(x) else None


def _layer_norm(
    x: Tensor, shape: Sequence[int], weight: Tensor | None = None, *options: object
) -> Tensor | None:
    fits = tuple(x.shape[x.dim() - len(shape) :]) == tuple(shape)
    same = weight is None or (weight.dtype == x.dtype and tuple(weight.shape) == tuple(shape))
    return _contiguous(x.shape, x.dtype) if fits and same else None


def _softmax(x: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor | None:
    plain = dtype is None and x.is_floating_point() and _layout(x) is not None
    return _contiguous(x.shape, x.dtype) if plain and -x.dim() <= dim < x.dim() else None


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor | None:
    plain = x.dim() > 1 and weight.dim() == 2 and x.dtype == weight.dtype
    if not plain or x.shape[-1] != weight.shape[1]:
        return None
    if bias is not None and (bias.shape != weight.shape[:1] or bias.dtype != x.dtype):
        return None
    return _contiguous((*x.shape[:-1], weight.shape[0]), x.dtype)


def _matmul(x: Tensor, y: Tensor) -> Tensor | None:
    plain = x.dim() == y.dim() > 2 and x.dtype == y.dtype and x.shape[:-2] == y.shape[:-2]
    if not plain or x.shape[-1] != y.shape[-2]:
        return None
    return _contiguous((*x.shape[:-1], y.shape[-1]), x.dtype)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None = None,
    dropout: float = 0.0,
    *options: object,
    **named: object,
) -> Tensor | None:
    """The CPU's kernel keeps the query's layout; torch's own answer is that of another kernel.

    A mask of numbers is left to torch: with one that requires gradients, that other kernel runs.
    """
    shape = (*key.shape[:2], *query.shape[2:3], *key.shape[3:])
    plain = query.dim() == 4 and query.shape == shape and key.shape == value.shape
    alike = all(x.dtype == query.dtype and x.stride(-1) == 1 for x in (query, key, value))
    if not plain or not alike or dropout or not query.numel() or not key.numel():
        return None
    if not query.is_floating_point() or not _closes(mask, (*shape[:3], key.shape[2])):
        return None
    return torch.empty_like(query)


def _closes(mask: Tensor | None, scores: Sequence[int]) -> bool:
    """Whether there is no mask, or one of truth values that every kernel takes."""
    if mask is None:
        return True
    sizes = zip(mask.shape, scores[-mask.dim() :], strict=True)
    fits = mask.dim() in (2, 4) and all(size in (1, full) for size, full in sizes)
    return fits and mask.dtype is torch.bool


def _cat(tensors: Sequence[Tensor], dim: int = 0) -> Tensor | None:
    first = tensors[0]
    rank = first.dim()
    if not -rank <= dim < rank or not first.numel():
        return None
    dim %= rank
    rest = (*first.shape[:dim], *first.shape[dim + 1 :])
    for tensor in tensors:
        if tensor.dim() != rank or tensor.dtype != first.dtype or not _row_major(tensor):
            return None
        if (*tensor.shape[:dim], *tensor.shape[dim + 1 :]) != rest:
            return None
    size = sum(tensor.shape[dim] for tensor in tensors)
    return _contiguous((*first.shape[:dim], size, *first.shape[dim + 1 :]), first.dtype)


def _recurrent(func: OpOverload, x: Tensor, hx: object, *options: object) -> Layouts | None:
    """A recurrent layer's results from two steps: torch takes every step apart."""
    time = 1 if options[-1] else 0
    if x.dim() != 3 or x.shape[time] <= 2:
        return None
    few, *states = ask_torch(func, (x.narrow(time, 0, 2), hx, *options), {})
    shape = [*few.shape[:time], x.shape[time], *few.shape[time + 1 :]]
    slowest_first = sorted(range(3), key=few.stride, reverse=True)
    dense = _contiguous([shape[dim] for dim in slowest_first], few.dtype)
    return dense.permute([slowest_first.index(dim) for dim in range(3)]), *states


def _softmax_backward(grad: Tensor, softmax: Tensor, dim: int, dtype: torch.dtype) -> Tensor | None:
    """torch's own answer on the meta device is in ``dtype``, but that of its kernels is not."""
    return None if dtype is torch.float16 else _contiguous(grad.shape, grad.dtype)


_CONVOLUTIONS = (
    aten.conv1d.default, aten.conv2d.default, aten.conv3d.default,
    aten.conv1d.padding, aten.conv2d.padding, aten.conv3d.padding,
)  # fmt: skip
_RECURRENT = (aten.lstm.input, aten.gru.input, aten.rnn_tanh.input, aten.rnn_relu.input)
_UNARY = (
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardtanh",
    "hardswish", "hardsigmoid", "softplus", "sigmoid", "tanh", "exp", "sqrt", "rsqrt", "neg", "abs",
    "square",
)  # fmt: skip
"""One operand, and numbers; the result has its dtype where that is floating."""
_BINARY = ("add", "sub", "mul", "div")
SHORTCUTS: dict[OpOverload, Callable[..., Layouts | None]] = {
    aten.conv2d.default: _conv2d,
    aten.adaptive_avg_pool2d.default: _adaptive_avg_pool2d,
    aten.max_pool2d.default: _max_pool2d,
    aten.avg_pool2d.default: _avg_pool2d,
    aten.mean.dim: _mean,
    aten.upsample_linear1d.vec: partial(_resized, 1),
    aten.upsample_bilinear2d.vec: partial(_resized, 2),
    aten.upsample_bicubic2d.vec: partial(_resized, 2),
    aten.upsample_trilinear3d.vec: partial(_resized, 3),
    aten.upsample_nearest1d.vec: partial(_to_nearest, 1),
    aten.upsample_nearest2d.vec: partial(_to_nearest, 2),
    aten.upsample_nearest3d.vec: partial(_to_nearest, 3),
    aten.batch_norm.default: _batch_norm,
    aten.layer_norm.default: _layer_norm,
    aten.clamp.default: _clamp,
    aten.clamp.Tensor: _clamp,
    aten.softmax.int: _softmax,
    aten.linear.default: _linear,
    aten.matmul.default: _matmul,
    aten.scaled_dot_product_attention.default: _attention,
    aten.cat.default: _cat,
    aten.roll.default: _roll,
    **{func: partial(_recurrent, func) for func in _RECURRENT},
    aten._softmax_backward_data.default: _softmax_backward,
    aten._log_softmax_backward_data.default: _softmax_backward,
    **{getattr(aten, name).default: _unary for name in _UNARY},
    **{
        getattr(aten, f"{name}_").default: _unary_in_place
        for name in _UNARY
        if hasattr(aten, f"{name}_")
    },
    **{getattr(aten, name).Tensor: _binary for name in _BINARY},
    **{getattr(aten, f"{name}_").Tensor: _binary_in_place for name in _BINARY},
}
