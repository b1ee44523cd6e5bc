"""The kinds of an op's reads against what the op does: every claim is a law, tried on numbers.

The laws are those of ``graph.kinds.Kind``.  Numbers are random and unlike each other, calls are
those that the capture recorded, and nothing is asked of the rule but what it claims.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from fieldwise.axes import Table
from fieldwise.capture.torch.capture import capture
from fieldwise.capture.torch.rereading import reread_node
from fieldwise.graph.calls import arguments, changed, constants_of, rebind, replay
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import (
    Along,
    Call,
    Coord,
    Fixed,
    Node,
    Read,
    Separable,
    Shape,
    Unknown,
    Whole,
)
from fieldwise.graph.kinds import Kind
from fieldwise.testing.outcome import Outcome, outcome_of, worst
from fieldwise.testing.running import as_module, doubled, is_whole

ValuesByNumber = dict[int, Tensor]
"""Operands by number."""


def check_kinds(op: object, *inputs: object) -> Outcome:
    """Hold what an op's rule claims of its reads against the op, a function of these tensors.

    Raises AssertionError where a claim is false, and where none was made or could be tried.

    >>> check_kinds(lambda x: x.softmax(-1), torch.randn(2, 5)).verdict
    'exact'
    """
    return kinds_outcome(doubled(as_module(op)), doubled(inputs)).required()


def kinds_outcome(model: Any, inputs: Sequence[Tensor]) -> Outcome:
    """The same for a model in double precision, of which every recorded call is looked at."""
    try:
        graph = capture(model, tuple(inputs))
    except Exception as error:  # noqa: BLE001 - what became of the capture is the outcome
        return outcome_of(error)
    return worst(_judged(site, site.kind) for site in sites(graph, inputs))


def _judged(site: KindSite, kind: Kind) -> Outcome:
    node, tried = site.node, list(_tried(site, kind))
    where = f"{node.op} ({node.results[site.result]}), operand {site.operand}"
    found = [why for why in tried if why is not None]
    if found:
        return Outcome("wrong", f"{where}: {'; '.join(found)}", len(tried))
    if not tried:
        return Outcome("nothing", f"no claim of {where} could be tried on these numbers")
    return Outcome("exact", compared=len(tried))


@dataclass(frozen=True)
class KindSite:
    """One result of a recorded call as a function of one operand.

    others: the operands of the call as they are
    beside: the operands that are read in the same way, itself among them
    """

    graph: Graph
    node: Node
    result: int
    operand: int
    others: ValuesByNumber
    beside: tuple[int, ...]

    @property
    def reads(self) -> tuple[Read, ...]:
        """The reads of the operand."""
        return tuple(r for r in self.node.reads[self.result] if r.operand == self.operand)

    @property
    def kind(self) -> Kind:
        """The kind of these reads."""
        return self.reads[0].kind

    @property
    def x(self) -> Tensor:
        """The operand as it is."""
        return self.others[self.operand]

    @property
    def shape(self) -> Shape:
        """Of the result."""
        return self.graph.shape(self.node.results[self.result])

    def __call__(self, x: Tensor) -> Tensor:
        """The result for another operand."""
        return self.at({self.operand: x})

    def at(self, operands: Mapping[int, Tensor], call: Call | None = None) -> Tensor:
        """The result for other operands, maybe of another call."""
        source = call or self.node.source
        assert source is not None
        with torch.no_grad():
            return replay(source, {**self.others, **operands})[self.result]

    def mapped(self, change: Callable[[int, Tensor], Tensor]) -> Tensor:
        """The result where all operands that are read in the same way are changed."""
        return self.at({n: change(n, self.others[n]) for n in self.beside})

    def uniform(self, seed: int) -> KindSite:
        """The same call where every tensor holds one number, each tensor its own."""
        dice = torch.Generator().manual_seed(seed)
        source = self.node.source
        assert source is not None
        node = replace(self.node, source=changed(source, Tensor, lambda t: _uniform(t, dice)))
        others = {n: _uniform(t, dice) for n, t in self.others.items()}
        return replace(self, node=node, others=others)


def sites(graph: Graph, inputs: Sequence[Tensor]) -> Iterator[KindSite]:
    """What of a graph's calls can be judged: of results and operands that are read in one way."""
    values = dict(zip(graph.inputs, inputs, strict=True))
    for node in graph.nodes:
        if node.source is None or any(t.is_meta for t in constants_of(node.source)):
            return  # nothing can be computed of it
        given = {n: values[name] for n, name in enumerate(node.operands)}
        with torch.no_grad():
            values |= dict(zip(node.results, replay(node.source, given), strict=True))
        dice = torch.Generator().manual_seed(len(values))
        others = {n: _random(t, dice) for n, t in given.items()}
        for result, reads in enumerate(node.reads):
            kinds: dict[int, set[Kind]] = {}
            for read in reads:
                kinds.setdefault(read.operand, set()).add(read.kind)
            for operand, found in kinds.items():
                if len(found) == 1 and all(kind.is_known for kind in found):
                    beside = tuple(n for n, kind in kinds.items() if kind == found)
                    yield KindSite(graph, node, result, operand, others, beside)


