"""Bytes that a stream moves beside the whole image: those of its ops, and of rows that are copied.

    python benchmarks/copies.py    two minutes; writes the table of docs/gpu.md between its marks

Counted on the processor, op by op: what each reads and writes, views left out.  Copies are ops that
change no number: rows put aside, joined, padded or laid out anew, also those of the input and of
the result.  Concatenations of channels are the network's own, and not among them.  What is
counted does not depend on the machine; on a card copies cost as their bytes do.
"""

from __future__ import annotations

from typing import Any

import torch
from gpu_measures import PAGE
from marks import write_between
from tile import UNet, network, version_line
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fieldwise.tile import streamed

SHAPE = (1, 3, 4096, 512)
BANDS = (256, 512, 1024)
COPIES = {
    "copy_", "clone", "contiguous", "to", "_to_copy", "pad", "constant_pad_nd", "full", "fill_"
}  # fmt: skip


class Moved(TorchDispatchMode):
    """The bytes that ops read and write, and of them those of copies of rows."""

    def __init__(self) -> None:
        super().__init__()
        self.all = self.copied = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if func.is_view or name.startswith(("empty", "new_empty")):
            return found
        given, made = _tensors((args, kwargs)), _tensors(found)
        written = {id(one) for one in made}
        places = sum(one.nbytes for one in made)
        if name in ("to", "contiguous") and given[0] is made[0]:
            return found
        if name == "copy_":
            given = given[1:]
        elif not name.endswith("_"):  # what is given as out= is not read
            given = [one for one in given if id(one) not in written]
        moved = places + sum(one.nbytes for one in given)
        joins_rows = name == "cat" and given[0].shape[1] == made[0].shape[1]
        self.all += moved
        self.copied += moved if name in COPIES or joins_rows else 0
        return found


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def moved(model: nn.Module, x: Tensor) -> Moved:
    """What a call moves, the second one, for which weights are laid out."""
    with torch.inference_mode():
        model(x)
        with Moved() as found:
            model(x)
    return found


def lines() -> list[str]:
    """The table, behind a line that says what it was counted with."""
    found = [
        f"`python benchmarks/copies.py` on {version_line()}, CPU; images of 4096 by 512.",
        "",
        "| network | rows | bytes moved | of them copies of rows |",
        "| --- | --- | --- | --- |",
    ]
    networks = {"U-Net": UNet, "ResNet-50, trunk": lambda: network("ResNet-50")}
    for name, make in networks.items():
        torch.manual_seed(0)
        model, x = make().eval().to(memory_format=torch.channels_last), torch.rand(SHAPE)
        whole = moved(model, x.to(memory_format=torch.channels_last))
        found.append(_line(name, "whole", whole, whole))
        for band in BANDS:
            run = streamed(model, x, band=band)
            found.append(_line(name, str(band), moved(run, x), whole))
    return found


def _line(name: str, rows: str, one: Moved, whole: Moved) -> str:
    return f"| {name} | {rows} | {one.all / whole.all:.2f} | {one.copied / whole.all:.1%} |"


if __name__ == "__main__":
    write_between(PAGE, "counted", "\n".join(lines()))
