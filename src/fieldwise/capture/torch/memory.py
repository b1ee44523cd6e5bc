"""Which tensor holds which value: storages, views of them, and writes through views.

A ``Storage`` holds one value at a time.  A tensor that derives from the input is an ``Entry``: a
chain of views on a storage.  Writing through a view makes a new value of the whole storage; every
other view of it is read again, through its chain, the next time it is used.

A constant becomes derived when something derived is written into its memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fieldwise.capture.torch.aliases import View, scatter_reads, strided_read
from fieldwise.capture.torch.calls import WriteThrough, constant
from fieldwise.capture.torch.overloads import tensors_of
from fieldwise.capture.torch.trace import Trace
from fieldwise.errors import CaptureError, fault
from fieldwise.graph.ir import Along, Call, Read, Ref, separable
from fieldwise.graph.kinds import COPY
from fieldwise.graph.tensors import dtype_name


@dataclass(slots=True)
class Storage:
    """Memory: its tensor when fresh, the value it holds now, how often it was written.

    ``value`` is None as long as it holds a constant, ``content``, that nothing asked for.
    """

    root: Tensor
    value: int | None
    content: Tensor | None = None
    version: int = 0
    entries: list[Entry] = field(default_factory=list)


@dataclass(slots=True)
class Entry:
    """A tensor that derives from the input: views on a storage, and the value last read.

    ``tensor`` stands in for it on the meta device.
    """

    tensor: Tensor
    storage: Storage
    chain: tuple[View, ...] = ()
    value: int = -1
    version: int = -1


class Memory:
    """The tensors that derive from the input; ``rebuild`` makes the entries of views of constants.

    ``rebuild`` gets a tensor that shares memory with a constant that has become derived.
    """

    def __init__(self, trace: Trace, rebuild: Callable[[Tensor], Entry]) -> None:
        self.trace = trace
        self._rebuild = rebuild
        self._entries: dict[int, Entry] = {}
        self._storages: dict[int, Storage] = {}
        self._promoted = False
        self._alive: list[Tensor] = []

    def entry(self, tensor: Tensor) -> Entry | None:
        """What a tensor stands for; None for a constant."""
        found = self._entries.get(id(tensor))
        if found is not None or not (tensor.is_meta or self._promoted):
            return found
        storage = self._storages.get(storage_key(tensor))
        if storage is None:
            return None
        found = _twin_of(tensor, storage) or self._rebuild(tensor)
        self._remember(tensor, found)
        return found

    def holds_any(self, arguments: Iterable[object]) -> bool:
        """Whether a tensor among the arguments of an op derives from the input."""
        for argument in arguments:
            if isinstance(argument, Tensor):
                if self.entry(argument) is not None:
                    return True
            elif isinstance(argument, (list, tuple)) and any(map(self.entry, tensors_of(argument))):
                return True
        return False

    def value_of(self, tensor: Tensor) -> int | None:
        """The value a tensor holds now; None for a constant."""
        entry = self.entry(tensor)
        return None if entry is None else self.current(entry)

    def check(self, tensor: Tensor) -> None:
        """Raise CaptureError where a tensor has another shape or dtype than what it stands for."""
        entry = self._entries.get(id(tensor))
        if entry is None or entry.value < 0:
            return
        shape, dtype = self.trace.shapes[entry.value], self.trace.dtypes[entry.value]
        if tensor.shape != shape or dtype_name(tensor.dtype) != dtype:
            given = f"{dtype_name(tensor.dtype)} of shape {tuple(tensor.shape)}"
            raise fault(
                f"A tensor ({self.trace.frame}) was recorded as {dtype} of shape {shape}, and is "
                f"{given}"
            )

    def storage(self, tensor: Tensor) -> Storage | None:
        """The derived memory that a tensor looks at."""
        return self._storages.get(storage_key(tensor))

    def own(self, tensor: Tensor, value: int) -> None:
        """The tensor is fresh memory that holds this value."""
        storage = Storage(tensor, value)
        self._storages[storage_key(tensor)] = storage
        self._remember(tensor, Entry(tensor, storage, (), value, storage.version))

    def attach(self, tensor: Tensor, base: Entry, view: View, value: int) -> None:
        """The tensor is a view, just read, of another."""
        storage = base.storage
        chain = (*base.chain, view)
        self._remember(tensor, Entry(tensor, storage, chain, value, storage.version))

    def rename(self, tensor: Tensor, entry: Entry) -> None:
        """The tensor, whose shape has changed in place, stands for what ``entry`` does."""
        self._remember(tensor, replace(entry, tensor=tensor if tensor.is_meta else entry.tensor))

    def forget(self, tensor: Tensor) -> None:
        """The tensor is about to look at its memory, or at other memory, in another way.

        What it stood for until now keeps an alias of it.
        """
        storage, alias = self.storage(tensor), tensor.detach()
        self._entries.pop(id(tensor), None)
        if storage is None:
            return
        if storage.root is tensor:
            storage.root = alias
        for entry in storage.entries:
            if entry.tensor is tensor:
                entry.tensor = alias

    def clear(self) -> None:
        """Forget everything, so that the tensors are freed at once."""
        for storage in self._storages.values():
            storage.entries.clear()
        self._entries.clear()
        self._storages.clear()
        self._alive.clear()

    def _remember(self, tensor: Tensor, entry: Entry) -> None:
        self._entries[id(tensor)] = entry
        entry.storage.entries.append(entry)
        self._alive.append(tensor)

    def current(self, entry: Entry) -> int:
        """The value an entry stands for, read again through its views if it was written to."""
        storage = entry.storage
        if entry.version != storage.version:
            value = self._value(storage)
            for view in entry.chain:
                value = self._read(view, value)
            entry.value, entry.version = value, storage.version
        return entry.value

    def _value(self, storage: Storage) -> int:
        if storage.value is None:
            kind = (tuple(storage.root.shape), dtype_name(storage.root.dtype))
            source = Call(constant, (storage.content,))
            (storage.value,) = self.trace.emit("constant", (), ((),), (kind,), source)
        return storage.value

    def _read(self, view: View, value: int) -> int:
        kind = (view.after, view.dtype)
        return self.trace.emit(view.op, (value,), ((view.read,),), (kind,), view.source)[0]

    def write(self, entry: Entry, value: int) -> None:
        """The entry's memory now holds this value; every view of that memory sees it."""
        storage = entry.storage
        new = value
        for depth in range(len(entry.chain) - 1, -1, -1):
            new = self._write_through(entry.chain[depth], new, entry.chain[:depth], storage)
        storage.value, storage.version = new, storage.version + 1
        entry.value, entry.version = value, storage.version

    def _write_through(
        self, view: View, value: int, above: tuple[View, ...], storage: Storage
    ) -> int:
        """The base of a view after the write; ``above`` leads from the storage to that base."""
        kept, written = scatter_reads(view)
        operands: tuple[int, ...] = (value,)
        dtype = self.trace.dtypes[value]
        if kept:
            base = self._value(storage)
            for step in above:
                base = self._read(step, base)
            operands, dtype = (value, base), self.trace.dtypes[base]
        reads = (
            *(Read(0, read.steps, read.shapes, COPY) for read in written),
            *(Read(1, read.steps, read.shapes, COPY) for read in kept),
        )
        refs = tuple(Ref(number) for number in range(len(operands)))
        source = Call(WriteThrough(view.source, view.before), refs)
        kind = (view.before, dtype)
        return self.trace.emit(f"{view.op}_scatter", operands, (reads,), (kind,), source)[0]

    # ---------------------------------------------------------------- constants

    def promote(self, tensor: Tensor, root: Tensor) -> Entry:
        """The entry of a constant about to be written; all its memory becomes derived.

        ``root`` is taken for that memory where it fills it; else the memory is taken as a line.
        """
        key = storage_key(root)
        size = root.untyped_storage().nbytes() // root.element_size()
        if root.numel() != size or not _is_dense(root):
            root = torch.as_strided(root, (size,), (1,), 0)
        twin = empty_twin(root)
        storage = Storage(twin, None, root)
        self._storages[key] = storage
        self._promoted = True
        entry = Entry(twin, storage)
        self._remember(root, entry)
        self._remember(twin, entry)
        self._storages[storage_key(twin)] = storage
        found = self.entry(tensor)
        assert found is not None
        return found

    def window(self, tensor: Tensor, where: object) -> Entry:
        """A tensor that looks at derived memory by its strides alone (x.data, as_strided).

        Raises CaptureError where the memory was not laid out densely.
        """
        storage = self._storages[storage_key(tensor)]
        root, layout = storage.root, _layout(tensor)
        if not _is_dense(root) or root.dtype != tensor.dtype:
            raise CaptureError(
                f"The model looks at the memory of a tensor in a way that cannot be followed "
                f"({where}); call contiguous() on the tensor first."
            )
        before, chain = tuple(root.shape), list[View]()
        order = memory_order(root)
        if order != tuple(range(root.dim())):
            shape = tuple(before[dim] for dim in order)
            coords = (Along(order.index(dim)) for dim in range(root.dim()))
            read = separable(0, *coords, kind=COPY)
            call = Call(torch.ops.aten.permute.default, (Ref(0), list(order)))
            chain.append(View("permute", read, before, shape, dtype_name(root.dtype), call))
            before = shape
        read = replace(strided_read(before, *layout), kind=COPY)
        size, stride, offset = layout
        given = (Ref(0), list(size), list(stride), offset)
        call = Call(torch.ops.aten.as_strided.default, given)
        kind = (tuple(tensor.shape), dtype_name(tensor.dtype))
        chain.append(View("as_strided", read, before, *kind, call))
        twin = tensor if tensor.is_meta else torch.as_strided(root, *layout)
        return Entry(twin, storage, tuple(chain))


