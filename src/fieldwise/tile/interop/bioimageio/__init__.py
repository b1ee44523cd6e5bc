"""Model descriptions of bioimage.io: what they declare for tiling, held against the network."""

from fieldwise.tile.interop.bioimageio.check import AxisCheck as AxisCheck
from fieldwise.tile.interop.bioimageio.check import check_description as check_description
from fieldwise.tile.interop.bioimageio.description import Description as Description
from fieldwise.tile.interop.bioimageio.description import read_description as read_description
