"""The axis algebra said once more, to the integer set library (isl): both must say the same.

isl decides Presburger formulas over all integers, so what it compares is compared everywhere, not
in a window.  It shares no code and no idea of representation with ``fieldwise.axes``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, reduce

import islpy
from hypothesis import reject

from fieldwise.axes import AnySet, AxisMap, Border, IndexSet, Region
from fieldwise.axes.lattice import Lattice


def index_set(indices: IndexSet) -> islpy.Set:
    """{ i : i in the set }."""
    return islpy.Set(f"{{ [i] : {among('i', indices)} }}")


def axis_map(advance: int, offsets: Sequence[IndexSet]) -> islpy.Map:
    """{ i → m : i = q·P + r and m = q·A + o for an o in offsets[r] }, as the definition has it."""
    period = len(offsets)
    return _united(_phase(period, phase, advance, offset) for phase, offset in enumerate(offsets))


def of(one: AxisMap) -> islpy.Map:
    """The relation that an AxisMap stands for."""
    return axis_map(one.advance, one.offsets)


def equal(one: islpy.Map, two: islpy.Map, period: int) -> bool:
    """Whether two relations are equal, residue class by residue class of what they map from.

    The classes cover ℤ, so this decides equality; each is far easier for isl than their union.
    A Hypothesis example for which isl would still take minutes is given up.
    """
    classes = (islpy.Set(f"{{ [i] : i mod {period} = {phase} }}") for phase in range(period))
    context = one.get_ctx()
    context.reset_operations()
    context.set_max_operations(MOST_OPERATIONS)
    try:
        return all(
            one.intersect_domain(some).is_equal(two.intersect_domain(some)) for some in classes
        )
    except islpy.Error as error:
        if "number of operations" not in str(error):
            raise
        reject()
    finally:
        context.set_max_operations(0)


def repeats(relation: islpy.Map, advance: int, period: int) -> bool:
    """Whether i → m exactly when i + period → m + advance."""
    outputs = islpy.Map(f"{{ [i] -> [i + {period}] }}")
    inputs = islpy.Map(f"{{ [m] -> [m + {advance}] }}")
    moved = relation.apply_domain(outputs).apply_range(inputs)
    return bool(moved.is_equal(relation))


def lattice(one: Lattice) -> islpy.Set:
    """{ i : i mod modulus in residues }."""
    return islpy.Set(
        f"{{ [i] : exists q, o : i = {one.modulus} q + o and {among('o', one.residues)} }}"
    )


def any_set(one: AnySet) -> islpy.Set:
    """A finite set, or a window with its tails."""
    if isinstance(one, IndexSet):
        return index_set(one)
    left = lattice(one.left).intersect(islpy.Set(f"{{ [i] : i < {one.low} }}"))
    right = lattice(one.right).intersect(islpy.Set(f"{{ [i] : i >= {one.high} }}"))
    return index_set(one.window).union(left).union(right)


def affine(factor: int, by: int) -> islpy.Map:
    """{ i → factor · i + by }."""
    return islpy.Map(f"{{ [i] -> [{factor} i + {by}] }}")


def sums(one: islpy.Set, two: islpy.Set) -> islpy.Set:
    """{ a + b }."""
    pairs = one.flat_product(two)
    return pairs.apply(islpy.Map("{ [a, b] -> [a + b] }"))


def border(kind: Border, size: int) -> islpy.Map:
    """{ index → the sample that it lands on }, from the definition of each padding mode."""
    inside = f"0 <= m < {size}"
    turn = {Border.REFLECT: max(2 * size - 2, 1), Border.SYMMETRIC: 2 * size}.get(kind, size)
    image = {Border.REFLECT: "- i", Border.SYMMETRIC: "- 1 - i"}.get(kind, "")
    if kind is Border.DROP:
        return islpy.Map(f"{{ [i] -> [m] : m = i and {inside} }}")
    if kind is Border.CLAMP:
        return islpy.Map(
            f"{{ [i] -> [m] : (i < 0 and m = 0) or (i >= {size} and m = {size - 1})"
            f" or (m = i and {inside}) }}"
        )
    landings = [f"m = i + {turn} q"] + ([f"m = {image} + {turn} q"] if image else [])
    return islpy.Map(f"{{ [i] -> [m] : exists q : ({' or '.join(landings)}) and {inside} }}")


def region(one: Region, rank: int) -> islpy.Set:
    """The index tuples of a region."""
    names = [f"d{dim}" for dim in range(rank)]
    products = [
        " and ".join(among(name, side) for name, side in zip(names, product, strict=True))
        for product in one.products
    ]
    return islpy.Set(f"{{ [{', '.join(names)}] : {_either(products)} }}")


def row_major(shape: Sequence[int]) -> islpy.Map:
    """{ index tuple → its place in row-major order }."""
    names = [f"d{dim}" for dim in range(len(shape))]
    place = "0"
    for name, size in zip(names, shape, strict=True):
        place = f"{size} * ({place}) + {name}"
    bounds = " and ".join(f"0 <= {n} < {size}" for n, size in zip(names, shape, strict=True))
    return islpy.Map(f"{{ [{', '.join(names)}] -> [{place}] : {bounds} }}")


def among(name: str, indices: IndexSet) -> str:
    """The formula that a variable is one of these indices."""
    return _either([f"{start} <= {name} < {stop}" for start, stop in indices.runs()])


@cache
def _phase(period: int, phase: int, advance: int, offset: IndexSet) -> islpy.Map:
    reads = " or ".join(f"m = {advance} q + {o}" for o in offset) or "1 = 0"
    return islpy.Map(f"{{ [i] -> [m] : exists q : i = {period} q + {phase} and ({reads}) }}")


def _united(relations: Iterable[islpy.Map]) -> islpy.Map:
    return reduce(islpy.Map.union, relations)


def _either(formulas: Sequence[str]) -> str:
    return f"({' or '.join(f'({one})' for one in formulas)})" if formulas else "1 = 0"


MOST_OPERATIONS = 30_000_000
"""So many basic operations isl makes in a few seconds."""
