"""For each torch op, a positive linear function with the same dependence.

A surrogate is called on operands that require gradients and returns the results; its Jacobian is
nonnegative and nonzero exactly where the op's result may depend on the operand, for generic
weights.  Which index depends on which is left to torch's own kernels: a convolution is torch's
convolution with weights of one, a slice is torch's slice.  Nothing here knows the read rules of
the graph, so that the probe built on it is an independent check of them.

- multilinear ops (convolution, matmul): the op itself, weights and the other operand all one
- element-wise ops: the sum of the operands, broadcast
- maxima over a window: the sum over the window; padding reads nothing
- reductions: the sum; normalisations and softmax: x plus its sum over the normalised dims
- attention: Σ_s (q_l + k_s + v_s) over the positions s that a constant mask lets through
- ops that move elements or average them with fixed weights: the op itself.  Bicubic taps may be
  negative, which is why cotangents are random and not all one (see ``gradient``)

A constant mask in ``where``, ``masked_fill``, ``tril`` or attention is structure and cuts; a
constant factor that happens to be zero is a weight and does not.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fieldwise.capture.torch.calls import OutOfPlace, Part, WriteThrough
from fieldwise.graph.ir import Call, Ref, Shape

Rule = Callable[["Operation"], Sequence[Tensor]]
_RULES: dict[str, Rule] = {}


class UnknownDependence(Exception):  # noqa: N818
    """No exact surrogate is known for this call; the text says why."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One call with tensors in place: operands require gradients, constants do not.

    name:   of the op in torch.ops.aten ('conv2d'), without the underscore of in-place variants
    target: what to call, an overload or a wrapper of one (see ``capture.torch.calls``)
    args:   by their names in the schema, defaults filled in
    shapes: of the results
    """

    name: str
    target: Any
    args: dict[str, Any]
    shapes: tuple[Shape, ...]

    @classmethod
    def of(cls, call: Call, operands: Sequence[Tensor], shapes: tuple[Shape, ...]) -> Operation:
        """The captured call with these tensors as its operands."""
        schema = _schema(call.target)
        args = {a.name: a.default_value for a in schema.arguments if a.has_default_value()}
        names = [argument.name for argument in schema.arguments]
        args |= dict(zip(names, call.args, strict=False)) | dict(call.kwargs)

        def fill(item: Any) -> Any:
            if isinstance(item, Ref):
                return operands[item.operand]
            if isinstance(item, Tensor):
                return item.detach()
            if isinstance(item, (list, tuple)):
                return [fill(part) for part in item]
            return item

        filled = {name: fill(item) for name, item in args.items() if name in names}
        name = schema.name.removeprefix("aten::")
        if schema.is_mutable and not name.endswith("__"):
            name = name.removesuffix("_")
        return cls(name, call.target, filled, shapes)

    @property
    def shape(self) -> Shape:
        """The shape of the first result."""
        return self.shapes[0]

    def derived(self) -> list[Tensor]:
        """The arguments that are operands, in order."""
        return [tensor for tensor in _tensors(self.args.values()) if tensor.requires_grad]

    def only(self, name: str) -> Tensor:
        """The operand called ``name``, where it is the only one."""
        if any(tensor is not self.args[name] for tensor in self.derived()):
            raise UnknownDependence(f"{self.name} with parameters that depend on the input")
        found: Tensor = self.args[name]
        return found

    def run(self, args: dict[str, Any]) -> list[Tensor]:
        """The op itself with these arguments; its tensor results."""
        positional, keywords = [], {}
        for argument in _schema(self.target).arguments:
            if argument.kwarg_only:
                keywords[argument.name] = args[argument.name]
            else:
                positional.append(args[argument.name])
        out = self.target(*positional, **keywords)
        return list(_tensors([out]))


def surrogate(operation: Operation) -> list[Tensor]:
    """The results of the surrogate of this call.  Raises UnknownDependence where none is known."""
    rule = _RULES.get(operation.name)
    if rule is None and torch.Tag.pointwise in getattr(operation.target, "tags", ()):
        rule = _combine
    if rule is None:
        raise UnknownDependence(f"{operation.name} has no surrogate")
    return list(rule(operation))


def _register(*names: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        for name in names:
            if name in _RULES:
                raise ValueError(f"The op {name} already has the surrogate {_RULES[name]}.")
            _RULES[name] = function
        return function

    return register


# ------------------------------------------------------------------------ multilinear ops


@_register(
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "convolution", "_convolution", "_convolution_mode", "linear", "bilinear", "matmul", "mm", "bmm",
    "mv", "dot", "vdot", "inner", "outer", "ger", "addmm", "baddbmm", "addbmm", "addmv", "addr",
    "einsum", "tensordot", "kron",
)  # fmt: skip
def _multilinear(op: Operation) -> Sequence[Tensor]:
    """The op at operands of one: its derivative in each operand is a sum of ones."""
    args = {name: _map(item, _as_ones) for name, item in op.args.items()}
    args |= {name: 1 for name in ("alpha", "beta") if name in args}
    return op.run(args)


def _as_ones(tensor: Tensor) -> Tensor:
    if tensor.requires_grad:
        return tensor
    return torch.ones(tensor.shape, dtype=torch.float64)


# ------------------------------------------------------------------------ element-wise ops


@_register(
    "hardswish", "hardsigmoid", "hardtanh", "relu6", "selu", "celu", "elu", "leaky_relu",
    "softplus", "square", "isnan", "isinf", "logit", "nan_to_num", "float_power", "true_divide",
    "floor_divide", "rsub", "eq", "ne", "complex", "polar", "real", "imag", "conj", "_conj",
    "_neg_view", "resolve_conj", "resolve_neg", "fake_quantize_per_tensor_affine",
)  # fmt: skip
def _combine(op: Operation) -> Sequence[Tensor]:
    return (_sum([_spread(tensor, op.shape) for tensor in op.derived()]),) * len(op.shapes)


@_register(
    "clone", "contiguous", "to", "_to_copy", "detach", "lift", "lift_fresh", "type_as",
    "dropout", "native_dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout",
    "prelu", "_prelu_kernel", "rrelu", "rrelu_with_noise", "rrelu_with_noise_functional",
    "bernoulli", "bucketize", "log_sigmoid", "log_sigmoid_forward",
)  # fmt: skip
def _first_alone(op: Operation) -> Sequence[Tensor]:
    """Whatever else stands among the arguments says how, or has the shape of a channel."""
    name = next(iter({"self", "input"} & op.args.keys()))
    source = op.args[name] if op.name in ("to", "type_as") else op.only(name)
    return (source * 1,) * len(op.shapes)


@_register("copy", "fill")
def _assigned(op: Operation) -> Sequence[Tensor]:
    """The old content is gone; the new one is broadcast."""
    source = op.args["src" if op.name == "copy" else "value"]
    if isinstance(source, Tensor) and source.requires_grad:
        return (_spread(source, op.shape),)
    return (torch.zeros(op.shape, dtype=torch.float64),)


@_register("zero")
def _zero(op: Operation) -> Sequence[Tensor]:
    return (torch.zeros(op.shape, dtype=torch.float64),)


@_register("where")
def _where(op: Operation) -> Sequence[Tensor]:
    return _chosen(op, op.args["condition"], op.args["self"], op.args["other"])


@_register("masked_fill")
def _masked_fill(op: Operation) -> Sequence[Tensor]:
    return _chosen(op, op.args["mask"], op.args["value"], op.args["self"])


def _chosen(op: Operation, mask: Tensor, yes: Any, no: Any) -> Sequence[Tensor]:
    if mask.requires_grad or mask.device.type == "meta":
        return _combine(op)

    def branch(item: Any) -> Tensor:
        if isinstance(item, Tensor) and item.requires_grad:
            return item
        return torch.zeros((), dtype=torch.float64)

    return (_spread(torch.where(mask.cpu().bool(), branch(yes), branch(no)), op.shape),)


@_register("glu")
def _glu(op: Operation) -> Sequence[Tensor]:
    return (_sum(list(op.args["self"].chunk(2, op.args["dim"]))),)


@_register("view_as_real")
def _view_as_real(op: Operation) -> Sequence[Tensor]:
    return (op.args["self"].unsqueeze(-1).expand(op.shape),)


@_register("embedding", "one_hot")
def _looked_up(op: Operation) -> Sequence[Tensor]:
    """A row for each index; the row's values are constants."""
    indices = op.only("indices" if op.name == "embedding" else "self")
    return (indices.unsqueeze(-1).expand(op.shape),)