def broken(site: KindSite, kind: Kind) -> list[str]:
    """The laws of a kind that the op does not obey, each as a sentence."""
    return [why for why in _tried(site, kind) if why is not None]


LawTrial = str | None
"""What became of one comparison that a law asks for: why it failed, or None."""


def _tried(site: KindSite, kind: Kind) -> Iterator[LawTrial]:
    """Every comparison that the laws of a kind ask for, and that can be made."""
    try:
        site(site.x)
    except (RuntimeError, IndexError, ValueError):
        return  # torch does not take other numbers here
    if kind.draws:
        if site.x.numel() >= _MANY:
            yield _unless(not _alike(site(site.x), site(site.x)), "it draws nothing")
        return
    laws = [_LAWS[kind.combines], _follows, _geometry]
    laws += [_symmetry] if kind.alike or kind.keeps else []
    laws += [_joining] if kind.joins else []
    laws += [_scanning] if kind.scans else []
    for law in laws:
        try:
            yield from law(site, kind)
        except (RuntimeError, IndexError, ValueError):
            continue  # nor there: some ops look at their numbers


def _unless(holds: bool | Tensor, why: str) -> LawTrial:
    return None if holds else why


_MANY = 16
_ANOTHER = 1 << 20
"""The seed of other numbers than those that stand in a site."""

# -------------------------------------------------------------------- how it combines


def _one(site: KindSite, kind: Kind) -> Iterator[LawTrial]:  # noqa: ARG001
    dice = torch.Generator().manual_seed(_ANOTHER)
    if not site.x.is_floating_point():
        return
    x, z = site.x, _random(site.x, dice)
    y, w = site(x), site(z)
    x, z = x.to(y.dtype).reshape(-1), z.to(y.dtype).reshape(-1)
    same, moved = y.reshape(-1, 1) == x, w.reshape(-1, 1) == z
    free = _equal(y, w).reshape(-1)
    yield _unless(
        (free | (same & moved).any(1)).all(),
        "an element is none of those of the operand, or another one for other numbers",
    )


def _order(site: KindSite, kind: Kind) -> Iterator[LawTrial]:  # noqa: ARG001
    if not site.x.is_floating_point():
        return
    dice = torch.Generator().manual_seed(_ANOTHER)
    y, w = site(site.x), site(_random(site.x, dice))
    picked = (y.reshape(-1, 1) == site.x.to(y.dtype).reshape(-1)).any(1)
    fits = picked | _equal(y, w).reshape(-1)
    yield _unless(fits.all(), "an element is none of those of the operand")
    passes = _alike(site.mapped(lambda _, t: _line(t)), _line(y)) or _alike(y, w)
    yield _unless(passes, "it does not pass a scale and a shift")


def _mean(site: KindSite, kind: Kind) -> Iterator[LawTrial]:
    yield from _sum(site, kind)
    if not is_whole(site.x):
        moved = site.mapped(lambda _, t: t + 3.0)
        yield _unless(_alike(moved, site(site.x) + 3.0), "it does not pass a shift")


def _sum(site: KindSite, kind: Kind) -> Iterator[LawTrial]:  # noqa: ARG001
    if not is_whole(site.x):
        yield from _affine(site, site.beside)


def _product(site: KindSite, kind: Kind) -> Iterator[LawTrial]:  # noqa: ARG001
    if not is_whole(site.x):
        yield from _affine(site, (site.operand,))


def _affine(site: KindSite, operands: tuple[int, ...]) -> Iterator[LawTrial]:
    dice = torch.Generator().manual_seed(_ANOTHER)
    one = {n: site.others[n] for n in operands}
    two = {n: _random(t, dice) for n, t in one.items()}
    nothing = site.at({n: torch.zeros_like(t) for n, t in one.items()})
    mixed = site.at({n: 2 * one[n] + 3 * two[n] for n in operands})
    wanted = 2 * site.at(one) + 3 * site.at(two)
    yield _unless(_alike(mixed + 4 * nothing, wanted), "it is not linear")


