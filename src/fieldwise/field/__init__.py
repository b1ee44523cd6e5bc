"""Receptive fields: closed forms, exact regions by pulling, and gradients to check them."""

from fieldwise.contents import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
