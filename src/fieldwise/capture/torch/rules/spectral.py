"""Fourier transforms: whole along the transformed dimensions.

The named transforms (fft, rfft2, irfftn, …) are composites; these are the ops beneath them, after
padding, trimming and shifting.
"""

from __future__ import annotations

from fieldwise.capture.torch.registry import OpCall, Reads, normal_dims, one, rule
from fieldwise.capture.torch.rules.common import along_but, source
from fieldwise.graph.ir import WHOLE


@rule("_fft_r2c", "_fft_c2r", "_fft_c2c", name="fft")
def _fft(call: OpCall) -> Reads:
    number, shape = source(call)
    dims = normal_dims(call["dim"], len(shape)) if call["dim"] else ()
    return one(along_but(number, len(shape), dict.fromkeys(dims, WHOLE)))
