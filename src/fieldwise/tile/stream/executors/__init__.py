"""How to run each op on rows [lo, hi): one file per family, one table (see ``registry``)."""

from fieldwise.tile.stream.executors import convolution as _convolution  # noqa: F401
from fieldwise.tile.stream.executors import joining as _joining  # noqa: F401
from fieldwise.tile.stream.executors import layout as _layout  # noqa: F401
from fieldwise.tile.stream.executors import pool as _pool  # noqa: F401
from fieldwise.tile.stream.executors import recurrent as _recurrent  # noqa: F401
from fieldwise.tile.stream.executors import resample as _resample  # noqa: F401
from fieldwise.tile.stream.executors import writing as _writing  # noqa: F401
from fieldwise.tile.stream.executors.passing import pointwise as pointwise
from fieldwise.tile.stream.executors.registry import Executor as Executor
from fieldwise.tile.stream.executors.registry import Link as Link
from fieldwise.tile.stream.executors.registry import Rows as Rows
from fieldwise.tile.stream.executors.registry import Run as Run
from fieldwise.tile.stream.executors.registry import Site as Site
from fieldwise.tile.stream.executors.registry import find_maker as find_maker
