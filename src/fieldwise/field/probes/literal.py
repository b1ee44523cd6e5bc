"""The exercise's quantity, literally: the derivative of a unit by the input, summed over channels.

It is what people compute, and it is *not* the receptive field; ``unit_gradient`` says why.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fieldwise.capture.torch import as_inputs
from fieldwise.capture.torch.model_call import ModelCall
from fieldwise.field.probes.units import layer_output, select, varied


def unit_gradient(
    model: nn.Module,
    example: object,
    unit: tuple[int, ...],
    *,
    layer: str | None = None,
    channel: int | None = None,
    dims: tuple[int, ...] | None = None,
) -> Tensor:
    """c_m = Σ_i ∂(Σ_j Z_{j,n}) / ∂X_{i,m}, over the samples m of the input's spatial axes.

    Z is what ``layer`` (a module's path; None: the output) returns, n the ``unit``, j and i run
    over channels, of Z and of the input X.  Weights, nonlinearities and the values of ``example``
    are those given.  The model, its gradients and buffers are not modified.

    Warning: { m : c_m ≠ 0 } is in general *smaller* than the receptive field, for four reasons:

    - cancellation: derivatives of opposite sign over i, j or over paths sum to zero;
    - dead ReLUs: where a ReLU is off, everything behind it is invisible;
    - arg-max: a max-pool passes the gradient to the winning sample alone;
    - zero-initialised branches: the last BatchNorm weight of each residual block, or LayerScale,
      starts at zero in many models, so a freshly made ResNet-50 answers 11 and not 427.

    The float32 numbers of deep networks underflow besides.  Use ``gradient_field``.

    >>> conv = nn.Conv1d(1, 2, 3, bias=False)
    >>> _ = conv.weight.data.copy_(torch.tensor([[[1.0, 2, 3]], [[1, -2, 0]]]))
    >>> unit_gradient(conv, torch.zeros(1, 1, 5), (1,)).tolist()
    [0.0, 2.0, 0.0, 3.0, 0.0]
    """
    call = ModelCall(model, as_inputs(example, model))
    leaf = call.inputs[0].detach().clone().requires_grad_()
    with torch.enable_grad():
        value = layer_output(varied(call, leaf.clone()), layer)
        total = select(value, unit, channel=channel, dims=dims, layer=layer or "output").sum()
        if not total.requires_grad:
            return torch.zeros(leaf.shape[2:], dtype=leaf.dtype)
        (gradient,) = torch.autograd.grad(total, leaf, allow_unused=True)
    if gradient is None:
        return torch.zeros(leaf.shape[2:], dtype=leaf.dtype)
    return gradient.sum((0, 1))
