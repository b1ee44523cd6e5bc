"""How values lie in memory: whether the channels of one position lie beside each other.

Torch calls that channels-last.  Convolutions run on it without reordering what they read and make,
and keep it, and a band of rows is then one block of memory.  What is decided here is the layout of
the inputs; whatever handles rows keeps the one that it is given.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}
"""By the number of dimensions; other values have no such layout."""

Capability = tuple[int, int]
"""Of a card of NVIDIA: its major and minor number."""


def channels_last_pays(device: torch.device, dtypes: Iterable[torch.dtype]) -> bool:
    """Whether convolutions of values of these types are quicker on this device so."""
    capability = torch.cuda.get_device_capability(device) if device.type == "cuda" else (0, 0)
    return pays_on(device.type, dtypes, capability=capability, tf32=rounds_to_tf32(device))


def rounds_to_tf32(device: torch.device) -> bool:
    """Whether convolutions in float32 may be rounded to TF32 there: torch's default on a card."""
    precision = torch.backends.cudnn.conv.fp32_precision  # type: ignore[attr-defined]
    return device.type == "cuda" and bool(precision == "tf32")


def pays_on(
    kind: str, dtypes: Iterable[torch.dtype], *, capability: Capability = (0, 0), tf32: bool = False
) -> bool:
    """The same of a kind of device.

    On processors oneDNN does, in every type that it has.  Cards of NVIDIA have units for products
    of matrices (tensor cores) that read channels-last, from a generation on that depends on the
    type; float32 only where it may be rounded to TF32.

    >>> pays_on("cuda", [torch.float16], capability=(7, 0))
    True
    >>> [pays_on("cuda", [torch.float32], capability=(9, 0), tf32=allowed) for allowed in (0, 1)]
    [False, True]
    """
    if kind == "cpu":
        return True
    if kind != "cuda":
        return False
    since = {torch.float16: (7, 0), torch.bfloat16: (8, 0)}
    if tf32:
        since[torch.float32] = (8, 0)
    return any(capability >= since[dtype] for dtype in dtypes if dtype in since)


def in_channels_last(tensor: Tensor) -> Tensor:
    """The same values in channels-last, where their number of dimensions has that."""
    if tensor.dim() not in CHANNELS_LAST or is_channels_last(tensor):
        return tensor
    return copied_channels_last(tensor)


def copied_channels_last(tensor: Tensor) -> Tensor:
    """A copy of a tensor, in channels-last where its number of dimensions has that."""
    return tensor.clone(memory_format=CHANNELS_LAST.get(tensor.dim(), torch.preserve_format))


def is_channels_last(tensor: Tensor) -> bool:
    """Whether torch takes it for channels-last: by its strides, as of a part of such a tensor.

    A single channel lies so in either layout; what torch makes of it does not.

    >>> rows = in_channels_last(torch.zeros(2, 3, 8, 4)).narrow(2, 1, 5)
    >>> is_channels_last(rows), is_channels_last(torch.zeros(2, 1, 8, 4))
    (True, False)
    """
    if tensor.dim() not in CHANNELS_LAST:
        return False
    others = [dim for dim in (*range(tensor.dim() - 1, 1, -1), 0) if tensor.shape[dim] > 1]
    steps = [tensor.stride(dim) for dim in (1, *others)]
    return steps == sorted(steps)


class Convolved:
    """What convolutions read, in channels-last.

    device, dtypes: where the run is, and the types of its values
    keeps: whether weights are converted once and kept; else torch converts those of every
           convolution at every call, unless their kernel is one sample wide
    """

    def __init__(
        self, device: torch.device, dtypes: Iterable[torch.dtype], *, keeps: bool = True
    ) -> None:
        self._pays = channels_last_pays(device, dtypes)
        self._keeps = keeps and self._pays
        self._weights: dict[int, tuple[Tensor, Tensor]] = {}

    def rows(self, rows: Tensor, rank: int) -> Tensor:
        """Rows that convolutions of batches of so many dimensions will read."""
        return in_channels_last(rows) if self._pays and rows.dim() == rank else rows

    def __call__(self, rows: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The rows and the weight of a convolution, as it is quickest."""
        rows = self.rows(rows, weight.dim())
        if not self._keeps or rows.dim() != weight.dim():
            return rows, weight
        if id(weight) not in self._weights:
            self._weights[id(weight)] = weight, in_channels_last(weight)
        return rows, self._weights[id(weight)][1]
