"""Reports as HTML, for notebooks: the same cells as the table for terminals, as plain markup.

The markup carries no colours of its own, so it reads in light and dark notebooks alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from rich.console import Group, RenderableType
from rich.text import Text

from fieldwise.views.fitting import FittingTable


def lines(result: object) -> str:
    """What a plan or a certificate of pieces says of itself, line by line.

    >>> lines("2 < 3")
    '<pre>2 &lt; 3</pre>'
    """
    return f"<pre>{escape(str(result))}</pre>"


def to_html(renderable: RenderableType) -> str:
    """What a table view made for a terminal, as HTML: tables and lines of text.

    >>> to_html(Text("a < b"))
    '<div><p>a &lt; b</p></div>'
    """
    return f"<div>{''.join(_parts(renderable))}</div>"


def _parts(renderable: RenderableType) -> Iterator[str]:
    if isinstance(renderable, Group):
        for part in renderable.renderables:
            yield from _parts(part)
    elif isinstance(renderable, FittingTable):
        yield from _table(renderable)
    else:
        text = _text(renderable)
        bold = isinstance(renderable, Text) and "bold" in str(renderable.style)
        yield f"<p><b>{text}</b></p>" if bold else f"<p>{text}</p>"


def _table(made: FittingTable) -> Iterator[str]:
    columns = made.shown()
    styles = [f"text-align:{'right' if column.at_right else 'left'}" for column in columns]
    yield f'<div style="{_SCROLL}"><table><thead><tr>'
    for column, style in zip(columns, styles, strict=True):
        yield f'<th style="{style}">{escape(column.title)}</th>'
    yield "</tr></thead><tbody>"
    for row in zip(*(column.cells for column in columns), strict=True):
        cells = zip(row, styles, strict=True)
        marked = (f'<td style="{style}">{escape(cell)}</td>' for cell, style in cells)
        yield f"<tr>{''.join(marked)}</tr>"
    yield "</tbody></table></div>"


def _text(renderable: RenderableType) -> str:
    return escape(renderable.plain if isinstance(renderable, Text) else str(renderable))


_SCROLL = "max-height:30em;overflow:auto"
