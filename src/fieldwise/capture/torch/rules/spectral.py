"""Fourier transforms: whole along the transformed dimensions, or over a window that moves.

The named transforms (fft, rfft2, irfftn, …) are composites; these are the ops beneath them, after
padding, trimming and shifting.
"""

from __future__ import annotations

from fieldwise.axes import AxisMap, IndexSet
from fieldwise.capture.torch.registry import OpCall, Reads, normal_dims, one, rule
from fieldwise.capture.torch.rules.common import along_but, separably, source
from fieldwise.capture.torch.rules.pad import BORDERS
from fieldwise.graph.ir import WHOLE, Along, Fixed, Unknown, straight
from fieldwise.graph.kinds import LINEAR, PRODUCT, Kind


@rule("_fft_r2c", "_fft_c2r", "_fft_c2c", name="fft", kind=LINEAR)
def _fft(call: OpCall) -> Reads:
    number, shape = source(call)
    dims = normal_dims(call["dim"], len(shape)) if call["dim"] else ()
    return one(along_but(number, len(shape), dict.fromkeys(dims, WHOLE)))


@rule("stft", kind=PRODUCT)
def _stft(call: OpCall) -> Reads:
    """(batch, sample) to (batch, frequency, frame): a frame reads the samples of its window.

    And the window itself, where that derives from the input.
    """
    lead = len(call.shape("self")) - 1
    first, length, hop = _window(call)
    border = BORDERS["constant"]
    if call.args.get("center"):
        first, border = first - call["n_fft"] // 2, BORDERS[call["pad_mode"]]
    frames = AxisMap(hop, (IndexSet.range(first, first + length),))
    samples = (*straight(lead), Along(lead + 1, frames, border))
    return one(*separably(call, self=samples, window=(WHOLE,)))


@rule("istft", kind=Kind("any", geometry=frozenset({"length"})))
def _istft(call: OpCall) -> Reads:
    """(batch, frequency, frame) to (batch, sample): the frames whose windows overlap there."""
    lead = len(call.shape("self")) - 2
    first, length, hop = _window(call)
    overlaps = AxisMap(
        1,
        tuple(
            IndexSet.of(-k for k in range(call["n_fft"]) if 0 <= rest + k * hop - first < length)
            for rest in range(hop)
        ),
    )
    trimmed = AxisMap.affine(1, call["n_fft"] // 2 if call["center"] else 0)
    half = Fixed(IndexSet.range(0, call["n_fft"] // 2 + 1))  # real samples need no more
    bins = WHOLE if call.args.get("return_complex") else half
    spectrum = (*straight(lead), bins, Along(lead, trimmed.then(overlaps)))
    window = Unknown(f"{call.named('istft')} reads its window where frames overlap")
    return one(*separably(call, self=spectrum, window=(window,)))


def _window(call: OpCall) -> tuple[int, int, int]:
    """The first sample of a frame that its window does not pad away, how many, and the hop."""
    size = call["n_fft"]
    hop = call["hop_length"] or size // 4
    length = call["win_length"] or size
    return (size - length) // 2, length, hop
