"""The errors that fieldwise raises on purpose: what is wrong, where, and the remedy.

A *wrong call* is a ``UsageError``: another call would have been right.  A *refusal* is ``Refused``:
the call makes sense, and the network stands in the way; its ``reasons`` say where.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class FieldwiseError(Exception):
    """Base of all errors that a user can cause and repair; the text is one sentence or two."""


class UsageError(FieldwiseError):
    """A request that makes no sense: an unknown name, a wrong shape, a unit outside the map."""


class OutOfMemoryError(UsageError):
    """A piece did not fit into the memory where it was computed; the text says what needs less."""


def op_in(module: str, op: str) -> str:
    """An op and the module that it is in, for a sentence; '' is the model itself.

    >>> op_in("layer1.se", "mean"), op_in("", "amax")
    ("'layer1.se' (mean)", "'the model itself' (amax)")
    """
    return f"'{module or 'the model itself'}' ({op})"


@dataclass(frozen=True, slots=True)
class Reason:
    """One thing that stands in the way of what was asked for.

    module: path of the module that it is in; '' for the model itself
    op:     what is called there; '' where no single op is in the way, and ``why`` is a sentence
    why:    the reason
    remedy: what helps against it; '' where the text of the error says it for all reasons at once

    >>> print(Reason("layer1.se", "mean", "it reads the whole axis"))
    'layer1.se' (mean): it reads the whole axis
    """

    module: str
    op: str
    why: str
    remedy: str = ""

    def __str__(self) -> str:
        where = f"{op_in(self.module, self.op)}: " if self.op else ""
        return f"{where}{self.why}; {self.remedy}" if self.remedy else f"{where}{self.why}"


class Refused(FieldwiseError):  # noqa: N818  (an answer, not a mistake)
    """The network does not admit what was asked for.

    reasons: what is in the way, at least one; where nothing smaller is named, the text itself
    """

    def __init__(self, text: str = "", reasons: Iterable[Reason] = ()) -> None:
        super().__init__(text)
        self.reasons = tuple(reasons) or (Reason("", "", text),)

    def __reduce__(self) -> tuple[object, ...]:
        """Handed to another process as it is, whatever its class is made from."""
        return _unpickled, (type(self), self.args, self.__dict__)


def _unpickled(kind: type[Refused], args: tuple[str, ...], state: dict[str, object]) -> Refused:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class CaptureError(Refused):
    """The model could not be recorded."""


class NodeFailsError(CaptureError, UsageError):
    """A node of a file does not fit what it is given; at another size of the input it may."""


class UnsuitableError(Refused, UsageError):
    """The model is of a kind that cannot be copied, rewritten, written or run as asked.

    Another model would be, so it is a ``UsageError`` as well.
    """


class GraphError(FieldwiseError):
    """A graph that is not well-formed (see graph.verify)."""


def fault(what: str) -> CaptureError:
    """The error for what fieldwise itself did wrong while it recorded a model."""
    return CaptureError(f"{what}: {OUR_FAULT}.")


OUR_FAULT = "this is a fault of fieldwise, not of the model; please report it"


def said_by(error: BaseException) -> str:
    """What an error of another library says, as a part of a sentence.

    >>> said_by(ValueError("no such axis.")), said_by(KeyError())
    ('no such axis', 'KeyError')
    """
    lines = str(error).strip().splitlines() or [type(error).__name__]
    text = "".join(letter if letter.isprintable() else "?" for letter in lines[0][:_SAID])
    return text.rstrip(". ") or type(error).__name__


def summary_of(error: BaseException) -> str:
    """The kind of an error of another library, and what it says, as a part of a sentence.

    >>> summary_of(ValueError("no such axis.")), summary_of(KeyError())
    ('ValueError: no such axis', 'KeyError')
    """
    kind, said = type(error).__name__, said_by(error)
    return kind if said == kind else f"{kind}: {said}"


def ended_by(error: SystemExit) -> str:
    """The call that ended a process, with what it was given.

    >>> ended_by(SystemExit("no GPU")), ended_by(SystemExit())
    ("sys.exit('no GPU')", 'sys.exit()')
    """
    code = error.code
    return f"sys.exit({'' if code is None else repr(code)[:_SAID]})"


_SAID = 300  # characters


# -------------------------------------------------------------------- unknown names


def close_names(name: str, known: Iterable[str], *, most: int = 3) -> list[str]:
    """Those of the known names that a wrong one may have meant, the likeliest first.

    Small and capital letters count as the same.

    >>> close_names("Multipas", ["refuse", "multipass"])
    ['multipass']
    """
    from difflib import get_close_matches

    folded: dict[str, list[str]] = {}
    for one in known:
        folded.setdefault(one.lower(), []).append(one)
    close = get_close_matches(name.lower(), folded, n=most, cutoff=_ALIKE)
    return [one for spelled in close for one in folded[spelled]][:most]


_ALIKE = 0.5


def did_you_mean(name: str, known: Iterable[str], *, otherwise: str) -> str:
    """How a sentence about an unknown name ends: with close ones, or with ``otherwise``.

    >>> did_you_mean("rleu", ["conv", "relu"], otherwise="see the list.")
    "did you mean 'relu'?"
    """
    close = [f"'{one}'" for one in close_names(name, known)]
    return f"did you mean {_either(close)}?" if close else otherwise


def check_choice(what: str, given: object, allowed: Sequence[str]) -> None:
    """Raise UsageError, with the close ones, where an option is none of its values.

    >>> check_choice("valid", "wrp", ("keep", "wrap"))
    Traceback (most recent call last):
    ...
    fieldwise.errors.UsageError: valid='wrp' is neither 'keep' nor 'wrap'; did you mean 'wrap'?
    """
    if given in allowed:
        return
    *first, last = (f"'{one}'" for one in allowed)
    none = f"neither {', '.join(first)} nor {last}" if len(first) == 1 else (
        f"none of {', '.join((*first, last))}"
    )  # fmt: skip
    remedy = did_you_mean(str(given), allowed, otherwise="give one of them.")
    raise UsageError(f"{what}={given!r} is {none}; {remedy}")


def _either(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last
