"""Arrays on disk, read and written piece by piece, whatever their format."""

from fieldwise.tile.files.blocks import BlockRows as BlockRows
from fieldwise.tile.files.calibration import Calibration as Calibration
from fieldwise.tile.files.calibration import OutputGrid as OutputGrid
from fieldwise.tile.files.calibration import SampleStep as SampleStep
from fieldwise.tile.files.calibration import calibration_of as calibration_of
from fieldwise.tile.files.checks import holds_value as holds_value
from fieldwise.tile.files.detect import split_name as split_name
from fieldwise.tile.files.formats import NewFile as NewFile
from fieldwise.tile.files.formats import axes_to_write as axes_to_write
from fieldwise.tile.files.formats import open_source as open_source
from fieldwise.tile.files.formats import side_multiple as side_multiple
from fieldwise.tile.files.georeference import Georeference as Georeference
from fieldwise.tile.files.guessing import channels_differ as channels_differ
from fieldwise.tile.files.guessing import guess_axes as guess_axes
from fieldwise.tile.files.guessing import read_as as read_as
from fieldwise.tile.files.guessing import readings as readings
from fieldwise.tile.files.guessing import without_thin as without_thin
from fieldwise.tile.files.layout import AxisLayout as AxisLayout
from fieldwise.tile.files.layout import FileView as FileView
from fieldwise.tile.files.layout import ModelView as ModelView
from fieldwise.tile.files.order_statistics import percentiles as percentiles
from fieldwise.tile.files.protocol import Sink as Sink
from fieldwise.tile.files.protocol import Source as Source
from fieldwise.tile.files.scaled import Scaled as Scaled
from fieldwise.tile.files.scaled import check_normalisation as check_normalisation
