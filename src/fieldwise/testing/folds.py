"""Folded models held against the unfolded ones: ``check_fold``."""

from __future__ import annotations

from itertools import islice

import torch
from torch import nn

from fieldwise.folding import fold
from fieldwise.testing.outcome import Outcome, outcome_of
from fieldwise.testing.running import Inputs, answer, as_module, doubled, draws, in_full
from fieldwise.testing.tiles import unlike

_DRAWS = 3


def fold_outcome(model: object, inputs: Inputs) -> Outcome:
    """Whether a model folded without fieldwise's own check gives what the unfolded one gives.

    A model of which nothing is folded is 'refused', with the reasons for what stays.
    """
    module = as_module(model)
    try:
        folded = fold(module, inputs, allow_graph=True, verify=False)
        again = fold(folded.model, inputs, allow_graph=True, verify=False)
    except Exception as error:  # noqa: BLE001 - what comes out is what is looked for
        return outcome_of(error)
    if not folded.report.folded:
        return Outcome("refused", "; ".join(folded.report.reasons()) or "nothing to fold")
    if again.report.folded:
        return Outcome("wrong", f"the folded model folds further: {again.report.items}", 1)
    compared = 0
    for given in islice(draws(inputs), _DRAWS):
        try:
            with torch.no_grad():
                wanted = answer(module, given)
        except (RuntimeError, ValueError, IndexError):
            continue
        try:
            with torch.no_grad():
                found = answer(folded.model, given)
        except Exception as error:  # noqa: BLE001
            return Outcome("bare", f"the folded model fails: {type(error).__name__}: {error}")
        difference = unlike(found, wanted)
        if difference:
            return Outcome("wrong", f"folded: {difference}", 1)
        compared += 1
    return Outcome("exact", f"{folded.report.folded} folded", compared)


def check_fold(model: nn.Module, *inputs: object) -> Outcome:
    """Hold a folded copy of a model against the model, in double precision.

    Raises AssertionError where they differ, and where nothing was compared.
    """
    return fold_outcome(doubled(as_module(model)), in_full(model, inputs)).required()
