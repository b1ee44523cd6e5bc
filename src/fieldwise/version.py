"""The version of fieldwise, said once."""

__version__ = "0.1.0"
