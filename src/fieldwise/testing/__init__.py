"""Hold your own ops and networks to the standard of fieldwise's: measured, not believed."""

from fieldwise.contents import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
