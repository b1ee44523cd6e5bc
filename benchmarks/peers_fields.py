"""Which box of the input output positions see; see peers.py.

Asked at a corner of the output, in its middle and beside that, on the same network and input size.
Truth is float64 autograd (see ``peers_truth``).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from peers_frame import SILENTLY_WRONG, VERDICTS, Capability, NoAnswerError, Run, Tool
from peers_networks import IMAGES, Network
from peers_truth import Box, Positive, positive, true_boxes
from torch import Tensor, fx, nn

Found = list[tuple[Box, bool]]
"""Per asked position the box, and whether the tool calls it exact."""


def units(network: Network) -> list[tuple[int, ...]]:
    """Output positions: a corner, the middle, and the one beside it."""
    with torch.no_grad():
        spatial = network.made()(torch.randn(network.shape)).shape[2:]
    middle = tuple(size // 2 for size in spatial)
    beside = tuple(min(at + 1, size - 1) for at, size in zip(middle, spatial, strict=True))
    return list(dict.fromkeys([(0,) * len(spatial), middle, beside]))


def by_fieldwise(network: Network) -> Run:
    """Capture and closed forms of all layers; then boxes of positions."""
    from fieldwise import receptive_fields

    model, x, asked = network.made(), torch.randn(network.shape), units(network)

    def run() -> Found:
        report = receptive_fields(model, x)
        last = report[report.rows[-1].name]  # this computes every row
        seen = [last.at(*unit) for unit in asked]
        boxes = [tuple((lo, hi + 1) for lo, hi in zip(s.lo, s.hi, strict=True)) for s in seen]
        return [(box, last.row.exact) for box in boxes]

    return run


def by_torchlens(network: Network) -> Run:
    """A trace, of which TorchLens's rules solve all layers at once; then boxes of positions."""
    import torchlens

    model, x, asked = network.made(), torch.randn(network.shape), units(network)

    def run() -> Found:
        trace = torchlens.trace(model, x)
        view = trace.output_ops[0].receptive_field
        status = view.status.value  # this solves the trace
        if status == "whole_input":
            return [(tuple((0, size) for size in network.shape[2:]), True) for _ in asked]
        if status in ("unknown", "unsupported", "data_dependent"):
            raise NoAnswerError(f"its status is '{status}'")
        boxes = [view.at(unit) for unit in asked]
        return [
            (tuple((side.clipped_start, side.clipped_stop) for side in box.axes[2:]), box.exact)
            for box in boxes
        ]

    return run


def by_receptivefield(network: Network) -> Run:
    """Gradients at three positions of a larger input, as its README asks: averages, no rectifiers.

    It names size, stride and the middle of the first box, from which the boxes follow.
    """
    from receptivefield.pytorch import PytorchReceptiveField

    if len(network.shape) != 4:
        raise NoAnswerError("images alone")
    asked = units(network)

    class Mapped(nn.Module):
        """With the map where the tool looks for it."""

        def __init__(self) -> None:
            super().__init__()
            self.net = positive(network.made()).float()
            self.feature_maps: list[Tensor] = []

        def forward(self, x: Tensor) -> Tensor:
            """The map of the network."""
            with Positive():
                self.feature_maps = [self.net(x)]
            return self.feature_maps[0]

    height, width = (min(3 * size, max(size, 480)) for size in network.shape[2:])

    def run() -> Found:
        [found] = PytorchReceptiveField(Mapped).compute((height, width, network.shape[1]))
        axes = [
            (middle - size / 2, stride, size)
            for middle, stride, size in zip(*found.rf, strict=True)
        ]
        return [(_clipped(axes, at, network.shape[2:]), True) for at in asked]

    return run


