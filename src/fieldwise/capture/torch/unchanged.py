"""Whether a model is still what was captured: a graph holds for one model in one state.

A graph refers to the model's own parameters, so in-place training shows in what is run of it.  What
was computed of them while it was recorded (a normalised weight), which modules and branches ran and
in which mode, is as it was then.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import is_

from torch import Tensor, nn

from fieldwise.capture.torch.tree import named_modules


class ModelMark:
    """A model as it is now: its modules, tensors, hooks, modes and plain attributes.

    values: whether what its tensors hold counts too, as far as torch counts writes (not those
            through ``.data``)

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout())
    >>> mark = ModelMark(net.eval())
    >>> mark.holds()
    True
    >>> net[0] = nn.Conv2d(3, 4, 5)
    >>> mark.holds()
    False
    """

    def __init__(self, model: nn.Module, *, values: bool = False) -> None:
        self._model, self._values = model, values
        self._parts, self._facts = self._now()

    def holds(self) -> bool:
        """Whether the model is what it was."""
        parts, facts = self._now()
        alike = len(parts) == len(self._parts) and all(map(is_, parts, self._parts))
        return alike and facts == self._facts

    def _now(self) -> tuple[list[object], list[object]]:
        """What it consists of, compared by identity, and what is said of that, by equality."""
        parts, facts = list[object](), list[object]()
        for _, module in named_modules(self._model):
            parts.append(module)
            parts += _hooks(module)
            facts += [one for one in vars(module).values() if isinstance(one, _PLAIN)]
            for table in (module._parameters, module._buffers):
                for tensor in table.values():
                    parts.append(tensor)
                    if tensor is not None:
                        facts += (tensor.dtype, tensor.device, tensor.shape)
                        facts.append(_writes(tensor) if self._values else None)
        return parts, facts


def _hooks(module: nn.Module) -> Iterator[object]:
    yield from module._forward_pre_hooks.values()
    yield from module._forward_hooks.values()


def _writes(tensor: Tensor) -> int:
    """How often it has been written to; torch does not count that of inference tensors."""
    return 0 if tensor.is_inference() else tensor._version


_PLAIN = (bool, int, float, complex, str, bytes)
