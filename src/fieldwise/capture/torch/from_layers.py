"""A written layer list as a torch module, for the analyses that run a network."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import nn

from fieldwise.capture.layers import LayerSpec, Shape, check_input, layer_names, parse_layers


def layers_module(text: str, input_shape: Shape) -> nn.Sequential:
    """The network of a layer list, in eval mode; its submodules have the names of the graph.

    ``input_shape`` is (batch, channels, *spatial).  Raises UsageError as ``layers_graph`` does.

    >>> module = layers_module("conv3/2 relu", (1, 1, 9))
    >>> [name for name, _ in module.named_children()]
    ['conv3/2', 'relu']
    >>> module(torch.zeros(1, 1, 9)).shape
    torch.Size([1, 1, 4])
    """
    layers = parse_layers(text)
    check_input(text, layers, input_shape)
    axes, channels = len(input_shape) - 2, input_shape[1]
    modules = (_make(layer, axes, channels) for layer in layers)
    return nn.Sequential(OrderedDict(zip(layer_names(layers), modules, strict=True))).eval()


def _make(layer: LayerSpec, axes: int, channels: int) -> nn.Module:
    if layer.kind in _POINTWISE:
        return _POINTWISE[layer.kind]()
    return _BUILDERS[layer.kind](layer, axes, channels)


def _conv(layer: LayerSpec, axes: int, channels: int) -> nn.Module:
    kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[axes - 1]
    return kind(
        channels,
        channels,
        _per_axis(layer.kernel_size, axes),
        stride=_per_axis(layer.stride, axes),
        dilation=_per_axis(layer.dilation, axes),
        padding="same" if layer.padding is None else _per_axis(layer.padding, axes),
        groups=channels if layer.kind == "dwconv" else 1,
    )


def _transposed(layer: LayerSpec, axes: int, channels: int) -> nn.Module:
    kind = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[axes - 1]
    return kind(
        channels,
        channels,
        _per_axis(layer.kernel_size, axes),
        stride=_per_axis(layer.stride, axes),
        dilation=_per_axis(layer.dilation, axes),
        padding=_per_axis(layer.padding or (0,), axes),
        output_padding=_per_axis(layer.output_padding, axes),
    )


def _max_pool(layer: LayerSpec, axes: int, channels: int) -> nn.Module:
    kind = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)[axes - 1]
    return kind(
        _per_axis(layer.kernel_size, axes),
        stride=_per_axis(layer.stride, axes),
        padding=_per_axis(layer.padding or (0,), axes),
        dilation=_per_axis(layer.dilation, axes),
    )


def _avg_pool(layer: LayerSpec, axes: int, channels: int) -> nn.Module:
    kind = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[axes - 1]
    return kind(
        _per_axis(layer.kernel_size, axes),
        stride=_per_axis(layer.stride, axes),
        padding=_per_axis(layer.padding or (0,), axes),
    )


def _upsample(layer: LayerSpec, axes: int, channels: int) -> nn.Module:
    mode = "nearest" if layer.kind == "up" else ("linear", "bilinear", "trilinear")[axes - 1]
    factors = tuple(float(factor) for factor in _per_axis(layer.kernel_size, axes))
    return nn.Upsample(scale_factor=factors, mode=mode)


def _global_pool(layer: LayerSpec, axes: int, channels: int) -> nn.Module:
    return (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d)[axes - 1](1)


def _batch_norm(layer: LayerSpec, axes: int, channels: int) -> nn.Module:
    return (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[axes - 1](channels)


def _per_axis(values: tuple[int, ...], axes: int) -> tuple[int, ...]:
    return values if len(values) == axes else values * axes


_BUILDERS: dict[str, Callable[[LayerSpec, int, int], nn.Module]] = {
    "conv": _conv,
    "dwconv": _conv,
    "tconv": _transposed,
    "maxpool": _max_pool,
    "avgpool": _avg_pool,
    "up": _upsample,
    "bilinear": _upsample,
    "globalpool": _global_pool,
    "bn": _batch_norm,
}
_POINTWISE: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leakyrelu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "softplus": nn.Softplus,
    "sigmoid": nn.Sigmoid,
    "tanh": nn.Tanh,
    "hardswish": nn.Hardswish,
    "hardsigmoid": nn.Hardsigmoid,
    "dropout": nn.Dropout,
    "identity": nn.Identity,
}
