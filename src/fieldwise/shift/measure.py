"""Does the output move as the input does?  Measured, in float64, on generic weights.

The error of a value f at a shift T is max|f(Tx) − T'f(x)| over max|f(x) − its spatial mean|: what
a network adds to every position alike does not count, where a norm by max|f| would let a large
constant hide any error.  A value that should not move is normalised by how far it moves between
two unrelated inputs.

Every measurement has a control, a translation known to be wrong.  Where the control does not fail,
nothing was shown: the map was dead, constant or one unit wide.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import inf, isfinite, log10
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fieldwise.capture.torch import capture, meta_tensor
from fieldwise.capture.torch.tree import map_tensors, named_tensors
from fieldwise.errors import UsageError
from fieldwise.graph.names import aliases
from fieldwise.shift.measure_expect import Expectations, Move
from fieldwise.shift.measure_generic import copied, generic
from fieldwise.shift.measure_moves import Amount, translated

Verdict = Literal["holds", "broken", "no evidence"]

TOLERANCE = 1e-9
CONTROL = 1e-3
_FLAT = 1e-11


@dataclass(frozen=True, slots=True)
class Moved:
    """How one value moved when the input was shifted along one axis.

    name:     of the output, or the path of the module that returned it
    axis:     of the input; shift: by how many of its samples
    move:     how the value should have moved
    error:    normalised by the deviation (see the module)
    control:  the error of a translation that is wrong
    eq_t:     EQ-T in dB: 10·log10(range² / mean squared error) (Karras et al. 2021, eq. 3, where
              the range of an image is 2)
    verdict:  'no evidence' where the control did not fail
    """

    name: str
    axis: int
    shift: Amount
    move: Move
    error: float
    control: float
    eq_t: float
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured, and on what.

    outputs, layers: one entry per value and axis
    randomised:      whether all weights and statistics were drawn at random; if not, a weight that
                     is zero may hide what breaks equivariance
    tolerance:       the largest error that counts as none
    """

    outputs: tuple[Moved, ...]
    layers: tuple[Moved, ...] = ()
    seed: int = 0
    randomised: bool = True
    tolerance: float = TOLERANCE

    @property
    def verdict(self) -> Verdict:
        """Of all outputs together: broken if one is, held only if all are shown to hold."""
        found = {moved.verdict for moved in self.outputs}
        if "broken" in found:
            return "broken"
        return "holds" if found == {"holds"} else "no evidence"

    @property
    def error(self) -> float:
        """The largest over the outputs."""
        return max((moved.error for moved in self.outputs), default=inf)

    def __getitem__(self, name: str) -> Moved:
        """The value of this name, along the first axis.  Raises KeyError."""
        for moved in (*self.outputs, *self.layers):
            if moved.name == name:
                return moved
        raise KeyError(name)


def measure(
    model: nn.Module,
    example: Any,
    *,
    shift: Amount | Mapping[int, Amount] | None = None,
    axis: int | Sequence[int] | None = None,
    layers: Sequence[str] = (),
    moves: Mapping[str, Move] | None = None,
    randomise: bool = True,
    seed: int = 0,
) -> Measurement:
    """Shift the input, and see whether outputs and layers move along.

    model:     is not changed; a copy is measured, in float64 and eval mode
    example:   a tensor, a tuple or dict of tensors, or the shape of the only input.  Floating
               inputs of the same rank are replaced by noise and shifted together
    shift:     in samples of the input, fractions by FFT; or per axis.  By default the least one
               that should move every value by a whole number of units
    axis:      of the input, one or several; by default all from 2 on
    layers:    globs of module paths whose values are measured too
    moves:     how values move, by name, where the field's stride does not say it
    randomise: draw all weights and statistics (see ``measure_generic``), for a decision on the
               structure; without, the weights are taken as they are

    Raises CaptureError where the model cannot be recorded, UsageError for an unknown axis or
    module and where the model does not run in float64.

    >>> net = nn.Sequential(nn.Conv1d(1, 4, 3, padding=1), nn.ReLU())
    >>> measure(net, (1, 1, 16)).verdict
    'broken'
    >>> net = nn.Sequential(nn.Conv1d(1, 4, 3, padding=1, padding_mode="circular"), nn.ReLU())
    >>> measure(net, (1, 1, 16)).verdict
    'holds'
    """
    if isinstance(example, (tuple, list)) and all(isinstance(size, int) for size in example):
        example = meta_tensor(example)
    subject = _Subject(model, example, layers, randomise=randomise, seed=seed)
    expectations = Expectations(capture(subject.model, subject.inputs))
    found: dict[bool, list[Moved]] = {True: [], False: []}
    for along in _axes(expectations, axis):
        amount = _amount(expectations, shift, along)
        shifted = subject.run(_shifted(subject.inputs, amount, along, expectations.shape))
        for (is_output, name), value in subject.reference.items():
            value_name = _value_name(expectations, name, is_output=is_output)
            if value_name is None:
                continue
            move = (moves or {}).get(name) or expectations.move(value_name, along)
            case = _Case(name, along, amount, move, expectations.spatial(value_name))
            other = subject.unrelated[is_output, name]
            found[is_output].append(case.judge(value, shifted[is_output, name], other))
    return Measurement(tuple(found[True]), tuple(found[False]), seed, randomise)


