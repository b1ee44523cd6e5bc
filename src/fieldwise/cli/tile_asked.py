"""What was typed of ``fieldwise tile``, but for the files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fieldwise.cli.options import Format
from fieldwise.cli.tile_options import InputOptions, ModelOptions, OutputOptions, RunOptions
from fieldwise.cli.tile_pieces import PieceOptions
from fieldwise.errors import UsageError

if TYPE_CHECKING:
    from fieldwise.tile.jobs.cuts import Cut


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

    def cut(self, begun: Cut | None = None) -> dict[str, Any]:
        """How the work is cut, by the names of ``Request``; so that workers can share it.

        begun: how a job that goes on was cut, which says it where its pieces can be shared out
        """
        is_free = begun is None or begun.cache == "both"
        shared = self.running.is_shared and is_free
        return (self.pieces.for_workers() if shared else self.pieces).asked()
