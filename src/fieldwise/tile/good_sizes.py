"""Sizes near one at which a network fails, at which it runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fieldwise.errors import CaptureError
from fieldwise.graph.ir import Shape


def near_sizes(
    sizes: Sequence[int], capture: Callable[[tuple[int, ...]], object]
) -> list[tuple[int, ...]]:
    """The nearest sizes below and above that a power of two divides and the network takes.

    capture: of the network at some sizes; raises CaptureError where it fails
    """
    found = []
    for up in (False, True):
        for step in (2, 4, 8, 16, 32, 64):
            near = tuple((-(-n // step) if up else n // step) * step for n in sizes)
            if near != tuple(sizes) and min(near) and _runs(near, capture):
                found.append(near)
                break
    return found


def runs_on(shapes: Sequence[Shape], capture: Callable[[tuple[Shape, ...]], object]) -> str:
    """A sentence that names shapes near these at which a network runs; empty where none is found.

    Only inputs whose dimensions from 2 on are alike have near shapes.
    """
    spatial = {shape[_SPATIAL:] for shape in shapes}
    if len(spatial) != 1 or () in spatial:
        return ""

    def resized(sizes: tuple[int, ...]) -> tuple[Shape, ...]:
        return tuple((*shape[:_SPATIAL], *sizes) for shape in shapes)

    near = near_sizes(spatial.pop(), lambda sizes: capture(resized(sizes)))
    told = " or ".join("x".join(map(str, resized(sizes)[0])) for sizes in near)
    return f" It runs on {told}." if told else ""


def _runs(sizes: tuple[int, ...], capture: Callable[[tuple[int, ...]], object]) -> bool:
    try:
        capture(sizes)
    except CaptureError:
        return False
    return True


_SPATIAL = 2
