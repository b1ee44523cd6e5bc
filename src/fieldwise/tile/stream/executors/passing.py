"""Ops that treat every row by itself: the recorded call, made on the rows at hand.

That a row reads only itself is what the graph says; that the call can be made on fewer rows is
what this table says.  A constant that spans the streamed axis (a position embedding, a spatial
mask) is cut to the same absolute rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fieldwise.tile.stream.executors.constants import POSITIONAL, if_uniform
from fieldwise.tile.stream.executors.registry import Executor, Rows, Run, Site, executor
from fieldwise.tile.stream.refusal import Blocked


def pointwise(site: Site) -> Executor:
    """An element-wise call; constants line up with the result at its last dimension."""
    _rows_read_themselves(site)
    return Executor(_aligned_run(site), whole=True)


@executor(
    "clone", "alias", "detach", "hardswish", "rsub", "floor_divide", "real", "complex", "polar",
    "to", "log_sigmoid", "masked_fill", "where", "copy", "view_as_real", "view_as_complex",
    "logical_not",
)  # fmt: skip
def _pointwise_in_all_but_tag(site: Site) -> Executor:
    return pointwise(site)


@executor(
    "layer_norm", "linear", "softmax", "glu", "permute", "mean", "sum", "amax", "amin", "var",
    "std", "var_mean", "std_mean", "logsumexp", "prod", "norm", "linalg_vector_norm", "max",
    "min", "argmax", "argmin", "all", "any", "sort", "topk", "unbind", "select",
    "cosine_similarity", "channel_shuffle", "movedim",
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
    if site.call.get("train"):
        raise Blocked("it draws random numbers; call model.eval() first")
    return pointwise(site)


@executor("matmul", "attention")
def _batched(site: Site) -> Executor:
    """The last two dimensions of a constant belong to the product, those before to the batch."""
    _rows_read_themselves(site)
    if site.dim < len(site.shape) - 2:
        return Executor(_aligned_run(site), whole=True)
    return Executor(_run(site), whole=True)


# -------------------------------------------------------------------- how they run


def _rows_read_themselves(site: Site) -> None:
    for link in site.links:
        if link is not None and not link.keeps(site.rows):
            raise Blocked("a row of its result reads other rows than itself")


def _aligned_run(site: Site) -> Run:
    """The call on the rows at hand; constants with as many rows as the result are cut too."""

    def narrowed(constant: Tensor) -> Tensor:
        dim = _row_dim(site, constant)
        return constant if dim is None else if_uniform(constant, dim)

    call = site.call.with_constants(narrowed)
    if all(_row_dim(site, constant) is None for constant in call.constants()):
        return lambda rows, lo, hi: call.run(site.operands(rows, lo, hi))
    if site.endless:
        raise Blocked(POSITIONAL)

    def run(rows: Rows, lo: int, hi: int) -> Sequence[Tensor]:
        def cut(constant: Tensor) -> Tensor:
            dim = _row_dim(site, constant)
            return constant if dim is None else constant.narrow(dim, lo, hi - lo)

        return call.with_constants(cut).run(site.operands(rows, lo, hi))

    return run


def _row_dim(site: Site, constant: Tensor) -> int | None:
    """The dimension of a constant that lies along the rows of the result, if it has one."""
    if constant.numel() <= 1:
        return None
    dim = site.dim - len(site.shape) + constant.dim()
    return dim if dim >= 0 and constant.shape[dim] == site.rows > 1 else None


def _run(site: Site) -> Run:
    return lambda rows, lo, hi: site.call.run(site.operands(rows, lo, hi))
