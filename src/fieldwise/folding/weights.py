"""Carrying out a plan in numbers: float64 weights of every layer that takes an affine op.

Everything is computed from the constants of the captured calls, in float64; whoever writes the
weights into a model rounds them, once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from fieldwise.folding.affine import batchnorm_affine, fold_affine, fold_affine_before
from fieldwise.folding.calls import Doubles, values
from fieldwise.folding.candidates import coefficients_of
from fieldwise.folding.labels import BARE
from fieldwise.folding.layers import Layer, centre_tap
from fieldwise.folding.plan import Absorption, Branch, Fold, Merge, Place, Plan
from fieldwise.graph.calls import arguments
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Node

Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class AffineStep:
    """One affine op taken by a layer (see ``Absorption``): its coefficients, per channel."""

    candidate: int
    place: Place
    scale: Doubles
    shift: Doubles


@dataclass(frozen=True, slots=True)
class Joined:
    """A branch that a convolution took: its own layer with what that took, None for the identity.

    taps: per axis, where its taps stand among those of the convolution
    """

    branch: Branch
    layer: Changed | None
    taps: tuple[tuple[int, ...], ...]


@dataclass
class Changed:
    """A layer whose weights take affine ops, then branches: what it took, and its new weights.

    weight, bias: in float64; of a BatchNorm its scale and shift
    numbers: all nodes that run this layer's module
    """

    layer: Layer
    weight: Doubles
    bias: Doubles | None
    numbers: list[int] = field(default_factory=list)
    steps: list[AffineStep] = field(default_factory=list)
    joined: list[Joined] = field(default_factory=list)

    def takes(self) -> Iterator[int]:
        """The numbers of the nodes that went into it."""
        yield from (step.candidate for step in self.steps)
        for joined in self.joined:
            yield joined.branch.number
            if joined.layer is not None:
                yield from joined.layer.takes()


def key(layer: Layer) -> Key:
    """What tells the weights of one layer from those of another, tied ones included."""
    return layer.node.module, id(layer.weight)


def changed_layers(made: Plan) -> dict[Key, Changed]:
    """The new weights of all layers that a plan changes."""
    found: dict[Key, Changed] = {}
    by_number: dict[int, Changed] = {}
    for fold in made.folds:
        scale, shift = _current(fold, by_number)
        for taken in fold.absorptions:
            layer = taken.layer
            changed = found.get(key(layer))
            if changed is None:
                changed = found[key(layer)] = _unchanged(layer)
            if layer.number not in changed.numbers:
                changed.numbers.append(layer.number)
            by_number[layer.number] = changed
            if layer.number == changed.numbers[0]:
                _take(changed, _step(fold, taken, scale, shift))
    for merge in made.merges:
        _join(found, merge)
    return found


def pair_error(changed: Changed, weight: Doubles, bias: Doubles | None) -> float:
    """The rounded weights against the layer and all that it took, on one random window.

    In float64, relative to the largest output; of a BatchNorm its scale and shift, each relative
    to the largest.
    """
    layer = changed.layer
    if layer.kind == "batch_norm":
        return _norm_error(changed, weight, bias)
    window = np.random.default_rng(0).standard_normal(_window_shape(layer))
    expected = _unmerged(changed, window)
    found = _apply(layer, weight, bias, window)
    largest = float(np.abs(expected).max())
    return float(np.abs(found - expected).max()) / (largest or 1.0)


def zero_biases(changed: Changed, graph: Graph) -> int:
    """The biases that a layer goes without because what it took shifts by 0 with these values."""
    layer = changed.layer
    nodes = (graph.nodes[number] for number in changed.takes())
    if changed.bias is not None or not any(map(_has_shift, nodes)):
        return 0
    shape = layer.weight.shape
    return int(shape[1] * layer.groups if layer.transposed else shape[0])


def _has_shift(node: Node) -> bool:
    """Whether an affine op adds constants, whatever their values."""
    given = arguments(node)
    return any(given.get(name) is not None for name in ("bias", "running_mean"))


def _norm_error(changed: Changed, weight: Doubles, bias: Doubles | None) -> float:
    """Of the scale and shift that a BatchNorm makes of a weight and a bias."""
    given = arguments(changed.layer.node)
    assert bias is not None
    assert changed.bias is not None
    found = batchnorm_affine(
        weight, bias, values(given["running_mean"]), values(given["running_var"]), given["eps"]
    )
    wanted = changed.weight, changed.bias
    return max(
        float(np.abs(one - two).max() / (np.abs(two).max() or 1.0))
        for one, two in zip(found, wanted, strict=True)
    )


def _current(fold: Fold, by_number: dict[int, Changed]) -> tuple[Doubles, Doubles]:
    """The coefficients of an op, which may have taken another one before it goes itself."""
    changed = by_number.get(fold.candidate.number)
    if changed is None:
        return fold.candidate.coefficients()
    assert changed.bias is not None
    return changed.weight, changed.bias


def _unchanged(layer: Layer) -> Changed:
    if layer.kind == "batch_norm":
        scale, shift = coefficients_of(layer.node, layer.weight.shape[0])
        return Changed(layer, scale, shift)
    return Changed(layer, values(layer.weight), None if layer.bias is None else values(layer.bias))


def _step(fold: Fold, taken: Absorption, scale: Doubles, shift: Doubles) -> AffineStep:
    labels = np.array(taken.labels)
    bare = labels == BARE
    scales = np.where(bare, 1.0, scale[labels])
    shifts = np.where(bare | (taken.shift == 0), 0.0, taken.shift * shift[labels])
    if taken.place == "beside":
        scales, shifts = 1 + taken.sign * (scales - 1), taken.sign * shifts
    return AffineStep(fold.candidate.number, taken.place, scales, shifts)


def _take(changed: Changed, step: AffineStep) -> None:
    layer = changed.layer
    if layer.kind == "batch_norm":
        assert changed.bias is not None
        own_scale, own_shift = changed.weight, changed.bias
        changed.weight = own_scale * step.scale
        if step.place == "after":
            changed.bias = step.scale * own_shift + step.shift
        else:
            changed.bias = own_scale * step.shift + own_shift
    elif step.place == "beside":
        changed.weight, changed.bias = _with_identity(changed, step)
    else:
        fold = fold_affine if step.place == "after" else fold_affine_before
        changed.weight, bias = fold(
            changed.weight,
            changed.bias,
            step.scale,
            step.shift,
            groups=layer.groups,
            transposed=layer.transposed,
        )
        changed.bias = None if changed.bias is None and not bias.any() else bias
    changed.steps.append(step)


def _with_identity(changed: Changed, step: AffineStep) -> tuple[Doubles, Doubles]:
    """f(x) + (Γ − 1)x + α: the identity is a kernel whose centre tap is one."""
    layer, weight = changed.layer, changed.weight.copy()
    tap = centre_tap(layer)
    assert tap is not None
    rows = np.arange(weight.shape[0])
    weight[(rows, rows % weight.shape[1], *tap)] += step.scale - 1
    return weight, step.shift if changed.bias is None else changed.bias + step.shift


# -------------------------------------------------------------------- branches


def _join(found: dict[Key, Changed], merge: Merge) -> None:
    """Add the kernels of all branches, each on its taps of the convolution that stays."""
    host = found.setdefault(key(merge.host), _unchanged(merge.host))
    host.numbers = [merge.host.number]
    for branch, taps in zip(merge.branches, merge.taps, strict=True):
        taken = None
        if branch.layer is not None:
            taken = found.pop(key(branch.layer), None) or _unchanged(branch.layer)
        kernel, bias = (_identity(host), None) if taken is None else (taken.weight, taken.bias)
        groups = kernel.shape[0] if branch.layer is None else branch.layer.groups
        host.weight = host.weight + branch.sign * _spread(kernel, groups, taps, host)
        if bias is not None:
            signed = branch.sign * bias
            host.bias = signed if host.bias is None else host.bias + signed
        host.joined.append(Joined(branch, taken, taps))


def _identity(host: Changed) -> Doubles:
    """The kernel that hands on every channel."""
    return np.ones((host.weight.shape[0], 1, *[1] * (host.weight.ndim - 2)))


def _spread(
    kernel: Doubles, groups: int, taps: tuple[tuple[int, ...], ...], host: Changed
) -> Doubles:
    """A kernel of some taps and more groups, as one of the taps and groups of the host."""
    out, reads, *_ = kernel.shape
    wide = np.zeros((out, reads, *host.weight.shape[2:]))
    wide[np.ix_(range(out), range(reads), *taps)] = kernel
    rows = np.arange(out)[:, None]
    channels = rows // (out // groups) * reads + np.arange(reads)
    spread = np.zeros_like(host.weight)
    spread[rows, channels % host.weight.shape[1]] = wide
    return spread


def norm_parameters(changed: Changed) -> tuple[Doubles, Doubles]:
    """Weight and bias of a BatchNorm that has this scale and shift: γ = Γσ, β = α + Γμ."""
    given = arguments(changed.layer.node)
    sigma = np.sqrt(values(given["running_var"]) + given["eps"])
    assert changed.bias is not None
    shift = changed.bias + changed.weight * values(given["running_mean"])
    return changed.weight * sigma, shift


# -------------------------------------------------------------------- one window


def _window_shape(layer: Layer) -> tuple[int, int]:
    """(inputs, taps) of what one output reads."""
    shape = tuple(layer.weight.shape)
    taps = int(np.prod(shape[2:]))
    return (shape[0] if layer.transposed else shape[1] * layer.groups), taps


def _unmerged(changed: Changed, window: Doubles) -> Doubles:
    """The layer with its affine ops, and every branch on its part of the window."""
    found = _stepwise(changed.layer, changed.steps, window)
    kernel = changed.weight.shape[2:]
    for joined in changed.joined:
        taps = window.reshape(window.shape[0], *kernel)
        seen = taps[np.ix_(range(window.shape[0]), *joined.taps)].reshape(window.shape[0], -1)
        added = seen[:, 0] if joined.layer is None else _unmerged(joined.layer, seen)
        found = found + joined.branch.sign * added
    return found


def _stepwise(layer: Layer, steps: Sequence[AffineStep], window: Doubles) -> Doubles:
    """The layer with its own weights, and the affine ops around it, one by one."""
    if not steps:
        bias = None if layer.bias is None else values(layer.bias)
        return _apply(layer, values(layer.weight), bias, window)
    *inner, last = steps
    if last.place == "before":
        taken = window * _columns(last.scale, window) + _columns(last.shift, window)
        return _stepwise(layer, inner, taken)
    found = _stepwise(layer, inner, window)
    if last.place == "after":
        return last.scale * found + last.shift
    return found + (last.scale - 1) * window[:, _centre(layer)] + last.shift


def _centre(layer: Layer) -> int:
    tap = centre_tap(layer)
    assert tap is not None
    return int(np.ravel_multi_index(tap, layer.weight.shape[2:])) if tap else 0


def _columns(coefficients: Doubles, window: Doubles) -> Doubles:
    return np.broadcast_to(coefficients[:, None], window.shape)


def _apply(layer: Layer, weight: Doubles, bias: Doubles | None, window: Doubles) -> Doubles:
    """The outputs that one window gives, every tap read once."""
    groups = layer.groups
    inputs = window.reshape(groups, -1, window.shape[1])
    if layer.transposed:
        rows = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
        out = np.einsum("giok,gik->go", rows, inputs).reshape(-1)
    else:
        flat = weight.reshape(groups, weight.shape[0] // groups, -1)
        out = np.matmul(flat, inputs.reshape(groups, -1, 1)).reshape(-1)
    return out if bias is None else out + bias
