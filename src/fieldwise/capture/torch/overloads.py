"""What the recorder needs to know of an op overload, worked out once from its schema."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch._ops import OpOverload

from fieldwise.capture.torch.registry import OpCall, Reads, Rule, find_rule, one
from fieldwise.capture.torch.scalars import reads_with_lines
from fieldwise.graph.calls import change_arguments
from fieldwise.graph.ir import Args, Kwargs, element_wise, unknown
from fieldwise.graph.kinds import COPY, DRAWN, ELEMENTWISE


@dataclass(frozen=True, slots=True)
class TorchOp:
    """An overload.

    name:      with its namespace, without the underscore of in-place ops ('aten::add')
    plain:     without its namespace
    arguments: names of its arguments, in order
    defaults:  their default values
    writes:    arguments that it writes to
    updates:   running statistics, which it may write to without saying so
    draws:     whether it may draw random numbers
    renews:    whether its schema says that it makes new running statistics
    moves:     whether one of its arguments is a device
    out:       whether it writes to ``out=`` arguments (which it does not read)
    lends:     arguments of which it only looks at shape, dtype and device
    composite: whether torch can express it by other ops
    pointwise: whether it is element-wise
    inspects:  whether its result is a Python value that depends on the data
    sized_by:  arguments whose values decide the shape of its result
    inplace_view:  whether it makes a tensor a view of what it was (unsqueeze_)
    unset:     whether it makes a tensor without values (empty_like)
    ordered:   whether its result lies in memory as its operands do (randn_like)
    """

    name: str
    plain: str
    arguments: tuple[str, ...]
    defaults: Mapping[str, object]
    writes: tuple[str, ...]
    updates: tuple[str, ...]
    draws: bool
    renews: bool
    moves: bool
    out: bool
    lends: tuple[str, ...]
    composite: bool
    pointwise: bool
    inspects: bool
    sized_by: tuple[str, ...]
    inplace_view: bool
    unset: bool
    ordered: bool

    @property
    def rule(self) -> Rule | None:
        """The rule of its reads, as of now: rules may be added at any time."""
        found = find_rule(self.name)
        return found[1] if found else None

    @property
    def canonical(self) -> str:
        """The name in graphs."""
        found = find_rule(self.name)
        return found[0] if found else self.plain

    def bind(self, args: Args, kwargs: Kwargs) -> dict[str, object]:
        """Every argument by its name, defaults filled in."""
        bound = dict(self.defaults)
        bound.update(zip(self.arguments, args, strict=False))
        bound.update(kwargs)
        return bound

    def written(self, args: Args, kwargs: Kwargs) -> list[Tensor]:
        """The tensors that a call writes to."""
        if not self.writes:
            return []
        bound = self.bind(args, kwargs)
        return tensors_of([bound[name] for name in self.writes])


_LIKE = (
    "zeros_like", "ones_like", "full_like", "empty_like", "rand_like", "randn_like", "randint_like",
    "new_zeros", "new_ones", "new_full", "new_empty", "new_empty_strided",
)  # fmt: skip
_LENDS = {
    **dict.fromkeys(_LIKE, ("self",)),
    **dict.fromkeys(("expand_as", "view_as", "reshape_as", "type_as", "to"), ("other",)),
}
_WRITES_ONLY = {
    "copy": "src", "fill": "value", "zero": None, "uniform": None, "normal": None, "random": None,
    "exponential": None, "cauchy": None, "geometric": None, "log_normal": None,
}  # fmt: skip
_SIZED_BY = {
    "masked_select": ("mask",), "repeat_interleave": ("repeats",), "bincount": ("self",),
    "index": ("indices",), "one_hot": ("self",), "tensor_split": ("tensor_indices_or_sections",),
    "_ctc_loss": ("input_lengths", "target_lengths"),
}  # fmt: skip
_STATISTICS = ("running_mean", "running_var")
_TAGGED_LATER = ("leaky_relu", "ldexp", "_conj_physical")
"""Element-wise ops that torch has tagged as such since later than the oldest that we allow."""


@cache
def describe(func: OpOverload) -> TorchOp:
    """The description of an overload."""
    arguments = func._schema.arguments
    writes = tuple(
        argument.name
        for argument in arguments
        if argument.alias_info is not None
        and argument.alias_info.is_write
        and argument.name not in _STATISTICS
    )
    name = func._schema.name
    if writes and name.endswith("_") and not name.endswith("__"):
        name = name[:-1]
    plain = name.split("::")[1]
    return TorchOp(
        name=name,
        plain=plain,
        arguments=tuple(argument.name for argument in arguments),
        defaults={a.name: a.default_value for a in arguments if a.has_default_value()},
        writes=writes,
        updates=tuple(a.name for a in arguments if a.name in _STATISTICS),
        draws=torch.Tag.nondeterministic_seeded in func.tags,
        renews=_renews(func._schema),
        moves=any("Device" in str(argument.type) for argument in arguments),
        out=any(argument.is_out for argument in arguments),
        lends=_LENDS.get(plain, ()),
        composite=func.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd),
        pointwise=is_element_wise(func),
        inspects=torch.Tag.data_dependent_output in func.tags,
        sized_by=_sized_by(func, plain),
        inplace_view=torch.Tag.inplace_view in func.tags,
        unset=plain.removeprefix("new_").startswith("empty") and not writes,
        ordered=plain.endswith("_like") or is_element_wise(func),
    )


def _sized_by(func: OpOverload, plain: str) -> tuple[str, ...]:
    if plain in _SIZED_BY:
        return _SIZED_BY[plain]
    dynamic = torch.Tag.dynamic_output_shape in func.tags or func is torch.ops.aten.where.default
    return tuple(a.name for a in func._schema.arguments) if dynamic else ()


def _renews(schema: torch._C.FunctionSchema) -> bool:
    """Whether running statistics are written to, or returned anew."""
    written = (a for a in schema.arguments if a.alias_info is not None and a.alias_info.is_write)
    named = (one.name for one in (*written, *schema.returns))
    return any(name.startswith(_STATISTICS) for name in named)


@cache
def is_element_wise(func: OpOverload) -> bool:
    """Whether torch says that an overload, or its out-of-place twin, is element-wise."""
    said = any(torch.Tag.pointwise in one.tags for one in (func, out_of_place(func)) if one)
    return said or func._schema.name.removeprefix("aten::").removesuffix("_") in _TAGGED_LATER


@cache
def without_out(func: OpOverload) -> OpOverload | None:
    """The overload that returns what this one writes to its ``out=`` arguments."""
    wanted = [(a.name, str(a.type)) for a in func._schema.arguments if not a.is_out]
    packet = func.overloadpacket
    for overload in packet.overloads():
        twin = getattr(packet, overload)
        if [(a.name, str(a.type)) for a in twin._schema.arguments] == wanted:
            return twin
    return None


@cache
def with_returns(func: OpOverload) -> OpOverload | None:
    """The overload that returns, behind its results, what this one writes beside making them.

    >>> with_returns(torch.ops.aten._fused_moving_avg_obs_fq_helper.default)
    <OpOverload(op='aten._fused_moving_avg_obs_fq_helper_functional', overload='default')>
    """
    if not func._schema.is_mutable or any(one.alias_info for one in func._schema.returns):
        return None
    packet = getattr(torch.ops, func.namespace)
    name = func._schema.name.split("::")[1]
    twin = getattr(getattr(packet, f"{name}_functional", None), func._overloadname, None)
    return twin if func._schema.returns and isinstance(twin, torch._ops.OpOverload) else None


@cache
def with_out(func: OpOverload) -> Callable[..., Tensor] | None:
    """What writes to ``out=`` the one tensor that an overload returns.

    None where there is no such overload, or one that torch has generated: it copies the result.

    >>> with_out(torch.ops.aten.add.Tensor), with_out(torch.ops.aten.dropout.default)
    (<OpOverload(op='aten.add', overload='out')>, None)
    """
    if func is torch.ops.aten.relu.default:
        return partial(torch.ops.aten.clamp_min.out, min=0)  # which is how torch computes it
    wanted = [(a.name, str(a.type)) for a in func._schema.arguments]
    packet = func.overloadpacket
    for twin in (getattr(packet, overload) for overload in packet.overloads()):
        given = twin._schema.arguments
        is_written = bool(given) and given[-1].is_out and given[-1].name == "out"
        if is_written and [(a.name, str(a.type)) for a in given[:-1]] == wanted:
            return None if torch.Tag.generated in twin.tags else twin
    return None


@cache
def out_of_place(func: OpOverload) -> Any:
    """The overload that returns what an in-place overload (add_) writes; None if there is none."""
    name = func._schema.name.split("::")[1]
    packet = getattr(getattr(torch.ops, func.namespace), name.removesuffix("_"), None)
    if not name.endswith("_") or packet is None:
        return None
    wanted = [(a.name, a.type) for a in func._schema.arguments]
    overloads = (getattr(packet, overload) for overload in packet.overloads())
    for twin in overloads:
        if [(a.name, a.type) for a in twin._schema.arguments] == wanted:
            return twin
    return None


def is_fill(op: TorchOp) -> bool:
    """Whether it overwrites all that it writes to, whatever that held."""
    return bool(op.writes) and op.plain in _WRITES_ONLY


def may_draw(op: TorchOp, args: Args, kwargs: Kwargs) -> bool:
    """Whether this call may draw random numbers; a dropout that is switched off does not."""
    if not op.draws:
        return False
    given = op.bind(args, kwargs)
    return given.get("train", given.get("training")) is not False and given.get("dropout_p") != 0


def reads_of(op: TorchOp, call: OpCall) -> Reads:
    """What the op's rule says; for element-wise ops, broadcasting; else everything, marked."""
    if is_fill(op):
        source = call.operand(_WRITES_ONLY[op.plain] or "")
        if source is None:
            return one()
        kind = COPY if call.keeps_numbers(_WRITES_ONLY[op.plain] or "") else ELEMENTWISE
        return one(element_wise(source, call.operands[source], call.result, kind))
    rule = op.rule
    if rule is not None:
        return reads_with_lines(rule, call)
    if op.pointwise:
        drawn = (DRAWN,) if op.draws and call.args.get("training") is not False else ()
        reads = tuple(
            element_wise(number, shape, call.result, *drawn)
            for number, shape in enumerate(call.operands)
        )
    else:
        return unknown_reads(call, f"{call.operator or op.name} has no rule")
    return (reads,) * len(call.results)


