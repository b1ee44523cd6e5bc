"""What every unit of a convolutional network sees, exactly."""

from fieldwise.errors import CaptureError as CaptureError
from fieldwise.errors import FieldwiseError as FieldwiseError
from fieldwise.errors import UsageError as UsageError
from fieldwise.field import FieldReport as FieldReport
from fieldwise.field import UnitField as UnitField
from fieldwise.field import receptive_fields as receptive_fields
from fieldwise.field import unproductive as unproductive
from fieldwise.folding import fold as fold
from fieldwise.tile import streamed as streamed
from fieldwise.tile import tiled as tiled
from fieldwise.version import __version__ as __version__
