"""Writing a folded or repaired model to the files that OUT stands for."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from fieldwise.capture.torch.model_call import ModelCall
from fieldwise.capture.torch.own_names import NamesItsValues
from fieldwise.capture.torch.running import run
from fieldwise.errors import FieldwiseError, UnsuitableError, UsageError, said_by
from fieldwise.folding.report import Verification
from fieldwise.folding.saving.place import OutPlace
from fieldwise.folding.saving.program import Exporting, pt2_writer
from fieldwise.folding.saving.saved import ProgramCheck, RunTimes, Saved
from fieldwise.folding.saving.state import load_folded, save_state
from fieldwise.folding.saving.structure import Structure, structure_of
from fieldwise.folding.saving.times import run_times
from fieldwise.folding.verify import drawn, truth
from fieldwise.graph.flops import multiplications

if TYPE_CHECKING:
    from fieldwise.capture.onnx import OnnxModule


def save(
    model: nn.Module,
    example: object,
    out: str | Path,
    *,
    source: nn.Module | None = None,
    overwrite: bool = False,
    static: bool = False,
    timed: bool = False,
    compare: bool = True,
) -> Saved:
    """Write a model; see ``Folded.save``.

    source:  the model before, with which what is written is compared; by default the model itself
    timed:   measure how long runs take, before and after
    compare: what was written with the source
    """
    place = OutPlace.of(out)
    place.check(overwrite=overwrite)
    work = _Writing(model, model if source is None else source, example, static, compare)
    files: list[Path] = []
    for kind, path in place.files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "weights":
            files += work.weights(path, alone=len(place.files) == 1)
        elif kind == "program":
            files += work.exported(path, files)
        else:
            files += work.onnx(path)
    return Saved(
        paths=tuple(files),
        nbytes=tuple(path.stat().st_size for path in files),
        parameters=(_parameters(work.source), _parameters(model)),
        weight_bytes=(_bytes(work.source), _bytes(model)),
        macs=_macs(work.source, model, example),
        loaded=work.loaded,
        program=work.check,
        times=work.times() if timed else None,
        loader=tuple(work.loader),
        notes=tuple(work.notes),
    )


class _Writing:
    """One model on its way into files, and what is found out by the way."""

    def __init__(
        self, model: nn.Module, source: nn.Module, example: object, static: bool, compare: bool
    ) -> None:
        self.model, self.source, self.example = model, source, example
        self.static, self.compare = static, compare
        self.check: ProgramCheck | None = None
        self.loaded: Verification | None = None
        self.loader: list[str] = []
        self.notes: list[str] = []

    def weights(self, path: Path, *, alone: bool) -> list[Path]:
        """Write the state; alone: it has to be enough for a model of the same class."""
        structure = self._structure(alone=alone)
        with _put(path) as made:
            save_state(self.model, made, structure)
            if structure is not None and self.compare:
                self.loaded = self._loaded(made)
        if structure is not None:
            self.loader += [
                "from fieldwise import load_folded",
                f"model = load_folded(model, {str(path)!r})",
            ]
        return [path]

    def _structure(self, *, alone: bool) -> Structure | None:
        if self.source is self.model:
            return None
        try:
            return structure_of(self.source, self.model)
        except UnsuitableError as error:
            if alone:
                raise
            self.notes.append(str(error))
            return None

    def _loaded(self, path: Path) -> Verification:
        """How the file, loaded into a copy of the source, compares with the folded model.

        Raises UnsuitableError where it is another model.
        """
        again = load_folded(self.source, path)
        one, two = self.model.state_dict(), again.state_dict()
        found = truth(self.model, self.example).judge(again)
        if found.passed is False or not all(torch.equal(one[name], two[name]) for name in one):
            raise UnsuitableError(
                "The weights, loaded into a copy of the model, do not give what the folded model "
                "gives; write X.pt2 or X.onnx."
            )
        return found

    def exported(self, path: Path, before: list[Path]) -> list[Path]:
        """Write an exported program."""
        try:
            with _put(path) as made:
                self.check = self._exporting().written(
                    pt2_writer(made), static=self.static, compare=self.compare
                )
        except UnsuitableError as error:
            if not before:
                raise
            raise UnsuitableError(f"{error} The weights are in {before[0]}.") from error
        return [path]

    def onnx(self, path: Path) -> list[Path]:
        """Write an ONNX file: the one that was read, changed, or what torch exports."""
        if isinstance(self.model, NamesItsValues):
            return _save_file(self.model, path)
        from fieldwise.folding.onnx.export import onnx_writer

        with _put(path) as made:
            self.check = self._exporting().written(
                onnx_writer(made), static=self.static, compare=self.compare
            )
        beside = path.with_name(f"{path.name}.data")
        return [path, beside] if beside.exists() else [path]

    def _exporting(self) -> Exporting:
        return Exporting(self.model, self.source, self.example)

    def times(self) -> RunTimes:
        """Of runs before and after."""
        inputs = drawn(self.model, self.example, seed=0)
        device = ModelCall(self.model, self.example).device
        if isinstance(self.model, NamesItsValues):
            from fieldwise.folding.onnx.runtime import runs_in_runtime

            found = runs_in_runtime(self.source, self.model, inputs)
            return RunTimes(note=found) if isinstance(found, str) else run_times(*found, device)
        return run_times(lambda: run(self.source, inputs), lambda: run(self.model, inputs), device)


def _save_file(model: nn.Module, out: Path) -> list[Path]:
    from fieldwise.capture.onnx import OnnxModule
    from fieldwise.folding.onnx.save import save_onnx

    made: object = type(model)
    if made is not OnnxModule:
        raise UsageError(
            f"'{out}' is an ONNX file, and a repaired model is not written as one; write "
            f"-o {out.stem}, which makes {out.stem}.safetensors and {out.stem}.pt2."
        )
    module: OnnxModule = model  # type: ignore[assignment]
    return list(save_onnx(module, out))


@contextmanager
def _put(path: Path) -> Iterator[Path]:
    """Where to write a file first: it takes its place, with what lies beside it, once it is whole.

    Raises UsageError where nothing can be written there.
    """
    try:
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fieldwise-") as folder:
            yield Path(folder) / path.name
            for made in Path(folder).iterdir():
                os.replace(made, path.with_name(made.name))
    except FieldwiseError:
        raise
    except OSError as error:
        raise UsageError(
            f"Cannot write '{path}' ({said_by(error)}); name another place."
        ) from error


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _bytes(model: nn.Module) -> int:
    """Of parameters and buffers."""
    return sum(t.numel() * t.element_size() for t in (*model.parameters(), *model.buffers()))


def _macs(source: nn.Module, model: nn.Module, example: object) -> tuple[int, int] | None:
    """Multiplications of a run before and after; None where one cannot be captured."""
    try:
        graphs = [ModelCall.of(one, example).graph() for one in (source, model)]
        first, second = (
            sum(multiplications(node, graph.values) for node in graph.nodes) for graph in graphs
        )
    except FieldwiseError:
        return None
    return first, second
