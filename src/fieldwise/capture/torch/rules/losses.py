"""Losses: one number per sample or element, summed up unless told not to.

Where classes are constants the loss of a sample reads the one that they name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor

from fieldwise.axes import EMPTY, IndexSet, Table, index_map
from fieldwise.capture.torch.registry import OpCall, Reads, known_values, one, rule
from fieldwise.capture.torch.rules.common import (
    broadcasts,
    entirely,
    per_result,
    reduced,
    separably,
)
from fieldwise.graph.ir import (
    WHOLE,
    Along,
    Coord,
    Read,
    Ref,
    Reshape,
    Separable,
    Shape,
    Unknown,
    identity,
    numel,
    separable,
)
from fieldwise.graph.kinds import ELEMENTWISE, SYMMETRIC, Kind

_CLASSES = "{} of classes that depend on the data"


def _losing(call: OpCall) -> Kind:
    return ELEMENTWISE if call["reduction"] == 0 else SYMMETRIC


@rule(
    "mse_loss", "smooth_l1_loss", "huber_loss", "soft_margin_loss", "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    name="loss", kind=_losing,
)  # fmt: skip
def _loss(call: OpCall) -> Reads:
    """Element-wise, and reduced to one number unless told not to."""
    if call["reduction"] == 0:
        return one(*broadcasts(call, *call.args))
    shapes = ((number, len(call.operands[number])) for _, number in call.derived())
    return one(*(reduced(number, rank, range(rank), keepdim=False) for number, rank in shapes))


# -------------------------------------------------------------------- of classes


@rule("nll_loss", "nll_loss2d", "nll_loss_forward", "nll_loss2d_forward", name="nll_loss")
def _nll_loss(call: OpCall) -> Reads:
    """The likelihood of the class of each sample, and the weight of all classes in question."""
    places = call.shape("target")
    classes = known_values(call["target"])
    weighs: list[Read] = []
    if (number := call.operand("target")) is not None:
        weighs.append(_summed(call, identity(number, len(places)), places))
    if (number := call.operand("weight")) is not None:
        weighs.append(_picked(call, number, classes, places))
    reads = list(weighs)
    if (number := call.operand("self")) is not None:
        reads.append(_picked(call, number, classes, places))
    total = tuple(weighs) if call["reduction"] else ()
    return (tuple(reads), *[total] * (len(call.results) - 1))


def _picked(call: OpCall, number: int, classes: np.ndarray | None, places: Shape) -> Read:
    """An element per sample, by its class: of a table of weights, or of the sample's own scores."""
    shape = call.operands[number]
    dim = min(len(shape) - len(places), 1) * min(len(shape) - 1, 1)
    own = call.operand("weight") != number
    if classes is None:
        why = Unknown(_CLASSES.format(call.called))
        passing = iter(range(len(places)))
        coords = [why if d == dim else Along(next(passing)) for d in range(len(shape))]
        return _summed(call, separable(number, *coords), places)
    flat = classes.reshape(-1).tolist()
    indices = (
        np.indices(places).reshape(len(places), len(flat)).T.tolist() if own else [[]] * len(flat)
    )
    rows = [
        EMPTY if name == call["ignore_index"] else _element(shape, (*at[:dim], name, *at[dim:]))
        for name, at in zip(flat, indices, strict=True)
    ]
    steps = (Reshape(), Separable((Along(0, index_map(rows)),)), Reshape())
    return _summed(call, Read(number, steps, ((numel(shape),), (len(rows),))), places)


def _element(shape: Shape, index: Sequence[int]) -> IndexSet:
    return IndexSet(int(np.ravel_multi_index(tuple(index), shape)), 1)


def _summed(call: OpCall, read: Read, places: Shape) -> Read:
    """A read per sample, of all samples where they are summed up."""
    if not call["reduction"]:
        return read
    total = Separable((WHOLE,) * len(places))
    return replace(read, steps=(*read.steps, total), shapes=(*read.shapes, places))


@rule("multi_margin_loss", name="margin_loss")
def _multi_margin_loss(call: OpCall) -> Reads:
    """All scores of a sample, against that of its class."""
    return one(*_margins(call))


@rule("multilabel_margin_loss_forward", name="margin_loss")
def _multilabel_margin_loss(call: OpCall) -> Reads:
    """All scores of a sample, against those of its classes; and which classes those are."""
    number = call.operand("target")
    if number is None:
        return (tuple(_margins(call)), ())
    rank = len(call.operands[number])
    named = separable(number, *map(Along, range(rank - 1)), WHOLE)
    return (tuple(_margins(call)), (named,))


@rule(
    "torch_nn::_linear_cross_entropy_batch_chunked",
    "torch_nn::_linear_cross_entropy_batch_chunked_no_reduction",
    name="linear_cross_entropy",
)
def _linear_cross_entropy(call: OpCall) -> Reads:
    """The loss of each sample of the scores that a linear layer gives it, or of all samples.

    What is returned beside it is for the backward pass, and made of the same.
    """
    each = call.args.get("reduction", "none") == "none"
    samples: tuple[Coord, ...] = (Along(0),) if each else (WHOLE,)
    reads = []
    for name, number in call.derived():
        rank = len(call.operands[number])
        own = samples if name in ("input", "target") else ()
        reads.append(separable(number, *own, *[WHOLE] * (rank - len(own))))
    return per_result(call, *reads)


def _margins(call: OpCall) -> list[Read]:
    """A margin is kept between classes, so of an only class nothing is read."""
    shape = call.shape("self")
    places = shape[:-1]
    reads = list[Read]()
    if numel(shape[-1:]) == 1:
        return reads
    for name, number in call.derived():
        rank = len(call.operands[number])
        if name == "weight":
            weighed: Coord = Unknown(_CLASSES.format("multi_margin_loss"))
            reads.append(_summed(call, separable(number, weighed), places))
        else:
            classes = [WHOLE] * (rank - len(places))
            reads.append(
                _summed(call, separable(number, *map(Along, range(len(places))), *classes), places)
            )
    return reads


@rule("_ctc_loss", name="ctc_loss")
def _ctc_loss(call: OpCall) -> Reads:
    """Per sample all steps of its length, and the classes of its target; the alphas may be results.

    Targets in one line are told apart by the lengths of those before.
    """
    why = Unknown("ctc_loss reads the classes of its targets")
    lengths = _lengths(call["input_lengths"])
    steps = Unknown("ctc_loss of lengths that depend on the data") if lengths is None else None
    reads: list[Read] = []
    if (number := call.operand("log_probs")) is not None:
        times = steps or Along(0, Table(tuple(IndexSet.range(0, n) for n in lengths or ())))
        reads.append(separable(number, times, Along(0), why))
    padded = len(call.shape("targets")) == 2
    reads += separably(call, targets=(Along(0), WHOLE) if padded else (WHOLE,))
    return per_result(call, *reads, *entirely(call, "input_lengths", "target_lengths"))


def _lengths(given: Ref | Tensor | Sequence[int]) -> list[int] | None:
    if not isinstance(given, (Ref, Tensor)):
        return list(given)
    values = known_values(given)
    return None if values is None else values.reshape(-1).tolist()
