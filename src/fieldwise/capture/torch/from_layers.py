"""A written layer list as a torch module, for the analyses that run a network."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from math import prod

from torch import nn

from fieldwise.capture.layer_list import LayerSpec, layer_names, parse_layers
from fieldwise.capture.layers import Shape, layers_graph
from fieldwise.errors import UsageError


def layers_module(text: str, input_shape: Shape) -> nn.Sequential:
    """The network of a layer list, in eval mode; its submodules have the names of the graph.

    ``input_shape`` is (batch, channels, *spatial).  Raises UsageError as ``layers_graph`` does.

    >>> module = layers_module("conv3/2 relu", (1, 1, 9))
    >>> [name for name, _ in module.named_children()]
    ['conv3/2', 'relu']
    >>> import torch
    >>> module(torch.zeros(1, 1, 9)).shape
    torch.Size([1, 1, 4])
    """
    layers_graph(text, input_shape)
    layers = parse_layers(text)
    axes, channels = len(input_shape) - 2, input_shape[1]
    _check_weights(layers, axes, channels)
    modules = (_make(layer, axes, channels) for layer in layers)
    return nn.Sequential(OrderedDict(zip(layer_names(layers), modules, strict=True))).eval()


def _check_weights(layers: Sequence[LayerSpec], axes: int, channels: int) -> None:
    weights = 0
    for layer in layers:
        if layer.kind in ("conv", "dwconv", "tconv"):
            taps = prod(layer.at(axis).kernel_size for axis in range(axes))
            weights += channels * taps * (1 if layer.kind == "dwconv" else channels)
        if weights > _MAX_WEIGHTS:
            raise UsageError(
                f"The layers up to {layer.text!r} have more than {_MAX_WEIGHTS} weights; use "
                "smaller kernels or fewer channels."
            )


def _make(layer: LayerSpec, axes: int, channels: int) -> nn.Module:
    kernel_size, stride, dilation, padding, output_padding = (
        option if len(option) == axes else option * axes
        for option in (
            layer.kernel_size,
            layer.stride,
            layer.dilation,
            layer.padding or (0,),
            layer.output_padding,
        )
    )
    build = _BUILDERS[layer.kind][axes - 1]
    match layer.kind:
        case "conv" | "dwconv":
            return build(
                channels,
                channels,
                kernel_size,
                stride=stride,
                dilation=dilation,
                padding="same" if layer.padding is None else padding,
                groups=channels if layer.kind == "dwconv" else 1,
            )
        case "tconv":
            return build(
                channels,
                channels,
                kernel_size,
                stride=stride,
                dilation=dilation,
                padding=padding,
                output_padding=output_padding,
            )
        case "maxpool":
            return build(kernel_size, stride, padding, dilation)
        case "avgpool":
            return build(kernel_size, stride, padding)
        case "up" | "bilinear":
            return build(scale_factor=tuple(map(float, kernel_size)))
        case "globalpool":
            return build(1)
        case "bn":
            return build(channels)
        case _:
            return build()


_MAX_WEIGHTS = 1 << 28
"""A GiB of them, in single precision."""

_BUILDERS: dict[str, tuple[Callable[..., nn.Module], ...]] = {
    "conv": (nn.Conv1d, nn.Conv2d, nn.Conv3d),
    "dwconv": (nn.Conv1d, nn.Conv2d, nn.Conv3d),
    "tconv": (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d),
    "maxpool": (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d),
    "avgpool": (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    "up": (partial(nn.Upsample, mode="nearest"),) * 3,
    "bilinear": tuple(
        partial(nn.Upsample, mode=mode) for mode in ("linear", "bilinear", "trilinear")
    ),
    "globalpool": (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    "bn": (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
    "relu": (nn.ReLU,) * 3,
    "relu6": (nn.ReLU6,) * 3,
    "leakyrelu": (nn.LeakyReLU,) * 3,
    "prelu": (nn.PReLU,) * 3,
    "elu": (nn.ELU,) * 3,
    "selu": (nn.SELU,) * 3,
    "gelu": (nn.GELU,) * 3,
    "silu": (nn.SiLU,) * 3,
    "mish": (nn.Mish,) * 3,
    "softplus": (nn.Softplus,) * 3,
    "sigmoid": (nn.Sigmoid,) * 3,
    "tanh": (nn.Tanh,) * 3,
    "hardswish": (nn.Hardswish,) * 3,
    "hardsigmoid": (nn.Hardsigmoid,) * 3,
    "dropout": (nn.Dropout,) * 3,
    "identity": (nn.Identity,) * 3,
}
