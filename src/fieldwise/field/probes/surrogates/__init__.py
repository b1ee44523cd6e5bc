"""For each torch op, a positive linear function with the same dependence.

A surrogate is called on operands that require gradients and returns the results; its Jacobian is
nonnegative and nonzero exactly where the op's result may depend on the operand, for generic
weights.  Which index depends on which is left to torch's own kernels: a convolution is torch's
convolution with weights of one, a slice is torch's slice.  Nothing here knows the read rules of
the graph, so that the probe built on it is an independent check of them.

- multilinear ops (convolution, matmul): the op itself, weights and the other operand all one
- element-wise ops: the sum of the operands, broadcast
- maxima over a window: the sum over the window; padding reads nothing
- reductions: the sum; normalisations and softmax: x plus its sum over the normalised dims
- attention: Σ_s (q_l + k_s + v_s) over the positions s that a constant mask lets through
- ops that move elements or average them with fixed weights: the op itself.  Bicubic taps may be
  negative, which is why cotangents are random and not all one (see ``gradient``)

A constant mask in ``where``, ``masked_fill``, ``tril`` or attention is structure and cuts, and so
is a zero that a softmax makes of −inf; a constant factor that happens to be zero is a weight and
does not.
"""

from fieldwise.field.probes.surrogates import elementwise, lines, moves, windows
from fieldwise.field.probes.surrogates.fallbacks import dense, generic
from fieldwise.field.probes.surrogates.moves import write_through
from fieldwise.field.probes.surrogates.operation import (
    Operation,
    UnknownDependence,
    is_masked,
    surrogate,
)

__all__ = [
    "Operation",
    "UnknownDependence",
    "dense",
    "elementwise",
    "generic",
    "is_masked",
    "lines",
    "moves",
    "surrogate",
    "windows",
    "write_through",
]
