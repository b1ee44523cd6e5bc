"""The errors that fieldwise raises on purpose: what is wrong, where, and the remedy."""

from __future__ import annotations


class FieldwiseError(Exception):
    """Base of all errors that a user can cause and mend; the text is one sentence or two."""


class UsageError(FieldwiseError):
    """A request that makes no sense: an unknown name, a wrong shape, a unit outside the map."""


class CaptureError(FieldwiseError):
    """The model could not be recorded."""


class GraphError(FieldwiseError):
    """A graph that is not well-formed (see graph.verify)."""


def fault(what: str) -> CaptureError:
    """The error for what fieldwise itself did wrong while it recorded a model."""
    return CaptureError(f"{what}: {OUR_FAULT}.")


OUR_FAULT = "this is a fault of fieldwise, not of the model; please report it"
