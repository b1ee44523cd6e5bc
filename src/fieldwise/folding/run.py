"""``fold``: plan, carry out, verify, undo what fails, report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fieldwise.capture.torch.exported import ExportedModule
from fieldwise.capture.torch.model_call import ModelCall
from fieldwise.capture.torch.own_names import NamesItsValues, part_of
from fieldwise.capture.torch.running import run
from fieldwise.errors import summary_of
from fieldwise.folding.branches import Branches
from fieldwise.folding.calls import values
from fieldwise.folding.elsewhere import OtherSize, captured_elsewhere
from fieldwise.folding.folded import Folded
from fieldwise.folding.graph_module import graph_module
from fieldwise.folding.hazards import overflow, warnings_of
from fieldwise.folding.modules import REMEDY, Impossible, Modules
from fieldwise.folding.plan import Ban, Branch, Fold, Merge, Plan
from fieldwise.folding.planner import plan
from fieldwise.folding.rebuild import rebuilt
from fieldwise.folding.report import FoldReport, Item, RuntimeCheck, Verification
from fieldwise.folding.verify import DoubleTruth, copied, drawn, truth
from fieldwise.folding.weights import Changed, changed_layers, pair_error, zero_biases
from fieldwise.graph.graph import Graph

if TYPE_CHECKING:
    from fieldwise.folding.onnx.nodes import FileNodes

FoundBans = dict[Ban, str]
FoldOrMerge = Fold | Merge


@dataclass(frozen=True)
class _Built:
    """A folded model.

    made, possible: the plan that it carries out, and the one that a graph module would
    layers:         that it changed, with their rounded weights and biases
    """

    model: nn.Module
    made: Plan
    possible: Plan
    layers: tuple[tuple[Changed, Tensor, Tensor | None], ...]
    ops_saved: int

    @property
    def strips(self) -> bool:
        """Whether norms lost their scale and shift, which the model may read itself."""
        return any(fold.candidate.forward_only for fold in self.made.folds)


def fold_model(
    model: nn.Module, example: object, *, allow_graph: bool, merge: bool, checks: int
) -> Folded:
    """See ``fieldwise.folding.fold``; no checks: not verified."""
    call = ModelCall.of(getattr(model, "_orig_mod", model), example)  # what torch.compile wraps
    folder = _Folder(call, allow_graph=allow_graph, merge=merge)
    built = folder.build({})
    if built.strips and not _runs(built.model, drawn(call.model, call.example, 0)):
        folder.keep_neutral(built.made)
        built = folder.build({})
    verification = None
    if checks:
        built, verification = folder.verified(built, checks)
    report = folder.report(built, verification)
    report = replace(report, runtime=folder.runtime(built, checks))
    return Folded(built.model, report, call.example, call.model)


def _nodes_of_file(model: nn.Module, graph: Graph) -> FileNodes | None:
    """Of a model that was read from an ONNX file."""
    if not isinstance(model, NamesItsValues):
        return None
    from fieldwise.folding.onnx.nodes import FileNodes

    return FileNodes.of(model, graph)


class _Folder:
    """One model, folded again and again until what is folded is right."""

    def __init__(self, call: ModelCall, *, allow_graph: bool, merge: bool) -> None:
        self.call, self.graph = call, call.graph()
        self.merge = merge
        self.modules = Modules(call.model, self.graph)
        self.file = _nodes_of_file(call.model, self.graph)
        self.by_graph = isinstance(call.model, ExportedModule)  # its modules are steps of a file
        self.allow_graph = (allow_graph or self.by_graph) and self.file is None
        self.neutral = False
        self.always: FoundBans = {}
        self.overflows: dict[str, str] = {}
        self.truths: list[DoubleTruth] = []

    def build(self, bans: FoundBans) -> _Built:
        """The model folded as planned, without what is banned."""
        known, needs_graph = dict(bans), FoundBans()
        while True:
            made = self._planned(known | needs_graph)
            changed = list(changed_layers(made).values())
            refused = self._overflowing(made, changed)
            impossible = self._impossible(made) or self._elsewhere(made, known | needs_graph)
            if not refused and (self.allow_graph or not impossible):
                break
            known |= refused
            if not self.allow_graph:
                needs_graph |= {found.ban: found.because for found in impossible}
        if self.file is not None:
            return self._built_file(self.file, made, changed)
        possible = self._planned(known) if needs_graph else made
        if impossible or self.by_graph:
            names = self.modules.names
            output = self._truths(1)[0].tree
            elsewhere = self._otherwise(made, known)
            folded, layers = graph_module(self.graph, made, changed, output, names, elsewhere)
            return _Built(folded, made, possible, layers, made.ops_saved(made.merges))
        example, neutral = self.call.example, self.neutral
        copy, layers = rebuilt(self.modules, made, changed, example, neutral=neutral)
        saved = made.ops_saved(Branches(self.modules, made).whole())
        return _Built(copy, made, possible, layers, saved)

    def keep_neutral(self, made: Plan) -> None:
        """Norms keep a scale of 1 and a shift of 0, which the model reads; some have these now."""
        self.neutral = True
        why = "its scale is 1 and its shift is 0, and the model itself reads them"
        self.always |= {
            (fold.candidate.number, fold.direction): why
            for fold in made.folds
            if fold.candidate.forward_only and fold.candidate.is_neutral
        }

    def _planned(self, bans: FoundBans) -> Plan:
        return plan(self.graph, self._bans(bans), merge=self.merge, held=self._held)

    def _bans(self, bans: FoundBans) -> FoundBans:
        return (self.file.bans if self.file is not None else {}) | self.always | bans

    @property
    def _held(self) -> Mapping[str, str]:
        return self.file.held if self.file is not None else {}

    def _built_file(self, file: FileNodes, made: Plan, changed: Sequence[Changed]) -> _Built:
        from fieldwise.folding.onnx.realise import nodes_saved, realised

        folded, layers = realised(file, made, changed)
        return _Built(folded, made, made, layers, nodes_saved(file.module, folded))

    def _impossible(self, made: Plan) -> list[Impossible]:
        """What cannot be carried out; of the merges, once all folds are possible."""
        if self.file is not None:
            return self.file.impossible(made)
        return self.modules.impossible(made) or list(Branches(self.modules, made).impossible())

    def _elsewhere(self, made: Plan, bans: FoundBans) -> list[Impossible]:
        """What is wrong at another size of the input, which a graph module refuses."""
        if self.by_graph or not made.changes:
            return []
        remedy = f"; {REMEDY}" if self.file is None else ""
        found = self._differing(made, bans)
        return [Impossible(ban, f"{why}{remedy}") for ban, why in found]

    def _differing(self, made: Plan, bans: FoundBans) -> list[tuple[Ban, str]]:
        """What of a plan does not hold at the first other size at which not all does."""
        for other in self.sizes:
            there = plan(
                other.there, other.bans(made, self._bans(bans)), merge=self.merge, held=self._held
            )
            if found := list(other.differing(made, there)):
                return found
        return []

    def _otherwise(self, made: Plan, bans: FoundBans) -> str | None:
        """What is not at another size as a graph module has it; None where nothing is."""
        for other in self.sizes:
            if (why := other.other_call()) is not None:
                return other.because(why)
        found = self._differing(made, bans)
        return found[0][1] if found else None

    @cached_property
    def sizes(self) -> tuple[OtherSize, ...]:
        """The model at other sizes that it takes; of a file, that this leaves open."""
        fixed = self.file.fixed(self.call.example) if self.file is not None else ()
        return tuple(captured_elsewhere(self.call, self.graph, fixed=fixed))

    def _overflowing(self, made: Plan, changed: Iterable[Changed]) -> FoundBans:
        """What goes into layers whose dtype cannot hold the result; branches go first."""
        found: FoundBans = {}
        for one in changed:
            why = overflow(one, torch.finfo(one.layer.weight.dtype).max)
            if why is None:
                continue
            self.overflows[one.layer.name] = f"Not folded: {why}."
            if one.joined:
                found |= {(joined.branch.number, "merge"): why for joined in one.joined}
                continue
            found |= {
                (fold.candidate.number, fold.direction): why
                for fold in made.folds
                if any(taken.layer.name == one.layer.name for taken in fold.absorptions)
            }
        return found

    def _truths(self, count: int) -> list[DoubleTruth]:
        while len(self.truths) < count:
            found = truth(self.call.model, self.call.example, seed=len(self.truths))
            self.truths.append(found)
        return self.truths[:count]

    # ---------------------------------------------------------------- verification

    def verified(self, built: _Built, checks: int) -> tuple[_Built, Verification]:
        """The model with every fold undone that makes it wrong."""
        reference = self._truths(checks)
        verification = _judged(reference, built.model)
        if verification.passed is not False or not built.made.changes:
            return built, verification

        went = verification.note if not verification.compared else None  # it did not even run
        why = f"it was folded, but then the model {went or 'was wrong'}, so that it was undone"

        def passes(undone: Sequence[FoldOrMerge]) -> bool:
            return _judged(reference, self.build(_bans(undone, why)).model).passed is not False

        guilty = _culprits(built.made.changes, passes)
        built = self.build(_bans(guilty, why))
        return built, _judged(reference, built.model)

    def runtime(self, built: _Built, checks: int) -> RuntimeCheck | None:
        """Of a file, how the folded one compares in ONNX Runtime."""
        if self.file is None or not checks:
            return None
        from fieldwise.folding.onnx.runtime import compare_in_runtime

        return compare_in_runtime(self.file.module, built.model, self._truths(1)[0])

    # ---------------------------------------------------------------- report

    def report(self, built: _Built, verification: Verification | None) -> FoldReport:
        """What became of every candidate."""
        made = built.made
        errors = _errors(built)
        items = {fold.candidate.number: _went(fold, errors) for fold in made.folds}
        for merge in made.merges:
            items |= {one.number: _joined(one, merge, errors) for one in merge.branches}
        stays = [(c.number, c.name, c.node, why) for c, why in made.stays]
        stays += [(b.number, b.name, b.node, why) for b, why in made.apart]
        hidden = self.file.hidden if self.file is not None else ()
        items |= {
            n: Item(name, node.called, because=why)
            for n, name, node, why in stays
            if n not in hidden
        }
        hazards = [text for one, _, _ in built.layers for text in warnings_of(one)]
        return FoldReport(
            items=tuple(items[number] for number in sorted(items)),
            verify=verification,
            warnings=(*self.overflows.values(), *hazards),
            ops_saved=built.ops_saved,
            by_graph=built.possible.size - made.size,
            parameters_saved=_size(self.call.model) - _size(built.model),
            zero_biases=sum(zero_biases(one, self.graph) for one, _, _ in built.layers),
            part=part_of(self.call.model),
        )


def _errors(built: _Built) -> dict[int, float]:
    """Per node that went into layers, the largest error of those."""
    found: dict[int, float] = {}
    for one, weight, bias in built.layers:
        error = pair_error(one, values(weight), None if bias is None else values(bias))
        for number in one.takes():
            found[number] = max(error, found.get(number, 0.0))
    return found


def _runs(model: nn.Module, inputs: object) -> bool:
    """Whether a model runs, as in inference: torch's encoder layers read their norms there."""
    try:
        run(copied(model), inputs)
    except Exception:  # noqa: BLE001  a forward may raise anything
        return False
    return True


