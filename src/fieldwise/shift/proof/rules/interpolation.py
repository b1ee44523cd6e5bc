"""Interpolation: two positions are alike only where their weights are, not their taps alone.

Taps that are regular over the few positions of a short axis may belong to weights that slide from
one to the next: three of nine samples at a scale of 0.34 are read three apart, 2.94 apart in truth.
"""

from __future__ import annotations

from fieldwise.graph.calls import arguments
from fieldwise.graph.ir import Kwargs, Ref
from fieldwise.shift.proof.frame import Frame
from fieldwise.shift.proof.layout import Layout, as_window, movers_of
from fieldwise.shift.proof.signal import BreaksError, Fault, Moving

_EXACT = 1e-9
_SLIDES = Fault(
    "its weights slide from position to position", "use a size in a simple ratio to the other"
)
_SCALES = ("scales_d", "scales_h", "scales_w")


def check_weights(frame: Frame, layout: Layout) -> None:
    """Check that a window moves by as much as the positions at which it is interpolated.

    Raises BreaksError where it does not.
    """
    given = arguments(frame.node)
    source = given.get("input", given.get("self"))
    if not isinstance(source, Ref):
        raise BreaksError(Fault(f"the call of '{frame.node.called}' is not recorded", known=False))
    before, scales = frame.layout(source.operand), _given_scales(given, len(layout) - 2)
    sizes = frame.shape_of(source)
    for place, (dim, size, scale) in enumerate(zip(before[2:], sizes[2:], scales, strict=True), 2):
        if dim == layout[place]:
            continue
        ratio = _ratio(size, frame.result[place], scale, corners=bool(given.get("align_corners")))
        for moving in movers_of(layout[place]):
            window = as_window(dim, frame.explainer.about())
            assert isinstance(window, Moving)
            if abs(float(window.rate / moving.rate) - ratio) > _EXACT:
                raise BreaksError(_SLIDES)


def _given_scales(given: Kwargs, axes: int) -> list[float | None]:
    """Per axis the scale that was asked for."""
    if "scale_factors" in given:
        return list(given["scale_factors"] or [None] * axes)
    return [given.get(name) for name in (_SCALES[-axes:] if axes > 1 else ("scales",))]


def _ratio(before: int, after: int, scale: float | None, *, corners: bool) -> float:
    """How far apart in the input two neighbours lie."""
    if corners:
        return (before - 1) / (after - 1) if after > 1 else 0.0
    return 1 / scale if scale else before / after
