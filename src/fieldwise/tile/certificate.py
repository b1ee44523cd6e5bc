"""The certificate of a tiled or streamed run: that it gives what the whole image gives, and how so.

The whole image may not fit, so both are run on a smaller one that has all there is to go wrong:
corners, seams and interior (see ``TilePlan.shortened``), and on random numbers (``samples``), since
the corner of a real image may be black, where nothing goes wrong that anyone could see.

Three classes of equality are kept apart, from the strongest: the same bits; a difference no larger
than what float32 arithmetic itself leaves open, measured on the very input by computing it in
float64, or after changing its last bits; and, in float64, at most 1e-12 of the largest value.  What
lies at the edge of a receptive field may weigh less than float32 can show, so a module is also run
in float64: a halo that is too small by one sample does not pass.

An output that is empty, the same throughout, or nowhere a number would look the same from wrong
pieces; of such a one nothing is said but that it was not checked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from fieldwise.capture.torch.running import in_double
from fieldwise.errors import Refused, summary_of
from fieldwise.graph.tensors import Values, dtype_name
from fieldwise.reports import Report
from fieldwise.tile.arrays import ArrayOrTensor, as_numpy, named_arrays
from fieldwise.tile.memory_format import rounds_to_tf32
from fieldwise.tile.samples import drawn_like

EqualityKind = Literal["bit-identical", "noise", "float64", "not checked"]
Runnable = Callable[..., object]

DOUBLE = 1e-12
"""The most that two float64 runs may differ by, relative to the largest value."""

_SLACK = 4.0
"""Two float32 runs that each are a noise floor away from the truth differ by twice it at worst,
and the floor is an estimate from one image."""

_SLACK_OF_PROVEN = 32.0
"""Where float64 has shown that the plan is right: kernels for bands may sum up in a row what those
for a whole image sum up in blocks, which over n terms is √n less precise."""


class MismatchError(Refused):
    """A run from pieces did not give what the whole image gives."""


@dataclass(frozen=True, slots=True)
class Equality:
    """How equal one output is.

    kind:  'bit-identical', 'noise' (within the noise floor) or 'float64' (within 1e-12); or
           'not checked', see ``why``
    error: the largest difference; scale: the largest value of the whole's output
    floor: the noise floor, where one was measured
    why:   a comparison would come out the same for wrong pieces
    """

    name: str
    kind: EqualityKind
    error: float
    scale: float
    floor: float | None = None
    why: str | None = None

    def __str__(self) -> str:
        if self.kind == "not checked":
            return f"'{self.name}' is not checked: {self.why}"
        if self.kind == "bit-identical":
            return f"'{self.name}' is bit-identical"
        beside = "" if self.floor is None else f", noise floor {self.floor:.1e}"
        return f"'{self.name}' differs by {self.error:.1e} of {self.scale:.1e}{beside}"


@dataclass(frozen=True, slots=True)
class RunCertificate(Report):
    """What was compared, and how equal it is.

    shapes:  of the inputs on which both were run
    outputs: in the precision of the run
    double:  the same outputs in float64; empty where the run is in float64 already, or what is run
             cannot be
    single_because: why it cannot be, where that was tried
    """

    shapes: tuple[tuple[int, ...], ...]
    outputs: tuple[Equality, ...]
    double: tuple[Equality, ...] = ()
    single_because: str = ""

    @property
    def rows(self) -> tuple[Equality, ...]:
        """One per output."""
        return self.outputs

    @property
    def kind(self) -> EqualityKind:
        """The weakest equality of the outputs."""
        kinds: tuple[EqualityKind, ...] = ("not checked", "noise", "float64", "bit-identical")
        found = (equality.kind for equality in self.outputs)
        return min(found, key=kinds.index, default="not checked")

    def __str__(self) -> str:
        sizes = ", ".join("x".join(map(str, shape)) for shape in self.shapes)
        lines = [f"compared with the whole on {sizes}: {self.kind}"]
        lines += [f"  {equality}" for equality in self.outputs]
        lines += [f"  in float64, {equality}" for equality in self.double]
        if self.single_because:
            lines.append(f"  not compared in float64: {self.single_because}")
        return "\n".join(lines)


def verify(
    run: Runnable,
    whole: Runnable,
    *given: object,
    double: tuple[Runnable, Runnable] | None = None,
    names: Sequence[str] = (),
) -> RunCertificate:
    """Run both on the same random inputs, in the range of those given, and tell how equal they are.

    run:    from pieces; whole: at once
    double: the two in float64
    names:  of the outputs, where they are all that is returned; by default their keys

    Raises MismatchError where they differ by more than the arithmetic explains.

    >>> print(verify(np.sqrt, np.sqrt, np.ones((2, 3), dtype="float32")))
    compared with the whole on 2x3: bit-identical
      'output' is bit-identical
    """
    inputs = [drawn_like(x) for x in given]
    at_once = whole(*inputs)
    wanted, values = _arrays(at_once), [value for _, value in named_arrays(at_once)]
    if len(names) == len(wanted):
        wanted = [(name, array) for name, (_, array) in zip(names, wanted, strict=True)]
    found = _arrays(run(*inputs))
    precise: tuple[Equality, ...] = ()
    exact, why = None, ""
    if double is not None and any(array.dtype != np.float64 for _, array in wanted):
        doubled = [_doubled(x) for x in inputs]
        try:
            exact = _arrays(double[1](*doubled))
        except (RuntimeError, TypeError, ValueError) as error:  # constants of its own precision
            why = summary_of(error)
        if exact is not None:
            named = [(name, array) for (name, _), (_, array) in zip(wanted, exact, strict=False)]
            precise = tuple(_judged(_arrays(double[0](*doubled)), named, None))
    noises = None
    if any(array.dtype != np.float64 for _, array in wanted):
        noises = [
            _Noise(max(floor, _step(value) * _scale(array)), dtype_name(_dtype(value)))
            for floor, value, (_, array) in zip(
                _floors(whole, inputs, wanted, exact), values, wanted, strict=True
            )
        ]
    shapes = tuple(tuple(x.shape) for x in inputs)
    slack = _SLACK_OF_PROVEN if precise else _SLACK
    return RunCertificate(shapes, tuple(_judged(found, wanted, noises, slack)), precise, why)


_Named = Sequence[tuple[str, Values]]


@dataclass(frozen=True, slots=True)
class _Noise:
    """How far the arithmetic leaves an output open, and the type that it was computed in."""

    floor: float
    dtype: str


def _judged(
    found: _Named, wanted: _Named, noises: Sequence[_Noise] | None, slack: float = _SLACK
) -> list[Equality]:
    if len(found) != len(wanted):
        raise MismatchError(f"{len(found)} outputs came from pieces and {len(wanted)} at once.")
    judged = []
    for number, ((_, one), (name, two)) in enumerate(zip(found, wanted, strict=True)):
        noise = None if noises is None else noises[number]
        equality = _equality(name, one, two, noise, slack)
        why = _blind(two, slack * (0.0 if noise is None else noise.floor))
        judged.append(equality if why is None else replace(equality, kind="not checked", why=why))
    return judged


def _equality(
    name: str, found: Values, wanted: Values, noise: _Noise | None, slack: float
) -> Equality:
    if found.shape != wanted.shape:
        raise MismatchError(
            f"The output '{name}' has the shape {found.shape} from pieces and {wanted.shape} at "
            f"once."
        )
    if np.array_equal(found, wanted, equal_nan=wanted.dtype.kind in "fc"):
        floor = None if noise is None else noise.floor
        return Equality(name, "bit-identical", 0.0, _scale(wanted), floor)
    error, place = _difference(found, wanted)
    scale = _scale(wanted)
    if noise is None or wanted.dtype == np.float64:
        if error <= DOUBLE * scale:
            return Equality(name, "float64", error, scale)
        bound = f"{DOUBLE:.0e} of {scale:.1e}, which float64 allows"
    else:
        if error <= slack * noise.floor:
            return Equality(name, "noise", error, scale, noise.floor)
        bound = f"the noise floor of {noise.floor:.1e}, which {noise.dtype} allows"
    raise MismatchError(
        f"The output '{name}' from pieces differs from the whole's by {error:.1e} at {place}, "
        f"beyond {bound}; the plan is wrong for this network, or the network is not the same from "
        f"call to call, or less precise than its dtype says."
    )


def _blind(wanted: Values, allowed: float) -> str | None:
    """Why wrong pieces would give as good an output; None where they would not."""
    finite = wanted[np.isfinite(wanted)]
    if not wanted.size:
        return "it is empty"
    if not finite.size:
        return "it holds no number"
    if finite.size > 1 and (finite == finite[0]).all() and finite.size == wanted.size:
        return "it is the same number throughout"
    if finite.size > 1 and float(np.abs(finite - finite.mean()).max()) <= allowed:
        return "it varies by less than its arithmetic leaves open"
    return None


def _difference(found: Values, wanted: Values) -> tuple[float, tuple[int, ...]]:
    """The largest difference and where it is; NaN on one side only counts as infinite."""
    if not wanted.size:
        return 0.0, ()
    wide = np.complex128 if wanted.dtype.kind == "c" else np.float64
    with np.errstate(invalid="ignore"):
        apart = np.abs(found.astype(wide) - wanted.astype(wide))
    same = (found == wanted) | ((found != found) & (wanted != wanted))
    apart = np.where(same, 0.0, np.where(np.isnan(apart), np.inf, apart))
    place = np.unravel_index(int(apart.argmax()), apart.shape)
    return float(apart[place]), tuple(map(int, place))


def _scale(array: Values) -> float:
    finite = np.abs(array[np.isfinite(array)]) if array.size else array
    return float(finite.max()) if finite.size else 0.0


# -------------------------------------------------------------------- the noise floor


def _floors(
    whole: Runnable, inputs: Sequence[ArrayOrTensor], wanted: _Named, exact: _Named | None
) -> list[float]:
    """Per output, how far the arithmetic itself leaves it open."""
    others = [exact] if exact is not None else []
    others.append(_arrays(_on_other_threads(whole, inputs)))
    if exact is None:
        others.append(_arrays(whole(*(_jittered(x) for x in inputs))))
    return [
        max(_difference(array, other[number][1].astype(array.dtype))[0] for other in others)
        for number, (_, array) in enumerate(wanted)
    ]


def _on_other_threads(whole: Runnable, inputs: Sequence[ArrayOrTensor]) -> object:
    """The same, computed by another number of torch's threads, in another order."""
    with _THREADS:
        threads = torch.get_num_threads()
        torch.set_num_threads(1 if threads > 1 else 2)
        try:
            return whole(*inputs)
        finally:
            torch.set_num_threads(threads)


