"""How papers measure an effective receptive field, step by step, under their names.

All differentiate a unit's channels by the input and average over inputs.  They differ in what
becomes of the signs, in what is averaged, and in the square from which sizes are read.

luo        Luo, Li, Urtasun & Zemel, Understanding the effective receptive field in deep
           convolutional neural networks, NeurIPS 2016 (arXiv:1701.04128), sections 1 and 3.1.
           A gradient of one is put on the unit and taken back to the input.  A sample is in the
           effective field if it gets more than 1 − 95.45 % of what the centre gets (two standard
           deviations, they say); the side is the root of the number of such samples.  They average
           over 20 draws of weights and inputs.  The paper leaves the sign open; where weights are
           as often negative the mean of a signed gradient tends to zero, so magnitudes are
           averaged here.  It speaks of one channel; of several a combination is differentiated that
           is drawn anew for each input, since their sum is constant behind a norm over channels.
replknet   Ding, Zhang, Han & Ding, Scaling up your kernels to 31×31, CVPR 2022 (arXiv:2203.06717),
           and the scripts of its repository.  Positive outputs are summed over the channels of the
           unit, negative gradients are dropped, the rest is summed over the channels of the input
           and averaged over 50 images of 1024 × 1024.  The map is log10(x + 1), over its largest
           value.  The high-contribution area ratio r(t) is the area of the smallest square around
           sample (h // 2, w // 2) whose share of the map is above t, over the image's.
openerf    The package openerf 0.6, after Kim, Choi, Jang & Kim, Understanding Gaussian attention
           bias of vision transformers using effective receptive fields, BMVC 2023.  The mean of the
           channels of the unit; gradients are averaged over the input's channels first, and
           negative ones dropped then; the sum over images is divided by its total.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

ProtocolName = Literal["luo", "replknet", "openerf"]


@dataclass(frozen=True, slots=True)
class Protocol:
    """How one input's contribution is made of a gradient.

    name:    of the paper or package
    score:   the number that is differentiated, from the channels of the unit and as many random
             numbers
    collect: contributions per position, from the gradient (channels first) of one input
    images:  on how many inputs the paper averages
    """

    name: ProtocolName
    score: Callable[[Tensor, Tensor], Tensor]
    collect: Callable[[Tensor], Tensor]
    images: int


def combination(unit: Tensor, drawn: Tensor) -> Tensor:
    """A random combination of the channels."""
    return (unit * drawn).sum()


def _positive_sum(unit: Tensor, _drawn: Tensor) -> Tensor:
    return unit.relu().sum()


def _mean(unit: Tensor, _drawn: Tensor) -> Tensor:
    return unit.mean()


def _magnitudes(gradient: Tensor) -> Tensor:
    return gradient.abs().sum(0)


def _positive_parts(gradient: Tensor) -> Tensor:
    return gradient.relu().sum(0)


def _positive_means(gradient: Tensor) -> Tensor:
    return gradient.mean(0).relu()


PROTOCOLS: Mapping[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        Protocol("luo", combination, _magnitudes, images=20),
        Protocol("replknet", _positive_sum, _positive_parts, images=50),
        Protocol("openerf", _mean, _positive_means, images=1000),
    )
}
SHARES = (0.2, 0.3, 0.5, 0.99)
"""The t of r(t) that RepLKNet's table has."""
