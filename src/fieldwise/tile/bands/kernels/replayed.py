"""The one law by which an op without a kernel is streamed: its recorded call is made again.

Where each row reads itself alone, the call is made on the rows at hand (``local``); where rows read
windows, on the rows around them too (``windows``).  Reads say which of the two it is, kinds say
whether anything is claimed of what is made of them.
"""

from __future__ import annotations

from torch._ops import OpOverload

from fieldwise.capture.torch.overloads import TorchOp, describe, may_draw
from fieldwise.graph.calls import operator_of
from fieldwise.tile.bands.kernels.local import element_wise, local
from fieldwise.tile.bands.kernels.registry import Executor, Site
from fieldwise.tile.bands.kernels.windows import windowed
from fieldwise.tile.errors import DRAWS, Blocked


def replayed(site: Site) -> Executor:
    """The recorded call of a site on the rows at hand.

    Raises Blocked where it draws random numbers, where no kind is known, and where neither law
    holds.
    """
    kinds = {read.kind for read in site.node.reads[site.result]}
    target = operator_of(site.call.target)
    op = describe(target) if isinstance(target, OpOverload) else None
    check_draws_nothing(site)
    if not all(kind.is_known for kind in kinds):
        raise Blocked("running this op on a band of rows is not supported")
    if not all(link.keeps(site.rows) for _, link in site.streamed):
        return windowed(site)
    if op is not None and (op.pointwise or site.node.op in _FILLS):
        return element_wise(site)
    return local(site, dense=site.node.op in _DENSE)


def check_draws_nothing(site: Site) -> None:
    """Raise Blocked where a call draws random numbers."""
    kinds = {read.kind for read in site.node.reads[site.result]}
    target = operator_of(site.call.target)
    op = describe(target) if isinstance(target, OpOverload) else None
    if any(kind.draws for kind in kinds) or (not kinds and op is not None and _draws(op, site)):
        raise Blocked(DRAWS, even_whole=True)


def _draws(op: TorchOp, site: Site) -> bool:
    return may_draw(op, site.call.args, site.call.kwargs)


_FILLS = ("copy", "fill", "zero")
"""Writes of a whole tensor: what they write lines up with it as in an element-wise op."""
_DENSE = ("attention", "view_as_complex")
"""Kernels of torch that expect what belongs together side by side in memory, and do not look."""
