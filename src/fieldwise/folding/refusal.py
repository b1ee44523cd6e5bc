"""Why an affine op stays where it is.

Reasons are given where they are found: in ``labels`` where its channels cannot be followed, in
``passing`` where an op on the way does not let it pass, in ``layers`` where no layer can take it,
in ``planner`` where it is itself none that can be taken, in ``modules`` where its module cannot be
changed.
"""

from __future__ import annotations


class Stays(Exception):  # noqa: N818  (an answer, not an error)
    """Raised inside the planner: the op cannot be taken on this way, for this reason."""

    @property
    def because(self) -> str:
        """The reason, as a clause."""
        return str(self.args[0])

    def within(self, whole: str) -> Stays:
        """The reason of a part, told of the whole; where wholes lie in wholes, of the inner ones.

        >>> Stays("it is odd").within("it reads a sum").because
        'it reads a sum, of which it is odd'
        """
        deep = self.because.count(_OF_WHICH) >= _LEVELS
        return self if deep else Stays(f"{whole}{_OF_WHICH}{self.because}")


def listed(names: tuple[str, ...] | list[str], *, most: int = 3) -> str:
    """Names in quotes, the first few of them.

    >>> listed(["a", "b", "c", "d"], most=2)
    "'a', 'b' and 2 more"
    """
    shown = ", ".join(f"'{name}'" for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


_OF_WHICH = ", of which "
_LEVELS = 3
