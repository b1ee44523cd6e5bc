"""The record as it grows: values by number, nodes, and the module that is running."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from fieldwise.capture.torch.naming import Draft, Scope
from fieldwise.capture.torch.registry import Reads
from fieldwise.graph.calls import changed, constants_of
from fieldwise.graph.graph import Draw
from fieldwise.graph.ir import Call, Shape


@dataclass(frozen=True, slots=True)
class ModuleFrame:
    """A running module: its path, which of its runs this is, and whether it is training.

    operator: of a node of a file, what the file calls it; else ''
    """

    path: str
    call: int
    training: bool
    operator: str = ""

    def __str__(self) -> str:
        if self.operator:
            return f"in node '{self.path}' ({self.operator})"
        return f"in module '{self.path}'" if self.path else "in the model's own forward"


class Trace:
    """What was recorded so far; ``fault`` is the module that last failed, with ``error``.

    operators: of a model from a file, what the file calls the nodes, by their paths
    draws:     whether an op may have drawn random numbers
    drawn:     of constants that are other random numbers in another run: what drew them
    writes:    whether an op wrote into memory that was there before
    """

    def __init__(self, *, training: bool, operators: Mapping[str, str] | None = None) -> None:
        self.operators = operators or {}
        self.drafts: list[Draft] = []
        self.shapes: list[Shape] = []
        self.dtypes: list[str] = []
        self.inputs: list[int] = []
        self.scopes: dict[str, list[Scope]] = defaultdict(list)
        self.frames: list[ModuleFrame] = [ModuleFrame("", 1, training)]
        self.draws = self.writes = False
        self.drawn = list[Draw]()
        self.fault: ModuleFrame | None = None
        self.error: BaseException | None = None

    @property
    def frame(self) -> ModuleFrame:
        """The innermost running module."""
        return self.frames[-1]

    def value(self, shape: Shape, dtype: str) -> int:
        """A fresh value; its number."""
        self.shapes.append(shape)
        self.dtypes.append(dtype)
        return len(self.shapes) - 1

    def emit(
        self,
        op: str,
        operands: tuple[int, ...],
        reads: Reads,
        types: tuple[tuple[Shape, str], ...],
        source: Call,
        parameters: tuple[str, ...] = (),
    ) -> tuple[int, ...]:
        """A node with one result per (shape, dtype); the numbers of the results."""
        results = tuple(self.value(*kind) for kind in types)
        frame = self.frame
        self.drafts.append(
            Draft(
                op,
                operands,
                results,
                reads,
                frame.path,
                frame.call,
                parameters,
                source,
                frame.operator,
            )
        )
        return results

    def enter(self, path: str | None, *, training: bool) -> None:
        """A module starts to run; None for one that is not registered in the model."""
        if path is None:
            self.frames.append(replace(self.frame, training=training))
            return
        runs = self.scopes[path]
        runs.append(Scope())
        self.frames.append(ModuleFrame(path, len(runs), training, self.operators.get(path, "")))

    def leave(
        self, path: str | None, returned: tuple[int, ...], error: BaseException | None
    ) -> None:
        """The module that entered last is done, or fails with this error."""
        frame = self.frames.pop()
        if error is not None and error is not self.error:
            self.error, self.fault = error, frame
        if path is not None:
            self.scopes[path][frame.call - 1].returned = returned

    def change_constants(self, change: Callable[[Tensor], Tensor]) -> None:
        """Change the tensors that the calls recorded so far hold."""
        for number, draft in enumerate(self.drafts):
            call = draft.source
            if call is not None and constants_of(call):
                self.drafts[number] = draft._replace(source=changed(call, Tensor, change))
