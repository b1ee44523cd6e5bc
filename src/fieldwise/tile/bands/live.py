"""Live data: chunks are pushed as they come, and every output row comes as soon as it is certain.

As long as the total length is not known, no row is given that might turn out not to exist, and
nothing may depend on that length (see ``growing``).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fieldwise.capture.torch.autocast import autocast_dtype, autocast_to
from fieldwise.errors import UsageError
from fieldwise.graph.ir import Shape
from fieldwise.tile.amounts import check_count
from fieldwise.tile.arrays import ArrayOrTensor, Readable, as_numpy
from fieldwise.tile.bands.drive import drive
from fieldwise.tile.bands.endless import agree
from fieldwise.tile.bands.growing import Growing
from fieldwise.tile.bands.kernels.registry import ENDLESS
from fieldwise.tile.bands.latency import latency, pushes_to_settle
from fieldwise.tile.bands.plan import StreamPlan, plan_of_pushes
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.programs import Programs
from fieldwise.tile.bands.reading import reading
from fieldwise.tile.bands.run import Engine
from fieldwise.tile.errors import StreamError
from fieldwise.tile.inputs import check_readable
from fieldwise.tile.outputs import as_is


class Session:
    """One stream of live data; made by ``StreamedModel.session``.

    It runs under the autocast that it was opened under, and ends with the model that it began with.
    A chunk that is refused changes nothing.
    """

    def __init__(self, programs: Programs, *, length: int | None, multiple: int | None) -> None:
        length = None if length is None else check_count(length, "The length of a stream is", 0)
        if multiple is not None:
            multiple = check_count(multiple, "What a length is a multiple of is", 1)
        self._programs, self._length = programs, length
        self._example, self._device = programs.single_input(), programs.device
        self._shape = tuple(self._example.shape)
        self._dim = programs.axis % len(self._shape)
        self._casts = autocast_dtype(self._device)
        try:
            self._growing, self._program = self._opened(multiple)
        except StreamError as error:
            raise error.in_one_pass() from error.__cause__
        self._program.check_rows_apart()
        self._mark = programs.mark
        self._engine = Engine(self._program, self._device)
        self._available = self._chunk_start = 0
        self._chunk = torch.empty(0)
        self._closed = self._failed = self._numpy = False

    @property
    def program(self) -> Program:
        """What is run: without a right end where the length was not announced."""
        return self._program

    @property
    def latency(self) -> dict[str, int]:
        """Per output, how many samples after its own first one a row comes, at most.

        This is the right half of the receptive field, and what strides wait for.
        """
        wiring, names = self._program.wiring, self._program.output_names
        found = {value: latency(wiring, value) for value in wiring.outputs}
        return {n: found[value] for n, value in zip(names, self._program.outputs, strict=True)}

    def plan(self, chunk: int) -> StreamPlan:
        """The memory of a long session with chunks of this many samples."""
        chunk = check_count(chunk, "A chunk is", 1)
        pushes = pushes_to_settle(self._program.wiring, chunk)
        return plan_of_pushes(self._program, chunk, pushes=pushes)

    @property
    def peak_bytes(self) -> int:
        """The most memory that rows have taken so far."""
        return self._engine.peak

    @property
    def state_bytes(self) -> int:
        """What is kept until the next chunk: rows, and what recurrent layers carry along."""
        return self._engine.state().nbytes

    def push(self, chunk: Readable) -> Any:
        """The new rows of every output that this chunk makes certain (maybe none).

        They come in the structure of the model's output, with what is constant in it.

        Raises UsageError for a chunk that does not fit the example, after ``close``, and where the
        model has changed since the session was opened.
        """
        self._check_open()
        rows = self._fitting(chunk)
        available = self._available + rows.shape[self._dim]
        if self._length is not None and available > self._length:
            raise self._other_length(available)
        if self._growing is not None:
            with autocast_to(self._device, self._casts):
                grown = self._growing.grown(self._program, available)
            self._go_on_with(grown)
        self._chunk_start, self._chunk, self._available = self._available, rows, available
        self._numpy = not isinstance(chunk, Tensor)
        return self._step()

    def close(self) -> Any:
        """The rest of every output, now that the length is known.

        Raises UsageError where another length was announced or the model has changed, StreamError
        where the network reads otherwise at this length, CaptureError where it cannot run on so
        short an input.
        """
        self._check_open()
        if self._length is not None and self._available != self._length:
            raise self._other_length(self._available)
        self._closed = True
        if self._length is None:
            with autocast_to(self._device, self._casts):
                program = self._of(self._available)
            agree(self._program, program)
            self._go_on_with(program)
        return self._step()

    def _opened(self, multiple: int | None) -> tuple[Growing | None, Program]:
        if self._length is not None:
            return None, self._of(self._length)
        return Growing.opened(self._programs, multiple)

    def _go_on_with(self, program: Program) -> None:
        """Go on with what was captured at another length."""
        if program is not self._program:
            self._engine = Engine(program, self._device, self._engine.state())
            self._program = program

    # ---------------------------------------------------------------- one step

    def _step(self) -> Any:
        self._failed = True
        results = self._rows()
        self._failed = False
        return self._program.structured(results, as_numpy if self._numpy else as_is)

    def _rows(self) -> list[ArrayOrTensor]:
        outputs = self._program.wiring.outputs
        source = reading(self._program, self._device, [self._chunk], [self._chunk_start])
        step = [self._available], [ENDLESS] * len(outputs)
        found: dict[int, list[Tensor]] = {value: [] for value in outputs}
        for value, _, rows in drive(self._engine, [step], source):
            found[value].append(rows)
        return [self._joined(value, found[value]) for value in self._program.outputs]

    def _joined(self, value: int, pieces: list[Tensor]) -> ArrayOrTensor:
        kind = self._program.values[value]
        if not pieces:
            shape = [0 if dim == kind.dim else n for dim, n in enumerate(kind.shape)]
            pieces = [torch.empty(shape, dtype=kind.dtype, device=self._device)]
        joined = torch.cat(pieces, kind.dim)
        return as_numpy(joined) if self._numpy else joined

    def _fitting(self, chunk: Readable) -> Tensor:
        check_readable(0, chunk, like=self._example)
        if len(chunk.shape) != len(self._shape) or self._sized(chunk.shape[self._dim]) != tuple(
            chunk.shape
        ):
            raise UsageError(
                f"A chunk has the shape of the example, {self._shape}, in all dimensions but "
                f"{self._dim}; this one has {tuple(chunk.shape)}."
            )
        return self._programs.call.cast(0, chunk, own=True)

    def _of(self, length: int) -> Program:
        return self._programs.program((self._sized(length),))

    def _sized(self, length: int) -> Shape:
        return (*self._shape[: self._dim], length, *self._shape[self._dim + 1 :])

    def _check_open(self) -> None:
        if self._failed:
            raise UsageError(
                "A chunk failed halfway, so what the session keeps is of no use; open another one."
            )
        if self._closed:
            raise UsageError("The session is closed; open another one.")
        if not self._mark.holds():
            raise UsageError(
                "The model has changed since the session was opened, and the session keeps rows of "
                "what it was; open another one."
            )

    def _other_length(self, pushed: int) -> UsageError:
        return UsageError(f"{pushed} samples were pushed, {self._length} were announced.")
