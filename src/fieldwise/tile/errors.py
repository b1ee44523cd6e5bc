"""Why a network cannot be streamed or tiled: the ops in the way, where they stand, and reasons."""

from __future__ import annotations

from collections.abc import Sequence

from fieldwise.errors import OUR_FAULT, Reason, Refused, summary_of
from fieldwise.graph.graph import Draw, Graph
from fieldwise.graph.ir import Node


class Blocked(Exception):  # noqa: N818  (never leaves the compiler, which turns it into a Reason)
    """Raised where one op cannot be run on a band of rows; the text is the reason.

    even_whole: nor would it help to have its operands whole
    """

    def __init__(self, why: str, *, even_whole: bool = False) -> None:
        super().__init__(why)
        self.even_whole = even_whole


DRAWS = "it draws random numbers; call model.eval() first"
"""Of an op that answers differently each time: no way to run it gives what the whole gave."""


def drawn_reasons(graph: Graph) -> list[Reason]:
    """What is in the way where a network adds noise of its own: another run gives another."""
    return [Reason(one.module, one.op, _noise(one)) for one in graph.drawn]


def _noise(draw: Draw) -> str:
    found = "in the order that its input has in memory" if draw.is_seeded else "others in each run"
    return f"it draws random numbers, {found}; draw them outside, and give them as an input"


def fault(error: Exception) -> str:
    """The reason where an op fails on rows of it: torch has no kernel, or fieldwise is wrong.

    >>> fault(ValueError("no rows"))[:46]
    'fieldwise failed on it (ValueError: no rows); '
    >>> fault(NotImplementedError("not implemented for 'Half'"))
    "torch cannot compute it (NotImplementedError: not implemented for 'Half')"
    """
    if isinstance(error, NotImplementedError):
        return f"torch cannot compute it ({summary_of(error)})"
    return f"fieldwise failed on it ({summary_of(error)}); {OUR_FAULT}"


def reason(node: Node, why: str) -> Reason:
    """What is in the way at a node of a graph."""
    return Reason(node.module, node.called, why)


class TilingError(Refused):
    """The network cannot be computed from pieces: the reasons, a line each, and what to do."""

    def __init__(self, what: str, reasons: Sequence[Reason] = (), remedy: str = "") -> None:
        lines = [f"{what}:", *(f"  {one}" for one in reasons[:_SHOWN])]
        if len(reasons) > _SHOWN:
            lines.append(f"  and {len(reasons) - _SHOWN} more")
        text = "\n".join([*lines, remedy]) if reasons else f"{what} {remedy}"
        self._given = tuple(reasons)
        super().__init__(text.strip(), reasons)

    @property
    def refusals(self) -> tuple[Reason, ...]:
        """The reasons that name a layer."""
        return tuple(one for one in self.reasons if one.op)


class StreamError(TilingError):
    """The network cannot be computed band by band along this axis.

    remedy:   what to do
    passable: whether further passes over the input get past all that is in the way
    keepable: whether passes that keep what these layers read do
    """

    def __init__(
        self,
        what: str,
        reasons: Sequence[Reason],
        remedy: str,
        *,
        passable: bool = False,
        keepable: bool = False,
    ) -> None:
        self.what, self.remedy, self.passable, self.keepable = what, remedy, passable, keepable
        option = _PASSES if passable else _KEPT if keepable else ""
        super().__init__(what, reasons, f"{remedy}\n{option}".strip())

    def that_is_keepable(self) -> StreamError:
        """The same where ``global_ops='auto'`` was tried and does it."""
        return StreamError(
            self.what, self.reasons, self.remedy, passable=self.passable, keepable=True
        )

    def with_remedy(self, remedy: str) -> StreamError:
        """The same with another remedy."""
        return StreamError(
            self.what, self.reasons, remedy, passable=self.passable, keepable=self.keepable
        )

    def with_option(self, option: str) -> StreamError:
        """The same with what was tried and works, in place of the advice to try another axis."""
        advice = "" if self.remedy == ANOTHER_AXIS else f"{self.remedy}  "
        return self.with_remedy(advice + option)

    def in_one_pass(self) -> StreamError:
        """The same where the input goes by once, so that further passes are no remedy."""
        if not (self.passable or self.keepable):
            return self
        once = _ONCE.format("multipass" if self.passable else "auto")
        return StreamError(self.what, self.reasons, f"{self.remedy}\n{once}")


class TileError(TilingError):
    """No exact tiling of this kind; ``remedy`` says what to do, where that is not in the text."""

    def __init__(self, what: str, reasons: Sequence[Reason] = (), remedy: str = "") -> None:
        self.what, self.remedy = what, remedy
        super().__init__(what, reasons, remedy)

    def with_option(self, option: str) -> TileError:
        """The same with an option that would work."""
        return TileError(self.what, self._given, f"{self.remedy}\n{option}".strip())


class OffGridError(TileError):
    """A tile that is not a multiple of the grid; the text names those next to it that are."""


class BudgetError(TileError):
    """No crop is so small that it fits the memory that is given.

    tile: the least tile that there is, which does not fit
    """

    def __init__(self, text: str = "", tile: tuple[int, ...] = ()) -> None:
        super().__init__(text)
        self.tile = tile


ANOTHER_AXIS = "Stream another axis, cut these layers off, or run the model on the whole input."
"""The remedy as long as no other axis was tried."""

_PASSES = (
    "Or give each of them a pass over the input of its own: global_ops='multipass' "
    "(--global-ops multipass)."
)
_KEPT = "Or keep what they read and run each of them once: global_ops='auto' (--global-ops auto)."
_ONCE = "A session sees its input once; with all of it at hand, global_ops='{}' does these."
_SHOWN = 12
