"""Loops over positions, written out, and the networks that say the same without a loop."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEPS, WIDTH = 12, 3


class _Shared(nn.Module):
    """Time along dimension 1, channels last; the same layers for every step."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.conv = nn.Conv1d(WIDTH, WIDTH, 3, padding=1)
        self.valid = nn.Conv1d(WIDTH, WIDTH, 3)

    def body(self, x: Tensor) -> Tensor:
        return F.silu(self.linear(x))

    def chunked(self, x: Tensor) -> Tensor:
        return self.conv(x.transpose(1, 2)).transpose(1, 2)

    def framed(self, x: Tensor) -> Tensor:
        return self.valid(x.transpose(1, 2)).transpose(1, 2)


class Picked(_Shared):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.body(x[:, t]) for t in range(x.shape[1])], 1)


class Unbound(_Shared):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.body(row) for row in x.unbind(1)], 1)


class Written(_Shared):
    def forward(self, x: Tensor) -> Tensor:
        y = torch.zeros_like(x)
        for t in range(x.shape[1]):
            y[:, t] = self.body(x[:, t])
        return y


class Straight(_Shared):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Reversed(_Shared):
    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.body(x[:, t]) for t in reversed(range(x.shape[1]))], 1)


class Flipped(_Shared):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).flip(1)


class PickedPairs(_Shared):
    def forward(self, x: Tensor) -> Tensor:
        rows = [self.body(x[:, t] + 2 * x[:, t + 1]) for t in range(0, x.shape[1], 2)]
        return torch.stack(rows, 1)


class Pairs(_Shared):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x[:, ::2] + 2 * x[:, 1::2])


class PickedRing(_Shared):
    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[1]
        return torch.stack([self.body(x[:, t] + 2 * x[:, (t + 1) % n]) for t in range(n)], 1)


class Ring(_Shared):
    def forward(self, x: Tensor) -> Tensor:
        return self.body(x + 2 * x.roll(-1, 1))


class PickedNeighbours(_Shared):
    def forward(self, x: Tensor) -> Tensor:
        n = x.shape[1]
        rows = [x[:, max(t - 1, 0)] / 3 + x[:, t] + 2 * x[:, min(t + 1, n - 1)] for t in range(n)]
        return torch.stack([self.body(row) for row in rows], 1)


class Neighbours(_Shared):
    def forward(self, x: Tensor) -> Tensor:
        padded = torch.cat([x[:, :1], x, x[:, -1:]], 1)
        return self.body(padded[:, :-2] / 3 + padded[:, 1:-1] + 2 * padded[:, 2:])


class ChunkByChunk(_Shared):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.chunked(chunk) for chunk in x.chunk(3, 1)], 1)


class Chunks(_Shared):
    def forward(self, x: Tensor) -> Tensor:
        chunks = x.unflatten(1, (3, -1)).flatten(0, 1)
        return self.chunked(chunks).unflatten(0, (-1, 3)).flatten(1, 2)


class FrameByFrame(_Shared):
    def forward(self, x: Tensor) -> Tensor:
        frames = [self.framed(x[:, t : t + 3]) for t in range(x.shape[1] - 2)]
        return torch.cat(frames, 1)


class Frames(_Shared):
    def forward(self, x: Tensor) -> Tensor:
        return self.framed(x)


class PickedThenConv(Picked):
    def forward(self, x: Tensor) -> Tensor:
        return self.chunked(super().forward(x))


class ThenConv(Straight):
    def forward(self, x: Tensor) -> Tensor:
        return self.chunked(super().forward(x))


class Cells(_Shared):
    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        state, states = x.new_zeros(len(x), WIDTH), []
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
            states.append(state)
        return torch.stack(states, 1)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(WIDTH, WIDTH, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.gru(x)[0]


class BackwardScan(_Shared):
    def forward(self, x: Tensor) -> Tensor:
        state, states = x.new_zeros(len(x), WIDTH), []
        for t in reversed(range(x.shape[1])):
            state = torch.tanh(state / 2 + self.linear(x[:, t]))
            states.append(state)
        return torch.stack(states[::-1], 1)


class BackwardRecurrent(Recurrent):
    def forward(self, x: Tensor) -> Tensor:
        return self.gru(x.flip(1))[0].flip(1)


class Uneven(_Shared):
    """Each step has weights of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.own = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(STEPS))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([layer(x[:, t]) for t, layer in enumerate(self.own)], 1)


class Counted(_Shared):
    """Each step is told its number."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.body(x[:, t] * (1 + t)) for t in range(x.shape[1])], 1)


ALIKE: dict[type[nn.Module], type[nn.Module]] = {
    Picked: Straight,
    Unbound: Straight,
    Written: Straight,
    Reversed: Flipped,
    PickedPairs: Pairs,
    PickedNeighbours: Neighbours,
    PickedThenConv: ThenConv,
    FrameByFrame: Frames,
}
"""Loops, and what says the same with the same reads."""

SHARED = {**ALIKE, PickedRing: Ring, ChunkByChunk: Chunks}
"""Loops whose body is the same for all rows, and what says the same."""

CARRIED: dict[type[nn.Module], type[nn.Module]] = {
    Cells: Recurrent,
    BackwardScan: BackwardRecurrent,
}
"""Loops that carry a state on, and layers that see alike."""

LOOPS = [*SHARED, *CARRIED, Uneven, Counted]


def made(kind: type[nn.Module]) -> nn.Module:
    """A network of this kind in double precision, with the weights of every other."""
    torch.manual_seed(0)
    return kind().double().eval()


def example() -> Tensor:
    """A sequence of the length for which all of them are made."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(1, STEPS, WIDTH, generator=generator, dtype=torch.float64)
