"""The halo engine: the unmodified model on aligned crops, each proven to give the whole's."""

from fieldwise.tile.halo.engine import TiledCallable as TiledCallable
from fieldwise.tile.halo.engine import TiledModel as TiledModel
from fieldwise.tile.halo.planner import plan_tiles as plan_tiles
from fieldwise.tile.halo.suggest import BudgetError as BudgetError
from fieldwise.tile.halo.suggest import suggest_tile as suggest_tile