def _place(site: KindSite, kind: Kind) -> Iterator[LawTrial]:  # noqa: ARG001
    y = site(site.x)
    yield _unless(is_whole(y), "it gives no whole numbers")
    if not is_whole(y) or not y.numel():
        return
    within = y.min() >= 0 and y.max() < max(1, site.x.numel())
    yield _unless(within, "it gives no place")
    if within and site.x.is_floating_point():
        again = site(_line(site.x))
        yield _unless(_alike(again, y), "it gives another place after a scale and a shift")


def _each(site: KindSite, kind: Kind) -> Iterator[LawTrial]:  # noqa: ARG001
    if any(_several(coord, size) for coord, size in _coords(site)):
        yield "it reads several elements"
    for seed in (1, 2):
        flat = site.uniform(seed)
        y = flat(flat.x)
        if y.numel():
            first = y.reshape(-1)[0].expand_as(y)
            yield _unless(_alike(y, first), "it does not treat all places alike")


def _coords(site: KindSite) -> Iterator[tuple[Coord, int]]:
    for read in site.reads:
        for step, before, _ in read.forward(tuple(site.x.shape), site.shape):
            if isinstance(step, Separable):
                yield from zip(step.coords, before, strict=True)


def _several(coord: Coord, size: int) -> bool:
    if isinstance(coord, Along):
        return isinstance(coord.map, Table) or not coord.map.is_single
    return size > 1 and not (isinstance(coord, Fixed) and coord.indices.count == 1)


def _nothing(site: KindSite, kind: Kind) -> Iterator[LawTrial]:  # noqa: ARG001
    yield from ()


_LAWS: Mapping[str, Callable[[KindSite, Kind], Iterator[LawTrial]]] = {
    "one": _one, "order": _order, "mean": _mean, "sum": _sum, "product": _product,
    "place": _place, "each": _each, "asked": _nothing, "any": _nothing, "unknown": _nothing,
}  # fmt: skip

# -------------------------------------------------------------------- dimensions


def _follows(site: KindSite, kind: Kind) -> Iterator[LawTrial]:
    """Along what all reads follow, places are treated alike; weights differ along one alone."""
    flat = site.uniform(1)
    y = flat(flat.x)
    followed = _followed(site) if kind.combines != "place" else set[int]()
    for dim in followed:
        same = _alike(y, y.narrow(dim, 0, 1).expand_as(y))
        yield _unless(same, f"it does not treat the places of dimension {dim} alike")
    if kind.channel is not None:
        weighed = site.at({n: flat.others[n] for n in site.others})
        for dim in followed - {kind.channel}:
            same = _alike(weighed, weighed.narrow(dim, 0, 1).expand_as(weighed))
            yield _unless(same, f"the places of dimension {dim} have weights of their own")


def _followed(site: KindSite) -> set[int]:
    """The dimensions of more than one index that all reads follow, those of constants too."""
    again = reread_node(site.node, site.graph)
    if again is None:
        return set()
    reads = again.reads[site.result]
    unknown = any(isinstance(coord, Unknown) for read in reads for coord in read.coords())
    if unknown or any(step.where for read in reads for step in _separable(read)):
        return set()
    shapes = [*map(site.graph.shape, site.node.operands)]
    shapes += [tuple(constant.shape) for constant in again.constants]
    driven = [_driven(read, shapes[read.operand], site.shape) for read in reads]
    if None in driven:
        return set()
    plain = {dim for pairs in driven for dim, plain in pairs or () if plain}
    plain -= {dim for pairs in driven for dim, plain in pairs or () if not plain}
    return {dim for dim in plain if site.shape[dim] > 1}


def _driven(read: Read, before: Shape, after: Shape) -> list[tuple[int, bool]] | None:
    """The dimensions of a result that a read follows, and whether index by index.

    None for one of several steps.
    """
    step = read.single
    if step is None:
        return None
    return [
        (coord.dim, coord.keeps(size, after[coord.dim]))
        for coord, size in zip(step.coords, before, strict=True)
        if isinstance(coord, Along)
    ]


def _separable(read: Read) -> list[Separable]:
    return [step for step in read.steps if isinstance(step, Separable)]


def _whole(site: KindSite) -> list[int]:
    """The dimensions of the operand that every read reads whole."""
    found = set(range(site.x.dim()))
    for read in site.reads:
        step = read.single
        if step is None or step.where:
            return []
        found &= {dim for dim, coord in enumerate(step.coords) if isinstance(coord, Whole)}
    return sorted(dim for dim in found if site.x.shape[dim] > 1)


def _symmetry(site: KindSite, kind: Kind) -> Iterator[LawTrial]:
    flat = site.uniform(1)
    flat = replace(flat, others={**flat.others, site.operand: site.x})
    y = flat(site.x)
    for dim in _whole(site):
        order = torch.randperm(site.x.shape[dim], generator=torch.Generator().manual_seed(1))
        moved = flat(site.x.index_select(dim, order))
        stays = kind.keeps and site.shape == tuple(site.x.shape)
        wanted = y.index_select(dim, order) if stays else y
        yield _unless(_alike(moved, wanted), f"the order of dimension {dim} matters")


