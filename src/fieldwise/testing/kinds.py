"""The kinds of an op's reads against what the op does: every claim is a law, tried on numbers.

The laws are those of ``graph.kinds.Kind``.  Numbers are random and unlike each other, calls are
those that the capture recorded, and nothing is asked of the rule but what it claims.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from fieldwise.capture.torch.capture import capture
from fieldwise.graph.kinds import Kind
from fieldwise.testing.kind_sites import KindSite, sites
from fieldwise.testing.laws import tried
from fieldwise.testing.outcome import Outcome, outcome_of, worst
from fieldwise.testing.running import as_module, doubled


def check_kinds(op: object, *inputs: object) -> Outcome:
    """Hold what an op's rule claims of its reads against the op, a function of these tensors.

    Raises AssertionError where a claim is false, and where none was made or could be tried.

    >>> import torch
    >>> check_kinds(lambda x: x.softmax(-1), torch.randn(2, 5)).verdict
    'exact'
    """
    return kinds_outcome(doubled(as_module(op)), doubled(inputs)).required()


def kinds_outcome(model: Any, inputs: Sequence[Tensor]) -> Outcome:
    """The same for a model in double precision, of which every recorded call is looked at."""
    try:
        graph = capture(model, tuple(inputs))
    except Exception as error:  # noqa: BLE001 - what became of the capture is the outcome
        return outcome_of(error)
    return worst(_judged(site, site.kind) for site in sites(graph, inputs))


def _judged(site: KindSite, kind: Kind) -> Outcome:
    node, made = site.node, list(tried(site, kind))
    where = f"{node.op} ({node.results[site.result]}), operand {site.operand}"
    found = [why for why in made if why is not None]
    if found:
        return Outcome("wrong", f"{where}: {'; '.join(found)}", len(made))
    if not made:
        return Outcome("nothing", f"no claim of {where} could be tried on these numbers")
    return Outcome("exact", compared=len(made))


def broken(site: KindSite, kind: Kind) -> list[str]:
    """The laws of a kind that the op does not obey, each as a sentence."""
    return [why for why in tried(site, kind) if why is not None]
