"""Whole-image results from pieces, exactly, for inputs larger than memory."""

from fieldwise.tile.api import plan_tiles as plan_tiles
from fieldwise.tile.api import streamed as streamed
from fieldwise.tile.api import suggest_tile as suggest_tile
from fieldwise.tile.api import tiled as tiled
