"""What the names in a layer list mean: the geometry of each kind of layer along one axis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fieldwise.axes import AxisMap, Border, IndexSet
from fieldwise.graph.kinds import (
    COPY,
    ELEMENTWISE,
    INTERPOLATION,
    POOLED_EXTREME,
    POOLED_MEAN,
    POOLED_SUM,
    PRODUCT,
    Kind,
)


@dataclass(frozen=True, slots=True)
class AxisOptions:
    """The options of a layer along one axis; ``padding`` is (before, after)."""

    kernel_size: int
    stride: int
    dilation: int
    padding: tuple[int, int]
    output_padding: int

    @property
    def span(self) -> int:
        """The samples from the first to the last tap of the kernel."""
        return self.dilation * (self.kernel_size - 1) + 1


def _window(options: AxisOptions) -> AxisMap:
    return AxisMap.window(
        options.kernel_size,
        stride=options.stride,
        dilation=options.dilation,
        padding=options.padding[0],
    )


def _window_length(options: AxisOptions, size: int) -> int:
    return (size + sum(options.padding) - options.span) // options.stride + 1


def _transposed(options: AxisOptions) -> AxisMap:
    return AxisMap.transposed(
        options.kernel_size,
        stride=options.stride,
        dilation=options.dilation,
        padding=options.padding[0],
    )


def _transposed_length(options: AxisOptions, size: int) -> int:
    full = (size - 1) * options.stride + options.span
    return full - sum(options.padding) + options.output_padding


def _nearest(options: AxisOptions) -> AxisMap:
    return AxisMap(1, (IndexSet.range(0, 1),) * options.kernel_size)


def _linear(options: AxisOptions) -> AxisMap:
    """Output i sits at (i + ½)/f − ½ and reads the sample on either side of it.

    A tap of weight 0 (the output sits on a sample) is not read.
    """
    factor = options.kernel_size
    offsets = []
    for phase in range(factor):
        left, rest = divmod(2 * phase + 1 - factor, 2 * factor)
        offsets.append(IndexSet.range(left, left + 2 if rest else left + 1))
    return AxisMap(1, tuple(offsets))


def _one_phase(options: AxisOptions) -> int:  # noqa: ARG001
    return 1


def _strides(options: AxisOptions) -> int:
    return options.stride


def _factor(options: AxisOptions) -> int:
    return options.kernel_size


def _upsampled_length(options: AxisOptions, size: int) -> int:
    return size * options.kernel_size


@dataclass(frozen=True, slots=True)
class LayerKind:
    """What a layer name means.

    op:      the canonical operation
    takes:   the options that may follow the name
    read:    along one axis, the input indices of every output
    length:  output length along one axis, given the input length
    phases:  how many sets of offsets ``read`` has, at most
    whole:   it reads whole axes and makes one sample of each
    mixes:   an output channel reads every input channel
    border:  what happens to indices outside the input
    combines: how an output is made of what it reads
    """

    op: str
    takes: frozenset[str] = frozenset()
    read: Callable[[AxisOptions], AxisMap] = _window
    length: Callable[[AxisOptions, int], int] = _window_length
    phases: Callable[[AxisOptions], int] = _one_phase
    whole: bool = False
    mixes: bool = False
    border: Border = Border.DROP
    combines: Kind = ELEMENTWISE


_SIZE = frozenset({"kernel"})
_POOL = frozenset({"kernel", "stride", "dilation", "padding"})
_CONV = _POOL | {"same"}
_TRANSPOSED = _POOL | {"output padding"}

POOLS = ("maxpool", "avgpool")
"""The kinds whose stride is their kernel unless written, and whose padding is bounded by it."""

POINTWISE = (
    "relu", "relu6", "leakyrelu", "prelu", "elu", "selu", "gelu", "silu", "mish", "softplus",
    "sigmoid", "tanh", "hardswish", "hardsigmoid", "dropout", "identity",
)  # fmt: skip
"""The element-wise functions, by the name of their operation."""

KINDS = {
    "conv": LayerKind("conv", _CONV, mixes=True, combines=PRODUCT.per_channel(1)),
    "dwconv": LayerKind("conv", _CONV, combines=PRODUCT.per_channel(1)),
    "tconv": LayerKind(
        "conv_transpose",
        _TRANSPOSED,
        _transposed,
        _transposed_length,
        _strides,
        mixes=True,
        combines=PRODUCT.per_channel(1),
    ),
    "maxpool": LayerKind("max_pool", _POOL, combines=POOLED_EXTREME),
    "avgpool": LayerKind("avg_pool", _POOL - {"dilation"}, combines=POOLED_SUM),
    "up": LayerKind("interpolate", _SIZE, _nearest, _upsampled_length, _factor, combines=COPY),
    "bilinear": LayerKind(
        "interpolate",
        _SIZE,
        _linear,
        _upsampled_length,
        _factor,
        border=Border.CLAMP,
        combines=INTERPOLATION,
    ),
    "globalpool": LayerKind("adaptive_avg_pool", whole=True, combines=POOLED_MEAN),
    "bn": LayerKind("batch_norm", combines=ELEMENTWISE.per_channel(1)),
    **{name: LayerKind(name) for name in POINTWISE},
}
"""Every layer name."""
