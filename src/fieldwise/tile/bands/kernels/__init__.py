"""How to run each op on rows [lo, hi): one file per family, one table (see ``registry``)."""

from fieldwise.tile.bands.kernels import attending as _attending  # noqa: F401
from fieldwise.tile.bands.kernels import convolution as _convolution  # noqa: F401
from fieldwise.tile.bands.kernels import fused as _fused  # noqa: F401
from fieldwise.tile.bands.kernels import joining as _joining  # noqa: F401
from fieldwise.tile.bands.kernels import layout as _layout  # noqa: F401
from fieldwise.tile.bands.kernels import overlap as _overlap  # noqa: F401
from fieldwise.tile.bands.kernels import pool as _pool  # noqa: F401
from fieldwise.tile.bands.kernels import recurrent as _recurrent  # noqa: F401
from fieldwise.tile.bands.kernels import resample as _resample  # noqa: F401
from fieldwise.tile.bands.kernels import writing as _writing  # noqa: F401
from fieldwise.tile.bands.kernels.registry import FOLDED as FOLDED
from fieldwise.tile.bands.kernels.registry import Executor as Executor
from fieldwise.tile.bands.kernels.registry import KernelRun as KernelRun
from fieldwise.tile.bands.kernels.registry import Link as Link
from fieldwise.tile.bands.kernels.registry import Rows as Rows
from fieldwise.tile.bands.kernels.registry import Site as Site
from fieldwise.tile.bands.kernels.registry import find_maker as find_maker
from fieldwise.tile.bands.kernels.registry import without_data as without_data
from fieldwise.tile.bands.kernels.replayed import replayed as replayed