@_register("view_as_complex")
def _view_as_complex(op: Operation) -> Sequence[Tensor]:
    return (op.args["self"].sum(-1),)


# ------------------------------------------------------------------------ windows


@_register(
    "max_pool1d", "max_pool2d", "max_pool3d", "max_pool1d_with_indices",
    "max_pool2d_with_indices", "max_pool3d_with_indices",
)  # fmt: skip
def _max_pool(op: Operation) -> Sequence[Tensor]:
    """A convolution with a kernel of ones per channel; beyond the border there is nothing."""
    axes = int(op.name[8])
    image: Tensor = op.args["self"]
    kernel = _per_axis(op.args["kernel_size"], axes)
    stride = _per_axis(op.args["stride"] or kernel, axes)
    padding = _per_axis(op.args["padding"], axes)
    dilation = _per_axis(op.args["dilation"], axes)
    pads: list[int] = []
    for axis in reversed(range(axes)):
        reach = (op.shape[axis - axes] - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1
        behind = max(0, reach - padding[axis] - image.shape[axis - axes])
        pads += [padding[axis], behind]
    flat = F.pad(image.reshape(-1, 1, *image.shape[-axes:]), pads)
    ones = torch.ones(1, 1, *kernel, dtype=torch.float64)
    convolve = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]
    sums = convolve(flat, ones, stride=stride, dilation=dilation)
    inside = tuple(slice(0, size) for size in op.shape[-axes:])
    return (sums[(..., *inside)].reshape(op.shape),) * len(op.shapes)


