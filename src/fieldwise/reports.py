"""What every report can do: iterate over its rows, and show itself.

Results import no view.  A report asks for its view by name when it is shown; ``views.reports`` says
which view draws which type, and ``see`` makes a page.  This is the one place where a lower room
reaches a higher one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any


class Report:
    """A result with ``rows``; printed, it is the table that the command prints.

    It is true also where it has no rows.
    """

    __slots__ = ()

    @property
    def rows(self) -> Sequence[Any]:
        """What the report is a list of."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Any]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __bool__(self) -> bool:
        return True

    def __contains__(self, item: object) -> bool:
        """Whether this is a row, or the name of one."""
        names = isinstance(item, str)
        return any(item == row or (names and item in _names(row)) for row in self.rows)

    def __str__(self) -> str:
        return str(self._view().text(self))

    def to_dict(self) -> dict[str, Any]:
        """The report as plain data, ready for JSON; docs/json.md describes every field."""
        return dict(self._view().data(self))

    def to_json(self) -> str:
        """The report as JSON text, as ``--format json`` writes it."""
        return str(self._view().json(self))

    def to_pandas(self) -> Any:
        """The rows as a pandas DataFrame; what is nested has a column 'outer.inner'.

        Raises ImportError where pandas is not installed.
        """
        try:
            pandas = import_module("pandas")
        except ImportError as error:
            raise ImportError(
                "to_pandas needs pandas; install it with pip install pandas."
            ) from error
        return pandas.DataFrame(self._view().records(self))

    def _repr_html_(self) -> str:
        return str(self._view().html(self))

    def _view(self) -> Any:
        return import_module("fieldwise.views.reports")


def view_named(name: str) -> Any:
    """A file of ``fieldwise.views``, which draws pictures; asked for by name."""
    return import_module(f"fieldwise.views.{name}")


def page_room() -> Any:
    """``fieldwise.see``, which makes a page of reports; asked for by name, like the views."""
    return import_module("fieldwise.see")


def _names(row: object) -> tuple[str, ...]:
    """By what a row can be asked for."""
    own = [getattr(row, name, None) for name in ("name", "module")]
    return (*(name for name in own if name is not None), *getattr(row, "names", ()))
