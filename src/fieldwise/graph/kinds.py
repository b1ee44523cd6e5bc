"""How an op combines what it reads.

Reads say *where* an index of a result looks; a ``Kind`` says *how* the result is made of what is
found there.  It stands on the read, since one op reads its operands in different ways (``where``
copies two of them and asks the third) and makes its results in different ways (``max`` along a
dimension gives a value and a place).  It is made by the op's rule, from the call: a pool is a mean
only where it counts no padding.

A kind is a claim, and every claim is a law that can be tested by brute force on the op itself.  In
the laws below all other tensors of the call are held fixed, f is a result as a function of the
operand x of the read, and x[S(i)] are the elements that index i reads.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

Combines = Literal[
    "one", "order", "mean", "sum", "product", "place", "each", "asked", "any", "unknown"
]  # fmt: skip
EVERYTHING: Literal["everything"] = "everything"


@dataclass(frozen=True, slots=True)
class Kind:
    """How a result is made of what it reads through one read.

    combines: what f(x)[i] is, of the elements x[S(i)]:
              'one'      one of them, x[σ(i)], chosen by the place i whatever x holds; or it does
                         not depend on x (what is filled in, an element of another operand)
              'order'    one of them, chosen by how they compare: f(a·x + b) = a·f(x) + b for a > 0
              'mean'     Σ w·x with weights that depend on the place alone and sum to one:
                         f(x + b) = f(x) + b, and f is linear
              'sum'      Σ w·x with weights that depend on the place alone: f is linear
              'product'  linear in x, up to what does not depend on x (a bias), with weights that
                         are other tensors of the call
              'place'    whole numbers that say where something was found, the same for a·x + b
                         with a > 0
              'each'     g of one element of each operand, with the same g at every place, also
                         along dimensions in which nothing is read
              'asked'    x decides which elements of other operands are taken (an index, a mask)
              'any'      g(x[S(i)]); along a dimension that the read follows, g is the same at all
                         places that read alike
              'unknown'  nothing is claimed
    alike:    the order of what is read of a dimension does not matter: f is the same for a
              permutation of a dimension that is read whole
    keeps:    beside that, a dimension that is read whole stands in the result, and there place i
              is made of x[i] and of something in which the order does not matter: a permutation
              of x along it permutes f (softmax, norms)
    joins:    what is made of the parts of a dimension read whole, taken together, makes what is
              made of the whole (parts of equal size for a 'mean'): f([f(x₁), f(x₂)]) = f([x₁, x₂])
    scans:    carries something from each position on to the next
    draws:    answers differently each time
    geometry: the arguments of the call that only say where it looks, so that nothing else follows
              from them once the reads are known; ``EVERYTHING``: all but ``fill``.  All others
              are settings
    fill:     the argument that holds what stands where nothing is read; zero where there is none
    channel:  the dimension of the result along which each place has weights of its own, which are
              other tensors of the call (the channels of a convolution, the features of an LSTM);
              along no other one do weights differ
    """

    combines: Combines = "any"
    alike: bool = False
    keeps: bool = False
    joins: bool = False
    scans: bool = False
    draws: bool = False
    geometry: frozenset[str] | Literal["everything"] = frozenset()
    fill: str | None = None
    channel: int | None = None

    @property
    def is_known(self) -> bool:
        """Whether anything is claimed."""
        return self.combines != "unknown"

    @property
    def passes_scale(self) -> bool:
        """Whether f(a·x) = a·f(x), for a > 0 at least."""
        return self.combines in ("one", "order", "mean", "sum")

    @property
    def passes_shift(self) -> bool:
        """Whether f(x + b) = f(x) + b, where no fill is read."""
        return self.combines in ("one", "order", "mean")

    @property
    def keeps_equal(self) -> bool:
        """Whether it makes of what is the same everywhere the same (a copy, an interpolation)."""
        return self.combines in ("one", "order", "mean", "each")

    def asked(self) -> Kind:
        """Of the arguments that decide what is done with those of this kind."""
        return Kind("asked", draws=self.draws, geometry=self.geometry, fill=self.fill)

    def per_channel(self, dim: int) -> Kind:
        """The same with weights of its own for each place of a dimension of the result."""
        return _per_channel(self, dim)

    def settings(self, arguments: Iterable[str]) -> set[str]:
        """The arguments that say more than where the op looks.

        >>> sorted(COPY.settings(("dim", "start"))), sorted(MEAN.settings(("dim", "dtype")))
        ([], ['dtype'])
        """
        if self.geometry == EVERYTHING:
            return {self.fill} & {*arguments} if self.fill else set()
        return {*arguments} - self.geometry


@cache
def _per_channel(kind: Kind, dim: int) -> Kind:
    return replace(kind, channel=dim)


_LINES = frozenset({"dim", "keepdim"})
_WINDOWS = frozenset({"stride", "padding", "output_padding", "pad", "output_size"})
_SCALES = frozenset({
    "output_size", "scales", "scales_d", "scales_h", "scales_w", "scale_factors",
})  # fmt: skip

UNKNOWN_KIND = Kind("unknown")
"""Of a rule that gives no kind: nothing is claimed, and nothing is taken for granted."""

ANY = Kind("any")
ELEMENTWISE = Kind("each")
DRAWN = Kind("each", draws=True)
COPY = Kind("one", geometry=EVERYTHING)
FILLED = Kind("one", geometry=EVERYTHING, fill="value")
REGROUPED = Kind("any", geometry=EVERYTHING)
"""Elements in another form (real and imaginary parts): where it looks is all that can be told."""
INTERPOLATION = Kind("mean", geometry=_SCALES)
OVERLAPS = Kind("sum", geometry=EVERYTHING)
"""Elements that are added where several come to lie on one place."""
LINEAR = Kind("sum")
PRODUCT = Kind("product", geometry=_WINDOWS)
WEIGHTED = Kind("mean")
"""A mean whose weights other tensors of the call make (the values of attention)."""

MEAN = Kind("mean", alike=True, joins=True, geometry=_LINES)
MEAN_OF_SOME = Kind("mean", alike=True, geometry=_LINES)
SUM = Kind("sum", alike=True, joins=True, geometry=_LINES)
EXTREME = Kind("order", alike=True, joins=True, geometry=_LINES)
RANKED = Kind("order", alike=True)
TOTAL = Kind("any", alike=True, joins=True, geometry=_LINES)
SYMMETRIC = Kind("any", alike=True)
NORMALISED = Kind("any", alike=True, keeps=True)
PLACE = Kind("place")

POOLED_MEAN = Kind("mean", alike=True, joins=True, geometry=_WINDOWS)
POOLED_SUM = Kind("sum", alike=True, geometry=_WINDOWS)
POOLED_EXTREME = Kind("order", alike=True, joins=True, geometry=_WINDOWS)

SCAN = Kind("any", scans=True)
RUNNING_SUM = Kind("sum", scans=True)
RUNNING_EXTREME = Kind("order", scans=True)
