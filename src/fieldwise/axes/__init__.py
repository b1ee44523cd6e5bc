"""Exact index arithmetic: integers only, no knowledge of networks."""

from fieldwise.axes.axis_map import FULL as FULL
from fieldwise.axes.axis_map import AxisMap as AxisMap
from fieldwise.axes.borders import Border as Border
from fieldwise.axes.index_set import EMPTY as EMPTY
from fieldwise.axes.index_set import IndexSet as IndexSet
from fieldwise.axes.region import Region as Region
from fieldwise.axes.table import Table as Table
from fieldwise.axes.table import Within as Within
from fieldwise.axes.table import index_map as index_map
from fieldwise.axes.tailed import AnySet as AnySet
from fieldwise.axes.tailed import Tailed as Tailed
from fieldwise.axes.tailed import since as since
from fieldwise.axes.tailed import until as until
