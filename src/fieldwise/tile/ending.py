"""What is done to the output of a network before it is written: classes, a mask, another type.

An ending is a function of one position at a time, so pieces that equal the whole equal it behind
the ending too.  It is written ``[NAME:]STEP`` or ``NAME``:

    argmax          the channel with the largest value
    softmax         over the channels
    sigmoid         of each value
    sigmoid>0.5     1 where it is larger, else 0; also >0.5 alone, and softmax>0.5
    sigmoid*255     times a number; also *255 alone, and softmax*255
    logits:argmax   of the output that is called so; logits alone: that output as it is
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fieldwise.capture.torch.tree import named_tensors
from fieldwise.errors import UsageError
from fieldwise.written import ratio

_STEPS = re.compile(r"(argmax)|(softmax|sigmoid)?(?:([>*])(\S+))?")
_CHANNELS = 1
_CLASSES_IN_A_BYTE = 256
TYPES = ("uint8", "int16", "int32", "float16", "float32", "float64")


@dataclass(frozen=True, slots=True)
class Ending:
    """What is done to one output of a network.

    name:   of the output; None: the only one
    first:  'argmax', 'softmax', 'sigmoid' or '': nothing
    above:  values larger than this become 1 and others 0, where it is given
    times:  values are multiplied by it
    dtype:  what they are cast to: whole numbers are rounded (halves to even) and clipped to their
            range, and what is not a number becomes 0

    >>> str(Ending.parse("logits:sigmoid>0.5"))
    'logits:sigmoid>0.5'
    """

    name: str | None = None
    first: str = ""
    above: float | None = None
    times: float | None = None
    dtype: str | None = None

    @classmethod
    def parse(cls, text: str | None, dtype: str | None = None) -> Ending:
        """The ending that ``--out`` and ``--out-dtype`` name.

        Raises UsageError for a number that is none; any other word is the name of an output.
        """
        if text is None:
            return cls(dtype=dtype)
        name, colon, steps = text.rpartition(":")
        match = _STEPS.fullmatch(steps)
        if match is None or not steps:
            return cls(text.removesuffix(":"), dtype=dtype)
        number = None if match[4] is None else ratio(match[4])
        if match[3] is not None and number is None:
            raise UsageError(
                f"--out {text!r} compares with no number; write for example --out 'sigmoid>0.5'."
            )
        value = None if number is None else float(number)
        return cls(
            name if colon else None,
            match[1] or match[2] or "",
            value if match[3] == ">" else None,
            value if match[3] == "*" else None,
            dtype,
        )

    def __str__(self) -> str:
        above = "" if self.above is None else f">{self.above:g}"
        times = "" if self.times is None else f"*{self.times:g}"
        step = f"{self.first}{above}{times}"
        return f"{self.name}:{step}" if self.name and step else self.name or step

    def __bool__(self) -> bool:
        return self != Ending()

    @property
    def before_steps(self) -> Ending:
        """As far as it is continuous: without classes, thresholds and whole numbers."""
        if self.first == "argmax":
            return Ending(self.name)
        whole = self.dtype is not None and not getattr(torch, self.dtype).is_floating_point
        return replace(self, above=None, dtype=None if whole else self.dtype)

    def of(self, tree: object) -> Tensor:
        """What it makes of a model's output.

        Raises UsageError where that has no such output, or several and none is named.
        """
        return self._cast(self._stepped(self._chosen(tree)))

    def _chosen(self, tree: object) -> Tensor:
        found = dict(named_tensors(tree))
        if self.name is None and len(found) == 1:
            return next(iter(found.values()))
        if self.name in found:
            return found[self.name]
        names = ", ".join(found) or "none"
        if self.name is None:
            first = next(iter(found), "NAME")
            raise UsageError(
                f"The model has several outputs ({names}), and --out is of one; write for example "
                f"--out {first}:{self}."
            )
        raise UsageError(
            f"--out {str(self)!r} is neither a step (argmax, softmax, sigmoid, sigmoid>0.5, "
            f"sigmoid*255) nor an output of the model, which has {names}."
        )

    def _stepped(self, found: Tensor) -> Tensor:
        if self.first in ("argmax", "softmax") and (found.dim() < 3 or found.shape[_CHANNELS] < 2):
            size = "x".join(map(str, found.shape))
            raise UsageError(
                f"--out {self.first} is over the channels, and the output is {size}, with one or "
                "none; for a mask write --out 'sigmoid>0.5'."
            )
        if self.first == "argmax":
            few = found.shape[_CHANNELS] <= _CLASSES_IN_A_BYTE
            return found.argmax(_CHANNELS).to(torch.uint8 if few else torch.int32)
        if self.first == "softmax":
            found = found.softmax(_CHANNELS)
        elif self.first == "sigmoid":
            found = found.sigmoid()
        if self.above is not None:
            return (found > self.above).to(torch.uint8)
        return found if self.times is None else found * self.times

    def _cast(self, found: Tensor) -> Tensor:
        dtype: torch.dtype | None = None if self.dtype is None else getattr(torch, self.dtype)
        if dtype is None or dtype == found.dtype:
            return found
        if dtype.is_floating_point:
            return found.to(dtype)
        if not found.dtype.is_floating_point:
            if torch.iinfo(dtype).max < torch.iinfo(found.dtype).max:
                raise UsageError(
                    f"--out-dtype {self.dtype} does not hold all {found.dtype} values of the "
                    "output; give a wider one."
                )
            return found.to(dtype)
        limits, whole = torch.iinfo(dtype), found.float() if found.dtype.itemsize < 4 else found
        # float32 has no 2^31 - 1, and the next number that it has is 128 less than 2^31.
        most = limits.max - 127 * (dtype == torch.int32 and whole.dtype == torch.float32)
        return whole.round().nan_to_num(0.0).clamp(limits.min, most).to(dtype)


def ended(model: nn.Module, ending: Ending) -> nn.Module:
    """A model that gives what the ending makes of the output; its layers keep their names.

    The model is not changed, and shares its weights with this one.

    >>> net = nn.Conv2d(3, 2, 3, padding=1)
    >>> ended(net, Ending.parse("argmax"))(torch.randn(1, 3, 4, 5)).shape
    torch.Size([1, 4, 5])
    """
    if isinstance(model, torch.jit.ScriptModule):
        return _Behind(model, ending)
    kind = type(model)

    def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Tensor:
        return ending.of(kind.forward(self, *args, **kwargs))

    found: nn.Module = object.__new__(type(kind.__name__, (kind,), {"forward": forward}))
    found.__dict__.update(model.__dict__)
    if "forward" in found.__dict__:  # of an instance: it hides that of the class
        return _Behind(model, ending)
    return found


class _Behind(nn.Module):
    """A model and its ending, where the model has no class to derive from."""

    def __init__(self, model: nn.Module, ending: Ending) -> None:
        super().__init__()
        self.model, self.ending = model, ending
        self.train(model.training)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """What the ending makes of the model's output."""
        return self.ending.of(self.model(*args, **kwargs))
