"""``fold``: plan, carry out, verify, undo what fails, report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from fieldwise.capture.torch import capture, meta_tensor
from fieldwise.errors import UsageError
from fieldwise.fold.calls import values
from fieldwise.fold.graph_module import graph_module
from fieldwise.fold.hazards import overflow, warnings_of
from fieldwise.fold.modules import Modules
from fieldwise.fold.plan import Fold, Plan, plan
from fieldwise.fold.report import Direction, Folded, FoldReport, Item, Verification
from fieldwise.fold.verify import Truth, copied, truth
from fieldwise.fold.weights import Changed, changed_layers, pair_error
from fieldwise.graph.ir import Graph

Bans = dict[tuple[int, Direction], str]


@dataclass(frozen=True)
class _Built:
    """A folded model, the plan that it carries out, and the layers that it changed."""

    model: nn.Module
    made: Plan
    layers: tuple[tuple[Changed, Tensor, Tensor | None], ...]


def fold_model(model: Any, example: Any, *, allow_graph: bool, checks: int) -> Folded:
    """See ``fieldwise.fold.fold``; no checks: not verified."""
    example = _checked(model, example)
    graph = capture(model, example)
    folder = _Folder(model, example, graph, allow_graph=allow_graph)
    built = folder.build({})
    verification = None
    if checks:
        built, verification = folder.verified(built, checks)
    return Folded(built.model, folder.report(built, verification))


class _Folder:
    """One model, folded again and again until what is folded is right."""

    def __init__(self, model: nn.Module, example: Any, graph: Graph, *, allow_graph: bool) -> None:
        self.model, self.example, self.graph = model, example, graph
        self.allow_graph = allow_graph
        self.modules = Modules(model, graph, example)
        self.graph_only: set[int] = set()
        self.overflows: dict[str, str] = {}
        self.truths: list[Truth] = []

    def build(self, bans: Bans) -> _Built:
        """The model folded as planned, without the folds that are banned."""
        known = dict(bans)
        while True:
            made = plan(self.graph, known)
            changed = self._changed(made)
            refused = self._overflowing(made, changed)
            impossible = self.modules.impossible(made)
            if not self.allow_graph:
                refused |= {found.ban: found.because for found in impossible}
                self.graph_only |= {found.fold.candidate.number for found in impossible}
            if not refused:
                break
            known |= refused
        if impossible:
            names = self.modules.names
            module, layers = graph_module(self.graph, made, changed, self._output(), names)
            return _Built(module, made, tuple(layers))
        copy = copied(self.model)
        return _Built(copy, made, tuple(self.modules.carry_out(copy, made, changed)))

    def _overflowing(self, made: Plan, changed: Iterable[Changed]) -> Bans:
        """The folds into layers whose dtype cannot hold the result."""
        why: dict[str, str] = {}
        for one in changed:
            found = overflow(one, torch.finfo(one.layer.weight.dtype).max)
            if found is not None:
                why[one.layer.name] = found
                self.overflows[one.layer.name] = f"Not folded: {found}."
        return {
            (fold.candidate.number, fold.direction): why[taken.layer.name]
            for fold in made.folds
            for taken in fold.absorptions
            if taken.layer.name in why
        }

    def _changed(self, made: Plan) -> list[Changed]:
        return list(changed_layers(made).values())

    def _output(self) -> Any:
        """A nested output of the model; its tensors are not looked at."""
        return self._truths(1)[0].tree

    def _truths(self, count: int) -> list[Truth]:
        while len(self.truths) < count:
            self.truths.append(truth(self.model, self.example, seed=len(self.truths)))
        return self.truths[:count]

    # ---------------------------------------------------------------- verification

    def verified(self, built: _Built, checks: int) -> tuple[_Built, Verification]:
        """The model with every fold undone that makes it wrong."""
        reference = self._truths(checks)
        verification = _judged(reference, built.model)
        if verification.passed or not built.made.folds:
            return built, verification

        def passes(undone: Sequence[Fold]) -> bool:
            return _judged(reference, self.build(_bans(undone)).model).passed

        guilty = _culprits(built.made.folds, passes)
        built = self.build(_bans(guilty))
        return built, _judged(reference, built.model)

    # ---------------------------------------------------------------- report

    def report(self, built: _Built, verification: Verification | None) -> FoldReport:
        """What became of every candidate."""
        errors: dict[int, float] = {}
        for one, weight, bias in built.layers:
            error = pair_error(one, values(weight), None if bias is None else values(bias))
            for step in one.steps:
                errors[step.candidate] = max(error, errors.get(step.candidate, 0.0))
        items = {fold.candidate.number: _went(fold, errors) for fold in built.made.folds}
        items |= {
            candidate.number: Item(candidate.name, candidate.node.op, because=why)
            for candidate, why in built.made.stays
        }
        stays = {candidate.number for candidate, _ in built.made.stays}
        hazards = [text for one, _, _ in built.layers for text in warnings_of(one)]
        return FoldReport(
            items=tuple(items[number] for number in sorted(items)),
            verify=verification,
            warnings=(*self.overflows.values(), *hazards),
            by_graph=len(stays & self.graph_only),
            parameters_saved=_size(self.model) - _size(built.model),
        )


def _checked(model: Any, example: Any) -> Any:
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"fold takes a torch.nn.Module, not a {type(model).__name__}; pass the model itself."
        )
    if example is None:
        raise UsageError("Folding needs an example input, to follow the channels; pass one.")
    if isinstance(example, (tuple, list)) and all(isinstance(size, int) for size in example):
        return meta_tensor(example)
    return example


def _judged(reference: Sequence[Truth], model: nn.Module) -> Verification:
    """The worst over all inputs; a model that does not even run is wrong."""
    try:
        found = [one.judge(model) for one in reference]
    except (AttributeError, RuntimeError, TypeError, ValueError, KeyError, IndexError):
        found = [Verification(inf, inf, one.unfolded_rel, passed=False) for one in reference]
    return Verification(
        max(one.max_abs for one in found),
        max(one.max_rel for one in found),
        max(one.unfolded_rel for one in found),
        all(one.passed for one in found),
    )


def _bans(folds: Iterable[Fold]) -> Bans:
    directions: tuple[Direction, ...] = ("backward", "forward", "merge")
    why = "it was folded, but then the model was wrong, so that it was undone"
    return {(fold.candidate.number, d): why for fold in folds for d in directions}


def _culprits(folds: Sequence[Fold], passes: Callable[[Sequence[Fold]], bool]) -> list[Fold]:
    """Few folds without which the model passes, found by halving."""

    def among(suspects: list[Fold], undone: list[Fold]) -> list[Fold]:
        if len(suspects) == 1:
            return suspects
        middle = len(suspects) // 2
        one, two = suspects[:middle], suspects[middle:]
        if passes(undone + two):
            return among(two, undone)
        if passes(undone + one):
            return among(one, undone)
        first = among(one, undone + two)
        return first + among(two, undone + first)

    return among(list(folds), [])


def _went(fold: Fold, errors: dict[int, float]) -> Item:
    return Item(
        fold.candidate.name,
        fold.candidate.node.op,
        into=fold.into,
        direction=fold.direction,
        folded=True,
        error=errors.get(fold.candidate.number),
    )


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