@_register("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
def _adaptive_max_pool(op: Operation) -> Sequence[Tensor]:
    average = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)
    return (average[int(op.name[17]) - 1](op.args["self"], op.args["output_size"]),) * 2


# ------------------------------------------------------------------------ whole dimensions


@_register(
    "mean", "sum", "amax", "amin", "nanmean", "nansum", "logsumexp", "prod", "all", "any",
    "linalg_vector_norm", "norm", "count_nonzero", "var", "std", "var_mean", "std_mean",
    "max", "min", "median", "argmax", "argmin", "mode", "kthvalue", "aminmax", "frobenius_norm",
    "nanmedian", "_aminmax",
)  # fmt: skip
def _reduction(op: Operation) -> Sequence[Tensor]:
    if isinstance(op.args.get("other"), Tensor):
        return _combine(op)
    source = op.only("self")
    total = source.sum(_dims(op.args.get("dim"), source.dim()))
    return tuple(total.reshape(shape) for shape in op.shapes)


@_register("softmax", "_softmax", "log_softmax", "_log_softmax", "_safe_softmax")
def _softmax(op: Operation) -> Sequence[Tensor]:
    return (_mixed(op.only("self"), op.args["dim"]),)


@_register("sort", "argsort", "topk", "msort")
def _sorted(op: Operation) -> Sequence[Tensor]:
    total = op.only("self").sum(op.args.get("dim", 0), keepdim=True)
    return tuple(total.expand(shape) for shape in op.shapes)


@_register("_fft_r2c", "_fft_c2r", "_fft_c2c")
def _fourier(op: Operation) -> Sequence[Tensor]:
    return (op.only("self").sum(op.args["dim"], keepdim=True).expand(op.shape),)


@_register("layer_norm", "native_layer_norm", "rms_norm", "_fused_rms_norm")
def _layer_norm(op: Operation) -> Sequence[Tensor]:
    source = op.only("input")
    dims = tuple(range(-len(op.args["normalized_shape"]), 0))
    total = source.sum(dims, keepdim=True)
    return (source + total, *(total.reshape(shape) for shape in op.shapes[1:]))


@_register("group_norm", "native_group_norm")
def _group_norm(op: Operation) -> Sequence[Tensor]:
    source = op.only("input")
    groups = op.args["num_groups"] if "num_groups" in op.args else op.args["group"]
    blocks = source.reshape(source.shape[0], groups, -1)
    total = blocks.sum(-1, keepdim=True)
    return (
        (blocks + total).reshape(source.shape),
        *(total.reshape(shape) for shape in op.shapes[1:]),
    )


@_register("instance_norm")
def _instance_norm(op: Operation) -> Sequence[Tensor]:
    source = op.only("input")
    if not op.args["use_input_stats"]:
        return (source * 1,)
    return (_mixed(source, tuple(range(2, source.dim()))),)


@_register(
    "batch_norm", "native_batch_norm", "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training", "cudnn_batch_norm", "_batch_norm_impl_index",
)  # fmt: skip
def _batch_norm(op: Operation) -> Sequence[Tensor]:
    source = op.only("input")
    statistics = tuple(torch.zeros(shape, dtype=torch.float64) for shape in op.shapes[1:])
    if op.args.get("training", False) or op.args.get("running_mean") is None:
        mixed = _mixed(source, tuple(dim for dim in range(source.dim()) if dim != 1))
        return (mixed, *statistics)
    return (source * 1, *statistics)


