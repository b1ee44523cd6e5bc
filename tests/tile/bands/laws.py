"""Small networks, each for a law of streaming: what is streamed, and along which axis."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

Function = Callable[..., Tensor]


class Net(nn.Module):
    """A function of the input and of what it learns: layers, then tensors."""

    def __init__(self, function: Function, *learned: nn.Module | Tensor) -> None:
        super().__init__()
        self.function = function
        self.layers = nn.ModuleList(one for one in learned if isinstance(one, nn.Module))
        self.tables = nn.ParameterList(one for one in learned if isinstance(one, Tensor))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.layers, *self.tables)


@dataclass(frozen=True)
class Law:
    """A network with its input, streamed along ``axis``.

    live:   whether it is streamed without knowing the length; else the words of its refusal
    passes: whether it needs passes
    tile:   of what size tiles give the whole; else the words of their refusal
    multiple: what its length is a multiple of
    """

    function: Function
    shape: tuple[int, ...]
    axis: int
    learned: tuple[nn.Module | Tensor, ...] = ()
    live: bool | str = True
    passes: bool = False
    tile: int | str = 4
    multiple: int = 1

    @property
    def model(self) -> nn.Module:
        """In float64."""
        return Net(self.function, *self.learned).double().eval()

    @property
    def example(self) -> Tensor:
        """Random numbers, the same each time."""
        return torch.randn(
            self.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
        )


def laws(**given: Law) -> dict[str, Law]:
    """Laws by what they are about."""
    return {name.replace("_", " "): law for name, law in given.items()}
