"""What takes the place of modules and of their Parameters, in a copy of a model."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from fieldwise.folding.same import SameConv
from fieldwise.graph.calls import arguments
from fieldwise.graph.ir import Node


def slot(module: nn.Module, tensor: object) -> str | None:
    """The name under which a module holds this very tensor as a Parameter."""
    found = (name for name, held in module._parameters.items() if held is tensor)
    return next(found, None)


def has_weight_hook(module: nn.Module) -> bool:
    """Whether a hook of torch's own (old weight_norm, spectral_norm, pruning) makes its weight."""
    return any(isinstance(hook, _WEIGHT_HOOKS) for hook in module._forward_pre_hooks.values())


_WEIGHT_HOOKS = (WeightNorm, SpectralNorm, BasePruningMethod)


def rounded(array: np.ndarray, like: Tensor) -> Tensor:
    """A float64 array in the dtype, the memory format and on the device of a tensor."""
    same = tuple(like.shape) == array.shape
    made = torch.empty_like(like.detach()) if same else like.detach().new_empty(array.shape)
    return made.copy_(torch.from_numpy(np.ascontiguousarray(array)))


def set_parameter(module: nn.Module, name: str, value: Tensor, like: Tensor) -> None:
    """Put a new Parameter in the place of one, or where there was none."""
    module._parameters[name] = nn.Parameter(value, requires_grad=like.requires_grad)


def strip(original: nn.Module, module: nn.Module, node: Node, *, neutral: bool) -> None:
    """A normalisation without its scale and shift.

    neutral: with a scale of 1 and a shift of 0 in their place, for a model that reads them itself
    """
    for name, value in (("weight", 1.0), ("bias", 0.0)):
        tensor = arguments(node).get(name)
        held = slot(original, tensor) if tensor is not None else None
        if tensor is None or held is None:
            continue
        if neutral:
            set_parameter(module, held, torch.full_like(tensor, value), tensor)
        else:
            module._parameters[held] = None


class Copy(nn.Module):
    """The identity, in memory of its own: what is returned may be written to."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (torch's name)
        """A copy of the input."""
        return input.clone()


def without_own(module: nn.Module, *, aliased: bool) -> nn.Module:
    """What is left of a module when it does nothing itself: its children, one after the other.

    aliased: whether someone writes to what it returns, which must then not be what it was given
    """
    children = dict(module.named_children())
    left: nn.Module = nn.Sequential() if children else nn.Identity()
    if aliased:
        left = nn.Sequential(OrderedDict(copy=Copy())) if children else Copy()
    for name, child in children.items():
        left.add_module(name, child)
    inherit(left, module)
    return left


def inherit(new: nn.Module, old: nn.Module) -> None:
    """Hooks, the training flag, and the attributes that others may ask for."""
    new.training = old.training
    for name, value in vars(old).items():
        if isinstance(value, dict) and "_hooks" in name:
            vars(new)[name].update(value)
        elif name not in vars(new):
            vars(new)[name] = value


class Homes:
    """Where every module of a tree is registered, so that another one can take its place."""

    def __init__(self, root: nn.Module) -> None:
        self._found: dict[nn.Module, list[tuple[nn.Module, str]]] = defaultdict(list)
        self._enter(root)

    def _enter(self, module: nn.Module) -> None:
        for parent in module.modules():
            for name, child in parent._modules.items():
                if child is not None:
                    self._found[child].append((parent, name))

    def replace(self, old: nn.Module, new: nn.Module) -> None:
        """Put a module in the place of another one, wherever that is registered."""
        for parent, name in self._found[old]:
            parent._modules[name] = new
            self._found[new].append((parent, name))
        self._enter(new)


def plain(module: nn.Module, pads: bool) -> nn.Module:
    """A layer with its effective weight as a Parameter; the values are set by the caller."""
    if parametrize.is_parametrized(module):
        return _unparametrised(module)
    if has_weight_hook(module):
        return _unhooked(module)
    return _plain_conv(module, pads)


def _unhooked(module: nn.Module) -> nn.Module:
    """The module with what its hooks make as Parameters."""
    for hook in list(module._forward_pre_hooks.values()):
        if isinstance(hook, WeightNorm):
            nn.utils.remove_weight_norm(module, hook.name)
        elif isinstance(hook, SpectralNorm):
            nn.utils.remove_spectral_norm(module, hook.name)
        elif isinstance(hook, BasePruningMethod):
            prune.remove(module, hook._tensor_name)
    return module


def _unparametrised(module: Any) -> nn.Module:
    """The module with its effective tensors as Parameters.

    torch's own ``remove_parametrizations`` changes the class, which copies share.
    """
    found = {
        name: nn.Parameter(getattr(module, name).detach().clone())
        for name in module.parametrizations
    }
    kept = dict(module._parameters)
    module.__class__ = type(module).__bases__[0]
    del module._modules["parametrizations"]
    module._parameters.clear()
    module._parameters.update(found | kept)
    return module


def _plain_conv(module: nn.Module, pads: bool) -> nn.Module:
    if isinstance(module, nn.Linear):
        made: nn.Module = nn.Linear(module.in_features, module.out_features, device="meta")
    else:
        assert isinstance(module, nn.modules.conv._ConvNd)
        base = next(kind for kind in type(module).__mro__ if kind in _PLAIN)
        options: dict[str, Any] = {
            "kernel_size": module.kernel_size,
            "stride": module.stride,
            "padding": module.padding,
            "dilation": module.dilation,
            "groups": module.groups,
            "padding_mode": module.padding_mode,
            "device": "meta",
        }
        if module.transposed:
            options["output_padding"] = module.output_padding
        own_pads = pads and module.padding_mode == "zeros"
        make = SameConv if own_pads and base is nn.Conv2d else base
        made = make(module.in_channels, module.out_channels, **options)
    made._parameters["bias"] = module._parameters.get("bias")
    inherit(made, module)
    return made


_PLAIN = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d,
    nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