# ---------------------------------------------------------------------- running the model

_Values = dict[tuple[bool, str], Tensor]


class _Subject:
    """A float64 copy of a model, its values on one input, and on an unrelated one."""

    def __init__(
        self, model: nn.Module, example: Any, layers: Sequence[str], *, randomise: bool, seed: int
    ) -> None:
        self.model = generic(model, seed=seed) if randomise else copied(model).double().eval()
        self.paths = _chosen(self.model, layers)
        self.inputs = noise(example, seed=seed)
        self.reference = self.run(self.inputs)
        self.unrelated = self.run(noise(example, seed=seed + 1))

    def run(self, inputs: Any) -> _Values:
        """The floating outputs, and what the chosen modules returned, copied."""
        returned: dict[str, list[list[Tensor]]] = defaultdict(list)

        def keep(path: str) -> Any:
            def hook(_module: nn.Module, _args: Any, output: Any) -> None:
                returned[path].append([tensor.clone() for _, tensor in named_tensors(output)])

            return hook

        hooks = [
            self.model.get_submodule(path).register_forward_hook(keep(path)) for path in self.paths
        ]
        try:
            output = run(self.model, inputs)
        except RuntimeError as error:
            first = str(error).strip().splitlines()[0]
            raise UsageError(
                f"The model does not run in float64 ({first}); a decision needs that precision."
            ) from error
        finally:
            for hook in hooks:
                hook.remove()
        values = {(True, name): tensor for name, tensor in named_tensors(output)}
        values |= {(False, name): tensor for name, tensor in _spelled(returned)}
        return {key: value for key, value in values.items() if value.is_floating_point()}


def run(model: nn.Module, inputs: Any) -> Any:
    """One run without gradients, from the same random state each time."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        if isinstance(inputs, Mapping):
            return model(**inputs)
        return model(*inputs) if type(inputs) is tuple else model(inputs)


def noise(example: Any, *, seed: int) -> Any:
    """The like of an example with standard normal float64 values; integers are kept."""
    generator = torch.Generator().manual_seed(seed)

    def draw(tensor: Tensor) -> Tensor:
        if tensor.is_floating_point():
            return torch.randn(tuple(tensor.shape), generator=generator, dtype=torch.float64)
        return torch.zeros_like(tensor, device="cpu") if tensor.is_meta else tensor

    return map_tensors(draw, example)


def _chosen(model: nn.Module, globs: Sequence[str]) -> tuple[str, ...]:
    paths = [path for path, _ in model.named_modules() if path]
    for glob in globs:
        if not any(fnmatchcase(path, glob) for path in paths):
            raise UsageError(
                f"No module is called '{glob}'; a measurement reads what modules return: use "
                f"a module's path."
            )
    return tuple(path for path in paths if any(fnmatchcase(path, glob) for glob in globs))


def _spelled(returned: Mapping[str, list[list[Tensor]]]) -> list[tuple[str, Tensor]]:
    """Named as the graph's values are: 'relu#2' for a second run, 'lstm[0]' for one of several."""
    found = []
    for path, runs in returned.items():
        for number, tensors in enumerate(runs, 1):
            name = path if len(runs) == 1 else f"{path}#{number}"
            for position, tensor in enumerate(tensors):
                found.append((name if len(tensors) == 1 else f"{name}[{position}]", tensor))
    return found


