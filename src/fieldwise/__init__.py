"""What every output of a convolutional network sees, exactly."""

from fieldwise.contents import attach
from fieldwise.version import __version__ as __version__

__getattr__, __dir__, __all__ = attach(__name__, __file__)
