"""Effective receptive fields: how much each input sample matters to a unit, on average."""

from fieldwise.contents import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
