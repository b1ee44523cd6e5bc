"""A stream as three modules that run without fieldwise, what they take and give, their files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fieldwise.errors import FieldwiseError, UnsuitableError, UsageError, summary_of
from fieldwise.graph.calls import operator_of
from fieldwise.graph.ir import Shape
from fieldwise.graph.tensors import dtype_name
from fieldwise.tile.amounts import check_count
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.programs import Programs
from fieldwise.tile.bands.recorded import has_complex
from fieldwise.tile.certificate import RunCertificate, verify
from fieldwise.tile.outputs import as_is

StreamPart = Literal["start", "step", "finish"]
PARTS: tuple[StreamPart, ...] = ("start", "step", "finish")
RunPart = Callable[[StreamPart, Sequence[Tensor]], Sequence[Tensor]]
"""Runs a part on its inputs: the module itself, or whoever reads its file."""


@dataclass(frozen=True, slots=True)
class EmittedState:
    """A tensor that is kept between steps: whose rows it holds, its shape and type."""

    name: str
    shape: Shape
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class EmittedOutput:
    """The rows of an output that each part gives, along its dimension ``dim``.

    delay: by how many input samples it lags behind what has been pushed, in the steady state
    """

    name: str
    dim: int
    start: int
    step: int
    finish: int
    delay: Fraction


@dataclass(frozen=True, slots=True)
class EmittedFrom:
    """What a stream was made of.

    run:     the streamed model; program: of it, without an end
    doubled: makes the same stream in float64
    """

    run: Programs
    program: Program
    doubled: Callable[[], EmittedStream]

    def in_words_of_file(self, text: str) -> str:
        """What torch says, with a file's operators in place of the ops that they became here."""
        for node in (node for op in self.program.ops for node in op.nodes):
            operator = None if node.source is None else operator_of(node.source.target)
            if node.operator and operator is not None:
                text = text.replace(repr(operator), f"'{node.operator}'")
        return text


