"""The field's usual metrics, each with what it takes to be evidence."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite, log10

import torch
from torch import Tensor, nn

from fieldwise.capture.torch.running import in_double
from fieldwise.errors import UsageError
from fieldwise.shift.measurement.translations import translated


@dataclass(frozen=True, slots=True)
class Consistency:
    """How often a classifier says the same of two translations of one image.

    agreement: the share of pairs (Zhang 2019, section 4.1)
    control:   the share of pairs of *different* images of which it says the same
    pairs:     how many were tried
    """

    agreement: float
    control: float
    pairs: int

    @property
    def evidence(self) -> bool:
        """Whether it tells images apart at all; one class for everything is always consistent."""
        return self.control < 1


def consistency(
    model: nn.Module, images: Tensor, *, most: int = 32, repeats: int = 1, seed: int = 0
) -> Consistency:
    """Compare the classes of two random circular translations of every image.

    model:   returns scores (batch, classes); it is taken as it is, weights and precision too
    images:  (batch, channels, *spatial), two or more
    most:    translations are drawn from 0 to this many samples, per axis
    repeats: how many pairs of translations are tried

    Raises UsageError for a single image and for outputs that are not (batch, classes).

    >>> from torch import nn
    >>> blind = nn.Sequential(nn.Flatten(), nn.Linear(16, 2)).requires_grad_(False)
    >>> _ = blind[1].weight.zero_()
    >>> found = consistency(blind, torch.randn(4, 1, 16))
    >>> found.agreement, found.evidence
    (1.0, False)
    """
    if len(images) < 2:
        raise UsageError("Consistency needs two images or more, to see whether any differ.")
    generator = torch.Generator().manual_seed(seed)
    agreed, classes = 0.0, _classes(model, images)
    for _ in range(repeats):
        first, second = (
            _classes(model, _randomly_translated(images, most, generator)) for _ in range(2)
        )
        agreed += float((first == second).double().mean()) / repeats
    same = classes[:, None] == classes[None, :]
    count = len(images)
    control = float(same.sum() - count) / (count * (count - 1))
    return Consistency(agreed, control, repeats * count)


def _classes(model: nn.Module, images: Tensor) -> Tensor:
    training = model.training
    with torch.no_grad():
        scores = model.eval()(images)
    model.train(training)
    if not isinstance(scores, Tensor) or scores.dim() != 2:
        raise UsageError("Consistency is of classifiers; the model must return (batch, classes).")
    return scores.argmax(1)


def _randomly_translated(images: Tensor, most: int, generator: torch.Generator) -> Tensor:
    for dim in range(2, images.dim()):
        images = translated(images, int(torch.randint(most + 1, (), generator=generator)), dim)
    return images


def eq_t(wanted: Tensor, found: Tensor, *, peak: float | None = None) -> float:
    """EQ-T in dB (Karras et al. 2021, eq. 3); infinite where both are equal, −inf where either
    holds what is no number.

    peak: the range of values, by default that of ``wanted``; the paper's images have 2.

    >>> eq_t(torch.tensor([-1.0, 1.0]), torch.tensor([-1.0, 0.8]), peak=2.0)
    23.01...
    """
    squared = float(in_double(found - wanted).abs().square().mean())
    if not isfinite(squared):
        return -inf
    if squared == 0:
        return inf
    peak = float(wanted.max() - wanted.min()) if peak is None else peak
    return 10 * log10(peak**2 / squared) if peak else -inf
