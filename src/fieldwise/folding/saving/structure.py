"""What folding did to the modules of a model, as data: enough to do it to another copy of it.

Weights alone cannot be loaded into the class that they came from: folding made modules make way,
gave convolutions a bias and took parameters from norms.  These changes are read off the two models,
written beside the weights, and carried out on a fresh model, by the functions that folding uses.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import nn
from torch.nn.utils import parametrize

from fieldwise.errors import UnsuitableError, UsageError
from fieldwise.folding.branches import Zeros
from fieldwise.folding.replace import Copy, Homes, has_weight_hook, inherit, plain
from fieldwise.folding.same import SameConv

ChangeKind = Literal["identity", "copy", "children", "zeros", "plain", "same"]
_FORM = 1


@dataclass(frozen=True, slots=True)
class ModuleChange:
    """One module that another one took the place of.

    path: where; kind: of what is there now
    names: of the children that are left; options: of zeros
    """

    path: str
    kind: ChangeKind
    names: tuple[str, ...] = ()
    options: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Structure:
    """The changes of a folded model against the model before.

    before:     what each module was, by its path
    changes:    outer modules before inner ones
    parameters: of the folded model, by module: the names, and whether there is one
    """

    before: Mapping[str, str]
    changes: tuple[ModuleChange, ...]
    parameters: Mapping[str, tuple[str, ...]]

    def to_data(self) -> dict[str, object]:
        """As JSON takes it."""
        return {"form": _FORM, **asdict(self)}

    @classmethod
    def of_data(cls, data: Any) -> Structure:
        """Read again.  Raises UsageError for what is no such data."""
        try:
            if data["form"] != _FORM:
                raise UsageError(
                    f"The file was written in form {data['form']!r} by another version of "
                    f"fieldwise, and this one reads form {_FORM}; write it again."
                )
            changes = (
                ModuleChange(str(c["path"]), c["kind"], tuple(c["names"]), c["options"])
                for c in data["changes"]
            )
            return cls(
                dict(data["before"]),
                tuple(changes),
                {path: tuple(names) for path, names in data["parameters"].items()},
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UsageError("The file does not say how its model was folded.") from error


def structure_of(source: nn.Module, folded: nn.Module) -> Structure:
    """What folding changed.

    Raises UnsuitableError where that is more than modules that make way: a module of the graph.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4))
    >>> folded = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Identity())
    >>> found = structure_of(net, folded)
    >>> [(one.path, one.kind) for one in found.changes], found.parameters
    ([('1', 'identity')], {'0': ('weight', 'bias'), '1': ()})
    """
    if type(folded) is not type(source):
        raise UnsuitableError(
            f"The folded model is a {type(folded).__name__} and no {type(source).__name__}, so "
            "that weights alone would not do; write X.pt2 or X.onnx."
        )
    old = dict(source.named_modules())
    changes, parameters = [], {}
    for path, module in folded.named_modules():
        before = old.get(path)
        change = _change(path, before, module)
        if change is not None:
            changes.append(change)
        names = _parameters(module)
        if change is not None or names != _parameters(before):
            parameters[path] = names
    return Structure({path: _said(one) for path, one in old.items()}, tuple(changes), parameters)


def _change(path: str, before: nn.Module | None, module: nn.Module) -> ModuleChange | None:
    kind = type(module)
    if before is not None and kind is type(before):
        gone = has_weight_hook(before) and not has_weight_hook(module)
        fewer = list(dict(before.named_children())) != list(dict(module.named_children()))
        if gone:
            return ModuleChange(path, "plain")
        return ModuleChange(path, "children", _names(module)) if fewer else None
    if kind is nn.Identity:
        return ModuleChange(path, "identity")
    if kind is Copy:
        return ModuleChange(path, "copy")
    if isinstance(module, Zeros):
        options = {name: getattr(module, name) for name in ("channels", "spans", "steps", "dense")}
        return ModuleChange(path, "zeros", options=options)
    if kind is SameConv:
        return ModuleChange(path, "same")
    if before is not None and isinstance(before, kind) and _is_layer(before):
        return ModuleChange(path, "plain")
    if kind is nn.Sequential:
        return ModuleChange(path, "children", _names(module))
    raise UnsuitableError(
        f"'{path}' became a {kind.__name__}, which cannot be written as weights; write X.pt2."
    )


def _is_layer(module: nn.Module) -> bool:
    plain_layer = isinstance(module, (nn.Linear, nn.modules.conv._ConvNd))
    return plain_layer or parametrize.is_parametrized(module)


def _names(module: nn.Module) -> tuple[str, ...]:
    return tuple(name for name, _ in module.named_children())


def _parameters(module: nn.Module | None) -> tuple[str, ...]:
    held = {} if module is None else module._parameters
    return tuple(name for name, value in held.items() if value is not None)


def _said(module: nn.Module) -> str:
    """What a module is, in one line."""
    if parametrize.is_parametrized(module):
        return type(module).__bases__[0].__name__
    return f"{type(module).__name__}({module.extra_repr()})"


# -------------------------------------------------------------------- carried out again


def check_same(structure: Structure, model: nn.Module) -> None:
    """Raise UsageError for a model that differs from the one that was folded."""
    now = {path: _said(one) for path, one in model.named_modules()}
    for path, before in structure.before.items():
        if now.get(path) != before:
            found = f"is {now[path]}" if path in now else "is not there"
            raise UsageError(
                f"'{path or 'the model itself'}' {found} and was {before} when the model was "
                "folded; build the model as it was then."
            )
    more = [path for path in now if path not in structure.before]
    if more:
        raise UsageError(
            f"The model has '{more[0]}', which the model that was folded did not have; build it as "
            "it was then."
        )


def carry_out(structure: Structure, model: nn.Module) -> None:
    """Change a model, whose weights are set afterwards, as the folded one was changed."""
    homes = Homes(model)
    for change in structure.changes:
        old = model.get_submodule(change.path)
        new = _made(change, old)
        if new is not old:
            homes.replace(old, new)
    for path, names in structure.parameters.items():
        module = model.get_submodule(path)
        for name in [*module._parameters]:
            if name not in names:
                module._parameters[name] = None
        for name in names:
            if module._parameters.get(name) is None:
                module._parameters[name] = nn.Parameter(torch.empty(0))


def _made(change: ModuleChange, old: nn.Module) -> nn.Module:
    """What takes the place of a module."""
    if change.kind in ("plain", "same"):
        return plain(old, change.kind == "same")
    new: nn.Module
    if change.kind == "identity":
        new = nn.Identity()
    elif change.kind == "copy":
        new = Copy()
    elif change.kind == "zeros":
        given = dict(change.options or {})
        new = Zeros(
            int(given["channels"]),
            spans=tuple(given["spans"]),
            steps=tuple(given["steps"]),
            dense=bool(given["dense"]),
        )
    else:
        children = dict(old.named_children())
        new = nn.Sequential(OrderedDict((n, children[n]) for n in change.names if n in children))
        for name in change.names:
            new._modules.setdefault(name, nn.Identity())
        new._modules = {name: new._modules[name] for name in change.names}
    inherit(new, old)
    return new
