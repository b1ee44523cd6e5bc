"""How far a long run is, seen from its input: an array that shows how much of it has been read.

Streaming and tiling read their input slice by slice, in row-major order, so they need not know of
any display: ``run(watched(image))`` shows a bar in a notebook and a percentage in a terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fieldwise.errors import UsageError

if TYPE_CHECKING:
    from fieldwise.tile.arrays import Readable

Show = Callable[[float], None]
"""Takes the fraction that has been read."""


class Watched:
    """An array of which every reading is shown; made by ``watched``."""

    def __init__(self, array: Any, show: Show) -> None:
        self._array, self._show = array, show
        self.shape, self.dtype = tuple(array.shape), array.dtype
        self._shown = -1

    def __getitem__(self, index: slice | tuple[slice, ...]) -> Any:
        found = self._array[index]
        percent = int(100 * fraction(index if isinstance(index, tuple) else (index,), self.shape))
        if percent != self._shown:
            self._shown = percent
            self._show(percent / 100)
        return found


def watched(array: Readable, *, show: Show | None = None) -> Watched:
    """The same array for ``streamed``, ``tiled`` and whatever else reads slices one after another.

    array: anything with shape, dtype and slices; results are those for an array that is no tensor
    show:  is called with the fraction that has been read, whenever another percent has been; by
           default it is shown in a notebook, or on stderr where that is a terminal

    Layers that are gone to again (several passes, a comparison beforehand) begin anew.

    Raises UsageError for what has no shape.

    >>> import numpy as np
    >>> seen = []
    >>> rows = watched(np.zeros((1, 3, 8, 8)), show=seen.append)
    >>> for start in range(0, 8, 2):
    ...     _ = rows[:, :, start : start + 2]
    >>> seen
    [0.25, 0.5, 0.75, 1.0]
    """
    if not hasattr(array, "shape"):
        raise UsageError(f"A {type(array).__name__} has no shape; give an array to watch.")
    return Watched(array, show or _display())


def fraction(index: Sequence[object], shape: Sequence[int]) -> float:
    """How far the end of a box is from the beginning of an array, in row-major order.

    >>> fraction((slice(None), slice(4, 8), slice(0, 5)), (2, 8, 10))
    0.75
    """
    done = 1.0
    for one, size in reversed(list(zip(index, shape, strict=False))):
        if isinstance(one, slice) and size:
            start, stop, _ = one.indices(size)
            done = (start + (stop - start) * done) / size
    return done


# -------------------------------------------------------------------- where it is shown


def _display() -> Show:
    """In the cell of a notebook, on a terminal, or nowhere."""
    if "IPython" in sys.modules:
        from IPython import get_ipython

        if getattr(get_ipython(), "kernel", None) is not None:
            return _in_cell()
    return _on_terminal if sys.stderr.isatty() else lambda _: None


def _in_cell() -> Show:
    from IPython.display import HTML, display

    handle = display(HTML(bar(0.0)), display_id=True)
    return lambda done: handle.update(HTML(bar(done)))


def bar(done: float) -> str:
    """A bar as HTML, in the browser's own colours.

    >>> bar(0.25)
    '<progress value="0.25" max="1"></progress> 25 % read'
    """
    return f'<progress value="{done:g}" max="1"></progress> {done:.0%} read'.replace("%", " %")


def _on_terminal(done: float) -> None:
    sys.stderr.write(f"\r{done:4.0%} read" + ("\n" if done >= 1 else ""))
    sys.stderr.flush()
