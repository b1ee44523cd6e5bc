"""What ``fold`` returns: a model, the report on it, and a way to write it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fieldwise.folding.report import FoldReport
from fieldwise.folding.saving.saved import Saved
from fieldwise.folding.saving.write import save


@dataclass(frozen=True, slots=True)
class Folded:
    """A folded model, the report on it, the example that it was folded with, and the model before.

    The model before is the one that was given, not a copy.
    """

    model: Any
    report: FoldReport
    example: Any = field(default=None, repr=False, compare=False)
    source: Any = field(default=None, repr=False, compare=False)

    def save(
        self,
        out: str | Path,
        *,
        overwrite: bool = False,
        static: bool = False,
        timed: bool = False,
        compare: bool = True,
    ) -> Saved:
        """Write the model.

        out:       its suffix decides: ``X.pt2`` is an exported program, ``X.onnx`` an ONNX file
                   (of a model that was read from one, that file, changed where it has to be),
                   ``X.safetensors`` the weights, for ``load_folded``; ``X`` is X.safetensors and
                   X.pt2
        overwrite: replace files that are there
        static:    export at the sizes of the example alone; by default an axis has any size at
                   which the model runs, where torch can export that
        timed:     measure how long runs take before and after
        compare:   run what was written, at other sizes too, against the model before

        Raises UsageError where a file is there already, where ``out`` is the file that was read,
        or where a package is missing; UnsuitableError where torch cannot export the model, or
        where what it wrote is not what the model computes.
        """
        return save(
            self.model,
            self.example,
            out,
            source=self.source,
            overwrite=overwrite,
            static=static,
            timed=timed,
            compare=compare,
        )
