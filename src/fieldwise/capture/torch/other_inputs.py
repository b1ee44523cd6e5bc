"""What a model that fails on its example would run on: another type, batch or number of channels.

Only such an input is named that was tried, without data, and on which the model runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import torch
from torch import Tensor, nn

from fieldwise.capture.torch.example import as_example, meta_tensor, precision
from fieldwise.errors import CaptureError
from fieldwise.graph.graph import Graph
from fieldwise.written import counted

Capture = Callable[[nn.Module, object], Graph]


def forgiven(model: nn.Module, example: object, error: CaptureError, capture: Capture) -> Graph:
    """The graph of a model that fails on an example, on an example of a type that it takes.

    Which indices are read does not depend on the type of the numbers, so a float64 or uint8
    example stands for one in the model's precision, and real numbers stand for the whole numbers
    that a model of tokens takes.

    Raises the error again where the model fails on that too; where it runs on an example of
    another shape, that is named (see ``explained``).
    """
    given = _only(example, model)
    said = error
    for kind in (precision(model), torch.int64):
        if given is None or given.dtype is kind or not _is_number(given):
            continue
        try:
            return capture(model, meta_tensor(given.shape, kind))
        except CaptureError as another:
            said = said if kind is torch.int64 else another
    raise explained(model, example, said, capture) from error


def explained(
    model: nn.Module, example: object, error: CaptureError, capture: Capture
) -> CaptureError:
    """The error, with an input of another shape on which the model runs, where there is one."""
    given = _only(example, model)
    if given is None:
        return error

    def runs(shape: tuple[int, ...]) -> bool:
        try:
            capture(model, meta_tensor(shape, precision(model)))
        except CaptureError:
            return False
        return True

    shape = tuple(given.shape)
    said = str(error).rstrip()
    for other, what, call in _others(shape):
        if runs(other):
            written = "x".join(map(str, other))
            return CaptureError(
                f"{said} The model runs on {written}, {what}: give that shape (--input {written}), "
                f"or of a tensor x give {call}.",
                error.reasons,
            )
    if (channels := taken_channels(shape, runs)) is not None:
        written = "x".join(map(str, (shape[0], channels, *shape[2:])))
        return CaptureError(
            f"{said} The model runs on {written}, with {counted(channels, 'channel')} instead of "
            f"{shape[1]}: give that shape (--input {written}).",
            error.reasons,
        )
    return error


def taken_channels(shape: Sequence[int], runs: Callable[[tuple[int, ...]], bool]) -> int | None:
    """How many channels a model takes that does not run on those of a shape.

    shape: (batch, channels, ...)
    runs:  whether the model runs on a shape

    None where it runs with none of 1 to 16 others, or with several: then it is not their number.

    >>> taken_channels((1, 3, 8, 8), lambda shape: shape[1] == 4), taken_channels((1, 3), bool)
    (4, None)
    """
    if len(shape) <= _BATCH_AND_CHANNELS:
        return None
    others = (count for count in range(1, _CHANNELS) if count != shape[1])
    found = list(islice((n for n in others if runs((shape[0], n, *shape[2:]))), 2))
    return found[0] if len(found) == 1 else None


def _only(example: object, model: nn.Module) -> Tensor | None:
    """The tensor that an example is; None for several."""
    found = as_example(example, model)
    if type(found) is tuple and len(found) == 1:
        found = found[0]
    return found if isinstance(found, Tensor) else None


def _is_number(tensor: Tensor) -> bool:
    return tensor.is_floating_point() or tensor.dtype == torch.uint8


def _others(shape: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], str, str]]:
    """Shapes that may be meant by one, what they have, and what makes them of a tensor.

    >>> for shape, *_ in _others((224, 224, 3)):
    ...     print(shape)
    (1, 224, 224, 3)
    (1, 3, 224, 224)
    >>> for shape, *_ in _others((1, 224, 224, 3)):
    ...     print(shape)
    (1, 3, 224, 224)
    """
    rank = len(shape)
    if 2 <= rank <= _UNBATCHED:
        yield (1, *shape), "with a batch before it", "x.unsqueeze(0)"
        if rank > 2:
            dims = ", ".join(map(str, (rank - 1, *range(rank - 1))))
            call = f"x.permute({dims}).unsqueeze(0)"
            yield (1, shape[-1], *shape[:-1]), "with a batch and the channels first", call
    if rank >= _CHANNELS_LAST:
        dims = ", ".join(map(str, (0, rank - 1, *range(1, rank - 1))))
        last = (shape[0], shape[-1], *shape[1:-1])
        if last != shape:
            yield last, "with the channels first", f"x.permute({dims})"


_UNBATCHED, _CHANNELS_LAST = 3, 4
_BATCH_AND_CHANNELS = 2
_CHANNELS = 17
"""Numbers of channels that are tried are smaller."""