@_register("cumsum", "cumprod", "cummax", "cummin", "logcumsumexp", "_logcumsumexp")
def _cumulative(op: Operation) -> Sequence[Tensor]:
    return (op.only("self").cumsum(op.args["dim"]),) * len(op.shapes)


@_register("lstm", "gru", "rnn_tanh", "rnn_relu")
def _recurrent(op: Operation) -> Sequence[Tensor]:
    """Each direction of each layer sums what came before; the final states saw everything."""
    if "batch_first" not in op.args:
        raise UnknownDependence(f"{op.name} on a packed sequence")
    source = op.only("input")
    time = source.dim() - 2 if op.args["batch_first"] else 0
    value = source.sum(-1, keepdim=True)
    for _ in range(op.args["num_layers"]):
        value = value.sum(-1, keepdim=True).cumsum(time)
        if op.args["bidirectional"]:
            value = torch.cat([value, value.flip(time).cumsum(time).flip(time)], -1)
    width = op.shape[-1] // value.shape[-1]
    last = value.sum((time, -1))
    states = tuple(last[..., None].expand(shape) for shape in op.shapes[1:])
    return (value.repeat_interleave(width, -1), *states)


# ------------------------------------------------------------------------ attention


@_register("scaled_dot_product_attention")
def _attention(op: Operation) -> Sequence[Tensor]:
    query, key, value = (op.args[name] for name in ("query", "key", "value"))
    key, value = (_shared_heads(item, query.shape) for item in (key, value))
    mask = op.args["attn_mask"]
    open_ = _open_pairs(mask, op.args["is_causal"], query.shape[-2], key.shape[-2])
    pairs = query.sum(-1)[..., :, None] + key.sum(-1)[..., None, :]
    if isinstance(mask, Tensor) and mask.requires_grad:
        pairs = pairs + mask
    own = (pairs * open_).sum(-1, keepdim=True)
    return ((own + open_.expand(pairs.shape) @ value).expand(op.shape),)


