"""Networks to look at: a page that computes its own answers, a summary, two side by side."""

from fieldwise.contents import attach

__getattr__, __dir__, __all__ = attach(__name__, __file__)