def _judged(reference: Sequence[DoubleTruth], model: nn.Module) -> Verification:
    """The worst over all inputs; a model that does not even run is wrong.

    Not checked is one that was checked on none of them.
    """
    try:
        found = [one.judge(model) for one in reference]
    except (AttributeError, RuntimeError, TypeError, ValueError, KeyError, IndexError) as error:
        note = f"failed with {summary_of(error)}"
        return Verification(
            inf, inf, max(one.unfolded_rel for one in reference), passed=False, note=note
        )
    checked = [one for one in found if one.passed is not None] or found
    verdicts = {one.passed for one in checked}
    return Verification(
        max(one.max_abs for one in checked),
        max(one.max_rel for one in checked),
        max(one.unfolded_rel for one in checked),
        None if verdicts == {None} else False not in verdicts,
        sum(one.compared for one in checked),
        next((one.note for one in checked if one.note is not None), None),
    )


def _bans(changes: Iterable[FoldOrMerge], why: str) -> FoundBans:
    return {ban: why for change in changes for ban in change.bans}


def _culprits(
    changes: Sequence[FoldOrMerge], passes: Callable[[Sequence[FoldOrMerge]], bool]
) -> list[FoldOrMerge]:
    """Few changes without which the model passes, found by halving."""

    def among(suspects: list[FoldOrMerge], undone: list[FoldOrMerge]) -> list[FoldOrMerge]:
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

    return among(list(changes), [])


def _went(fold: Fold, errors: dict[int, float]) -> Item:
    return Item(
        fold.candidate.name,
        fold.candidate.node.called,
        into=fold.into,
        direction=fold.direction,
        folded=True,
        error=errors.get(fold.candidate.number),
    )


def _joined(branch: Branch, merge: Merge, errors: dict[int, float]) -> Item:
    return Item(
        branch.name,
        branch.node.called,
        into=merge.into,
        direction="merge",
        folded=True,
        error=errors.get(branch.number),
    )


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
