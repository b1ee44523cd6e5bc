"""Whole-image results from pieces, exactly, for inputs larger than memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import nn

    from fieldwise.tile.stream import StreamedModel


def streamed(
    model: nn.Module,
    example_input: Any,
    *,
    axis: int = -2,
    band: int = 64,
    global_ops: Literal["refuse", "multipass"] = "refuse",
) -> StreamedModel:
    """A callable that computes what the model does, band by band along one axis.

    model:         in eval mode; it is not changed
    example_input: a tensor, or a tuple or dict of tensors, of the rank and dtypes that the model
                   takes; its sizes do not matter
    axis:          of the inputs, along which bands are cut (rows of an image are -2, samples of
                   audio -1)
    band:          input rows per step: less memory, or less overhead
    global_ops:    what to do with layers that read the whole axis: 'refuse' them, or go through
                   the input once more for each in sequence, summing up what it needs (global
                   means and extremes, group, instance and batch norm; 'multipass')

    Every layer keeps the few rows that the next band still needs, so nothing is computed twice,
    and the result is the whole image's: to the last bits of the arithmetic, borders included.
    What a run on a given size will keep is in ``plan(shape)``, before anything runs.

    Raises StreamError, when a size is first seen, where a layer needs the whole axis (a global
    mean, attention, instance norm); it names every such layer.

    >>> import torch
    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)).eval()
    >>> large = torch.randn(1, 3, 200, 100)
    >>> run = streamed(net, torch.empty(1, 3, 32, 32), band=50)
    >>> print(run.plan(large.shape))
    5 steps of 50 input rows; 5.5 KiB kept between steps, at most 353.9 KiB at once
      1: 1 of 200 rows, 3.1 KiB
      input: 2 of 200 rows, 2.3 KiB
    >>> torch.allclose(run(large), net(large), atol=1e-6)
    True
    """
    from fieldwise.tile.stream import StreamedModel

    return StreamedModel(model, example_input, axis=axis, band=band, global_ops=global_ops)