@dataclass(frozen=True)
class EmittedStream:
    """A stream handed on as torch modules of constant shapes; made by ``StreamedModel.emit``.

    start:  the first ``first`` samples → outputs and states
    step:   the next ``chunk`` samples and the states → outputs and states, again and again
    finish: the last ``rest`` samples (no such input where that is 0) and the states → outputs
    dim, shape, dtype: the streamed dimension of the input, its shape in a step, and its type
    outputs, states: in the order in which the parts give and take them
    longest: how many samples a stream has at most, where tables of positions bound it
    """

    start: nn.Module
    step: nn.Module
    finish: nn.Module
    dim: int
    shape: Shape
    dtype: torch.dtype
    first: int
    rest: int
    outputs: tuple[EmittedOutput, ...]
    states: tuple[EmittedState, ...]
    longest: int | None
    source: EmittedFrom = field(repr=False, compare=False)

    @property
    def chunk(self) -> int:
        """Input samples per step."""
        return self.shape[self.dim]

    @property
    def metadata(self) -> dict[str, Any]:
        """What a host has to know, as plain data; docs/tile.md describes it."""
        return {
            "schema": 1,
            "axis": self.dim,
            "shape": list(self.shape),
            "dtype": dtype_name(self.dtype),
            "first": self.first,
            "chunk": self.chunk,
            "rest": self.rest,
            "longest": self.longest,
            "outputs": [
                {
                    "name": one.name,
                    "axis": one.dim,
                    "rows": {part: getattr(one, part) for part in PARTS},
                    "delay": float(one.delay),
                }
                for one in self.outputs
            ],
            "states": [
                {"name": one.name, "shape": list(one.shape), "dtype": dtype_name(one.dtype)}
                for one in self.states
            ],
        }

    def __str__(self) -> str:
        nbytes = sum(one.dtype.itemsize * torch.Size(one.shape).numel() for one in self.states)
        lines = [
            f"start takes {self.first} samples, each step {self.chunk}, finish {self.rest}; "
            f"{len(self.states)} states of {nbytes} B"
        ]
        lines += [
            f"  {one.name}: {one.start} rows, {one.step} per step, {one.finish} at the end; "
            f"{float(one.delay):g} samples late"
            for one in self.outputs
        ]
        return "\n".join(lines)

    # ---------------------------------------------------------------- run

    def run(self, x: Tensor, *, by: RunPart | None = None) -> list[Tensor]:
        """The outputs for a whole signal, part by part.

        by: runs a part on its inputs; by default the module itself

        Raises UsageError for a signal whose length is none of start, steps and finish.
        """
        by = by or self._run_part
        found: list[list[Tensor]] = [[] for _ in self.outputs]
        states: Sequence[Tensor] = ()
        for part, samples in self._cut(x):
            made = by(part, [*samples, *states])
            states = made[len(found) :]
            for rows, one in zip(found, made, strict=False):
                rows.append(one)
        return [torch.cat(rows, one.dim) for rows, one in zip(found, self.outputs, strict=True)]

    def verify(self, *, steps: int = 3, by: RunPart | None = None) -> RunCertificate:
        """Compare start, ``steps`` steps and finish with the whole, on random numbers.

        by: runs a part on its inputs (whoever reads its file); by default the module itself, and
            then in float64 too

        Raises MismatchError where they differ by more than the arithmetic explains.
        """
        run = self.source.run
        steps = check_count(steps, "The steps of a comparison are", 0, of="steps")
        length = self.first + steps * self.chunk + self.rest
        while self.longest is not None and length > self.longest:
            length -= self.chunk
        example = run.single_input()
        given = _repeated(example, self.dim, length)

        def structured(stream: EmittedStream, x: Tensor) -> object:
            results = stream.run(x, by=by)
            return stream.source.program.structured(results, as_is)

        names = self.source.program.output_names
        if by is not None:
            return verify(partial(structured, self), run.whole, given, names=names)
        double = self.source.doubled()
        pair = (partial(structured, double), double.source.run.whole)
        return verify(partial(structured, self), run.whole, given, double=pair, names=names)

    def advance(self, chunk: Tensor, states: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """One step: the new rows of every output, and the states after it.

        Raises UsageError for a chunk of another shape or type, and for states that are not of this
        stream.
        """
        wanted = f"{_sizes(self.shape)} {dtype_name(self.dtype)}"
        if (given := _kind(chunk)) != wanted:
            sizes = f"{_sizes(self.shape)} samples"
            raise UsageError(
                f"A step takes {sizes}, and was given {given}; it computes in "
                f"{dtype_name(self.dtype)}."
            )
        self._check(states)
        made = self._run_part("step", [chunk, *states])
        count = len(self.outputs)
        return [*made[:count]], [*made[count:]]

    def _check(self, states: Sequence[Tensor]) -> None:
        given = len(states) if isinstance(states, (list, tuple)) else None
        if given != len(self.states):
            told = "none" if given is None else given
            raise UsageError(
                f"This stream has {len(self.states)} states, and was given {told}; pass on "
                "those that start and step have given."
            )
        for number, (one, own) in enumerate(zip(states, self.states, strict=True)):
            wanted = f"{_sizes(own.shape)} {dtype_name(own.dtype)}"
            if _kind(one) != wanted:
                raise UsageError(
                    f"State {number} of this stream ('{own.name}') is {wanted}, and was given as "
                    f"{_kind(one)}; pass on those that its own start and step have given."
                )

    def _run_part(self, part: StreamPart, given: Sequence[Tensor]) -> Sequence[Tensor]:
        with torch.no_grad():
            return tuple(getattr(self, part)(*given))

    def _cut(self, x: object) -> Iterator[tuple[StreamPart, list[Tensor]]]:
        """The parts that a signal goes through, each with its samples, if it takes any."""
        others = {**dict(enumerate(self.shape)), self.dim: None}
        if (
            not isinstance(x, Tensor)
            or x.dtype != self.dtype
            or {**dict(enumerate(x.shape)), self.dim: None} != others
        ):
            wanted = "x".join("T" if size is None else str(size) for size in others.values())
            raise UsageError(
                f"A signal of this stream is {wanted} {dtype_name(self.dtype)}, and this one "
                f"{_kind(x)}."
            )
        length = x.shape[self.dim]
        if self.longest is not None and length > self.longest:
            raise UsageError(
                f"A signal of this stream has {self.longest} samples at most, this one has "
                f"{length}; emit it with another longest."
            )
        steps, over = divmod(length - self.first - self.rest, self.chunk)
        if steps < 0 or over:
            least = self.first + self.rest
            raise UsageError(
                f"A signal of this stream has {least} samples and a multiple of {self.chunk} more, "
                f"this one has {length}; emit it with another rest."
            )
        sizes = [self.first, *[self.chunk] * steps, *[self.rest] * (self.rest > 0)]
        pieces = iter(x.split(sizes, self.dim))
        yield "start", [next(pieces)]
        yield from (("step", [next(pieces)]) for _ in range(steps))
        yield "finish", list(pieces)

    # ---------------------------------------------------------------- files

    def inputs(self, part: StreamPart) -> list[Tensor]:
        """Zeros in the shapes of what a part takes."""
        sizes = {"start": self.first, "step": self.chunk, "finish": self.rest}
        shape = [sizes[part] if dim == self.dim else n for dim, n in enumerate(self.shape)]
        samples = [torch.zeros(shape, dtype=self.dtype, device=self.source.run.device)] * (
            sizes[part] > 0
        )
        states = () if part == "start" else self.states
        return [
            *samples,
            *(
                torch.zeros(one.shape, dtype=one.dtype, device=self.source.run.device)
                for one in states
            ),
        ]

    def names(self, part: StreamPart) -> tuple[list[str], list[str]]:
        """What the inputs and outputs of a part are called in an ONNX file."""
        count = range(len(self.states))
        given = [] if part == "finish" and not self.rest else ["samples"]
        given += [] if part == "start" else [f"state_{n}" for n in count]
        made = [one.name for one in self.outputs]
        return given, made if part == "finish" else [*made, *(f"next_{n}" for n in count)]

    @property
    def parts(self) -> list[StreamPart]:
        """The parts that do anything: a causal stream may end without a finish."""
        ends = any(one.finish for one in self.outputs)
        return [part for part in PARTS if part != "finish" or ends]

    def save(self, out: str | Path) -> list[Path]:
        """Write the step as OUT, start and finish beside it (OUT.start.onnx), and OUT.json.

        A .pt2 is an exported program of torch, an .onnx one of ONNX; the finish is left out where
        nothing comes out of it.  Returns the paths.

        Raises UsageError for another suffix and for packages that are not installed,
        UnsuitableError where torch cannot write a part.
        """
        out = Path(out)
        writer = _WRITERS.get(out.suffix)
        if writer is None:
            raise UsageError(
                f"'{out.name}' has no suffix of a file that a stream is written to; end it in "
                ".onnx or .pt2."
            )
        _check_writable(out)
        paths = {part: file_of(out, part) for part in self.parts}
        data = {**self.metadata, "files": {part: path.name for part, path in paths.items()}}
        text = json.dumps(data, indent=1)
        for part, path in paths.items():
            try:
                writer(self, part, path, text)
            except FieldwiseError:
                raise
            except Exception as error:
                if out.suffix == ".onnx" and has_complex(getattr(self, part)):
                    raise UnsuitableError(
                        f"The {part} of this stream computes with complex numbers, which torch "
                        "does not write as .onnx; write it as .pt2."
                    ) from error
                why = self.source.in_words_of_file(summary_of(_first_cause(error)))
                raise UnsuitableError(
                    f"torch cannot write the {part} of this stream as {out.suffix} ({why})."
                ) from error
        described = _description(out)
        described.write_text(f"{text}\n", encoding="utf-8")
        return [*paths.values(), described]


def _repeated(example: Tensor, dim: int, length: int) -> Tensor:
    """The example again and again, up to a length; zeros where it has no data."""
    if example.is_meta or not example.shape[dim]:
        shape = [length if place == dim else size for place, size in enumerate(example.shape)]
        return torch.zeros(shape, dtype=example.dtype)
    return example.index_select(dim, torch.arange(length) % example.shape[dim])


def _check_writable(out: Path) -> None:
    """Make the folder of a file, and no file.  Raises UsageError where none can be written."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        is_new = not out.exists()
        out.open("ab").close()
        if is_new:
            out.unlink()
    except OSError as error:
        raise UsageError(
            f"Cannot write {str(out)!r}: {error.strerror or error}; choose another place."
        ) from error


def file_of(out: Path, part: StreamPart) -> Path:
    """Where a part is written: the step to OUT itself.

    >>> str(file_of(Path("net.onnx"), "start")), str(file_of(Path("net.onnx"), "step"))
    ('net.start.onnx', 'net.onnx')
    """
    return out if part == "step" else out.with_name(f"{out.stem}.{part}{out.suffix}")


def files_of(out: Path) -> tuple[Path, ...]:
    """Every file that ``EmittedStream.save`` may write.

    >>> [path.name for path in files_of(Path("net.pt2"))]
    ['net.start.pt2', 'net.pt2', 'net.finish.pt2', 'net.json']
    """
    return (*(file_of(out, part) for part in PARTS), _description(out))


def _description(out: Path) -> Path:
    return out.with_suffix(".json")


def _exported(stream: EmittedStream, part: StreamPart) -> torch.export.ExportedProgram:
    with torch.no_grad():
        return torch.export.export(getattr(stream, part), tuple(stream.inputs(part)), strict=False)


def _write_pt2(stream: EmittedStream, part: StreamPart, path: Path, metadata: str) -> None:
    extra = {"fieldwise.json": metadata}
    torch.export.save(_exported(stream, part), path, extra_files=extra)


def _write_onnx(stream: EmittedStream, part: StreamPart, path: Path, metadata: str) -> None:
    given, made = stream.names(part)
    program = _exported(stream, part)
    try:
        written = torch.onnx.export(
            program, input_names=given, output_names=made, dynamo=True, verbose=False
        )
    except ImportError as error:
        raise UsageError(
            f"Writing ONNX needs {error.name}; install it with pip install 'fieldwise[onnx]'."
        ) from error
    assert written is not None
    written.model.metadata_props["fieldwise"] = metadata
    written.save(str(path))
    from fieldwise.capture.onnx.protos import find_fault

    fault = find_fault(path)
    if fault is not None:
        path.unlink()
        raise UnsuitableError(
            f"What torch writes as {path.name} is no valid ONNX model ({fault}); write the stream "
            "as .pt2."
        )


def _first_cause(error: BaseException) -> BaseException:
    """What an error was raised from, at last: that of an exporter says only where it was."""
    return error if error.__cause__ is None else _first_cause(error.__cause__)


_WRITERS: Mapping[str, Callable[[EmittedStream, StreamPart, Path, str], None]] = {
    ".pt2": _write_pt2,
    ".onnx": _write_onnx,
}


def _sizes(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a single number"


def _kind(value: object) -> str:
    """The shape and type of a tensor; the type of anything else."""
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    return f"{_sizes(value.shape)} {dtype_name(value.dtype)}"
