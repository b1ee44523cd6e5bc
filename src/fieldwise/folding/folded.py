"""What ``fold`` returns: a model, the report on it, and a way to write it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fieldwise.folding.report import FoldReport
from fieldwise.folding.save import save


@dataclass(frozen=True, slots=True)
class Folded:
    """A folded model, the report on it, and the example that it was folded with."""

    model: Any
    report: FoldReport
    example: Any = field(default=None, repr=False, compare=False)

    def save(self, out: str | Path) -> tuple[Path, ...]:
        """Write the model, and return the paths.

        Of a model that was read from an ONNX file ``out`` may end in .onnx: that file, changed
        where it has to be.  Else ``out``.safetensors (the state_dict) and ``out``.pt2 (an exported
        program).

        Raises UsageError where ``out`` is the file that was read, or where safetensors is not
        installed, UnsuitableError where torch.export refuses the model.
        """
        return save(self.model, self.example, Path(out))
