"""Run a model once and write down every op, without arithmetic and without touching the model.

What derives from the input lives on the meta device; constants stay real, so index tensors
keep their values.  The recorder stands below autograd, where composite ops (linear,
layer_norm, scaled_dot_product_attention) arrive whole: those with a rule are recorded as they
are, the others are decomposed.  In-place ops and writes through views become new values (see
``memory``), so the graph is functional.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch._ops import OpOverload

from fieldwise.capture.torch import rules as _rules  # noqa: F401  (fills the registry)
from fieldwise.capture.torch.aliases import View
from fieldwise.capture.torch.autocast import (
    autocast_dtype,
    cast_call,
    is_cast,
    is_cast_within,
    runs_whole,
    without_autocast,
)
from fieldwise.capture.torch.blame import (
    ask_torch,
    first_line,
    is_ours,
    our_fault,
    running_line,
)
from fieldwise.capture.torch.calls import ResultPart, functional
from fieldwise.capture.torch.constants import META, Constants, NamedTensors
from fieldwise.capture.torch.memory import Entry, Memory, dtype_name, empty_twin
from fieldwise.capture.torch.modes import DispatchMode
from fieldwise.capture.torch.overloads import (
    TorchOp,
    describe,
    map_arguments,
    may_draw,
    on_device,
    out_of_place,
    reads_of,
    results_of,
    split_arguments,
    tensors_of,
    unknown_reads,
    without_out,
)
from fieldwise.capture.torch.registry import OpCall, Reads
from fieldwise.capture.torch.results import run_on_meta
from fieldwise.capture.torch.trace import Trace
from fieldwise.errors import OUR_FAULT, CaptureError
from fieldwise.graph.ir import Args, Call, Kwargs, Read, Ref, Shape, unknown

_SPOKEN = {"_local_scalar_dense": "an if, a loop or item()"}


class _Recorded(NamedTuple):
    """A call as it is written down, and as it runs on the meta device.

    ``args`` and ``kwargs`` hold a ``Ref`` for each operand; ``constants`` are the other tensors.
    ``stand_ins`` holds each tensor among the arguments with what stands in for it in ``meta_args``
    and ``meta_kwargs``.
    """

    args: Args
    kwargs: Kwargs
    operands: tuple[int, ...]
    shapes: tuple[Shape, ...]
    constants: tuple[Tensor, ...]
    stand_ins: tuple[tuple[Tensor, Tensor], ...]
    meta_args: Args
    meta_kwargs: Kwargs

    def call(self, target: Any) -> Call:
        """The call that a node keeps."""
        return Call(target, self.args, self.kwargs)


class Recorder(DispatchMode):
    """The dispatch mode that records; use ``capture``, which sets the scene around it."""

    def __init__(self, model: nn.Module, state: NamedTensors, home: torch.device) -> None:
        super().__init__()
        self.trace = Trace(training=model.training)
        self.constants = Constants(state, home, self.trace)
        self.memory = Memory(self.trace, self._rebuilt)
        self.refusal: CaptureError | None = None
        self._casting: torch.dtype | None = None

    def adopt(self, tensor: Tensor) -> Tensor:
        """An input of the model: its stand-in on the meta device."""
        twin = empty_twin(tensor)
        value = self.trace.value(tuple(tensor.shape), dtype_name(tensor))
        self.trace.inputs.append(value)
        self.memory.own(twin, value)
        return twin

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

    @contextmanager
    def autocast(self) -> Iterator[None]:
        """Inside, the recorder casts what autocast, if it is on for the model, would cast."""
        with self._casting_to(autocast_dtype(self.constants.home)), without_autocast():
            yield

    @contextmanager
    def _casting_to(self, dtype: torch.dtype | None) -> Iterator[None]:
        before, self._casting = self._casting, dtype
        try:
            yield
        finally:
            self._casting = before

    # ---------------------------------------------------------------- the dispatch

    def called(self, func: OpOverload, args: Args, kwargs: Kwargs) -> Any:
        """Stand-ins for the results of an op, which is recorded."""
        with torch._C.DisableTorchFunction():
            try:
                out = self._dispatch(func, args, dict(kwargs))
                for tensor in results_of(out):
                    self.memory.check(tensor)
            except CaptureError as error:
                self.refusal = self.refusal or error
                raise
            except Exception as error:
                if is_ours(error):
                    raise self.refuse(str(our_fault(error, self.trace.frame))) from error
                raise
            return out

    def _dispatch(self, func: OpOverload, args: Args, kwargs: Kwargs) -> Any:
        op = describe(func)
        self.trace.draws = self.trace.draws or may_draw(op, args, kwargs)
        if self._casting is not None and (is_cast(func, self.constants.home) or op.composite):
            return self._cast(op, func, args, kwargs)
        return self._dispatch_as_given(op, func, args, kwargs)

    def _dispatch_as_given(self, op: TorchOp, func: OpOverload, args: Args, kwargs: Kwargs) -> Any:
        if op.lends:
            args, kwargs = self._without_lenders(op, args, kwargs)
        if not any(map(self.memory.entry, tensors_of(args, kwargs))):
            return self._constant(op, func, args, kwargs)
        if op.out:
            return self._record_out(op, func, args, kwargs)
        if op.inplace_view:
            return self._record_inplace_view(op, func, args, kwargs)
        if op.name == "aten::as_strided":
            return self._record_strided(func, args, kwargs)
        if op.composite and op.rule is None:
            deciding = [op.bind(args, kwargs).get(name) for name in op.sized_by]
            if any(map(self.memory.entry, tensors_of(deciding))):
                raise self.refuse_data(op.plain)
            return self._decompose(op, func, args, kwargs)
        return self._record(op, func, args, kwargs)

    def _cast(self, op: TorchOp, func: OpOverload, args: Args, kwargs: Kwargs) -> Any:
        """An op under autocast: its arguments are cast, and so are those of the ops it is made of.

        What a composite op is made of is recorded only where some of that is cast.
        """
        home = self.constants.home
        if runs_whole(func, args, home):
            args, kwargs = map_arguments(self._cast_one, args, kwargs)
            return self._dispatch_as_given(op, func, args, kwargs)
        if not is_cast(func, home):
            if self._stays_whole(op, func, args, kwargs):
                return self._dispatch_as_given(op, func, args, kwargs)
            return self.taken_apart(func, args, kwargs)
        call = cast_call(func, args, kwargs, device=home, cast=self._cast_one)
        with self._casting_to(None):
            return self._dispatch(*call)

    def _stays_whole(self, op: TorchOp, func: OpOverload, args: Args, kwargs: Kwargs) -> bool:
        """Whether no op that a composite op is made of is cast, or it is taken apart anyway."""
        if op.rule is None and any(map(self.memory.entry, tensors_of(args, kwargs))):
            return True
        twins = map_arguments(lambda t: empty_twin(self._stand_in(t)), args, kwargs)
        return not is_cast_within(func, *on_device(META, *twins), self.constants.home)

    def _cast_one(self, tensor: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        dtype = dtype or self._casting
        if tensor.dtype in (dtype, torch.float64) or not tensor.is_floating_point():
            return tensor
        cast: Tensor = self._dispatch(torch.ops.aten.to.dtype, (tensor, dtype), {})
        return cast

    def _constant(self, op: TorchOp, func: OpOverload, args: Args, kwargs: Kwargs) -> Any:
        if op.writes and _loses_values(op, args, kwargs):
            return self._record(op, func, args, kwargs)
        if op.plain == "set" and _is_storage_on_meta(*args[1:2]) and not args[0].is_meta:
            return self._record_set(op, func, args, kwargs)
        try:
            return self.constants.run(op, func, args, kwargs)
        except (NotImplementedError, RuntimeError):
            if op.inspects and any(tensor.is_meta for tensor in tensors_of(args, kwargs)):
                raise self.refuse(
                    f"The model looks at the values of a constant on the meta device ({op.plain}, "
                    f"{self.trace.frame}); build the model with its weights."
                ) from None
            raise

    def _without_lenders(
        self, op: TorchOp, args: Args, kwargs: Kwargs
    ) -> tuple[Args, dict[str, Any]]:
        """Constants in place of derived tensors that only lend their shape, dtype and device."""

        def lent(value: Any) -> Any:
            if not isinstance(value, Tensor) or self.memory.entry(value) is None:
                return value
            home = self.constants.home
            return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=home)

        named = zip(op.arguments, args, strict=False)
        return (
            tuple(lent(value) if name in op.lends else value for name, value in named),
            {name: lent(v) if name in op.lends else v for name, v in kwargs.items()},
        )

    def _decompose(self, op: TorchOp, func: OpOverload, args: Args, kwargs: Kwargs) -> Any:
        """Record the ops that a composite op consists of; the op itself where that fails.

        Where torch insists that all tensors be on one device, constants count as derived.
        """
        for tensor in tensors_of(args, kwargs):
            self.memory.value_of(tensor)
        recorded = len(self.trace.drafts)
        for given in ((args, kwargs), None):
            more, named = given or map_arguments(self._as_derived, args, kwargs)
            try:
                return self.taken_apart(func, more, named)
            except RuntimeError:
                if op.writes:
                    raise
                del self.trace.drafts[recorded:]
        return self._record(op, func, args, kwargs)

    def _as_derived(self, tensor: Tensor) -> Tensor:
        """The tensor, or a derived copy of a constant."""
        if self.memory.entry(tensor) is not None:
            return tensor
        copy = tensor.clone()
        return self.memory.promote(copy, copy).tensor

    # ---------------------------------------------------------------- recording

    def _record(self, op: TorchOp, func: OpOverload, args: Args, kwargs: Kwargs) -> Any:
        recorded = self._recorded(op, args, kwargs)
        out = self._run(op, func, recorded)
        results = results_of(out)
        written = op.written(args, kwargs)
        if not written:
            if not results:
                return out
            made = set(map(id, results))
            for given, meta in recorded.stand_ins:
                if out is meta:
                    return given
                if id(meta) in made:
                    out = _parted(out, meta)
            for result in results if len(made) < len(results) else ():
                if sum(other is result for other in results) > 1:
                    out = _parted(out, result)
            results = results_of(out)
        values = self._emit(op, func, recorded, results)
        if not written:
            self._attach(func, out, recorded, values)
            return out
        if len(written) > len(results):
            raise self.refuse(f"{op.name} ({self.trace.frame}) writes in a way that is not known.")
        for target, value in zip(written, values, strict=False):
            self.memory.write(self._writable(target), value)
        return written[0] if isinstance(out, Tensor) else type(out)(written)

    def _recorded(self, op: TorchOp, args: Args, kwargs: Kwargs) -> _Recorded:
        numbers: dict[int, int] = {}
        constants: list[Tensor] = []
        stand_ins: list[tuple[Tensor, Tensor]] = []
        shape_of = self.trace.shapes

        def refer(tensor: Tensor) -> tuple[Any, Tensor]:
            entry = self.memory.entry(tensor)
            if entry is None:
                constants.append(tensor)
                twin = self.constants.twin(tensor)
                stand_ins.append((tensor, twin))
                return tensor, twin
            value = self.memory.current(entry)
            if tensor.shape != shape_of[value]:
                self.memory.check(tensor)
            stand_ins.append((tensor, entry.tensor))
            return Ref(numbers.setdefault(value, len(numbers))), entry.tensor

        call, meta = split_arguments(refer, args, kwargs)
        if op.moves:
            call, meta = self.constants.at_home(*call), on_device(META, *meta)
        shapes = tuple(shape_of[value] for value in numbers)
        return _Recorded(*call, tuple(numbers), shapes, tuple(constants), tuple(stand_ins), *meta)

    def _stand_in(self, tensor: Tensor) -> Tensor:
        entry = self.memory.entry(tensor)
        return self.constants.twin(tensor) if entry is None else entry.tensor

    def _run(self, op: TorchOp, func: OpOverload, recorded: _Recorded) -> Any:
        if op.inspects:
            raise self.refuse_data(op.plain)
        try:
            return run_on_meta(func, recorded.meta_args, recorded.meta_kwargs)
        except (NotImplementedError, RuntimeError) as error:
            by_data = op.sized_by and "meta" in str(error)
            if not (by_data or isinstance(error, NotImplementedError)):
                raise
        deciding = op.bind(recorded.args, recorded.kwargs)
        if any(_derives(deciding.get(name)) for name in op.sized_by):
            raise self.refuse_data(op.plain)
        return self._run_on_zeros(op, func, recorded)

    def _run_on_zeros(self, op: TorchOp, func: OpOverload, recorded: _Recorded) -> Any:
        """The layout of the results of an op that has no kernel on the meta device."""
        constants = iter(recorded.constants)

        def real(tensor: Tensor) -> Tensor:
            if self.memory.entry(tensor) is None:
                return next(constants)
            return torch.zeros_like(tensor, device=self.constants.home)

        given = map_arguments(real, recorded.meta_args, recorded.meta_kwargs)
        try:
            out = (
                self.constants.dice.draw(func, *given) if op.draws else func(*given[0], **given[1])
            )
        except (NotImplementedError, RuntimeError) as error:
            raise self.refuse(
                f"The op {op.name} ({self.trace.frame}) cannot be recorded: torch cannot tell the "
                f"shape of its result without computing it, and on zeros it fails: {error}"
            ) from None
        return map_arguments(empty_twin, (out,), {})[0][0]

    def _emit(
        self, op: TorchOp, func: OpOverload, recorded: _Recorded, results: tuple[Tensor, ...]
    ) -> tuple[int, ...]:
        reads = self._reads(op, recorded, results)
        for tensor in recorded.constants:
            self.constants.quote(tensor)
        return self.trace.emit(
            op.canonical,
            recorded.operands,
            reads,
            tuple((tuple(result.shape), dtype_name(result)) for result in results),
            recorded.call(functional(op, func, recorded.meta_args)),
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
                [*map(dtype_name, results)],
            ),
        )
        try:
            reads = reads_of(op, call)
        except CaptureError as error:
            raise self.refuse(f"{error} ({self.trace.frame})") from None
        except Exception as error:  # noqa: BLE001  (whatever fails in a rule)
            why = f"the rule of {op.name} failed ({first_line(error)}; {OUR_FAULT})"
            return unknown_reads(call, why)
        if len(reads) != len(results):
            why = f"the rule of {op.name} describes {len(reads)} results ({OUR_FAULT})"
            return unknown_reads(call, why)
        return reads

    def _attach(
        self, func: OpOverload, out: Any, recorded: _Recorded, values: tuple[int, ...]
    ) -> None:
        """Remember the results: fresh memory, or views of an operand's."""
        for position, (result, value) in enumerate(zip(results_of(out), values, strict=True)):
            storage = self.memory.storage(result)
            if storage is None:
                self.memory.own(result, value)
                continue
            entries = (self.memory.entry(meta) for _, meta in recorded.stand_ins)
            base = next(entry for entry in entries if entry and entry.storage is storage)
            reads = self.trace.drafts[-1].reads[position]
            view = _view(describe(func), func, out, recorded, reads, position)
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
        meta = map_arguments(self._stand_in, *on_device(META, made.args, made.kwargs))
        stand_ins = tuple((t, self._stand_in(t)) for t in tensors_of(made.args, made.kwargs))
        recorded = _Recorded(*call, (), (tuple(made.base.shape),), (), stand_ins, *meta)
        op = describe(made.func)
        out = self._run(op, made.func, recorded)
        results = results_of(out)
        position = next(n for n, result in enumerate(made.results) if result is tensor)
        reads = self._reads(op, recorded, results)[position]
        view = _view(op, made.func, out, recorded, reads, position)
        return Entry(results[position], base.storage, (*base.chain, view))

    # ---------------------------------------------------------------- ops that need more

    def _record_strided(self, func: OpOverload, args: Args, kwargs: Kwargs) -> Tensor:
        """``x.as_strided(…)`` looks at the memory that x is a view of, not at x."""
        out = ask_torch(func, (self._stand_in(args[0]), *args[1:]), kwargs)
        self.memory.value_of(out)
        return out

    def _record_out(self, op: TorchOp, func: OpOverload, args: Args, kwargs: Kwargs) -> Any:
        """Compute, then copy into the ``out=`` arguments."""
        plain = without_out(func)
        if plain is None:
            raise self.refuse(f"{op.name} ({self.trace.frame}) has no form without out=.")
        rest = {name: value for name, value in kwargs.items() if name not in op.writes}
        with self._casting_to(None):  # autocast passes ops with out= by
            found = self._dispatch(plain, args, rest)
        targets = op.written(args, kwargs)
        for target, result in zip(targets, results_of(found), strict=True):
            if target.shape != result.shape:
                self._grow(op, target, result.shape)
            self._dispatch(torch.ops.aten.copy_.default, (target, result), {})
        return targets[0] if isinstance(found, Tensor) else type(found)(targets)

    def _grow(self, op: TorchOp, target: Tensor, shape: torch.Size) -> None:
        """torch.empty(0), the usual placeholder for out=, takes the shape of the result."""
        if target.numel() or self.memory.entry(target) or not self.constants.is_made(target):
            raise self.refuse(
                f"{op.plain} ({self.trace.frame}) resizes its out= argument; "
                f"give it the shape {tuple(shape)}."
            )
        self.constants.grow(target, shape)

    def _record_inplace_view(
        self, op: TorchOp, func: OpOverload, args: Args, kwargs: Kwargs
    ) -> Any:
        """``x.unsqueeze_(0)``: the tensor becomes a view of what it was."""
        if op.plain == "set":
            return self._record_set(op, func, args, kwargs)
        if op.plain in ("resize", "resize_as"):
            twin, given = torch.ops.aten.as_strided.default, self._resized(op, func, args, kwargs)
        else:
            twin, given = out_of_place(func), (args[1:], dict(kwargs))
        entry = self.memory.entry(self._dispatch(twin, (args[0], *given[0]), given[1]))
        assert entry is not None
        self._forget(args[0])
        ask_torch(func, args, kwargs)
        self.memory.rename(args[0], entry)
        return args[0]

    def _resized(
        self, op: TorchOp, func: OpOverload, args: Args, kwargs: Kwargs
    ) -> tuple[Args, dict[str, Any]]:
        """``x.resize_(…)`` as an as_strided: its size, strides and offset."""
        tensor = self._stand_in(args[0])
        found = ask_torch(func, (empty_twin(tensor), *args[1:]), kwargs)
        size, strides, offset = found.shape, found.stride(), tensor.storage_offset()
        last = offset + sum((n - 1) * step for n, step in zip(size, strides, strict=True))
        if found.numel() and (last + 1) * found.element_size() > tensor.untyped_storage().nbytes():
            raise self.refuse(
                f"{op.plain}_ ({self.trace.frame}) changes memory that is in use: it makes "
                f"{tuple(tensor.shape)} larger, to {tuple(size)}; make a new tensor instead."
            )
        return (tuple(size), tuple(strides), offset), {}

    def _record_set(self, op: TorchOp, func: OpOverload, args: Args, kwargs: Kwargs) -> Tensor:
        """``x.set_(y)``: the tensor looks at the memory of another."""
        target: Tensor = args[0]
        if len(args) == 2 and isinstance(args[1], Tensor):
            self.rebind(func, target, args[1])
        elif target.is_meta:
            self._forget(target)
            ask_torch(func, args, kwargs)
        else:
            twin = torch.empty(0, dtype=target.dtype, device=META)
            ask_torch(func, (twin, *args[1:]), kwargs)
            self.rebind(torch.ops.aten.set_.source_Tensor, target, twin)
        return target

    def rebind(self, func: OpOverload, target: Tensor, source: Tensor) -> None:
        """``x.data = y``, ``x.set_(y)``: the tensor looks at the memory of another."""
        derived = self.memory.entry(source)
        self._forget(target)
        if target.is_meta and not source.is_meta:
            ask_torch(func, (target, self._writable(source).tensor), {})
        elif derived is not None and not target.is_meta:
            dtype, device = source.dtype, target.device
            new = torch.empty_strided(source.shape, source.stride(), dtype=dtype, device=device)
            ask_torch(func, (target, new), {})
            self.memory.rename(target, derived)
        else:
            ask_torch(func, (target, source), {})

    def _forget(self, tensor: Tensor) -> None:
        """The tensor is about to look at its memory, or at other memory, in another way."""
        if not tensor.is_meta:
            self.constants.before_reshape(tensor)
        self.memory.forget(tensor)


