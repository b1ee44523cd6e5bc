"""Ops that treat every row by itself: the recorded call, made on the rows at hand.

That a row reads only itself is what the graph says; that the call can be made on fewer rows is
what this table says.  A constant that spans the streamed axis (a position embedding, a spatial
mask) is cut to the same absolute rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fieldwise.graph.calls import drops_out
from fieldwise.graph.ir import Ref
from fieldwise.tile.refusal import Blocked
from fieldwise.tile.stream.executors.constants import POSITIONAL, if_uniform, rows_from
from fieldwise.tile.stream.executors.registry import Executor, Rows, Run, Site, executor


def pointwise(site: Site) -> Executor:
    """An element-wise call; constants line up with the result at its last dimension."""
    _rows_read_themselves(site)
    return Executor(_aligned_run(site), whole=True)


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
    return Executor(lambda rows, lo, hi: site.call.run([rows.inside(number, lo, hi).contiguous()]))


@executor(
    "layer_norm", "linear", "softmax", "glu", "permute", "mean", "sum", "amax", "amin", "var",
    "std", "var_mean", "std_mean", "logsumexp", "prod", "norm", "linalg_vector_norm", "max",
    "min", "argmax", "argmin", "all", "any", "sort", "topk", "unbind", "select",
    "cosine_similarity", "channel_shuffle", "movedim", "median", "nanmedian", "nanmean", "nansum",
    "count_nonzero", "aminmax", "mode", "kthvalue",
)  # fmt: skip
def passing(site: Site) -> Executor:
    """Ops whose arguments say nothing of the streamed axis, once a row reads only itself."""
    _rows_read_themselves(site)
    return Executor(_run(site), whole=True)


@executor("batch_norm", "prelu", "group_norm", "instance_norm")
def _per_channel(site: Site) -> Executor:
    _rows_read_themselves(site)
    if site.dim == 1 and any(t.numel() > 1 for t in site.call.constants()):
        raise Blocked("its channels lie along the streamed axis")
    return Executor(_run(site), whole=True)


@executor("dropout")
def _dropout(site: Site) -> Executor:
    if drops_out(site.node):
        raise Blocked("it draws random numbers; call model.eval() first")
    return pointwise(site)


@executor("matmul", "attention")
def _batched(site: Site) -> Executor:
    """The last two dimensions of a constant belong to the product, those before to the batch."""
    _rows_read_themselves(site)
    if site.dim < len(site.shape) - 2:
        return Executor(_aligned_run(site), whole=True)
    return Executor(_run(site), whole=True)


@executor("einsum")
def _einsum(site: Site) -> Executor:
    """Constants go without the letter of the streamed axis."""
    _rows_read_themselves(site)
    terms = site.call["equation"].replace(" ", "").split("->")[0].split(",")
    pairs = list(zip(terms, site.call["tensors"], strict=True))
    if "." in site.call["equation"]:
        raise Blocked("an ellipsis hides which letter is streamed; write the letters out")
    streamed = {
        term[link.dim]
        for term, operand in pairs
        if isinstance(operand, Ref) and (link := site.links[operand.operand]) is not None
    }
    if any(streamed & {*term} for term, operand in pairs if not isinstance(operand, Ref)):
        raise Blocked("its constant has other numbers for each row")
    return Executor(_run(site), whole=True)


# -------------------------------------------------------------------- how they run


def _rows_read_themselves(site: Site) -> None:
    for link in site.links:
        if link is not None and not link.keeps(site.rows):
            raise Blocked("a row of its result reads other rows than itself")


def _aligned_run(site: Site) -> Run:
    """The call on the rows at hand; constants with as many rows as the result are cut too."""
    spanning = {id(c): dim for c in site.call.constants() if (dim := _row_dim(site, c)) is not None}
    if not spanning:
        return _run(site)
    rows_of = {
        id(c): if_uniform(c, spanning[id(c)]) for c in site.call.constants() if id(c) in spanning
    }
    if site.endless and any(rows_of[key].shape[dim] > 1 for key, dim in spanning.items()):
        raise Blocked(POSITIONAL)

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        def cut(constant: Tensor) -> Tensor:
            if id(constant) not in spanning:
                return constant
            return rows_from(rows_of[id(constant)], spanning[id(constant)], lo, hi)

        return site.call.with_constants(cut).run(site.operands(rows, lo, hi))

    return run


def _row_dim(site: Site, constant: Tensor) -> int | None:
    """The dimension of a constant that lies along the rows of the result, if it has one."""
    if constant.numel() <= 1:
        return None
    dim = site.dim - len(site.shape) + constant.dim()
    return dim if dim >= 0 and constant.shape[dim] == site.rows > 1 else None


def _run(site: Site) -> Run:
    return lambda rows, lo, hi: site.call.run(site.operands(rows, lo, hi))
