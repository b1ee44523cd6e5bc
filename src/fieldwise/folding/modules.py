"""What of a plan can be carried out by changing modules, and why the rest cannot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.utils import parametrize

from fieldwise.folding.candidates import Candidate
from fieldwise.folding.layers import Layer
from fieldwise.folding.plan import Ban, Plan
from fieldwise.folding.refusal import Stays, listed
from fieldwise.folding.replace import has_weight_hook, slot
from fieldwise.folding.same import is_same_padding
from fieldwise.graph.calls import arguments
from fieldwise.graph.graph import Graph

REMEDY = "allow_graph=True makes a graph module, where it can go"


@dataclass(frozen=True, slots=True)
class Impossible:
    """What changing modules cannot carry out, and why; ``ban`` keeps a plan from it."""

    ban: Ban
    because: str


class Modules:
    """The modules of a model, and which nodes of its graph they run."""

    def __init__(self, model: nn.Module, graph: Graph) -> None:
        self.model = model
        self.graph = graph
        self.by_path = dict(model.named_modules())
        self.own: dict[str, list[int]] = defaultdict(list)
        self.users: dict[str, list[int]] = defaultdict(list)
        for number, node in enumerate(graph.nodes):
            self.own[node.module].append(number)
            for name in node.parameters:
                self.users[name].append(number)
        named = (*model.named_parameters(), *model.named_buffers())
        self.names = {id(tensor): name for name, tensor in named}

    def impossible(self, made: Plan) -> list[Impossible]:
        """The folds that cannot be carried out in modules (for merges see ``branches``)."""
        gone = {fold.candidate.number for fold in made.folds}
        found = []
        for fold in made.folds:
            try:
                self._check_removal(fold.candidate, gone)
                for taken in fold.absorptions:
                    self.check_layer(taken.layer)
            except Stays as answer:
                ban = fold.candidate.number, fold.direction
                found.append(Impossible(ban, f"{answer.because}; {REMEDY}"))
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
                if tensor is not None and slot(module, tensor) is None:
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
                tied = any(self.names.get(id(t)) == name for t in held(self.by_path[other.module]))
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

    def check_layer(self, layer: Layer) -> None:
        """Raise Stays where a layer cannot get other weights."""
        path = self.owner(layer)
        module = self.by_path[path]
        attribute = slot(module, layer.weight)
        if attribute is None:
            self._check_materialised(layer, module)
        else:
            self._check_users(layer, path, layer.weight)
        if layer.bias is not None:
            if slot(module, layer.bias) is None and attribute is not None:
                raise Stays(f"the bias of '{layer.name}' is computed in its forward")
            if slot(module, layer.bias) is not None:
                self._check_users(layer, path, layer.bias)
        elif attribute is not None and module._parameters.get("bias", _NONE) is not None:
            raise Stays(f"'{layer.name}' has no place for a bias")

    def owner(self, layer: Layer) -> str:
        """The module whose Parameter the weight is: the one that runs, or else another."""
        path = layer.node.module
        if slot(self.by_path[path], layer.weight) is not None:
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
            elif slot(self.by_path[node.module], tensor) is None:
                raise Stays(f"'{node.results[0]}' uses a Parameter of '{layer.name}' too")

    def pads(self, path: str) -> bool:
        """Whether a module pads in its own forward."""
        return any(self.graph.nodes[n].op == "pad" for n in self.own[path])

    def _check_materialised(self, layer: Layer, module: nn.Module) -> None:
        """A weight that is computed in the forward, of what is otherwise a plain layer."""
        path = layer.node.module
        if not isinstance(module, (nn.modules.conv._ConvNd, nn.Linear)):
            where = f"the forward of '{path}'" if path else "the model's own forward"
            raise Stays(f"the weight of '{layer.name}' is computed in {where}")
        prefix = f"{path}."
        foreign = [p for p in layer.node.parameters if path and not p.startswith(prefix)]
        if foreign:
            raise Stays(f"the weight of '{layer.name}' is computed from {listed(foreign)}")
        if has_weight_hook(module) or parametrize.is_parametrized(module):
            return
        if module._forward_pre_hooks:
            raise Stays(f"a hook of '{path}' may compute its weight")
        rest = [self.graph.nodes[n] for n in self.own[path]]
        padded = [node for node in rest if node.op == "pad"]
        others = [node.op for node in rest if node.op not in ("pad", layer.node.op)]
        if others:
            raise Stays(f"the forward of '{path}' also runs {listed(others)}")
        zeros = getattr(module, "padding_mode", "zeros") == "zeros"
        if zeros and not all(is_same_padding(self.graph, node, module) for node in padded):
            raise Stays(f"'{path}' computes its weight, and pads in a way that fold does not know")


def held(module: nn.Module) -> Iterator[Tensor]:
    """The Parameters and buffers that are a module's own."""
    for held in (*module._parameters.values(), *module._buffers.values()):
        if held is not None:
            yield held


_NONE = object()
