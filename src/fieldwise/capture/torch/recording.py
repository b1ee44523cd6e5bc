"""One call written down: its operands, its layout on the meta device, its reads, its views.

What derives from the input lives on the meta device; constants stay real, so that index tensors
keep their values.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._ops import OpOverload

from fieldwise.capture.torch.aliases import View
from fieldwise.capture.torch.alike import (
    CALLS,
    KnownCall,
    TensorLayout,
    key_of,
    layout_of,
    new_memory,
)
from fieldwise.capture.torch.blame import running_line
from fieldwise.capture.torch.calls import ResultPart, functional
from fieldwise.capture.torch.constants import META, Constants, NamedTensors
from fieldwise.capture.torch.memory import Entry, Memory, empty_twin
from fieldwise.capture.torch.modes import DispatchMode
from fieldwise.capture.torch.overloads import (
    TorchOp,
    describe,
    map_arguments,
    on_device,
    reads_of,
    results_of,
    tensors_of,
    unknown_reads,
)
from fieldwise.capture.torch.own_names import operators_of
from fieldwise.capture.torch.registry import OpCall, Reads, looks
from fieldwise.capture.torch.results import run_on_meta
from fieldwise.capture.torch.trace import Trace
from fieldwise.errors import OUR_FAULT, CaptureError, said_by, summary_of
from fieldwise.graph.ir import Args, Call, Kwargs, Read, Ref, Shape, unknown
from fieldwise.graph.tensors import dtype_name

_SMALL = 1 << 24
"""Most elements of operands with which an op is tried out."""

_SPOKEN = {"_local_scalar_dense": "an if, a loop or item()"}


class _Recorded(NamedTuple):
    """A call as it is written down.

    ``args`` and ``kwargs`` hold a ``Ref`` for each operand; ``constants`` are the other tensors.
    ``key`` is shared by calls that are alike (see ``alike``).
    """

    args: Args
    kwargs: Kwargs
    operands: tuple[int, ...]
    shapes: tuple[Shape, ...]
    constants: tuple[Tensor, ...]
    key: Hashable | None = None

    def call(self, target: object) -> Call:
        """The call that a node keeps."""
        return Call(target, self.args, self.kwargs)


class _OnMeta(NamedTuple):
    """A call as it runs on the meta device.

    ``stand_ins`` holds each tensor among the arguments with what stands in for it.
    """

    args: Args
    kwargs: Kwargs
    stand_ins: tuple[tuple[Tensor, Tensor], ...]


class CallRecorder(DispatchMode):
    """What a recorder knows of a run, and how it writes down a call."""

    def __init__(self, model: nn.Module, state: NamedTensors, home: torch.device) -> None:
        super().__init__()
        self.trace = Trace(training=model.training, operators=operators_of(model))
        self.constants = Constants(state, home, self.trace)
        self.memory = Memory(self.trace, self._rebuilt)
        self.refusal: CaptureError | None = None

    def refuse(self, why: str) -> CaptureError:
        """The error that ends the capture, even if the model should catch it."""
        self.refusal = self.refusal or CaptureError(why)
        return self.refusal

    def refuse_data(self, what: str) -> CaptureError:
        """The error for a model that looks at values."""
        return self.refuse(
            f"The model looks at values that depend on the input "
            f"({_SPOKEN.get(what, what)}, {self.trace.frame}, {running_line()}); "
            f"its structure then depends on the data and has no single graph."
        )

    # ---------------------------------------------------------------- recording

    def _record(self, op: TorchOp, func: OpOverload, args: Args, kwargs: Kwargs) -> object:
        recorded = self._recorded(op, func, args, kwargs)
        known = None if recorded.key is None else CALLS.find(recorded.key)
        if known is None or known.layouts is None:
            return self._run_and_record(op, func, args, kwargs, recorded, known)
        out = known.made()
        values = self._emit(recorded, known)
        for result, value in zip(results_of(out), values, strict=True):
            self.memory.own(result, value)
        return out

    def _run_and_record(
        self,
        op: TorchOp,
        func: OpOverload,
        args: Args,
        kwargs: Kwargs,
        recorded: _Recorded,
        known: KnownCall | None,
    ) -> object:
        on_meta = self._on_meta(op, args, kwargs)
        out = self._run(op, func, recorded, on_meta)
        results = results_of(out)
        written = op.written(args, kwargs)
        if not written:
            if not results:
                return out
            made = set(map(id, results))
            for given, meta in on_meta.stand_ins:
                if out is meta:
                    return given
                if id(meta) in made:
                    out = _parted(out, meta)
            for result in results if len(made) < len(results) else ():
                if sum(other is result for other in results) > 1:
                    out = _parted(out, result)
            results = results_of(out)
        if known is None:
            known = self._found(op, func, recorded, on_meta, out, fresh=not written)
        values = self._emit(recorded, known)
        if not written:
            self._attach(func, out, recorded, on_meta, values)
            return out
        if len(written) > len(results):
            raise self.refuse(f"{op.name} ({self.trace.frame}) writes in a way that is not known.")
        for target, value in zip(written, values, strict=False):
            self.memory.write(self._writable(target), value)
        return written[0] if isinstance(out, Tensor) else type(out)(written)

    def _recorded(self, op: TorchOp, func: OpOverload, args: Args, kwargs: Kwargs) -> _Recorded:
        numbers: dict[int, int] = {}
        constants: list[Tensor] = []
        layouts: list[TensorLayout | None] = []
        shape_of = self.trace.shapes

        def refer(tensor: Tensor) -> object:
            entry = self.memory.entry(tensor)
            if entry is None:
                constants.append(tensor)
                layouts.append(layout_of(tensor))
                return tensor
            value = self.memory.current(entry)
            if tensor.shape != shape_of[value]:
                self.memory.check(tensor)
            number = numbers.setdefault(value, len(numbers))
            layouts.append(layout_of(entry.tensor, number))
            return Ref(number)

        call = map_arguments(refer, args, kwargs)
        key = None if op.moves else self._key(op, func, layouts, *call)
        if op.moves:
            call = self.constants.at_home(*call)
        shapes = tuple(shape_of[value] for value in numbers)
        return _Recorded(*call, tuple(numbers), shapes, tuple(constants), key)

    def _key(
        self,
        op: TorchOp,
        func: OpOverload,
        layouts: Sequence[TensorLayout | None],
        args: Args,
        kwargs: Kwargs,
    ) -> Hashable | None:
        """What calls have in common that are alike: what the rule is told, and the layouts."""
        frame, rule = self.trace.frame, op.rule
        return key_of(func, rule, layouts, args, kwargs, frame.training, frame.operator)

    def _on_meta(self, op: TorchOp, args: Args, kwargs: Kwargs) -> _OnMeta:
        stand_ins: list[tuple[Tensor, Tensor]] = []

        def stand_in(tensor: Tensor) -> Tensor:
            stand_ins.append((tensor, self._stand_in(tensor)))
            return stand_ins[-1][1]

        call = map_arguments(stand_in, args, kwargs)
        if op.moves:
            call = on_device(META, *call)
        return _OnMeta(*call, tuple(stand_ins))

    def _stand_in(self, tensor: Tensor) -> Tensor:
        entry = self.memory.entry(tensor)
        return self.constants.twin(tensor) if entry is None else entry.tensor

    def _run(self, op: TorchOp, func: OpOverload, recorded: _Recorded, on_meta: _OnMeta) -> Any:
        if op.inspects:
            raise self.refuse_data(op.plain)
        try:
            return run_on_meta(func, on_meta.args, on_meta.kwargs)
        except (NotImplementedError, RuntimeError) as error:
            by_data = op.sized_by and "meta" in str(error)
            if not (by_data or isinstance(error, NotImplementedError)):
                if self._runs_on_zeros(op, func, recorded, on_meta):
                    raise self.refuse(
                        f"The op {op.name} ({self.trace.frame}) cannot be recorded: it runs, but "
                        f"torch refuses such operands where it only asks for the shape of the "
                        f"result: {said_by(error)}"
                    ) from None
                raise
        deciding = op.bind(recorded.args, recorded.kwargs)
        if any(_derives(deciding.get(name)) for name in op.sized_by):
            raise self.refuse_data(op.plain)
        return self._run_on_zeros(op, func, recorded, on_meta)

    def _run_on_zeros(
        self, op: TorchOp, func: OpOverload, recorded: _Recorded, on_meta: _OnMeta
    ) -> object:
        """The layout of the results of an op that has no kernel on the meta device."""
        try:
            out = self._with_zeros(op, func, recorded, on_meta)
        except (NotImplementedError, RuntimeError) as error:
            raise self.refuse(
                f"The op {op.name} ({self.trace.frame}) cannot be recorded: torch cannot tell the "
                f"shape of its result without computing it, and on zeros it fails: {said_by(error)}"
            ) from None
        return map_arguments(empty_twin, (out,), {})[0][0]

    def _runs_on_zeros(
        self, op: TorchOp, func: OpOverload, recorded: _Recorded, on_meta: _OnMeta
    ) -> bool:
        """Whether an op that torch refuses on the meta device has a kernel that takes it."""
        if sum(tensor.numel() for tensor in tensors_of(on_meta.args, on_meta.kwargs)) > _SMALL:
            return False
        try:
            self._with_zeros(op, func, recorded, on_meta)
        except Exception:  # noqa: BLE001  (whatever it is, the op fails)
            return False
        return True

    def _with_zeros(
        self, op: TorchOp, func: OpOverload, recorded: _Recorded, on_meta: _OnMeta
    ) -> object:
        """What an op makes of its constants, and of zeros for all that is derived."""
        constants = iter(recorded.constants)

        def real(tensor: Tensor) -> Tensor:
            if self.memory.entry(tensor) is None:
                return next(constants).clone() if op.writes else next(constants)
            return torch.zeros_like(tensor, device=self.constants.home)

        args, kwargs = map_arguments(real, on_meta.args, on_meta.kwargs)
        return self.constants.dice.draw(func, args, kwargs) if op.draws else func(*args, **kwargs)

    def _found(
        self,
        op: TorchOp,
        func: OpOverload,
        recorded: _Recorded,
        on_meta: _OnMeta,
        out: object,
        *,
        fresh: bool,
    ) -> KnownCall:
        """What the call reads and makes; remembered for calls that are alike."""
        results, before = results_of(out), looks()
        reads = self._reads(op, recorded, results)
        known = KnownCall(
            op.canonical,
            functional(op, func, on_meta.args, on_meta.kwargs),
            reads,
            tuple((tuple(result.shape), dtype_name(result.dtype)) for result in results),
            new_memory(results, self.memory.storage) if fresh else None,
            None if isinstance(out, Tensor) else type(out),
        )
        if recorded.key is not None and looks() == before:
            CALLS.add(recorded.key, known)
        return known

    def _emit(self, recorded: _Recorded, known: KnownCall) -> tuple[int, ...]:
        for tensor in recorded.constants:
            self.constants.quote(tensor)
        return self.trace.emit(
            known.op,
            recorded.operands,
            known.reads,
            known.types,
            recorded.call(known.target),
            tuple(sorted(self.constants.names(recorded.constants))),
        )

    def _reads(self, op: TorchOp, recorded: _Recorded, results: tuple[Tensor, ...]) -> Reads:
        if not recorded.shapes:
            return ((),) * len(results)
        call = OpCall(
            op=op.canonical,
            args=op.bind(recorded.args, recorded.kwargs),
            operands=recorded.shapes,
            results=tuple(tuple(result.shape) for result in results),
            training=self.trace.frame.training,
            renews=op.renews,
            complex=any(map(Tensor.is_complex, results)),
            dtypes=lambda: (
                [self.trace.dtypes[value] for value in recorded.operands],
                [dtype_name(result.dtype) for result in results],
            ),
            operator=self.trace.frame.operator,
        )
        try:
            reads = reads_of(op, call)
        except CaptureError as error:
            raise self.refuse(f"{error} ({self.trace.frame})") from None
        except Exception as error:  # noqa: BLE001  (whatever fails in a rule)
            why = f"the rule of {op.name} failed ({summary_of(error)}; {OUR_FAULT})"
            return unknown_reads(call, why)
        if len(reads) != len(results):
            why = f"the rule of {op.name} describes {len(reads)} results ({OUR_FAULT})"
            return unknown_reads(call, why)
        return reads

    def _attach(
        self,
        func: OpOverload,
        out: object,
        recorded: _Recorded,
        on_meta: _OnMeta,
        values: tuple[int, ...],
    ) -> None:
        """Remember the results: fresh memory, or views of an operand's."""
        for position, (result, value) in enumerate(zip(results_of(out), values, strict=True)):
            storage = self.memory.storage(result)
            if storage is None:
                self.memory.own(result, value)
                continue
            entries = (self.memory.entry(meta) for _, meta in on_meta.stand_ins)
            base = next(entry for entry in entries if entry and entry.storage is storage)
            reads = self.trace.drafts[-1].reads[position]
            stand_in = on_meta.stand_ins[0][1]
            view = _view(describe(func), func, out, recorded, stand_in, reads, position)
            self.memory.attach(result, base, view, value)

    def _writable(self, target: Tensor) -> Entry:
        entry = self.memory.entry(target)
        if entry is None:
            self.trace.writes = self.trace.writes or not self.constants.is_made(target)
            entry = self.memory.promote(target, self.constants.root(target))
        return entry

    def _rebuilt(self, tensor: Tensor) -> Entry:
        """The entry of a view, taken earlier, of memory that has become derived since."""
        made = self.constants.views.get(id(tensor))
        if made is None or made.func is torch.ops.aten.as_strided.default:
            return self.memory.window(tensor, self.trace.frame)
        base = self.memory.entry(made.base)
        assert base is not None
        call = map_arguments(lambda t: Ref(0) if t is made.base else t, made.args, made.kwargs)
        recorded = _Recorded(*call, (), (tuple(made.base.shape),), ())
        op = describe(made.func)
        on_meta = self._on_meta(op, made.args, made.kwargs)
        out = self._run(op, made.func, recorded, on_meta)
        results = results_of(out)
        position = next(n for n, result in enumerate(made.results) if result is tensor)
        reads = self._reads(op, recorded, results)[position]
        stand_in = on_meta.stand_ins[0][1]
        view = _view(op, made.func, out, recorded, stand_in, reads, position)
        return Entry(results[position], base.storage, (*base.chain, view))


def _view(
    op: TorchOp,
    func: OpOverload,
    out: object,
    recorded: _Recorded,
    base: Tensor,
    reads: tuple[Read, ...],
    position: int,
) -> View:
    """A view op of one operand, as a link of the chain from a storage to a tensor."""
    result = results_of(out)[position]
    why = f"a view by {op.name}"
    return View(
        op=op.canonical,
        read=reads[0] if len(reads) == 1 else unknown(0, base.dim(), why),
        before=tuple(base.shape),
        after=tuple(result.shape),
        dtype=dtype_name(result.dtype),
        source=recorded.call(func if isinstance(out, Tensor) else ResultPart(func, position)),
        casts=base.dtype != result.dtype,
    )


def _derives(argument: object) -> bool:
    """Whether an argument, or a part of it, is an operand."""
    parts = argument if isinstance(argument, (list, tuple)) else (argument,)
    return any(isinstance(part, Ref) for part in parts)


def _parted(out: object, shared: Tensor) -> object:
    """The results, with a tensor of its own for each that is this one, an operand or a result."""
    return map_arguments(lambda t: empty_twin(t) if t is shared else t, (out,), {})[0][0]
