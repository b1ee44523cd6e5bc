"""Run a model once and write down every op, without arithmetic and without touching the model.

What derives from the input lives on the meta device; constants stay real, so index tensors
keep their values.  The recorder stands below autograd, where composite ops (linear,
layer_norm, scaled_dot_product_attention) arrive whole: those with a rule are recorded as they
are, the others are decomposed.  In-place ops and writes through views become new values (see
``aliases``), so the graph is functional.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fieldwise.capture.torch import rules as _rules  # noqa: F401  (fills the registry)
from fieldwise.capture.torch.aliases import Entry, Storage, View, scatter_reads, strided_read
from fieldwise.capture.torch.calls import Part, WriteThrough, constant, functional
from fieldwise.capture.torch.naming import Draft, Scope
from fieldwise.capture.torch.registry import OpCall, Reads, Rule, find_rule, one
from fieldwise.errors import CaptureError
from fieldwise.graph.ir import Call, Read, Ref, Shape, broadcast, unknown


@dataclass(frozen=True, slots=True)
class _Op:
    """What the recorder needs to know of an overload, worked out once."""

    name: str
    arguments: tuple[str, ...]
    defaults: Mapping[str, Any]
    writes: tuple[str, ...]
    rule: tuple[str, Rule] | None
    composite: bool
    pointwise: bool
    makes_tensor: bool
    reads_shape_only: bool


_SHAPE_ONLY = (
    "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "randint_like",
    "new_zeros", "new_ones", "new_full", "new_empty", "new_empty_strided",
)  # fmt: skip
_WRITE_ONLY = {"copy": "src", "fill": "value", "zero": None}


@cache
def _describe(func: torch._ops.OpOverload) -> _Op:
    schema = func._schema
    writes = tuple(
        argument.name
        for argument in schema.arguments
        if argument.alias_info is not None and argument.alias_info.is_write
    )
    base = schema.name
    if writes and base.endswith("_") and not base.endswith("__"):
        base = base[:-1]
    plain = base.split("::")[1]
    tensors = any("Tensor" in str(argument.type) for argument in schema.arguments)
    return _Op(
        name=base,
        arguments=tuple(argument.name for argument in schema.arguments),
        defaults={
            argument.name: argument.default_value
            for argument in schema.arguments
            if argument.has_default_value()
        },
        writes=writes,
        rule=find_rule(base),
        composite=func.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd),
        pointwise=torch.Tag.pointwise in func.tags,
        makes_tensor=not tensors,
        reads_shape_only=plain in _SHAPE_ONLY,
    )


class Recorder(TorchDispatchMode):
    """The dispatch mode that records; use ``capture``, which sets the scene around it."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.drafts: list[Draft] = []
        self.shapes: list[Shape] = []
        self.dtypes: list[str] = []
        self.inputs: list[int] = []
        self.scopes: dict[str, list[Scope]] = defaultdict(list)
        self.stack: list[tuple[str, int, bool]] = [("", 1, model.training)]
        self._entries: dict[int, Entry] = {}
        self._storages: dict[int, Storage] = {}
        self._promoted: dict[int, Tensor] = {}
        self._twins: dict[int, tuple[Tensor, Tensor]] = {}
        self._sources: dict[int, tuple[Tensor, frozenset[str]]] = {}
        self._makers: dict[int, Tensor] = {}
        self._owned: set[int] = set()
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            self._sources[id(tensor)] = (tensor, frozenset((name,)))
            self._owned.add(_storage_key(tensor))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing is compiled here; importing the compiler to exclude it would take seconds."""
        return False

    # ---------------------------------------------------------------- values and tensors

    def new_value(self, shape: Shape, dtype: str) -> int:
        """A fresh value; its number."""
        self.shapes.append(shape)
        self.dtypes.append(dtype)
        return len(self.shapes) - 1

    def adopt(self, tensor: Tensor) -> Tensor:
        """An input of the model: its stand-in on the meta device."""
        twin = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
        value = self.new_value(tuple(tensor.shape), _dtype(tensor))
        self.inputs.append(value)
        self._own(twin, value)
        return twin

    def value_of(self, tensor: Tensor) -> int | None:
        """The value a tensor holds now; None for a constant."""
        entry = self._entry(tensor)
        return None if entry is None else self._current(entry)

    def _own(self, tensor: Tensor, value: int) -> None:
        """The tensor is fresh memory that holds this value."""
        storage = Storage(value)
        self._storages[_storage_key(tensor)] = storage
        self._entries[id(tensor)] = Entry(tensor, storage, value, storage.version, ())

    def _entry(self, tensor: Tensor) -> Entry | None:
        entry = self._entries.get(id(tensor))
        if entry is None and self._promoted:
            base = self._promoted.get(_storage_key(tensor))
            if base is not None:
                entry = self._window_on(tensor, base)
        return entry

    def _window_on(self, tensor: Tensor, base: Tensor) -> Entry:
        """A tensor of the model's that shares memory with a constant that became derived."""
        root = self._entries[id(base)]
        layout = (tensor.shape, tensor.stride(), tensor.storage_offset())
        chain: tuple[View, ...] = ()
        if layout != (base.shape, base.stride(), 0):
            read = strided_read(tuple(base.shape), *layout)
            call = Call(torch.as_strided, (Ref(0), *layout))
            chain = (View("as_strided", read, tuple(base.shape), tuple(tensor.shape), call),)
        twin = torch.as_strided(base, *layout)
        entry = Entry(twin, root.storage, root.storage.value, -1, chain)
        self._entries[id(tensor)] = self._entries[id(twin)] = entry
        self._keep(tensor)
        return entry

    def _keep(self, tensor: Tensor) -> None:
        self._sources.setdefault(id(tensor), (tensor, frozenset()))
        self._makers.setdefault(_storage_key(tensor), tensor)

    def _current(self, entry: Entry) -> int:
        """The value an entry stands for, read again through its views if it was written to."""
        storage = entry.storage
        if entry.version != storage.version:
            value = storage.value
            for view in entry.chain:
                value = self._emit_view(view, value)
            entry.value, entry.version = value, storage.version
        return entry.value

    def _emit_view(self, view: View, value: int) -> int:
        return self._emit(
            view.op, (value,), ((view.read,),), (view.after,), self.dtypes[value],
            source=view.source,
        )[0]  # fmt: skip

    def _emit(
        self,
        op: str,
        operands: tuple[int, ...],
        reads: Reads,
        shapes: tuple[Shape, ...],
        dtype: str | tuple[str, ...],
        parameters: tuple[str, ...] = (),
        source: Call | None = None,
    ) -> tuple[int, ...]:
        dtypes = (dtype,) * len(shapes) if isinstance(dtype, str) else dtype
        results = tuple(self.new_value(s, d) for s, d in zip(shapes, dtypes, strict=True))
        path, call, _ = self.stack[-1]
        self.drafts.append(Draft(op, operands, results, reads, path, call, parameters, source))
        return results

    def _write(self, entry: Entry, value: int) -> None:
        """The entry's memory now holds this value; every view of that memory sees it."""
        storage = entry.storage
        bases = [storage.value]
        for view in entry.chain[:-1]:
            bases.append(self._emit_view(view, bases[-1]))
        new = value
        for view, base in zip(reversed(entry.chain), reversed(bases), strict=False):
            kept, written = scatter_reads(view)
            operands = (new, base) if kept else (new,)
            reads = (*written, *(Read(1, read.steps, read.shapes) for read in kept))
            refs = tuple(Ref(number) for number in range(len(operands)))
            (new,) = self._emit(
                f"{view.op}_scatter", operands, (reads,), (view.before,), self.dtypes[base],
                source=Call(WriteThrough(view.source, view.before), refs),
            )  # fmt: skip
        storage.value, storage.version = new, storage.version + 1
        entry.value, entry.version = value, storage.version

    # ---------------------------------------------------------------- constants

    def _twin(self, tensor: Tensor) -> Tensor:
        """The meta stand-in of a constant."""
        if tensor.device.type == "meta":
            return tensor
        found = self._twins.get(id(tensor))
        if found is None:
            twin = torch.empty_strided(
                tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta"
            )
            found = self._twins[id(tensor)] = (tensor, twin)
        return found[1]

    def _run_constant(self, op: _Op, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """An op on constants alone: run for real, but never write to the model's own state."""
        tensors = _tensors(args, kwargs)
        if op.makes_tensor and _is_meta(kwargs.get("device")) and not self._meta_model(tensors):
            kwargs = {**kwargs, "device": torch.device("cpu")}
        if op.writes:
            bound = _bind(op, args, kwargs)
            for name in op.writes:
                target = bound[name]
                if isinstance(target, Tensor) and _storage_key(target) in self._owned:
                    return target
        if len({tensor.device.type for tensor in tensors}) > 1:
            args, kwargs = _map((args, kwargs), self._twin)
        out = func(*args, **kwargs)
        names = frozenset().union(
            *(self._sources[id(t)][1] for t in tensors if id(t) in self._sources)
        )
        for result in _tensors((out,), {}):
            if id(result) not in self._sources:
                self._sources[id(result)] = (result, names)
                self._makers.setdefault(_storage_key(result), result)
        return out

    @staticmethod
    def _meta_model(tensors: list[Tensor]) -> bool:
        return any(tensor.device.type == "meta" for tensor in tensors)

    # ---------------------------------------------------------------- the dispatch

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        op = _describe(func)
        entries = [
            (tensor, entry)
            for tensor in _tensors(args, kwargs)
            if (entry := self._entry(tensor)) is not None
        ]
        if not entries:
            return self._run_constant(op, func, args, kwargs)
        if op.name == "aten::_local_scalar_dense" or op.name == "aten::is_nonzero":
            raise CaptureError(
                f"The model looks at the value of a tensor that depends on the input "
                f"({self._where()}); its structure then depends on the data and has no single "
                f"graph."
            )
        if op.reads_shape_only:
            return self._like(func, args, kwargs)
        if op.rule is None and op.composite:
            with self:
                return func.decompose(*args, **kwargs)
        return self._record(op, func, args, kwargs, entries)

    def _like(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """zeros_like and its kin read no data: a constant with the shape of the input."""
        if _is_meta(kwargs.get("device")):
            kwargs = {**kwargs, "device": torch.device("cpu")}

        def stand_in(tensor: Tensor) -> Tensor:
            return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype)

        args, kwargs = _map((args, kwargs), stand_in)
        out = func(*args, **kwargs)
        self._keep(out)
        return out

    def _record(
        self,
        op: _Op,
        func: Any,
        args: Any,
        kwargs: dict[str, Any],
        entries: list[tuple[Tensor, Entry]],
    ) -> Any:
        written = self._written(op, args, kwargs)
        operands: list[int] = []
        numbers: dict[int, int] = {}
        names: frozenset[str] = frozenset()

        def refer(tensor: Tensor) -> Any:
            nonlocal names
            entry = self._entry(tensor)
            if entry is None:
                if id(tensor) in self._sources:
                    names = names | self._sources[id(tensor)][1]
                return tensor
            value = self._current(entry)
            if value not in numbers:
                numbers[value] = len(operands)
                operands.append(value)
            return Ref(numbers[value])

        def to_meta(tensor: Tensor) -> Tensor:
            entry = self._entry(tensor)
            return self._twin(tensor) if entry is None else entry.tensor

        call_args, call_kwargs = _map((args, kwargs), refer)
        meta_args, meta_kwargs = _map((args, kwargs), to_meta)
        if "device" in meta_kwargs:
            meta_kwargs = {**meta_kwargs, "device": torch.device("meta")}
        out = func(*meta_args, **meta_kwargs)
        results = [out] if isinstance(out, Tensor) else [t for t in out if isinstance(t, Tensor)]
        if not written and len(results) == 1 and id(results[0]) in self._entries:
            return results[0]
        bound = _bind(op, call_args, call_kwargs)
        call = OpCall(
            op=op.rule[0] if op.rule else op.name.split("::")[1],
            args=bound,
            operands=tuple(self.shapes[value] for value in operands),
            results=tuple(tuple(result.shape) for result in results),
            training=self.stack[-1][2],
        )
        try:
            reads = _reads(op, call)
        except CaptureError as error:
            raise CaptureError(f"{error} ({self._where()})") from None
        values = self._emit(
            call.op,
            tuple(operands),
            reads,
            call.results,
            tuple(_dtype(result) for result in results),
            tuple(sorted(names)),
            Call(functional(func, op.writes if written else ()), call_args, call_kwargs),
        )
        if written:
            for target, value in zip(written, values, strict=False):
                self._write(self._promote(target), value)
            return written[0] if isinstance(out, Tensor) else type(out)(written)
        for position, (result, value) in enumerate(zip(results, values, strict=True)):
            target = func if isinstance(out, Tensor) else Part(func, position)
            source = Call(target, call_args, call_kwargs)
            self._attach(result, value, entries, call, reads[position], source)
        return out

    def _written(self, op: _Op, args: Any, kwargs: dict[str, Any]) -> list[Tensor]:
        if not op.writes or op.name.endswith("batch_norm"):
            return []
        bound = _bind(op, args, kwargs)
        found: list[Tensor] = []
        for name in op.writes:
            target = bound[name]
            found.extend(target if isinstance(target, (list, tuple)) else [target])
        return found

    def _attach(
        self,
        result: Tensor,
        value: int,
        entries: list[tuple[Tensor, Entry]],
        call: OpCall,
        reads: tuple[Read, ...],
        source: Call,
    ) -> None:
        """Remember a result: fresh memory, or a view of an operand's."""
        storage = self._storages.get(_storage_key(result))
        if storage is None or len(reads) != 1:
            self._own(result, value)
            return
        base = next(entry for _, entry in entries if entry.storage is storage)
        before = call.operands[reads[0].operand]
        view = View(call.op, reads[0], before, tuple(result.shape), source)
        chain = (*base.chain, view)
        self._entries[id(result)] = Entry(result, storage, value, storage.version, chain)

    def _promote(self, target: Tensor) -> Entry:
        """The entry of a tensor about to be written; a constant's memory becomes derived."""
        entry = self._entry(target)
        if entry is not None:
            return entry
        key = _storage_key(target)
        maker = self._makers.get(key, target)
        numel = maker.untyped_storage().nbytes() // max(maker.element_size(), 1)
        whole = maker.is_contiguous() and maker.numel() == numel
        shape = tuple(maker.shape) if whole else (numel,)
        twin = torch.empty(shape, dtype=maker.dtype, device="meta")
        content = maker if whole else torch.as_strided(maker, (numel,), (1,), 0)
        (value,) = self._emit(
            "constant", (), ((),), (shape,), _dtype(maker), source=Call(constant, (content,))
        )
        self._own(twin, value)
        self._promoted[key] = twin
        return self._window_on(target, twin)

    def _where(self) -> str:
        path = self.stack[-1][0]
        return f"in module '{path}'" if path else "in the model's own forward"


# -------------------------------------------------------------------- reads of an op


def _reads(op: _Op, call: OpCall) -> Reads:
    """What the op's rule says; for element-wise ops, broadcasting; else everything, marked."""
    plain = op.name.split("::")[1]
    if op.writes and plain in _WRITE_ONLY:
        source = call.operand(_WRITE_ONLY[plain] or "")
        if source is None:
            return one()
        return one(broadcast(source, call.operands[source], call.result))
    if op.rule is not None:
        return op.rule[1](call)
    if op.pointwise:
        reads = tuple(
            broadcast(number, shape, call.result) for number, shape in enumerate(call.operands)
        )
        return (reads,) * len(call.results)
    why = f"{op.name} has no rule"
    reads = tuple(unknown(number, len(shape), why) for number, shape in enumerate(call.operands))
    return (reads,) * len(call.results)


# -------------------------------------------------------------------- small helpers


def _storage_key(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _is_meta(device: Any) -> bool:
    return device is not None and torch.device(device).type == "meta"


def _tensors(args: Any, kwargs: Mapping[str, Any]) -> list[Tensor]:
    found: list[Tensor] = []
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found.extend(item for item in value if isinstance(item, Tensor))
    return found


def _map(
    call: tuple[Any, Mapping[str, Any]], change: Any
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with every tensor changed; torch calls nest tensors one list deep."""

    def visit(value: Any) -> Any:
        if isinstance(value, Tensor):
            return change(value)
        if isinstance(value, (list, tuple)) and any(isinstance(item, Tensor) for item in value):
            return [change(item) if isinstance(item, Tensor) else item for item in value]
        return value

    args, kwargs = call
    return tuple(visit(a) for a in args), {key: visit(v) for key, v in kwargs.items()}


def _bind(op: _Op, args: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    return {**op.defaults, **dict(zip(op.arguments, args, strict=False)), **kwargs}
