"""Programs of a stream whose length is unknown: captured at some length, and longer as it grows.

No row is given that might turn out not to exist, and nothing may depend on the length.  Which ops
would is found by capturing the model at three lengths and comparing what their rows read.  What is
known of positions as far as the captured length alone is captured anew, at twice the length, when a
stream has become longer, and has to agree with what was used before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from fieldwise.errors import CaptureError
from fieldwise.graph.ir import Shape
from fieldwise.tile.bands.endless import agree
from fieldwise.tile.bands.kernels.constants import POSITIONAL
from fieldwise.tile.bands.latency import period
from fieldwise.tile.bands.positions import find_laws
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.programs import Programs
from fieldwise.tile.bands.reach import UNSEEN
from fieldwise.tile.errors import StreamError


@dataclass(frozen=True, slots=True)
class Growing:
    """A stream of a model whose lengths are multiples of a number, else unknown."""

    run: Programs
    multiple: int

    @classmethod
    def opened(cls, run: Programs, multiple: int | None) -> tuple[Growing, Program]:
        """The stream, and its program as far as the example is long.

        Where nothing is said of the lengths, they are those at which the model runs: any, or the
        multiples of its total stride.

        Raises StreamError where nothing is streamed without knowing its end, CaptureError where
        the model does not run at such lengths.
        """
        given = [1] if multiple is None else [multiple]
        found = cls(run, given[0])
        length = found.shape[found.dim]
        try:
            try:
                return found, found.program(length)
            except CaptureError:
                stride = period(run.program((found.shape,)).wiring)
                if multiple is not None or stride == 1:
                    raise
                found = cls(run, stride)
                return found, found.program(length)
        except CaptureError:
            run.endless((found.shape,), {})  # raises where a constant has this length alone
            raise

    def grown(self, program: Program, length: int) -> Program:
        """A program of this stream that serves so long an input, and does what another did."""
        known = program.captured
        if program.lasts or length <= known:
            return program
        try:
            longer = self.program(known << ((length - 1) // known).bit_length())
        except CaptureError as error:
            raise CaptureError(f"{error} {_AS_LONG_AS_IT_IS}") from error.__cause__
        agree(program, longer)
        return longer

    def settled(self, program: Program) -> Program:
        """A program of this stream captured so long that windows of rows are seen to be windows.

        Tables are given the chance to come back, too.  A window that is longer than so many
        doublings of the example stays all of the past.
        """
        for growths in range(_MOST_GROWTHS):
            if program.lasts or (program.forgets and growths >= _TABLE_GROWTHS):
                break
            program = self.grown(program, program.captured + 1)
        return program

    def program(self, length: int) -> Program:
        """The program captured at this length, or at a greater one if no law is seen at this.

        Raises StreamError where it would be another at other lengths.
        """
        try:
            return self._alike(length)
        except StreamError as error:
            if not all(reason.why.endswith(_TOO_SHORT) for reason in error.reasons):
                raise
            try:
                return self._alike(_LONGER * length)
            except (StreamError, CaptureError):
                raise error from None

    def _alike(self, length: int) -> Program:
        """The program, if it is the same at three lengths.

        The second is a little longer than the first, the third by the whole total stride, so that
        every value has more rows.
        """
        lengths = list(self._lengths(length))
        graphs = [self.run.graph((self._sized(one),)) for one in lengths]
        laws = find_laws(graphs)
        program, *longer = (self.run.endless((self._sized(one),), laws) for one in lengths)
        for other in longer:
            agree(program, other)
        return program

    def _lengths(self, least: int) -> Iterator[int]:
        length = -(-least // self.multiple) * self.multiple
        yield length
        grid = period(self.run.program((self._sized(length),)).wiring)
        yield from sorted({length + turns * self.multiple for turns in (1, grid)})

    @property
    def shape(self) -> Shape:
        """Of the example."""
        return tuple(self.run.single_input().shape)

    @property
    def dim(self) -> int:
        """The dimension that is streamed."""
        return self.run.axis % len(self.shape)

    def _sized(self, length: int) -> Shape:
        return (*self.shape[: self.dim], length, *self.shape[self.dim + 1 :])


_AS_LONG_AS_IT_IS = (
    "A stream whose length is not known is captured at up to twice the samples that have come; "
    "session(length=...) at that length alone."
)
_TOO_SHORT = (POSITIONAL, UNSEEN)
"""Reasons that may vanish where more rows are seen."""
_LONGER = 4
_TABLE_GROWTHS, _MOST_GROWTHS = 2, 4
