"""The page: a network's fields as one self-contained HTML file that computes its own answers."""

from fieldwise.contents import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
