"""A function of tensors, recorded as a module of torch ops that has the weights of the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count

import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import make_fx

aten = torch.ops.aten


def recorded(
    step: Callable[..., tuple[Tensor, ...]], given: Sequence[Tensor], names: Mapping[int, str]
) -> fx.GraphModule:
    """The ops of a step as a module; the model's weights are in it as model.NAME.

    names: of the model's parameters and buffers, by identity
    """
    with torch.no_grad():
        module = make_fx(step, pre_dispatch=True)(*given)
    fresh, placed = count(), dict[str, str]()
    for node in module.graph.nodes:
        if node.op == "get_attr":
            target = str(node.target)
            if target not in placed:
                tensor = getattr(module, target)
                placed[target] = _placed(module, tensor, names, fresh)
            node.target = placed[target]
    for old in placed:
        delattr(module, old)
    _drop_what_does_nothing(module.graph)
    module.recompile()
    return module


def has_complex(module: nn.Module) -> bool:
    """Whether some op of a recorded module makes complex numbers."""
    assert isinstance(module, fx.GraphModule)
    made = (node.meta.get("val") for node in module.graph.nodes)
    return any(isinstance(value, Tensor) and value.is_complex() for value in made)


def _drop_what_does_nothing(graph: fx.Graph) -> None:
    """Casts to the type that is there, and what matters to gradients only."""
    for node in list(graph.nodes):
        if node.target is torch._C._set_grad_enabled:
            graph.erase_node(node)
        elif node.target in _SAME or (node.target in _CASTS and _keeps_type(node)):
            node.replace_all_uses_with(node.all_input_nodes[0])
            graph.erase_node(node)
    graph.eliminate_dead_code()


def _keeps_type(node: fx.Node) -> bool:
    before, after = (one.meta.get("val") for one in (node.all_input_nodes[0], node))
    return before is not None and after is not None and before.dtype == after.dtype


_SAME = (aten.alias.default, aten.detach.default)
_CASTS = (aten.to.dtype_layout, aten.to.device, aten.to.dtype)


def _placed(module: nn.Module, tensor: Tensor, names: Mapping[int, str], fresh: count[int]) -> str:
    """Where a constant of a record is put: under its own name, if the model has one for it."""
    name = names.get(id(tensor))
    *path, leaf = (f"model.{name}" if name else f"constants.c{next(fresh)}").split(".")
    owner = module
    for part in path:
        if not hasattr(owner, part):
            owner.add_module(part, nn.Module())
        owner = getattr(owner, part)
    if not hasattr(owner, leaf):
        if isinstance(tensor, nn.Parameter):
            owner.register_parameter(leaf, tensor)
        else:
            owner.register_buffer(leaf, tensor)
    return ".".join([*path, leaf])
