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
from typing import Any

import torch
from torch import Tensor, nn
from torch._ops import OpOverload

from fieldwise.capture.torch import rules as _rules  # noqa: F401  (fills the registry)
from fieldwise.capture.torch.autocast import (
    autocast_dtype,
    cast_call,
    is_cast,
    is_cast_within,
    runs_whole,
    without_autocast,
)
from fieldwise.capture.torch.blame import ask_torch, is_ours, our_fault
from fieldwise.capture.torch.constants import META, NamedTensors
from fieldwise.capture.torch.memory import empty_twin
from fieldwise.capture.torch.overloads import (
    TorchOp,
    describe,
    map_arguments,
    may_draw,
    on_device,
    out_of_place,
    results_of,
    tensors_of,
    with_returns,
    without_out,
)
from fieldwise.capture.torch.recording import CallRecorder
from fieldwise.errors import CaptureError
from fieldwise.graph.ir import Args, Kwargs
from fieldwise.graph.tensors import dtype_name


class Recorder(CallRecorder):
    """The dispatch mode that records; use ``capture``, which sets the scene around it."""

    def __init__(self, model: nn.Module, state: NamedTensors, home: torch.device) -> None:
        super().__init__(model, state, home)
        self._casting: torch.dtype | None = None

    def adopt(self, tensor: Tensor) -> Tensor:
        """An input of the model: its stand-in on the meta device."""
        twin = empty_twin(tensor)
        value = self.trace.value(tuple(tensor.shape), dtype_name(tensor.dtype))
        self.trace.inputs.append(value)
        self.memory.own(twin, value)
        return twin

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

    def called(self, func: OpOverload, args: Args, kwargs: Kwargs) -> object:
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

    def _dispatch_as_given(
        self, op: TorchOp, func: OpOverload, args: Args, kwargs: Kwargs
    ) -> object:
        if op.lends:
            args, kwargs = self._without_lenders(op, args, kwargs)
        if not self.memory.holds_any(args) and not self.memory.holds_any(kwargs.values()):
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
        if op.writes and with_returns(func) is not None:
            return self._record_returning(op, func, args, kwargs)
        return self._record(op, func, args, kwargs)

    def _record_returning(
        self, op: TorchOp, func: OpOverload, args: Args, kwargs: Kwargs
    ) -> object:
        """An op that makes its results and writes to its arguments too (a range that is kept)."""
        twin = with_returns(func)
        assert twin is not None
        out = results_of(self._record(describe(twin), twin, args, kwargs))
        own = len(func._schema.returns)
        for target, made in zip(op.written(args, kwargs), out[own:], strict=True):
            value = self.memory.value_of(made)
            assert value is not None
            self.memory.write(self._writable(target), value)
        return out[0] if own == 1 else out[:own]

    def _cast(self, op: TorchOp, func: OpOverload, args: Args, kwargs: Kwargs) -> object:
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

    def _constant(self, op: TorchOp, func: OpOverload, args: Args, kwargs: Kwargs) -> object:
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
    ) -> tuple[Args, dict[str, object]]:
        """Constants in place of derived tensors that only lend their shape, dtype and device."""

        def lent(value: object) -> object:
            if not isinstance(value, Tensor) or self.memory.entry(value) is None:
                return value
            return self.constants.lent(value)

        named = zip(op.arguments, args, strict=False)
        return (
            tuple(lent(value) if name in op.lends else value for name, value in named),
            {name: lent(v) if name in op.lends else v for name, v in kwargs.items()},
        )

    def _decompose(self, op: TorchOp, func: OpOverload, args: Args, kwargs: Kwargs) -> object:
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

    # ---------------------------------------------------------------- ops that need more

    def _record_strided(self, func: OpOverload, args: Args, kwargs: Kwargs) -> Tensor:
        """``x.as_strided(…)`` looks at the memory that x is a view of, not at x."""
        out = ask_torch(func, (self._stand_in(args[0]), *args[1:]), kwargs)
        self.memory.value_of(out)
        return out

    def _record_out(self, op: TorchOp, func: OpOverload, args: Args, kwargs: Kwargs) -> object:
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
    ) -> object:
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
    ) -> tuple[Args, dict[str, object]]:
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


def _loses_values(op: TorchOp, args: Args, kwargs: Kwargs) -> bool:
    """Whether what has no values (it is on the meta device) is written into what has some."""
    written = op.written(args, kwargs)
    return not any(t.is_meta for t in written) and any(t.is_meta for t in tensors_of(args, kwargs))


def _is_storage_on_meta(source: object = None) -> bool:
    storages = (torch.UntypedStorage, torch.TypedStorage)
    return isinstance(source, storages) and source.device == META
