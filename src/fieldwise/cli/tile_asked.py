"""What was typed of ``fieldwise tile``, but for the files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fieldwise.cli.options import Format
from fieldwise.cli.tile_options import InputOptions, ModelOptions, OutputOptions, RunOptions
from fieldwise.cli.tile_pieces import PieceOptions
from fieldwise.errors import UsageError


@dataclass(frozen=True, slots=True)
class Asked:
    """The model and the options, the same for every input."""

    model: str
    building: ModelOptions
    reading: InputOptions
    writing: OutputOptions
    pieces: PieceOptions
    running: RunOptions
    style: Format
    debug: bool

    def check(self) -> None:
        """Raise UsageError for options of two groups that contradict each other."""
        if self.running.devices is not None and self.building.device is not None:
            raise UsageError("--devices says where the model runs; leave --device out.")
        self.building.check_types()

    def cut(self) -> dict[str, Any]:
        """How the work is cut, by the names of ``Request``; so that workers can share it."""
        pieces = self.pieces.for_workers() if self.running.is_shared else self.pieces
        return pieces.asked()