def unknown_reads(call: OpCall, why: str) -> Reads:
    """Everything of every operand, marked, for each result."""
    reads = tuple(unknown(n, len(shape), why) for n, shape in enumerate(call.operands))
    return (reads,) * len(call.results)


# -------------------------------------------------------------------- arguments of a call


def tensors_of(args: Iterable[object], kwargs: Kwargs = MappingProxyType({})) -> list[Tensor]:
    """The tensors among the arguments of an op, which nests them one list deep."""
    found: list[Tensor] = []
    for value in (*args, *kwargs.values()):
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found.extend(item for item in value if isinstance(item, Tensor))
    return found


def results_of(out: object) -> tuple[Tensor, ...]:
    """The tensors among the results of an op."""
    return (out,) if isinstance(out, Tensor) else tuple(tensors_of((out,)))


map_arguments = partial(change_arguments, Tensor)
"""``change_arguments`` of tensors: change, args, kwargs."""


def on_device(
    device: torch.device,
    args: Args,
    kwargs: Kwargs,
    *,
    only: torch.device | None = None,
) -> tuple[Args, dict[str, object]]:
    """The arguments with every device (only this one, if given) replaced."""

    def moved(found: torch.device) -> torch.device:
        return device if only in (None, found) else found

    return change_arguments(torch.device, moved, args, kwargs)
