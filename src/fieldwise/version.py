"""The version of fieldwise, said once."""

__version__ = "0.2.0"
