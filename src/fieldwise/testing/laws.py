"""The laws of ``graph.kinds.Kind``, tried on numbers: random ones, no two alike.

Every law yields what became of each comparison that it asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from fieldwise.axes import Table
from fieldwise.capture.torch.capture import capture
from fieldwise.capture.torch.rereading import reread_node
from fieldwise.graph.calls import arguments, rebind, replay
from fieldwise.graph.ir import (
    Along,
    Coord,
    Fixed,
    Read,
    Separable,
    Shape,
    Unknown,
    Whole,
)
from fieldwise.graph.kinds import Kind
from fieldwise.testing.kind_sites import KindSite, random_like
from fieldwise.testing.running import as_module, is_whole

LawTrial = str | None
"""What became of one comparison that a law asks for: why it failed, or None."""


def tried(site: KindSite, kind: Kind) -> Iterator[LawTrial]:
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
    x, z = site.x, random_like(site.x, dice)
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
    y, w = site(site.x), site(random_like(site.x, dice))
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
    two = {n: random_like(t, dice) for n, t in one.items()}
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
