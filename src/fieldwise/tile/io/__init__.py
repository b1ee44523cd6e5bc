"""Arrays on disk, read and written piece by piece: .npy, zarr and tiff."""

from fieldwise.tile.io.blocks import BlockRows as BlockRows
from fieldwise.tile.io.files import NewFile as NewFile
from fieldwise.tile.io.files import open_source as open_source
from fieldwise.tile.io.layout import FileView as FileView
from fieldwise.tile.io.layout import Layout as Layout
from fieldwise.tile.io.layout import ModelView as ModelView
from fieldwise.tile.io.layout import guess_axes as guess_axes
from fieldwise.tile.io.layout import readings as readings
from fieldwise.tile.io.protocol import Sink as Sink
from fieldwise.tile.io.protocol import Source as Source
from fieldwise.tile.io.scaled import Scaled as Scaled
