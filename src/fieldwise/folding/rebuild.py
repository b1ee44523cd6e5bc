"""Carrying out a plan by changing modules: in a copy of the model, never in the model itself.

Layers get new weights, BatchNorms make way for what else their module does, branches for the
convolution that they became part of.  Attributes, hooks, the names in the state_dict and the
control flow of the user's classes stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from torch import Tensor, nn

from fieldwise.capture.torch.running import run
from fieldwise.capture.torch.tree import map_tensors
from fieldwise.folding.branches import Branches
from fieldwise.folding.modules import Modules
from fieldwise.folding.plan import Plan
from fieldwise.folding.replace import Homes, plain, rounded, set_parameter, slot, strip, without_own
from fieldwise.folding.verify import copied
from fieldwise.folding.weights import Changed, norm_parameters


def rebuilt(
    modules: Modules, made: Plan, changed: Iterable[Changed], example: object, *, neutral: bool
) -> tuple[nn.Module, tuple[tuple[Changed, Tensor, Tensor | None], ...]]:
    """A changed copy of the model; per layer, its rounded weight and bias.

    neutral: norms keep parameters, of ones and zeros
    """
    copy = copied(modules.model)
    twins, homes = dict(copy.named_modules()), Homes(copy)
    layers = tuple((one, *_change(modules, homes, twins, one)) for one in changed)
    branches = Branches(modules, made)
    merged = {
        fold.candidate.node.module
        for fold in made.folds
        if fold.direction == "merge" and not branches.is_dropped(fold.candidate.number)
    }
    silent = branches.silent()
    returning = merged.union(*silent.values())
    written = _written(modules.model, returning, example) if returning else set()
    written |= {path for path, way in silent.items() if way & written}
    for path in dict.fromkeys(fold.candidate.node.module for fold in made.folds):
        candidates = [f.candidate for f in made.folds if f.candidate.node.module == path]
        if candidates[0].forward_only:
            strip(modules.by_path[path], twins[path], candidates[0].node, neutral=neutral)
        else:
            left = without_own(twins[path], aliased=path in written)
            homes.replace(twins[path], left)
    branches.carry_out(copy, homes, written)
    return copy, layers


def _change(
    modules: Modules, homes: Homes, twins: dict[str, nn.Module], one: Changed
) -> tuple[Tensor, Tensor | None]:
    path, layer = modules.owner(one.layer), one.layer
    original, twin = modules.by_path[path], twins[path]
    batch_norm = layer.kind == "batch_norm"
    weight64, bias64 = norm_parameters(one) if batch_norm else (one.weight, one.bias)
    weight = rounded(weight64, layer.weight)
    bias = None if bias64 is None else rounded(bias64, layer.weight)
    names = "weight", "bias"
    if slot(original, layer.weight) is None:
        fresh = plain(twin, modules.pads(path))
        if fresh is not twin:
            homes.replace(twin, fresh)
            twins[path] = twin = fresh
    else:
        names = (
            slot(original, layer.weight) or "weight",
            (slot(original, layer.bias) if layer.bias is not None else None) or "bias",
        )
    set_parameter(twin, names[0], weight, layer.weight)
    if bias is not None:
        like = layer.bias if layer.bias is not None else layer.weight
        set_parameter(twin, names[1], bias, like)
    return weight, bias


def _written(model: nn.Module, paths: set[str], example: object) -> set[str]:
    """Which of these modules return a tensor that the model writes to later, as in y += z.

    Seen by the tensors' version counters, in a run of a copy on the meta device.
    """
    copy = copied(model).to("meta")
    returned: list[tuple[str, Tensor, int]] = []

    def remember(path: str) -> Callable[[nn.Module, object, Tensor], None]:
        return lambda _module, _args, out: returned.append((path, out, out._version))

    for path in paths:
        copy.get_submodule(path).register_forward_hook(remember(path))
    try:
        run(copy, map_tensors(lambda tensor: tensor.to("meta"), example))
    except (RuntimeError, NotImplementedError):
        return paths
    return {path for path, out, version in returned if out._version != version}
