"""What a model's own config says of its inputs: what is subtracted, and divided by then."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from fieldwise.capture.arguments import split_call

Normalisation = tuple[Sequence[float], Sequence[float]]
"""What is subtracted from each channel, and what it is divided by then; channels lie in [0, 1]."""


def own_normalisation(model: nn.Module, spec: str = "") -> Normalisation | None:
    """As timm's config of the model says, or torchvision's of its weights; None where neither does.

    spec: the name of the model (see capture.specs)

    >>> from fieldwise.capture import load_model
    >>> own_normalisation(load_model("torchvision:resnet18").source, "torchvision:resnet18")
    ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    """
    config = getattr(model, "pretrained_cfg", None) or {}
    if isinstance(config, dict) and config.get("mean") and config.get("std"):
        return tuple(config["mean"]), tuple(config["std"])
    zoo, _, name = split_call(spec)[0].partition(":")
    if zoo != "torchvision":
        return None
    from torchvision.models import get_model_weights

    try:
        meant = next(iter(get_model_weights(name))).transforms()
    except (StopIteration, ValueError):
        return None
    mean, deviation = getattr(meant, "mean", None), getattr(meant, "std", None)
    return (tuple(mean), tuple(deviation)) if mean and deviation else None
