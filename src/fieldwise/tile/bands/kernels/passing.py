"""Ops that treat every row by itself: the recorded call, made on the rows at hand.

Which ops these are is what this table says; that a row reads only itself, and that the call may be
made on fewer rows, is asked of the graph, the rule and torch (see ``local``).  A constant that
spans the streamed axis (a position embedding, a spatial mask) is cut to the same absolute rows.
"""

from __future__ import annotations

from fieldwise.graph.calls import drops_out, replay
from fieldwise.graph.ir import Ref
from fieldwise.tile.bands.kernels.local import element_wise, local
from fieldwise.tile.bands.kernels.registry import Executor, Site, executor
from fieldwise.tile.errors import Blocked


def pointwise(site: Site) -> Executor:
    """An element-wise call; constants line up with the result at its last dimension."""
    return Executor(element_wise(site), whole=True)


@executor(
    "clone", "alias", "detach", "hardswish", "rsub", "floor_divide", "real", "complex", "polar",
    "to", "log_sigmoid", "masked_fill", "where", "copy", "view_as_real", "logical_not",
    "fill", "zero",
)  # fmt: skip
def _pointwise_in_all_but_tag(site: Site) -> Executor:
    return pointwise(site)


@executor("view_as_complex")
def _view_as_complex(site: Site) -> Executor:
    """Real and imaginary parts must lie beside each other, however the rows were laid out."""
    number, link = site.single()
    if not link.keeps(site.rows):
        raise Blocked("a row of its result reads other rows than itself")
    return Executor(
        lambda rows, lo, hi: replay(site.call, [rows.inside(number, lo, hi).contiguous()])
    )


@executor(
    "layer_norm", "linear", "softmax", "glu", "permute", "mean", "sum", "amax", "amin", "var",
    "std", "var_mean", "std_mean", "logsumexp", "prod", "norm", "linalg_vector_norm", "max",
    "min", "argmax", "argmin", "all", "any", "sort", "topk", "unbind", "select",
    "cosine_similarity", "channel_shuffle", "movedim", "median", "nanmedian", "nanmean", "nansum",
    "count_nonzero", "aminmax", "mode", "kthvalue", "batch_norm", "prelu", "group_norm",
    "instance_norm", "matmul",
)  # fmt: skip
def passing(site: Site) -> Executor:
    """Ops whose calls may be made on fewer rows (see ``local``), where the rule says so."""
    return Executor(local(site), whole=True)


@executor("attention")
def _attention(site: Site) -> Executor:
    """torch's kernels expect the features of a position beside each other, and do not look."""
    return Executor(local(site, dense=True), whole=True)


@executor("dropout")
def _dropout(site: Site) -> Executor:
    if drops_out(site.node):
        raise Blocked("it draws random numbers; call model.eval() first")
    return pointwise(site)


@executor("einsum")
def _einsum(site: Site) -> Executor:
    """Constants go without the letter of the streamed axis."""
    terms = site.given["equation"].replace(" ", "").split("->")[0].split(",")
    pairs = list(zip(terms, site.given["tensors"], strict=True))
    if "." in site.given["equation"]:
        raise Blocked("an ellipsis hides which letter is streamed; write the letters out")
    streamed = {
        term[link.dim]
        for term, operand in pairs
        if isinstance(operand, Ref) and (link := site.links[operand.operand]) is not None
    }
    if any(streamed & {*term} for term, operand in pairs if not isinstance(operand, Ref)):
        raise Blocked("its constant has other numbers for each row")
    return passing(site)
