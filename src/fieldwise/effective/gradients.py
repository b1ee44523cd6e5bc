"""The contribution of every input position to a unit: one forward run and one gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fieldwise.capture.torch.model_call import ModelCall
from fieldwise.effective.protocols import PROTOCOLS, combination
from fieldwise.errors import UsageError
from fieldwise.field.probes.units import layer_output, select, varied

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class UnitGradient:
    """A unit of a model, and how its contributions are collected.

    layer: a module's path, None for the output; dims: the dimensions of it that ``unit`` indexes
    axes:  the dimensions of the first input over which the map lies
    """

    call: ModelCall
    layer: str | None
    unit: tuple[int, ...]
    dims: tuple[int, ...]
    axes: tuple[int, ...]
    protocol: str

    def contribution(self, image: Tensor, number: int) -> NDArray[np.float64]:
        """What each position of one input contributes; ``number`` seeds what is drawn.

        Raises UsageError where no gradient reaches the input.
        """
        protocol = PROTOCOLS[self.protocol]
        gradient = self._gradient(image, number, protocol.score)
        sizes = [gradient.shape[axis] for axis in self.axes]
        last = range(gradient.dim() - len(self.axes), gradient.dim())
        lines = gradient.movedim(self.axes, tuple(last)).reshape(-1, *sizes)
        return protocol.collect(lines.double()).cpu().numpy()

    def vanishes(self, image: Tensor) -> bool:
        """Whether the number that the protocol differentiates hardly depends on this input.

        So it is with the sum of channels behind a norm over them: what is left is rounding.  Both
        signs are looked at, since a unit without a positive channel is no constant.
        """
        score = PROTOCOLS[self.protocol].score
        own = self._gradient(image, 0, score)
        negated = self._gradient(image, 0, lambda unit, drawn: score(-unit, drawn))
        generic = self._gradient(image, 0, combination)
        return bool(own.norm() + negated.norm() < _HARDLY * generic.norm())

    def _gradient(
        self, image: Tensor, number: int, score: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        wanted = self.call.shapes[0]
        if tuple(image.shape) not in (wanted, wanted[1:]):
            sizes = ["x".join(map(str, shape)) for shape in (image.shape, wanted)]
            raise UsageError(f"An image has the shape {sizes[0]}; the input's is {sizes[1]}.")
        given = self.call.cast(0, image.reshape(wanted), own=True).detach().requires_grad_()
        with torch.enable_grad():
            # A copy: the model may write into its input, which a leaf does not allow.
            value = layer_output(varied(self.call, given.clone()), self.layer)
            unit = select(value, self.unit, dims=self.dims, layer=self.layer or "output")
            if not unit.requires_grad:
                raise UsageError(
                    f"No gradient reaches the input from '{self.layer or 'output'}': it holds "
                    "integers, or the model runs without gradients; name an earlier layer."
                )
            dice = torch.Generator().manual_seed(number)
            drawn = torch.randn(unit.shape, generator=dice).to(unit)
            (gradient,) = torch.autograd.grad(
                score(unit, drawn), given, allow_unused=True, materialize_grads=True
            )
        return gradient.detach()


_HARDLY = 1e-5
