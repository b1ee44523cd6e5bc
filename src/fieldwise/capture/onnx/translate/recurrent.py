"""Recurrent layers: plain ones as torch's own, others step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from fieldwise.capture.onnx.node_call import NodeCall
from fieldwise.capture.onnx.registry import translates

CellStep = Callable[..., tuple[Tensor, ...]]
"""One step of a cell: its input and states → its states; the first is the row."""

_LSTM_ORDER = (0, 2, 3, 1)  # ONNX: input, output, forget, cell; torch: input, forget, cell, output
_GRU_ORDER = (1, 0, 2)  # ONNX: update, reset, hidden; torch: reset, update, hidden


@translates("RNN", learned=(1, 2, 3))
def _rnn(
    node: NodeCall, x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None,
    lengths: Tensor | None = None, h: Tensor | None = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    layer = RecurrentNode(node, x, w, r, b, lengths, (h,), None)
    names = [one.lower() for one in layer.activations(["tanh"])]
    if not layer.is_plain or len(set(names)) != 1 or names[0] not in ("tanh", "relu"):
        return layer.by_steps(_rnn_step, ["tanh"])
    run = torch.rnn_tanh if names[0] == "tanh" else torch.rnn_relu
    return layer.by_torch(run, None)


@translates("GRU", learned=(1, 2, 3))
def _gru(
    node: NodeCall, x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None,
    lengths: Tensor | None = None, h: Tensor | None = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    layer = RecurrentNode(node, x, w, r, b, lengths, (h,), None)
    usual = ["sigmoid", "tanh"]
    if layer.is_plain and layer.is_usual(usual) and node.integer("linear_before_reset", 0):
        return layer.by_torch(torch.gru, _GRU_ORDER)
    return layer.by_steps(_gru_step, usual)


@translates("LSTM", learned=(1, 2, 3, 7))
def lstm(
    node: NodeCall, x: Tensor, w: Tensor, r: Tensor, b: Tensor | None = None,
    lengths: Tensor | None = None, h: Tensor | None = None, c: Tensor | None = None,
    peepholes: Tensor | None = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Long short-term memory."""
    layer = RecurrentNode(node, x, w, r, b, lengths, (h, c), peepholes)
    usual = ["sigmoid", "tanh", "tanh"]
    plain = layer.is_plain and not node.integer("input_forget", 0) and peepholes is None
    if plain and layer.is_usual(usual):
        return layer.by_torch(torch.lstm, _LSTM_ORDER)
    return layer.by_steps(_lstm_step, usual)