def by_torchscan(network: Network) -> Run:
    """The row of the last module, where that is of more than the module itself."""
    import torchscan

    model, asked = network.made(), units(network)

    def run() -> Found:
        report = torchscan.crawl_module(model, tuple(network.shape[1:]))
        metrics = [
            row["metrics"] for row in report["layers"] if "receptive_field" in row["metrics"]
        ]
        scope = metrics[-1]["receptive_field"]["scope"]
        if scope == "module_call":
            raise NoAnswerError(
                "it names the window of each module (scope 'module_call'), not more"
            )
        pad, stride, size = (float(metrics[-1][name]["value"]) for name in COLUMNS)
        axes = [(-pad, stride, size)] * len(asked[0])
        return [(_clipped(axes, at, network.shape[2:]), True) for at in asked]

    return run


COLUMNS = ("effective_padding", "effective_stride", "receptive_field")


def by_formula(network: Network) -> Run:
    """Araujo et al. (2019), equations for a single path, on the chain of a symbolic trace."""
    model, asked = network.made(), units(network)

    def run() -> Found:
        axes = [(0, 1, 1)] * len(asked[0])  # padding, stride, size
        for module in chain(model):
            axes = [
                (pad + p * stride, stride * s, size + d * (k - 1) * stride)
                for (pad, stride, size), (k, s, p, d) in zip(
                    axes, windows(module, len(axes)), strict=True
                )
            ]
        lines = [(-pad, stride, size) for pad, stride, size in axes]
        return [(_clipped(lines, at, network.shape[2:]), True) for at in asked]

    return run


def chain(model: nn.Module) -> list[nn.Module]:
    """The modules of a chain, in order."""
    traced = fx.symbolic_trace(model)
    for node in traced.graph.nodes:
        if node.op in ("call_function", "call_method") or len(node.users) > 1:
            raise NoAnswerError("it is of chains of convolutions and pools")
    return [traced.get_submodule(n.target) for n in traced.graph.nodes if n.op == "call_module"]


def windows(module: nn.Module, rank: int) -> list[tuple[int, int, int, int]]:
    """Per axis kernel, stride, padding and dilation; of what has no window, of one sample."""
    if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.MaxPool2d)):
        given = (module.kernel_size, module.stride, module.padding, module.dilation)
        spread = [one if isinstance(one, tuple) else (one,) * rank for one in given]
        return list(zip(*spread, strict=True))
    if isinstance(module, (nn.ReLU, nn.BatchNorm2d, nn.Identity, nn.Dropout)):
        return [(1, 1, 0, 1)] * rank
    raise NoAnswerError("it is of chains of convolutions and pools")


def _clipped(
    axes: Sequence[tuple[float, float, float]], at: Sequence[int], sizes: Sequence[int]
) -> Box:
    """The box of an output position, within the input."""
    starts = [first + stride * u for (first, stride, _), u in zip(axes, at, strict=True)]
    return tuple(
        (int(max(start, 0)), int(min(start + extent, size)))
        for start, (_, _, extent), size in zip(starts, axes, sizes, strict=True)
    )


# ------------------------------------------------------------------------------ the judgement


def verdict(box: Box, truth: Box, *, exact: bool) -> str:
    """Of one position."""
    if box == truth:
        return "right" if exact else "right, called a bound"
    holds = all(a <= c and b >= d for (a, b), (c, d) in zip(box, truth, strict=True))
    return "a bound" if holds and not exact else SILENTLY_WRONG


def judge(network: Network, found: Found) -> tuple[str, str]:
    """The worst over the asked positions."""
    truth = true_boxes(network.made(), network.shape, units(network))
    verdicts = [verdict(box, seen, exact=e) for (box, e), seen in zip(found, truth, strict=True)]
    return max(verdicts, key=VERDICTS.index), ""


CAPABILITY = Capability(
    module="peers_fields",
    subjects={network.name: network for network in IMAGES},
    tools={
        "fieldwise": Tool(by_fieldwise, ("fieldwise",)),
        "TorchLens": Tool(by_torchlens, ("torchlens",)),
        "receptivefield": Tool(by_receptivefield, ("receptivefield",)),
        "torchscan": Tool(by_torchscan, ("torchscan",)),
        "chain formula": Tool(by_formula, ()),
    },
    judge=judge,
    base=by_fieldwise,
)
