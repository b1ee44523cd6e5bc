"""A single op whose verdict is known by hand, and how to write one down.

Every case is a small model on one input.  ``axis`` of the input is shifted; ``period`` is the
least circular shift that the output answers with a roll by ``step`` along ``result_axis`` (an
output that does not move answers with step 0), and None where no shift short of a full turn does;
then ``why`` is a phrase of the reason.  ``interior`` holds the outputs [start, stop) out of reach
of the input's edges, and None where there are none.  Inputs are generic (independent normal
samples in float64), parameters are to be randomised.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

Range = tuple[int, int]


@dataclass(frozen=True)
class Single:
    """One op, and what is true of it.

    make: returns the model, in eval mode
    parts: which outputs along ``result_axis`` move, where not all do (a class token stays)
    """

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    axis: int
    period: int | None
    step: int = 0
    result_axis: int | None = None
    why: str | None = None
    interior: Range | None = None
    parts: Range | None = None


class Op(nn.Module):
    """A function as a model; what it is given besides becomes a buffer, parameter or submodule."""

    def __init__(self, function: Callable[..., Tensor], **parts: object) -> None:
        super().__init__()
        self.function = function
        self.names = tuple(parts)
        for name, part in parts.items():
            if isinstance(part, Tensor) and not isinstance(part, nn.Parameter):
                self.register_buffer(name, part)
            else:
                setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *(getattr(self, name) for name in self.names))


IMAGE = (1, 2, 12, 16)
"""Height 12, width 16; the width is shifted unless said otherwise."""


def holds(
    function: Callable[..., Tensor],
    *,
    period: int = 1,
    step: int = 1,
    result_axis: int | None = 3,
    interior: Range | None = (0, 16),
    shape: tuple[int, ...] = IMAGE,
    axis: int = 3,
    parts: Range | None = None,
    **given: Callable[[], object],
) -> Single:
    """A case that holds under a circular shift; ``given`` make its parameters and submodules."""
    return Single(
        _maker(function, given), shape, axis, period, step, result_axis, None, interior, parts
    )


def broken(
    function: Callable[..., Tensor],
    why: str,
    *,
    result_axis: int | None = 3,
    interior: Range | None = (0, 16),
    shape: tuple[int, ...] = IMAGE,
    axis: int = 3,
    **given: Callable[[], object],
) -> Single:
    """A case that no circular shift passes."""
    return Single(_maker(function, given), shape, axis, None, 0, result_axis, why, interior, None)


def _maker(
    function: Callable[..., Tensor], given: dict[str, Callable[[], object]]
) -> Callable[[], nn.Module]:
    return lambda: Op(function, **{name: make() for name, make in given.items()}).eval()
