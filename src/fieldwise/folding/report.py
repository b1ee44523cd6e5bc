"""What folding did: one item per affine op, how the result was checked, and what to look at."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from fieldwise.reports import Report

Direction = Literal["backward", "forward", "merge"]
FoldVerdict = Literal["right", "wrong", "not checked"]


@dataclass(frozen=True, slots=True)
class Item:
    """One affine op, or branch beside a convolution: where it went, or why it stays.

    module:    path of the module that runs it, the value's name for arithmetic in a forward
    op:        its canonical name ('batch_norm', 'mul', …); of a branch 'conv', or 'add' and 'sub'
               for a value that is added to a convolution of itself
    into:      the partners that took it, joined by ', '; None where it stays
    direction: towards the input ('backward'), the output ('forward'), or into a parallel
               branch ('merge')
    because:   why it stays
    error:     of the folded partner alone against 'partner, then op' in float64, relative
    """

    module: str
    op: str
    into: str | None = None
    direction: Direction | None = None
    folded: bool = False
    because: str | None = None
    error: float | None = None


@dataclass(frozen=True, slots=True)
class Verification:
    """The folded model against a float64 run of the unfolded one, on the same inputs.

    max_abs, max_rel: the largest difference, and the same relative to the largest output
    unfolded_rel:     the same for the unfolded model in its own precision
    passed:           whether the folded model is as right as the unfolded one; None: not checked
    compared:         how many numbers were compared
    note:             why it was not checked, or what it was compared with in place of float64
    """

    max_abs: float
    max_rel: float
    unfolded_rel: float
    passed: bool | None
    compared: int = 0
    note: str | None = None

    @property
    def verdict(self) -> FoldVerdict:
        """In words."""
        if self.passed is None:
            return "not checked"
        return "right" if self.passed else "wrong"


@dataclass(frozen=True, slots=True)
class RuntimeCheck:
    """The folded ONNX file against the one that was read, both in ONNX Runtime, on one input.

    max_rel: the largest difference, relative to the largest output
    passed:  whether that is within what either may be off; None: not compared
    note:    why it was not compared, or what is wrong
    """

    max_rel: float | None = None
    passed: bool | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class FoldReport(Report):
    """What became of every affine op of a model, and of every branch beside a convolution.

    by_graph:  how many of the ops that stay could go in a graph module (``allow_graph=True``)
    runtime:   of an ONNX file, how it compares in ONNX Runtime; None where it was not verified
    part:      what the parts are called that items name: 'module', of an ONNX file 'node'
    ops_saved: how many ops fewer a run takes; a layer norm that loses its affine part remains
    zero_biases: how many of the parameters that are saved are biases which layers need as soon as
                 they are not 0 throughout: of a model that nobody has trained they are
    """

    items: tuple[Item, ...]
    verify: Verification | None = None
    warnings: tuple[str, ...] = ()
    by_graph: int = 0
    ops_saved: int = 0
    parameters_saved: int = 0
    zero_biases: int = 0
    runtime: RuntimeCheck | None = None
    part: str = "module"

    @property
    def rows(self) -> tuple[Item, ...]:
        """One per affine op and per branch."""
        return self.items

    @property
    def candidates(self) -> int:
        """The number of affine ops and of branches beside a convolution."""
        return len(self.items)

    @property
    def folded(self) -> int:
        """How many of them are gone."""
        return sum(item.folded for item in self.items)

    @property
    def refused(self) -> int:
        """How many stay."""
        return self.candidates - self.folded

    @property
    def exact_possible(self) -> int:
        """How many could go exactly, in modules or in a graph."""
        return self.folded + self.by_graph

    def reasons(self) -> Counter[str]:
        """How often each reason for staying was given."""
        return Counter(item.because for item in self.items if item.because is not None)