# -------------------------------------------------------------------- layouts


def storage_key(tensor: Tensor) -> int:
    """What tells one piece of memory from another, as long as both are alive.

    A tensor without a storage of its own (a sparse one) shares its memory with no other.
    """
    try:
        return tensor.untyped_storage()._cdata
    except RuntimeError:
        return -id(tensor)


def is_strided(tensor: Tensor) -> bool:
    """Whether its elements lie in one storage, by strides: it is neither sparse nor nested."""
    return tensor.layout is torch.strided and not tensor.is_nested


def empty_twin(tensor: Tensor) -> Tensor:
    """A tensor of the same layout on the meta device."""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def memory_order(tensor: Tensor) -> tuple[int, ...]:
    """The dimensions as memory lays them out, the outermost first."""
    strides = tensor.stride()
    return tuple(sorted(range(tensor.dim()), key=lambda dim: (-strides[dim], dim)))


def _is_dense(tensor: Tensor) -> bool:
    """Whether the tensor fills a piece of memory from its start, without overlap."""
    if tensor.storage_offset():
        return False
    return tensor.permute(memory_order(tensor)).is_contiguous()


def _layout(tensor: Tensor) -> tuple[torch.Size, tuple[int, ...], int]:
    return tensor.shape, tensor.stride(), int(tensor.storage_offset())


def _twin_of(tensor: Tensor, storage: Storage) -> Entry | None:
    """An entry that looks at the same memory in the same way."""
    for entry in storage.entries:
        seen = entry.tensor
        if seen.dtype == tensor.dtype and _layout(seen) == _layout(tensor):
            return entry
    return None
