"""What cannot be read or computed, in the words of an ONNX file."""

from __future__ import annotations


class UnreadableOnnxError(Exception):
    """What is wrong with a file; the text goes on behind its name."""


class NeedsDataError(Exception):
    """A translation needs a value that depends on the network's input; the text says for what."""


def malformed(what: str) -> UnreadableOnnxError:
    """The error for a file that says what cannot be."""
    return UnreadableOnnxError(f"is no valid ONNX file: {what}; export it again.")
