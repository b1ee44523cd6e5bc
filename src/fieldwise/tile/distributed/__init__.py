"""Beyond one machine: dask arrays, and jobs on a dask.distributed cluster."""

from fieldwise.tile.distributed.cluster import check_cluster as check_cluster
from fieldwise.tile.distributed.cluster import run_on_cluster as run_on_cluster
from fieldwise.tile.distributed.streams import streamed_array as streamed_array
from fieldwise.tile.distributed.tiles import tiled_array as tiled_array
