"""What all pictures share: an explicit white ground, colours that differ in grey, and saving.

matplotlib is imported where a figure is made, never on import.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldwise.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GROUND = "#ffffff"
INK = "#1a1a1a"
STRONG = "#0b3d77"
MEDIUM = "#8f9aa8"
FAINT = "#cfd4da"
ACCENT = "#c2410c"
SUFFIXES = (".svg", ".png", ".pdf")
DPI = 100


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches.  Raises UsageError where matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UsageError(
            "'matplotlib' is not installed; install it with pip install 'fieldwise[plot]'."
        ) from error
    return Figure(figsize=(width, height), dpi=DPI, facecolor=GROUND)


def frame(axes: Axes, top: float, bottom: float, left: float, right: float, **style: Any) -> None:
    """Outline the samples from top and left on, up to bottom and right, which lie outside."""
    from matplotlib.patches import Rectangle

    corner = (left - 0.5, top - 0.5)
    axes.add_patch(Rectangle(corner, right - left, bottom - top, fill=False, **style))


def check_path(path: Path) -> None:
    """Raise UsageError unless a picture can be written there, before anything long is done."""
    if path.suffix.lower() not in SUFFIXES:
        said = f"ends in {path.suffix!r}" if path.suffix else "has no suffix"
        raise UsageError(f"{path} {said}; a picture is written as .svg, .png or .pdf.")
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent}; make it first.")


def save(figure: Figure, path: Path, *, dpi: int = DPI) -> None:
    """Write a figure as SVG, PNG or PDF by the suffix; the same figure gives the same bytes.

    dpi: dots per inch, of a PNG

    Raises UsageError for another suffix, or a folder that is not there.
    """
    check_path(path)
    from matplotlib import rc_context

    undated: dict[str, dict[str, object]] = {
        ".svg": {"Date": None},
        ".pdf": {"CreationDate": None},
    }
    suffix = path.suffix.lower()
    with rc_context({"svg.hashsalt": "fieldwise"}):
        figure.savefig(path, facecolor=GROUND, dpi=dpi, metadata=undated.get(suffix))