def _view(
    op: TorchOp,
    func: OpOverload,
    out: Any,
    recorded: _Recorded,
    reads: tuple[Read, ...],
    position: int,
) -> View:
    """A view op of one operand, as a link of the chain from a storage to a tensor."""
    base = recorded.stand_ins[0][1]
    result = results_of(out)[position]
    why = f"a view by {op.name}"
    return View(
        op=op.canonical,
        read=reads[0] if len(reads) == 1 else unknown(0, base.dim(), why),
        before=tuple(base.shape),
        after=tuple(result.shape),
        dtype=dtype_name(result),
        source=recorded.call(func if isinstance(out, Tensor) else ResultPart(func, position)),
        casts=base.dtype != result.dtype,
    )


def _derives(argument: Any) -> bool:
    """Whether an argument, or a part of it, is an operand."""
    parts = argument if isinstance(argument, (list, tuple)) else (argument,)
    return any(isinstance(part, Ref) for part in parts)


def _parted(out: Any, shared: Tensor) -> Any:
    """The results, with a tensor of its own for each that is this one, an operand or a result."""
    return map_arguments(lambda t: empty_twin(t) if t is shared else t, (out,), {})[0][0]


def _loses_values(op: TorchOp, args: Args, kwargs: Kwargs) -> bool:
    """Whether what has no values (it is on the meta device) is written into what has some."""
    written = op.written(args, kwargs)
    return not any(t.is_meta for t in written) and any(t.is_meta for t in tensors_of(args, kwargs))


def _is_storage_on_meta(source: Any = None) -> bool:
    storages = (torch.UntypedStorage, torch.TypedStorage)
    return isinstance(source, storages) and source.device == META
