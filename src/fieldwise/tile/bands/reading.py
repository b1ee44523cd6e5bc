"""Rows of the inputs of a program, read from whatever holds them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from fieldwise.capture.torch.inputs import as_tensor
from fieldwise.tile.arrays import Readable
from fieldwise.tile.bands.program import Program
from fieldwise.tile.bands.run import RowSource


def reading(
    program: Program, device: torch.device, arrays: Sequence[Readable], starts: Sequence[int] = ()
) -> RowSource:
    """The source that reads the inputs of a program from arrays, or from parts of them.

    starts: per input, the row with which its array begins; 0 by default
    """
    values = [program.values[value] for value in program.wiring.inputs]
    starts = starts or [0] * len(values)

    def read(number: int, lo: int, hi: int) -> torch.Tensor:
        value, start = values[number], starts[number]
        rows = arrays[number][(slice(None),) * value.dim + (slice(lo - start, hi - start),)]
        return as_tensor(rows, device, value.dtype)

    return read