_THREADS = threading.Lock()
"""Held while the number of torch's threads, which the process has one of, is another."""


def _jittered(x: ArrayOrTensor) -> ArrayOrTensor:
    """The input with every other last bit changed."""
    if isinstance(x, Tensor) and x.dtype == torch.bfloat16:  # which numpy does not have
        by = torch.full((x.numel(),), torch.finfo(x.dtype).eps, dtype=torch.float64)
        by[::2] *= -1
        return (x.double() * (1 + by.view(x.shape).to(x.device))).to(x.dtype)
    array = np.asarray(x.cpu() if isinstance(x, Tensor) else x)
    if array.dtype.kind not in "fc":
        return x
    real = np.ascontiguousarray(array).view(array.real.dtype)
    signs = np.resize(np.array([-np.inf, np.inf], dtype=real.dtype), real.shape)
    moved = np.nextafter(real, signs).view(array.dtype).reshape(array.shape)
    return torch.from_numpy(moved).to(x.device) if isinstance(x, Tensor) else moved


def _doubled(x: ArrayOrTensor) -> ArrayOrTensor:
    if isinstance(x, Tensor):
        return in_double(x)
    array = np.asarray(x)
    wide = {"f": np.float64, "c": np.complex128}.get(array.dtype.kind)
    return array if wide is None else array.astype(wide)


def _arrays(tree: object) -> _Named:
    return [(name, as_numpy(found)) for name, found in named_arrays(tree)]


def _step(found: object) -> float:
    """The distance of neighbouring numbers of a dtype, relative to their size.

    In float32 on a card which convolutions are rounded to TF32 depends on their size and layout.
    """
    dtype = _dtype(found)
    if isinstance(dtype, np.dtype):
        return float(np.finfo(dtype).eps) if dtype.kind in "fc" else 0.0
    if dtype == torch.float32 and isinstance(found, Tensor) and rounds_to_tf32(found.device):
        return _TF32
    return torch.finfo(dtype).eps if dtype.is_floating_point else 0.0


def _dtype(found: object) -> torch.dtype | np.dtype[Any]:
    return found.dtype if isinstance(found, Tensor) else np.asarray(found).dtype


_TF32 = 2.0**-10
"""The distance of neighbouring numbers in TF32, which has ten bits behind the first."""