class RecurrentNode:
    """A recurrent node with its inputs."""

    def __init__(
        self,
        node: NodeCall,
        x: Tensor,
        w: Tensor,
        r: Tensor,
        b: Tensor | None,
        lengths: Tensor | None,
        states: Sequence[Tensor | None],
        peepholes: Tensor | None,
    ) -> None:
        self.node, self.lengths, self.peepholes = node, lengths, peepholes
        self.batch_first = bool(node.integer("layout", 0))
        self.x = x.transpose(0, 1) if self.batch_first else x
        self.w, self.r, self.b = w, r, b
        self.directions, self.hidden = w.shape[0], r.shape[-1]
        self.gates = w.shape[1] // self.hidden
        shape = (self.directions, self.x.shape[1], self.hidden)
        self.states = [
            x.new_zeros(shape)
            if state is None
            else state.transpose(0, 1)
            if self.batch_first
            else state
            for state in states
        ]
        self.reverse = node.text("direction", "forward") == "reverse"

    def activations(self, usual: Sequence[str]) -> list[str]:
        """The names of the activations, of all directions."""
        found = self.node.node.attributes.get("activations")
        if isinstance(found, tuple) and found:
            return [str(one) for one in found]
        return list(usual) * self.directions

    def is_usual(self, usual: Sequence[str]) -> bool:
        """Whether the activations are those of torch."""
        return [one.lower() for one in self.activations(usual)] == list(usual) * self.directions

    @property
    def is_plain(self) -> bool:
        """Whether nothing is clipped or of another length."""
        same = self.lengths is None
        return (
            same
            and not self.node.number("clip", 0.0)
            and not (self.reverse and self.directions > 1)
        )

    # ---------------------------------------------------------------- as torch has it

    def by_torch(
        self, run: Callable[..., Sequence[Tensor]], order: Sequence[int] | None
    ) -> tuple[Tensor, ...]:
        """Computed by torch's own layer, its gates in torch's order."""
        weights: list[Tensor] = []
        for direction in range(self.directions):
            weights += [
                self._ordered(self.w[direction], order),
                self._ordered(self.r[direction], order),
            ]
            if self.b is not None:
                wide = self.gates * self.hidden
                weights += [
                    self._ordered(self.b[direction, :wide], order),
                    self._ordered(self.b[direction, wide:], order),
                ]
        x = self.x.flip(0) if self.reverse else self.x
        states = self.states if len(self.states) > 1 else self.states[0]
        two = self.directions > 1
        found = run(x, states, weights, self.b is not None, 1, 0.0, False, two, False)
        rows, *last = found
        rows = rows.flip(0) if self.reverse else rows
        split = rows.reshape(rows.shape[0], rows.shape[1], self.directions, self.hidden)
        return self._shaped(split.transpose(1, 2), last)

    def _ordered(self, gates: Tensor, order: Sequence[int] | None) -> Tensor:
        if order is None:
            return gates
        return torch.cat([gates[n * self.hidden : (n + 1) * self.hidden] for n in order])

    def _shaped(self, rows: Tensor, last: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Rows (time, direction, batch, hidden) and states as the node gives them."""
        if self.batch_first:
            return (rows.permute(2, 0, 1, 3), *(one.transpose(0, 1) for one in last))
        return (rows, *last)

    # ---------------------------------------------------------------- step by step

    def by_steps(self, step: CellStep, usual: Sequence[str]) -> tuple[Tensor, ...]:
        """Computed one position after the other."""
        names = self.activations(usual)
        all_rows, all_last = [], []
        for direction in range(self.directions):
            cell = RecurrentCell(self, direction, names[direction * len(usual) :][: len(usual)])
            backwards = self.reverse or direction == 1
            rows, last = self._walk(step, cell, backwards)
            all_rows.append(rows)
            all_last.append(last)
        states = [torch.stack(parts) for parts in zip(*all_last, strict=True)]
        return self._shaped(torch.stack(all_rows, 1), states)

    def _walk(
        self, step: CellStep, cell: RecurrentCell, backwards: bool
    ) -> tuple[Tensor, list[Tensor]]:
        states = [state[cell.direction] for state in self.states]
        count = self.x.shape[0]
        rows: list[Tensor | None] = [None] * count
        for number in range(count):
            time = count - 1 - number if backwards else number
            made = step(cell, self.x[time], *states)
            row = made[0]
            if self.lengths is not None:
                runs = (time < self.lengths).unsqueeze(1)
                made = tuple(
                    torch.where(runs, new, old) for new, old in zip(made, states, strict=True)
                )
                row = torch.where(runs, row, torch.zeros_like(row))
            states, rows[time] = list(made), row
        return torch.stack(rows), states  # type: ignore[arg-type]


class RecurrentCell:
    """One direction of a layer."""

    def __init__(self, layer: RecurrentNode, direction: int, names: Sequence[str]) -> None:
        node, hidden = layer.node, layer.hidden
        self.direction = direction
        wide = layer.gates * hidden
        self.w = layer.w[direction].split(hidden)
        self.r = layer.r[direction].split(hidden)
        zeros = layer.w.new_zeros(2 * wide)
        b = zeros if layer.b is None else layer.b[direction]
        self.wb, self.rb = b[:wide].split(hidden), b[wide:].split(hidden)
        p = layer.peepholes
        self.p = None if p is None else p[direction].split(hidden)
        clip = node.number("clip", 0.0)
        alphas, betas = (
            node.numbers("activation_alpha") or [],
            node.numbers("activation_beta") or [],
        )
        self.functions = [
            _activation(node, name, clip, alphas[n : n + 1], betas[n : n + 1])
            for n, name in enumerate(names)
        ]
        self.joined = bool(node.integer("input_forget", 0))
        self.reset_last = bool(node.integer("linear_before_reset", 0))

    def gate(self, number: int, x: Tensor, h: Tensor) -> Tensor:
        """What goes into a gate, before its activation."""
        return F.linear(x, self.w[number], self.wb[number]) + F.linear(
            h, self.r[number], self.rb[number]
        )


def _rnn_step(cell: RecurrentCell, x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    return (cell.functions[0](cell.gate(0, x, h)),)


def _gru_step(cell: RecurrentCell, x: Tensor, h: Tensor) -> tuple[Tensor, ...]:
    squash, turn = cell.functions
    update, reset = squash(cell.gate(0, x, h)), squash(cell.gate(1, x, h))
    if cell.reset_last:
        kept = reset * F.linear(h, cell.r[2], cell.rb[2])
    else:
        kept = F.linear(reset * h, cell.r[2], cell.rb[2])
    new = turn(F.linear(x, cell.w[2], cell.wb[2]) + kept)
    return ((1 - update) * new + update * h,)


def _lstm_step(cell: RecurrentCell, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
    squash, turn, last = cell.functions
    p = cell.p
    i, f = cell.gate(0, x, h), cell.gate(2, x, h)
    if p is not None:
        i, f = i + p[0] * c, f + p[2] * c
    i = squash(i)
    f = 1 - i if cell.joined else squash(f)
    new = f * c + i * turn(cell.gate(3, x, h))
    o = cell.gate(1, x, h)
    o = squash(o if p is None else o + p[1] * new)
    return o * last(new), new


def _activation(
    node: NodeCall, name: str, clip: float, alphas: Sequence[float], betas: Sequence[float]
) -> Callable[[Tensor], Tensor]:
    alpha, beta = next(iter(alphas), None), next(iter(betas), None)
    known: Mapping[str, Callable[[Tensor], Tensor]] = {
        "relu": torch.relu,
        "tanh": torch.tanh,
        "sigmoid": torch.sigmoid,
        "softsign": F.softsign,
        "softplus": F.softplus,
        "affine": lambda x: x * (1.0 if alpha is None else alpha) + (beta or 0.0),
        "leakyrelu": lambda x: F.leaky_relu(x, 0.01 if alpha is None else alpha),
        "thresholdedrelu": lambda x: torch.where(x > (1.0 if alpha is None else alpha), x, 0.0),
        "scaledtanh": lambda x: (
            (1.0 if alpha is None else alpha) * torch.tanh((1.0 if beta is None else beta) * x)
        ),
        "hardsigmoid": lambda x: torch.clamp(
            x * (0.2 if alpha is None else alpha) + (0.5 if beta is None else beta), 0, 1
        ),
        "elu": lambda x: F.elu(x, 1.0 if alpha is None else alpha),
    }
    found = known.get(name.lower())
    if found is None:
        raise node.refusal(f"its activation is {name!r}")
    if not clip:
        return found
    return lambda x: found(torch.clamp(x, -clip, clip))
