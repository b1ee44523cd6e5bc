"""The halo engine: the unmodified model on aligned crops, each proven to give the whole's."""

from fieldwise.tile.crops.planner import plan_tiles as plan_tiles
from fieldwise.tile.crops.run import TiledCallable as TiledCallable
from fieldwise.tile.crops.suggest import suggest_tile as suggest_tile
from fieldwise.tile.errors import BudgetError as BudgetError
