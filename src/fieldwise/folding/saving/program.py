"""A model as an exported program that takes other sizes than its example's, as far as torch can.

Which axes may have another size is asked of the model (``other_sizes``).  torch exports them all as
unknown sizes; where it cannot, axes are taken one by one, and those that stay fixed say why.  What
is written is run at the example's sizes and at others, and compared with the model before folding.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram, ShapesCollection
from torch.fx.experimental import _config

from fieldwise.capture.torch.example import placed
from fieldwise.capture.torch.tree import tensors_in
from fieldwise.errors import UnsuitableError, said_by, summary_of
from fieldwise.folding.report import Verification
from fieldwise.folding.saving.other_sizes import InputAxis, OtherSizes, other_sizes, resized
from fieldwise.folding.saving.saved import ProgramCheck, TakenSizes
from fieldwise.folding.verify import DoubleTruth, drawn, truth
from fieldwise.graph.ir import Shape

ProgramReader = Callable[[ExportedProgram], nn.Module]
"""Writes a program, reads what was written, and gives that as a module."""


@dataclass(frozen=True)
class _Export:
    program: ExportedProgram
    free: tuple[InputAxis, ...]


@dataclass(frozen=True)
class Exporting:
    """A model to be exported.

    model:   folded; source: what it is compared with, in the same inputs and outputs
    example: tensors, some perhaps without data
    """

    model: nn.Module
    source: nn.Module
    example: object
    _truths: dict[tuple[Shape, ...], DoubleTruth | None] = field(default_factory=dict)

    def written(self, reread: ProgramReader, *, static: bool, compare: bool) -> ProgramCheck:
        """Export the model, write it, and compare what was written.

        Raises UnsuitableError where torch cannot export the model at all, and where what was
        written is not what the model computes.
        """
        sizes = None if static else other_sizes(self.model, self.example)
        fixed = dict(sizes.fixed) if sizes is not None else {}
        free = tuple(sizes.found) if sizes is not None else ()
        while True:
            made = self._exported(free, fixed, sizes)
            module = reread(made.program)
            culprits = self._culprits(module, made, sizes) if compare and sizes is not None else {}
            if not culprits:
                break
            fixed |= culprits
            free = tuple(axis for axis in made.free if axis not in culprits)
        why = "it was asked for (--static, static=True)" if static else None
        axes = tuple(_axis_sizes(made.program, self.example, fixed, why, sizes))
        if not compare:
            return ProgramCheck(axes, note="what was written was not compared, as was asked for")
        return self._compared(module, axes, made, sizes)

    # ---------------------------------------------------------------- exporting

    def _exported(
        self, free: Sequence[InputAxis], fixed: dict[InputAxis, str], sizes: OtherSizes | None
    ) -> _Export:
        """A program with as many of these axes of any size as torch can; others become fixed."""
        try:
            return _Export(self._export(free, sizes), tuple(free))
        except Exception as error:
            if not free:
                raise UnsuitableError(
                    f"torch.export refuses the model ({summary_of(error)})."
                ) from error
        kept: list[InputAxis] = []
        groups = sizes.groups if sizes is not None else ()
        for group in groups:
            wanted = [axis for axis in group if axis in free]
            try:
                self._export((*kept, *wanted), sizes)
            except Exception as error:  # noqa: BLE001  torch raises what it likes
                fixed |= dict.fromkeys(wanted, f"torch.export refuses others ({said_by(error)})")
            else:
                kept += wanted
        return self._exported(kept, fixed, sizes)

    def _export(self, free: Collection[InputAxis], sizes: OtherSizes | None) -> ExportedProgram:
        """Export at the example's sizes, or, where torch takes a size of 1 for a constant, at 2."""
        made = self._export_at(self.example, free)
        ones = [one for one in free if sizes is not None and self._is_one(one)]
        values = [value for _, value in _inputs(made)]
        if sizes is None or not any(isinstance(values[n].shape[dim], int) for n, dim in ones):
            return made
        return self._export_at(resized(self.example, sizes.changed(ones)), free)

    def _export_at(self, example: object, free: Collection[InputAxis]) -> ExportedProgram:
        inputs = drawn(self.model, example, seed=0)
        args, kwargs = placed(inputs)
        names = ShapesCollection()
        for number, tensor in enumerate(tensors_in(inputs)):
            names[tensor] = {dim: Dim.AUTO for n, dim in free if n == number}
        shapes = names.dynamic_shapes(self.model, args, kwargs) if free else None
        with torch.no_grad(), _any_size():
            return torch.export.export(
                self.model, args, dict(kwargs), dynamic_shapes=shapes, strict=False
            )

    def _is_one(self, axis: InputAxis) -> bool:
        number, dim = axis
        return list(tensors_in(self.example))[number].shape[dim] < 2

    # ---------------------------------------------------------------- comparing

    def _trials(
        self, free: Sequence[InputAxis], sizes: OtherSizes | None
    ) -> Iterator[tuple[Shape, ...]]:
        """The example's shapes, and all free axes of another size; one by one where they must."""
        yield tuple(tuple(tensor.shape) for tensor in tensors_in(self.example))
        if sizes is None or not free:
            return
        for together in dict.fromkeys([sizes.changed(free, apart=True), sizes.changed(free)]):
            if self._truth(together) is not None:
                yield together
                return
        for group in sizes.groups:
            axes = [axis for axis in group if axis in free]
            if axes and self._truth(alone := sizes.changed(axes)) is not None:
                yield alone

    def _truth(self, shapes: tuple[Shape, ...]) -> DoubleTruth | None:
        """What the model computes that was not folded; None where it does not run."""
        if shapes not in self._truths:
            try:
                self._truths[shapes] = truth(self.source, resized(self.example, shapes))
            except Exception:  # noqa: BLE001  a forward may raise anything
                self._truths[shapes] = None
        return self._truths[shapes]

    def _culprits(
        self, module: nn.Module, made: _Export, sizes: OtherSizes
    ) -> Mapping[InputAxis, str]:
        """The free axes at whose other size a program refuses, or is wrong."""
        own, *shapes = self._trials(made.free, sizes)
        judged = _judged(self._truth(own), module)
        if judged.passed is False:
            why = f"what torch exported with any size {judged.note or 'gives other numbers'}"
            ones = [axis for axis in made.free if self._is_one(axis)]
            return dict.fromkeys(ones or made.free, why)
        if all(_judged(self._truth(one), module).passed is not False for one in shapes):
            return {}
        found: dict[InputAxis, str] = {}
        for group in sizes.groups:
            axes = [axis for axis in group if axis in made.free]
            if not axes:
                continue
            known = self._truth(sizes.changed(axes))
            judged = _judged(known, module)
            if judged.passed is False:
                size = sizes.found[axes[0]][0]
                found |= dict.fromkeys(
                    axes, f"what torch exported {judged.note or 'gives other numbers'} at {size}"
                )
        return found or dict.fromkeys(made.free, "what torch exported differs where all change")

    def _compared(
        self,
        module: nn.Module,
        axes: tuple[TakenSizes, ...],
        made: _Export,
        sizes: OtherSizes | None,
    ) -> ProgramCheck:
        shapes = tuple(self._trials(made.free, sizes))
        found = [_judged(self._truth(one), module) for one in shapes]
        worst = _worst(found)
        if worst.passed is False:
            raise UnsuitableError(
                f"What torch exported {worst.note or 'gives other numbers than the model'}; "
                "its file was not kept."
            )
        return ProgramCheck(axes, shapes, worst, worst.note)


