"""Beyond one machine: dask arrays, and jobs on a dask.distributed cluster."""

from fieldwise.tile.bands.dask_arrays import streamed_array as streamed_array
from fieldwise.tile.crops.dask_arrays import tiled_array as tiled_array
from fieldwise.tile.spread.cluster import check_cluster as check_cluster
from fieldwise.tile.spread.cluster import run_on_cluster as run_on_cluster
