"""Affine layers folded into their neighbours, exactly, with a check and with reasons."""

from fieldwise.contents import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
