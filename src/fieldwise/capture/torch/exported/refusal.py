"""What is wrong with a file, before anybody says which file it is."""

from __future__ import annotations


class UnreadableError(Exception):
    """Why a file is refused: what follows its name in the sentence of a ``UsageError``."""


def foreign(found: object) -> UnreadableError:
    """Something that is none of the operators, sizes and containers that fieldwise reads.

    >>> str(foreign("os.system"))[:43]
    "holds 'os.system' where fieldwise expects a"
    """
    text = found if isinstance(found, str) else repr(found)
    return UnreadableError(
        f"holds {text[:60]!r} where fieldwise expects a plain operator, size or container; "
        "name a package.module:factory instead."
    )


def malformed(what: str) -> UnreadableError:
    """Something that torch.export.save would not have written."""
    return UnreadableError(f"is damaged ({what}); write it again with torch.export.save.")


def too_large(what: str, remedy: str) -> UnreadableError:
    """Something beyond a limit."""
    return UnreadableError(f"is refused: {what}; {remedy}")
