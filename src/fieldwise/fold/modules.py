"""Carrying out a plan by changing modules: in a copy of the model, never in the model itself.

Layers get new weights, BatchNorms make way for what else their module does.  Attributes, hooks,
the order of the state_dict and the control flow of the user's classes stay.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.weight_norm import WeightNorm

from fieldwise.capture.torch.tree import map_tensors
from fieldwise.fold.calls import arguments
from fieldwise.fold.candidates import Candidate
from fieldwise.fold.layers import Layer
from fieldwise.fold.plan import Fold, Plan
from fieldwise.fold.refusal import Stays, listed
from fieldwise.fold.report import Direction
from fieldwise.fold.same import SameConv, is_same_padding
from fieldwise.fold.verify import copied, run
from fieldwise.fold.weights import Changed, norm_parameters
from fieldwise.graph.ir import Graph, Node

REMEDY = "allow_graph=True makes a graph module, where it can go"


@dataclass(frozen=True, slots=True)
class Impossible:
    """A fold that changing modules cannot carry out, and why."""

    fold: Fold
    because: str

    @property
    def ban(self) -> tuple[int, Direction]:
        """What the planner is not to do again."""
        return self.fold.candidate.number, self.fold.direction


class Modules:
    """The modules of a model, and which nodes of its graph they run."""

    def __init__(self, model: nn.Module, graph: Graph, example: Any) -> None:
        self.model = model
        self.graph = graph
        self.example = example
        self.by_path = dict(model.named_modules())
        self.own: dict[str, list[int]] = defaultdict(list)
        self.users: dict[str, list[int]] = defaultdict(list)
        for number, node in enumerate(graph.nodes):
            self.own[node.module].append(number)
            for name in node.parameters:
                self.users[name].append(number)
        named = (*model.named_parameters(), *model.named_buffers())
        self.names = {id(tensor): name for name, tensor in named}

    # ---------------------------------------------------------------- what can be done

    def impossible(self, made: Plan) -> list[Impossible]:
        """The folds that cannot be carried out in modules."""
        gone = {fold.candidate.number for fold in made.folds}
        found = []
        for fold in made.folds:
            try:
                self._check_removal(fold.candidate, gone)
                for taken in fold.absorptions:
                    self._check_layer(taken.layer)
            except Stays as answer:
                found.append(Impossible(fold, f"{answer.because}; {REMEDY}"))
        return found

    def _check_removal(self, candidate: Candidate, gone: set[int]) -> None:
        node = candidate.node
        path, module = node.module, self.by_path[node.module]
        if path == "":
            raise Stays(f"the {node.op} is written in the model's own forward")
        rest = [self.graph.nodes[n].op for n in self.own[path] if n not in gone]
        if candidate.forward_only:
            if any(self.graph.nodes[n].op == node.op for n in self.own[path] if n not in gone):
                raise Stays(f"another run of '{path}' keeps its scale and shift")
            for name in ("weight", "bias"):
                tensor = arguments(node).get(name)
                if tensor is not None and _slot(module, tensor) is None:
                    raise Stays(f"the {name} of '{path}' is computed in its forward")
            return
        if rest:
            raise Stays(f"the forward of '{path}' also runs {listed(sorted(set(rest)))}")
        if not node.parameters and node.op not in ("batch_norm", "instance_norm"):
            raise Stays(f"'{path}' makes its constant anew, perhaps of the size of its input")
        self._check_rest_is_chain(path, module)
        for name, _ in (*module.named_parameters(path), *module.named_buffers(path)):
            for number in self.users[name]:
                other = self.graph.nodes[number]
                tied = any(self.names.get(id(t)) == name for t in _held(self.by_path[other.module]))
                if other.module != path and not tied:
                    raise Stays(f"'{other.results[0]}' reads '{name}' too")

    def _check_rest_is_chain(self, path: str, module: nn.Module) -> None:
        """What stays of a module are its children, one after the other."""
        order = {f"{path}.{name}": place for place, (name, _) in enumerate(module.named_children())}
        makers = {r: node for node in self.graph.nodes for r in node.results} if order else {}
        firsts = {self.graph.nodes[n].operands[0] for n in self.own[path]}
        mine = {r for n in self.own[path] for r in self.graph.nodes[n].results}
        for returned in self.graph.scopes.get(path, ()):
            if len(returned) != 1:
                raise Stays(f"'{path}' returns {len(returned)} values")
            value, places = returned[0], []
            while value not in mine and order:
                node = makers.get(value)
                inside = node is not None and node.module.startswith(f"{path}.")
                if node is None or not inside or len(node.operands) != 1:
                    raise Stays(f"'{path}' is more than a chain of modules")
                places.append(order[".".join(node.module.split(".")[: path.count(".") + 2])])
                value = node.operands[0]
            if value not in mine | firsts or places != sorted(places, reverse=True):
                raise Stays(f"'{path}' is more than a chain of modules")

    def _check_layer(self, layer: Layer) -> None:
        path = self._owner(layer)
        module = self.by_path[path]
        attribute = _slot(module, layer.weight)
        if attribute is None:
            self._check_materialised(layer, module)
        else:
            self._check_users(layer, path, layer.weight)
        if layer.bias is not None:
            if _slot(module, layer.bias) is None and attribute is not None:
                raise Stays(f"the bias of '{layer.name}' is computed in its forward")
            if _slot(module, layer.bias) is not None:
                self._check_users(layer, path, layer.bias)
        elif attribute is not None and module._parameters.get("bias", _NONE) is not None:
            raise Stays(f"'{layer.name}' has no place for a bias")

    def _owner(self, layer: Layer) -> str:
        """The module whose Parameter the weight is: the one that runs, or else another."""
        path = layer.node.module
        if _slot(self.by_path[path], layer.weight) is not None:
            return path
        name = self.names.get(id(layer.weight))
        return path if name is None else name.rpartition(".")[0]

    def _check_users(self, layer: Layer, path: str, tensor: Tensor) -> None:
        """Every other use of a Parameter is in a module that has it as its own (tied)."""
        for number in self.users[self.names.get(id(tensor), "")]:
            node = self.graph.nodes[number]
            if node.module in (path, layer.node.module):
                same = node.op == layer.node.op and arguments(node).get("weight") is layer.weight
                if not same:
                    raise Stays(f"'{node.results[0]}' uses a Parameter of '{layer.name}' too")
            elif _slot(self.by_path[node.module], tensor) is None:
                raise Stays(f"'{node.results[0]}' uses a Parameter of '{layer.name}' too")

    def _check_materialised(self, layer: Layer, module: nn.Module) -> None:
        """A weight that is computed in the forward, of what is otherwise a plain layer."""
        path = layer.node.module
        if not isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
            raise Stays(f"the weight of '{layer.name}' is computed in the forward of '{path}'")
        prefix = f"{path}."
        foreign = [p for p in layer.node.parameters if path and not p.startswith(prefix)]
        if foreign:
            raise Stays(f"the weight of '{layer.name}' is computed from {listed(foreign)}")
        if _has_hook_of(module) or parametrize.is_parametrized(module):
            return
        rest = [self.graph.nodes[n] for n in self.own[path]]
        padded = [node for node in rest if node.op == "pad"]
        others = [node.op for node in rest if node.op not in ("pad", layer.node.op)]
        if others:
            raise Stays(f"the forward of '{path}' also runs {listed(others)}")
        zeros = getattr(module, "padding_mode", "zeros") == "zeros"
        if zeros and not all(is_same_padding(self.graph, node, module) for node in padded):
            raise Stays(f"'{path}' computes its weight, and pads in a way that fold does not know")

    # ---------------------------------------------------------------- doing it

    def carry_out(
        self, copy: nn.Module, made: Plan, changed: Iterable[Changed]
    ) -> Iterator[tuple[Changed, Tensor, Tensor | None]]:
        """Change the copy; per layer, its rounded weight and bias."""
        twins = dict(copy.named_modules())
        for one in changed:
            yield (one, *self._change(copy, twins, one))
        merged = {fold.candidate.node.module for fold in made.folds if fold.direction == "merge"}
        written = self._written(merged) if merged else set()
        for path in dict.fromkeys(fold.candidate.node.module for fold in made.folds):
            candidates = [f.candidate for f in made.folds if f.candidate.node.module == path]
            if candidates[0].forward_only:
                _strip(self.by_path[path], twins[path], candidates[0].node)
            else:
                _replace(copy, twins[path], _without_own(twins[path], aliased=path in written))

    def _change(
        self, copy: nn.Module, twins: dict[str, nn.Module], one: Changed
    ) -> tuple[Tensor, Tensor | None]:
        path, layer = self._owner(one.layer), one.layer
        original, twin = self.by_path[path], twins[path]
        weight64, bias64 = norm_parameters(one) if layer.kind == "batch_norm" else _pair(one)
        weight = _rounded(weight64, layer.weight)
        bias = None if bias64 is None else _rounded(bias64, layer.weight)
        if _slot(original, layer.weight) is None:
            plain = _plain(twin, self._pads(path))
            if plain is not twin:
                _replace(copy, twin, plain)
                twins[path] = twin = plain
            names = "weight", "bias"
        else:
            names = (
                _slot(original, layer.weight) or "weight",
                (_slot(original, layer.bias) if layer.bias is not None else None) or "bias",
            )
        _set(twin, names[0], weight, layer.weight)
        if bias is not None:
            _set(twin, names[1], bias, layer.bias if layer.bias is not None else layer.weight)
        return weight, bias

    def _written(self, paths: set[str]) -> set[str]:
        """Which of these modules return a tensor that the model writes to later, as in y += z.

        Seen by the tensors' version counters, in a run of a copy on the meta device.
        """
        copy = copied(self.model).to("meta")
        returned: list[tuple[str, Tensor, int]] = []

        def remember(path: str) -> Callable[[nn.Module, Any, Tensor], None]:
            return lambda _module, _args, out: returned.append((path, out, out._version))

        for path in paths:
            copy.get_submodule(path).register_forward_hook(remember(path))
        try:
            run(copy, map_tensors(lambda tensor: tensor.to("meta"), self.example))
        except (RuntimeError, NotImplementedError):
            return paths
        return {path for path, out, version in returned if out._version != version}

    def _pads(self, path: str) -> bool:
        return any(self.graph.nodes[n].op == "pad" for n in self.own[path])


_NONE = object()


def _slot(module: nn.Module, tensor: Any) -> str | None:
    """The name under which a module holds this very tensor as a Parameter."""
    found = (name for name, held in module._parameters.items() if held is tensor)
    return next(found, None)


def _held(module: nn.Module) -> Iterator[Tensor]:
    for held in (*module._parameters.values(), *module._buffers.values()):
        if held is not None:
            yield held


def _has_hook_of(module: nn.Module) -> bool:
    return any(isinstance(hook, WeightNorm) for hook in module._forward_pre_hooks.values())


def _pair(one: Changed) -> tuple[np.ndarray, np.ndarray | None]:
    return one.weight, one.bias


def _rounded(array: np.ndarray, like: Tensor) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(like.dtype).to(like.device)


def _set(module: nn.Module, name: str, value: Tensor, like: Tensor) -> None:
    module._parameters[name] = nn.Parameter(value, requires_grad=like.requires_grad)


def _strip(original: nn.Module, module: nn.Module, node: Node) -> None:
    """A normalisation without its scale and shift."""
    for name in ("weight", "bias"):
        tensor = arguments(node).get(name)
        slot = _slot(original, tensor) if tensor is not None else None
        if slot is not None:
            module._parameters[slot] = None


class Copy(nn.Module):
    """The identity, in memory of its own: what is returned may be written to."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (torch's name)
        """A copy of the input."""
        return input.clone()