def _shared_heads(tensor: Tensor, query: Shape) -> Tensor:
    if tensor.dim() < 3 or tensor.shape[-3] in (1, query[-3]):
        return tensor
    return tensor.repeat_interleave(query[-3] // tensor.shape[-3], -3)


def _open_pairs(mask: Any, causal: bool, length: int, keys: int) -> Tensor:
    """1.0 where query l may look at key s."""
    ones = torch.ones(length, keys, dtype=torch.float64)
    if causal:
        return ones.tril()
    if not isinstance(mask, Tensor) or mask.requires_grad or mask.device.type == "meta":
        return ones
    return (mask if mask.dtype == torch.bool else mask > float("-inf")).to(torch.float64)


@_register("cdist")
def _cdist(op: Operation) -> Sequence[Tensor]:
    one, two = op.args["x1"].sum(-1), op.args["x2"].sum(-1)
    return (one[..., :, None] + two[..., None, :],)


# ------------------------------------------------------------------------ the op itself


@_register(
    "view", "reshape", "flatten", "squeeze", "unsqueeze", "unflatten", "_unsafe_view", "view_as",
    "reshape_as", "_reshape_alias", "ravel", "alias", "atleast_1d", "atleast_2d", "atleast_3d",
    "permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "numpy_T", "mT",
    "mH", "matrix_H", "adjoint",
    "select", "slice", "narrow", "split", "split_with_sizes", "chunk", "tensor_split", "unbind",
    "unsafe_split", "unsafe_split_with_sizes", "unsafe_chunk", "hsplit", "vsplit",
    "diagonal", "diag_embed", "diag",
    "cat", "concat", "concatenate", "_chunk_cat", "stack", "_stack", "hstack", "vstack", "dstack",
    "column_stack", "meshgrid",
    "expand", "expand_as", "broadcast_to", "repeat", "tile", "repeat_interleave",
    "roll", "flip", "fliplr", "flipud", "rot90", "tril", "triu",
    "pad", "constant_pad_nd", "_pad_circular", "_pad_enum",
    "reflection_pad1d", "reflection_pad2d", "reflection_pad3d",
    "replication_pad1d", "replication_pad2d", "replication_pad3d",
    "pixel_shuffle", "pixel_unshuffle", "channel_shuffle", "native_channel_shuffle",
    "unfold", "im2col", "col2im", "as_strided", "slice_scatter", "select_scatter",
    "diagonal_scatter", "view_copy", "permute_copy", "squeeze_copy", "slice_copy",
    "index", "_unsafe_index", "index_select", "gather", "take", "take_along_dim",
    "index_put", "_unsafe_index_put", "_index_put_impl", "index_fill", "index_add",
    "index_copy", "scatter", "scatter_add",
    "avg_pool1d", "avg_pool2d", "avg_pool3d",
    "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "_adaptive_avg_pool2d", "_adaptive_avg_pool3d",
    "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d",
    "_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "_upsample_nearest_exact3d",
    "upsample_linear1d", "upsample_bilinear2d", "upsample_trilinear3d", "upsample_bicubic2d",
    "_upsample_bilinear2d_aa", "_upsample_bicubic2d_aa",
)  # fmt: skip
def _itself(op: Operation) -> Sequence[Tensor]:
    for name in ("index", "indices"):
        for tensor in _tensors([op.args.get(name)]):
            if tensor.requires_grad:
                raise UnknownDependence(f"{op.name} with indices that depend on the data")
            if tensor.device.type == "meta":
                raise UnknownDependence(f"{op.name} with indices on the meta device")
    return op.run({name: _map(item, _as_float64) for name, item in op.args.items()})


@_register("grid_sampler", "grid_sampler_2d", "grid_sampler_3d")
def _grid_sample(op: Operation) -> Sequence[Tensor]:
    if op.args["grid"].requires_grad:
        raise UnknownDependence(f"{op.name} with a grid that depends on the data")
    return _itself(op)


def _as_float64(tensor: Tensor) -> Tensor:
    if tensor.requires_grad or not tensor.is_floating_point():
        return tensor
    if tensor.device.type == "meta":
        return torch.ones(tensor.shape, dtype=torch.float64)
    return tensor.detach().to("cpu", torch.float64)


def write_through(target: WriteThrough, operands: Sequence[Tensor]) -> Tensor:
    """A base with a view of it overwritten.

    The write is done on the elements' numbers, as torch lets no derivative pass a write to one
    view of several (split, chunk); the numbers then say where each element comes from.
    """
    numbers, first = [], 0
    for operand in operands:
        numbers.append(torch.arange(first, first + operand.numel()).reshape(operand.shape))
        first += operand.numel()
    return torch.cat([operand.reshape(-1) for operand in operands])[target(*numbers)]


# ------------------------------------------------------------------------ where none is known


def dense(operation: Operation) -> list[Tensor]:
    """Every result reads every element of every operand."""
    total = _sum([tensor.sum() for tensor in operation.derived()])
    return [total.expand(shape) for shape in operation.shapes]


def generic(operation: Operation) -> list[Tensor]:
    """The op itself, nonlinear as it is, at the operands it is given and random parameters."""

    def randomised(tensor: Tensor) -> Tensor:
        if tensor.requires_grad or not tensor.is_floating_point():
            return tensor
        return torch.rand(tensor.shape, dtype=torch.float64) + 0.5

    return operation.run({name: _map(item, randomised) for name, item in operation.args.items()})


# ------------------------------------------------------------------------ small helpers


def _schema(target: Any) -> Any:
    """Of an overload, or of the overload that an OutOfPlace or Part wraps."""
    overload: Any = target.op if isinstance(target, (OutOfPlace, Part)) else target
    return overload._schema


def _tensors(items: Any) -> Iterator[Tensor]:
    for item in items:
        if isinstance(item, Tensor):
            yield item
        elif isinstance(item, (list, tuple)):
            yield from _tensors(item)


def _map(item: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(item, Tensor):
        return change(item)
    if isinstance(item, (list, tuple)):
        return [_map(part, change) for part in item]
    return item


def _sum(tensors: list[Tensor]) -> Tensor:
    return reduce(operator.add, tensors)


def _spread(tensor: Tensor, shape: Shape) -> Tensor:
    """Broadcast; an in-place op may hold an operand of more dimensions of size one."""
    if tensor.dim() > len(shape):
        tensor = tensor.reshape(tensor.shape[tensor.dim() - len(shape) :])
    return tensor.expand(shape)


def _mixed(tensor: Tensor, dims: int | tuple[int, ...]) -> Tensor:
    return tensor + tensor.sum(dims, keepdim=True) if dims != () else tensor * 1


def _dims(dims: Any, rank: int) -> tuple[int, ...]:
    if dims is None or dims == []:
        return tuple(range(rank))
    return (dims,) if isinstance(dims, int) else tuple(dims)


def _per_axis(value: Any, axes: int) -> tuple[int, ...]:
    if isinstance(value, int):
        return (value,) * axes
    return tuple(value) * axes if len(value) == 1 else tuple(value)