def _joining(site: KindSite, kind: Kind) -> Iterator[LawTrial]:  # noqa: ARG001
    whole = _whole(site)
    for dim in whole:
        size = site.x.shape[dim] // 2
        halves = [site.x.narrow(dim, first, size) for first in (0, size)]
        kept = [1 if d in whole else n for d, n in enumerate(site.x.shape)]
        try:
            made = [site(half).reshape(kept) for half in halves]
            joined = site(torch.cat(made, dim).to(site.x.dtype))
        except RuntimeError:
            continue  # the call is made for one size alone
        together = site(torch.cat(halves, dim))
        same = _alike(joined, together.to(joined.dtype))
        yield _unless(same, f"parts of dimension {dim} do not make the whole")


def _scanning(site: KindSite, kind: Kind) -> Iterator[LawTrial]:  # noqa: ARG001
    for read in site.reads:
        for step in _separable(read):
            for dim, coord in enumerate(step.coords):
                if not isinstance(coord, Along) or not isinstance(coord.map, Table):
                    continue
                first = site.x.shape[dim] // 2
                made = site(site.x.narrow(dim, 0, first))
                same = _alike(made, site(site.x).narrow(coord.dim, 0, first))
                why = f"what comes later along dimension {dim} changes what comes first"
                yield _unless(same, why)


# -------------------------------------------------------------------- arguments


def _geometry(site: KindSite, kind: Kind) -> Iterator[LawTrial]:
    """With another value of an argument, and the same reads, it makes the same result."""
    if site.result or site.operand != site.beside[0]:
        return  # the same arguments again
    given = arguments(site.node)
    free = set(given) - kind.settings(given)
    y = site(site.x)
    for name in sorted(free):
        for other in _others(given[name]):
            again = _changed(site, name, other)
            if again is not None:
                why = f"its argument '{name}' says more than where it looks"
                yield _unless(_alike(again, y), why)


def _changed(site: KindSite, name: str, value: object) -> Tensor | None:
    """The result with another value of an argument; None where it reads otherwise then."""
    source = site.node.source
    assert source is not None
    call = rebind(source, {name: value})
    try:
        y = site.at({}, call)
        graph = capture(as_module(lambda *xs: tuple(replay(call, xs))), tuple(site.others.values()))
    except Exception:  # noqa: BLE001 - torch takes no such value
        return None
    same = len(graph.nodes) == 1 and graph.nodes[0].reads == site.node.reads
    return y if same and tuple(y.shape) == site.shape else None


def _others(value: object) -> Iterator[object]:
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, (int, float)):
        yield from (value + 1, value - 1)
    elif isinstance(value, (list, tuple)) and value and all(type(v) is int for v in value):
        yield from ([value[0] + by, *value[1:]] for by in (1, -1))


# -------------------------------------------------------------------- numbers


def _random(tensor: Tensor, dice: torch.Generator) -> Tensor:
    """Numbers in (0, 1), no two alike; of whole numbers and truths those that were there."""
    if tensor.is_floating_point() or tensor.is_complex():
        order = torch.randperm(tensor.numel(), generator=dice).double()
        jitter = torch.rand(tensor.numel(), generator=dice, dtype=torch.float64)
        found = ((order + 0.2 + 0.6 * jitter) / max(1, tensor.numel())).reshape(tensor.shape)
        return torch.complex(found, 1 - found) if tensor.is_complex() else found.to(tensor.dtype)
    return tensor.reshape(-1)[torch.randperm(tensor.numel(), generator=dice)].reshape(tensor.shape)


def _uniform(tensor: Tensor, dice: torch.Generator) -> Tensor:
    if not tensor.numel():
        return tensor
    if tensor.is_floating_point() or tensor.is_complex():
        return torch.full_like(tensor, 0.2 + 0.6 * torch.rand(1, generator=dice).item())
    return tensor.reshape(-1)[0].expand(tensor.shape).clone()


def _line(tensor: Tensor) -> Tensor:
    return tensor * 2 + 3


def _equal(one: Tensor, two: Tensor) -> Tensor:
    return (one == two) | (one.isnan() & two.isnan())


def _alike(one: Tensor, two: Tensor) -> bool:
    if one.shape != two.shape:
        return False
    if is_whole(one) and is_whole(two):
        return bool((one == two).all())
    rounding = 1e-9 if one.dtype in (torch.float64, torch.complex128) else 1e-2
    return torch.allclose(one, two.to(one.dtype), rtol=rounding, atol=rounding, equal_nan=True)
