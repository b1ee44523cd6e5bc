"""Model descriptions of bioimage.io: what they declare for tiling, held against the network."""

from fieldwise.tile.bioimageio.check import AxisCheck as AxisCheck
from fieldwise.tile.bioimageio.check import check_description as check_description
from fieldwise.tile.bioimageio.description import Description as Description
from fieldwise.tile.bioimageio.description import read_description as read_description
