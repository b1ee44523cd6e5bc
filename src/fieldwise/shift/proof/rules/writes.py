"""Writes at constant indices: which positions are written, and what is written there, by values.

With constants at both, such a write is an element-wise choice between what was there and a table.
Where what is written derives from the input, the reads of the node say where it lands.
"""

from __future__ import annotations

from operator import setitem
from typing import Any

import numpy as np

from fieldwise.graph.calls import arguments, is_tensor
from fieldwise.graph.constants import Constant, constant
from fieldwise.graph.ir import Kwargs, Ref, Unknown
from fieldwise.graph.tensors import TensorLike, Values
from fieldwise.shift.proof.frame import Frame
from fieldwise.shift.proof.layout import movers, size_of
from fieldwise.shift.proof.signal import BreaksError, Fault

_WRITTEN = ("values", "value", "source", "src")
BY_DATA = Fault("it writes to positions that depend on the data", known=False)
_NO_GRID = Fault("it writes what derives from the input to no regular grid", known=False)
_MASKED = Fault("what its mask leaves out is not looked into", known=False)


def needs_reads(frame: Frame) -> bool:
    """Whether what is written derives from the input and lands where the reads say.

    Raises BreaksError where nobody knows where.
    """
    given = arguments(frame.node)
    if given.get("mask") is not None:
        raise BreaksError(_MASKED)
    if any(isinstance(index, Ref) for index in _indices(given)) or not given:
        raise BreaksError(BY_DATA)
    written = _written(given)
    if not isinstance(written, Ref):
        return False
    reads = frame.node.reads[frame.position]
    exact = not any(isinstance(coord, Unknown) for read in reads for coord in read.coords())
    if exact and (frame.node.op != "index_put" or _is_line(given)):
        return True
    layout = frame.layout(written.operand)
    if any(size_of(dim) > 1 for dim in layout) or any(movers(layout)):
        raise BreaksError(_NO_GRID)
    return False


def tables(frame: Frame, *, by_reads: bool) -> list[Constant]:
    """The constants of a write, in the shape of its result: where, what, and what was there."""
    given = arguments(frame.node)
    combines = _combines(frame.node.op, given)
    touched = _placed(frame, given, True, np.zeros(frame.result, dtype=int if combines else bool))
    found = [Constant(frame.result, "the places that it writes to", touched)]
    if by_reads:
        found = []
    written, old = _written(given), given.get("self")
    if is_tensor(written) and written.numel() > 1:
        known = constant(written, "what it writes")
        placed = None
        if known.values is not None:
            before = np.zeros(frame.result, dtype=known.values.dtype)
            placed = _placed(frame, given, known.values, before)
        found.append(Constant(frame.result, known.what, placed))
    if old is not None and is_tensor(old) and old.numel() > 1:
        known = constant(old, "what it writes into")
        values = known.values
        found.append(
            Constant(
                frame.result,
                known.what,
                values if values is None or combines else np.where(touched, 0, values),
            )
        )
    return found


def _combines(op: str, given: Kwargs) -> bool:
    """Whether what was there before matters where something is written."""
    if op in ("index_add", "scatter_add"):
        return True
    return bool(given.get("accumulate") or given.get("reduce"))


def _indices(given: Kwargs) -> list[TensorLike | None]:
    found = given.get("indices", given.get("index"))
    return list(found) if isinstance(found, (list, tuple)) else [found]


def _is_line(given: Kwargs) -> bool:
    """Whether one dimension is indexed by one line of indices."""
    used = [index for index in _indices(given) if index is not None]
    return len(used) == 1 and len(used[0].shape) == 1


def _written(given: Kwargs) -> object:
    return next((given[name] for name in _WRITTEN if given.get(name) is not None), None)


def _placed(frame: Frame, given: Kwargs, values: Values | bool, into: Values) -> Values:
    """``into`` with the values written to it, or added where the op adds."""
    indices = [None if index is None else constant(index, "").values for index in _indices(given)]
    if any(known is None and index is not None
           for known, index in zip(indices, _indices(given), strict=True)):  # fmt: skip
        raise BreaksError(BY_DATA)
    if "indices" in given:
        _put(
            frame, into, tuple(slice(None) if index is None else index for index in indices), values
        )
        return into
    (index,) = indices
    assert index is not None
    if not into.ndim:  # torch takes a scalar for a line of one
        lines = values if isinstance(values, bool) else np.atleast_1d(values)
        return _written_along(frame, np.atleast_1d(index), lines, into.reshape(1), 0).reshape(())
    return _written_along(frame, index, values, into, given["dim"] % into.ndim)


def _written_along(
    frame: Frame, index: Values, values: Values | bool, into: Values, dim: int
) -> Values:
    """``into`` with the values written where the index says along one dimension."""
    if frame.node.op.startswith("index"):
        places: list[object] = [slice(None)] * into.ndim
        places[dim] = index.reshape(-1)
        _put(frame, into, tuple(places), values)
        return into
    box = tuple(slice(0, size) for size in index.shape)
    places = list(np.ogrid[box])
    places[dim] = index
    _put(frame, into, tuple(places), values if isinstance(values, bool) else values[box])
    return into


def _put(frame: Frame, into: Values, places: tuple[object, ...], values: Values | bool) -> None:
    """Write values to these places, or add them there where the op adds."""
    put: Any = np.add.at if _combines(frame.node.op, arguments(frame.node)) else setitem
    put(into, places, values)