def _shifted(inputs: Any, amount: Amount, axis: int, shape: tuple[int, ...]) -> Any:
    def shift(tensor: Tensor) -> Tensor:
        moves = tensor.is_floating_point() and tensor.dim() == len(shape)
        return translated(tensor, amount, axis) if moves else tensor

    return map_tensors(shift, inputs)


# ---------------------------------------------------------------------- what should happen


def _axes(expectations: Expectations, axis: int | Sequence[int] | None) -> tuple[int, ...]:
    if axis is None:
        return expectations.axes
    rank = len(expectations.shape)
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    for one in axes:
        if not 0 <= one < rank:
            raise UsageError(f"The input has axes 0 to {rank - 1}; axis {one} is none of them.")
    return axes


def _amount(
    expectations: Expectations, shift: Amount | Mapping[int, Amount] | None, axis: int
) -> Amount:
    if isinstance(shift, Mapping):
        shift = shift.get(axis)
    return expectations.period(axis) if shift is None else shift


def _value_name(expectations: Expectations, name: str, *, is_output: bool) -> str | None:
    """The graph's value; None for one that does not depend on the input."""
    graph = expectations.graph
    if is_output:
        return dict(zip(graph.output_names, graph.outputs, strict=True)).get(name)
    spelled = {alias: value for value, names in aliases(graph).items() for alias in names}
    return name if name in graph.values else spelled.get(name)


# ---------------------------------------------------------------------- one value


@dataclass(frozen=True, slots=True)
class _Case:
    """One value along one axis, before it is judged; ``spatial``: where it is a map."""

    name: str
    axis: int
    shift: Amount
    move: Move
    spatial: tuple[int, ...]

    def judge(self, value: Tensor, shifted: Tensor, unrelated: Tensor) -> Moved:
        """Compare what became of the value with what should have become of it."""
        if value.shape != shifted.shape:
            return Moved(self.name, self.axis, self.shift, self.move, inf, inf, -inf, "broken")
        deviation = _deviation(value, self.spatial)
        move = self.move
        flat = deviation <= _FLAT * float(value.abs().max())
        if flat or move.dim is None:
            move = Move(None)
            deviation = float((value - unrelated).abs().max())
        wanted = _moved(value, self.shift, move, extra=0)
        wrong = unrelated if move.dim is None else _moved(value, self.shift, move, extra=1)
        error = _ratio(float((shifted - wanted).abs().max()), deviation)
        control = _ratio(float((shifted - wrong).abs().max()), deviation)
        seen = deviation > _FLAT * float(value.abs().max()) and control >= CONTROL
        return Moved(
            name=self.name,
            axis=self.axis,
            shift=self.shift,
            move=move,
            error=error,
            control=control,
            eq_t=eq_t(wanted, shifted),
            verdict=_verdict(error, control, seen=seen),
        )


def _verdict(error: float, control: float, *, seen: bool) -> Verdict:
    if not seen or not isfinite(error) or not isfinite(control):
        return "no evidence"
    return "holds" if error <= TOLERANCE else "broken"


def _deviation(value: Tensor, spatial: Sequence[int]) -> float:
    """How far a map departs from its spatial mean, at most."""
    if not spatial:
        return 0.0
    return float((value - value.mean(tuple(spatial), keepdim=True)).abs().max())


def _moved(value: Tensor, shift: Amount, move: Move, *, extra: int) -> Tensor:
    if move.dim is None:
        return value
    return translated(value, move.rate * _exact(shift) + extra, move.dim)


def _exact(shift: Amount) -> Any:
    return shift if isinstance(shift, float) and shift != int(shift) else int(shift)


def _ratio(error: float, deviation: float) -> float:
    return error / deviation if deviation else (inf if error else 0.0)


def eq_t(wanted: Tensor, found: Tensor, *, peak: float | None = None) -> float:
    """EQ-T in dB (Karras et al. 2021, eq. 3); infinite where both are equal.

    peak: the range of values, by default that of ``wanted``; the paper's images have 2.

    >>> eq_t(torch.tensor([-1.0, 1.0]), torch.tensor([-1.0, 0.8]), peak=2.0)
    23.01...
    """
    squared = float((found - wanted).double().square().mean())
    if squared == 0:
        return inf
    peak = float(wanted.max() - wanted.min()) if peak is None else peak
    return 10 * log10(peak**2 / squared) if peak else -inf