def _any_size() -> AbstractContextManager[object]:
    """In which torch.export does not take an axis for a constant because a value has size 1."""
    if not hasattr(_config, "backed_size_oblivious"):
        return nullcontext()
    patched: AbstractContextManager[object] = _config.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]
    return patched


def _judged(known: DoubleTruth | None, module: nn.Module) -> Verification:
    """A written model on the inputs of a run; one that refuses them is wrong, and says so."""
    if known is None:
        return Verification(0.0, 0.0, 0.0, passed=None, note="the model itself does not run")
    try:
        return known.judge(module)
    except Exception as error:  # noqa: BLE001  guards and runtimes raise what they like
        return Verification(
            inf, inf, known.unfolded_rel, passed=False, note=f"refuses it ({said_by(error)})"
        )


def _worst(found: Sequence[Verification]) -> Verification:
    """One verdict on all runs: right, if each that could be compared is."""
    wrong = next((one for one in found if one.passed is False), None)
    if wrong is not None:
        return wrong
    known = [one for one in found if one.passed] or list(found)
    return replace(
        known[0],
        max_abs=max(one.max_abs for one in known),
        max_rel=max(one.max_rel for one in known),
        unfolded_rel=max(one.unfolded_rel for one in known),
        compared=sum(one.compared for one in known),
    )


# -------------------------------------------------------------------- what a program takes


def _axis_sizes(
    program: ExportedProgram,
    example: object,
    fixed: Mapping[InputAxis, str],
    static: str | None,
    sizes: OtherSizes | None,
) -> Iterator[TakenSizes]:
    """Of each axis of each input, the sizes that the program takes."""
    shapes = [tuple(tensor.shape) for tensor in tensors_in(example)]
    for number, (name, value) in enumerate(_inputs(program)):
        for dim, size in enumerate(value.shape):
            own = shapes[number][dim]
            if isinstance(size, int):
                why = static or fixed.get((number, dim), "torch.export fixed it")
                yield TakenSizes(name, dim, own, str(size), why)
            else:
                rule = _rule(size, program) + _besides(sizes, (number, dim))
                yield TakenSizes(name, dim, own, rule)


def _inputs(program: ExportedProgram) -> Iterator[tuple[str, Tensor]]:
    """The tensors that a program is given, by name, in the order of the example's."""
    names = set(program.graph_signature.user_inputs)
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in names:
            value = node.meta["val"]
            if isinstance(value, Tensor):
                yield node.name, value


def _rule(size: torch.SymInt, program: ExportedProgram) -> str:
    """The sizes that an axis may have, in words.

    A size that derives from another one (2*s0) is said as torch writes it.
    """
    expression = size.node.expr
    bounds = program.range_constraints.get(expression)
    if bounds is None:
        return str(expression)
    least, most = max(_bound(bounds.lower), 1), _bound(bounds.upper)
    if most < inf:
        return f"{least:.0f} to {most:.0f}"
    return "any" if least <= 1 else f"{least:.0f} or more"


def _besides(sizes: OtherSizes | None, axis: InputAxis) -> str:
    """What the model says of sizes that its program does not.

    >>> _besides(OtherSizes(((64,),), {(0, 0): (66, 68)}, (), refused={(0, 0): 65}), (0, 0))
    ', as 66 and 68; the model refuses 65'
    """
    if sizes is None or axis not in sizes.refused:
        return ""
    taken = " and ".join(map(str, sizes.found[axis]))
    return f", as {taken}; the model refuses {sizes.refused[axis]}"


def _bound(bound: object) -> float:
    try:
        return float(bound)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return inf


def pt2_writer(path: Path) -> ProgramReader:
    """Writes a program to a file, and reads that."""

    def reread(program: ExportedProgram) -> nn.Module:
        torch.export.save(program, path)
        return torch.export.load(path).module()

    return reread
