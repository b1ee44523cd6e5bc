"""``fold``: what most users call."""

from __future__ import annotations

from fieldwise.capture.models import as_module
from fieldwise.folding.folded import Folded
from fieldwise.folding.run import fold_model


def fold(
    model: object,
    example: object = None,
    *,
    allow_graph: bool = False,
    merge: bool = True,
    verify: bool = True,
    checks: int = 1,
) -> Folded:
    """A copy of a model without the affine layers that its neighbours can take, and a report.

    model:         in eval mode; it is not changed; for a compiled one, what it was compiled from;
                   an ``ExportedProgram`` or a spec as for ``receptive_fields``
    example:       a tensor, a tuple or dict of tensors, or the shape of the only input
    allow_graph:   where folding cannot be done by changing modules (arithmetic in a forward,
                   functional layers), return a module that executes the captured graph at this
                   input shape; by default such ops stay
    merge:         make one convolution of those that read one value and are added to each other
                   (RepVGG); a module that does nothing else becomes a Sequential of that
                   convolution and what follows, elsewhere a branch becomes a module of zeros
    verify:        compare with a float64 run of the unfolded model, and undo what makes it wrong
    checks:        on how many inputs, drawn from the example's own values

    Raises CaptureError where the model cannot be recorded, UsageError for weights that hold no
    values and for a model that cannot be copied.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).eval()
    >>> folded = fold(net, (1, 3, 8, 8))
    >>> folded.model[1], folded.report.items[0].into, folded.report.verify.passed
    (Identity(), '0', True)
    """
    module, example = as_module(model, example)
    return fold_model(
        module,
        example,
        allow_graph=allow_graph,
        merge=merge,
        checks=checks if verify else 0,
    )