def _without_own(module: nn.Module, *, aliased: bool) -> nn.Module:
    """What is left of a module when it does nothing itself: its children, one after the other.

    aliased: whether someone writes to what it returns, which must then not be what it was given
    """
    children = dict(module.named_children())
    left: nn.Module = nn.Sequential() if children else nn.Identity()
    if aliased:
        left = nn.Sequential(OrderedDict(copy=Copy())) if children else Copy()
    for name, child in children.items():
        left.add_module(name, child)
    _inherit(left, module)
    return left


def _inherit(new: nn.Module, old: nn.Module) -> None:
    """Hooks, the training flag, and the attributes that others may ask for."""
    new.training = old.training
    for name, value in vars(old).items():
        if isinstance(value, dict) and "_hooks" in name:
            vars(new)[name].update(value)
        elif name not in vars(new):
            vars(new)[name] = value


def _replace(root: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Put a module in the place of another one, wherever that is registered."""
    for parent in list(root.modules()):
        for name, child in parent._modules.items():
            if child is old:
                parent._modules[name] = new


def _plain(module: nn.Module, pads: bool) -> nn.Module:
    """A layer with its effective weight as a Parameter; the values are set by the caller."""
    if parametrize.is_parametrized(module):
        return _unparametrised(module)
    if _has_hook_of(module):
        nn.utils.remove_weight_norm(module)
        return module
    return _plain_conv(module, pads)


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
        plain: nn.Module = nn.Linear(module.in_features, module.out_features, device="meta")
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
        plain = make(module.in_channels, module.out_channels, **options)
    plain._parameters["bias"] = module._parameters.get("bias")
    _inherit(plain, module)
    return plain


_PLAIN = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d,
    nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
