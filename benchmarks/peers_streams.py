"""Whether a stream gives what the whole signal gives; see peers.py.

Signals of 672 samples come in chunks of 48.  Truth is the network on the whole signal, in float64.
Time is that of the analysis: what is done once, before any chunk.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from peers_frame import SILENTLY_WRONG, Capability, NoAnswerError, Run, Tool
from peers_networks import SIGNALS, Network
from torch import Tensor, fx, nn

CHUNK = 48
RIGHT = 1e-9


@dataclass(frozen=True, slots=True)
class Streamed:
    """What makes the output of a signal, chunk by chunk, and its delay in samples, as said."""

    stream: Callable[[Tensor], Tensor]
    delay: int = 0


def in_double(network: Network) -> nn.Module:
    """The network in float64."""
    return network.made().double().requires_grad_(requires_grad=False)


def signal(network: Network) -> Tensor:
    """Noise, the same in every process."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(network.shape, dtype=torch.float64, generator=generator)


def by_fieldwise(network: Network) -> Run:
    """``streamed``: planned without running the model."""
    return _planned(network)


def by_passes(network: Network) -> Run:
    """The same, with more passes for layers that read the whole axis."""
    return _planned(network, global_ops="multipass")


def _planned(network: Network, **options: Any) -> Run:
    from fieldwise.tile import streamed

    model, x = in_double(network), signal(network)

    def run() -> Streamed:
        found = streamed(model, x, axis=-1, band=CHUNK, **options)
        found.plan(x.shape)
        return Streamed(found)

    return run


def by_torchstream(network: Network) -> Run:
    """The window that TorchStream's solver finds by runs on NaN, and a stream with it."""
    from torchstream import SeqSpec, SlidingWindowStream, find_sliding_window_params

    logging.getLogger("torchstream").setLevel(logging.ERROR)
    model = in_double(network)
    channels = model(signal(network)).shape[1]
    taken = SeqSpec(1, network.shape[1], -1, dtype=torch.float64)
    given = SeqSpec(1, channels, -1, dtype=torch.float64)

    def run() -> Streamed:
        with torch.no_grad():
            (params, *_) = find_sliding_window_params(model, taken, given)

        def stream(whole: Tensor) -> Tensor:
            found = SlidingWindowStream(model, params, taken, given)
            with torch.no_grad():
                rows = [
                    chunk.data[0]
                    for chunk in found.forward_in_chunks_iter(whole, chunk_size=CHUNK)
                    if chunk.size
                ]
            return torch.cat(rows, -1)

        return Streamed(stream)

    return run


def by_cached_conv(network: Network) -> Run:
    """A chain of convolutions, written with cached_conv's layers, with the same weights."""
    model = in_double(network)

    def run() -> Streamed:
        layers = list(rewritten(model))
        delays = [layer.cumulative_delay for layer in layers if hasattr(layer, "cumulative_delay")]
        chain = nn.Sequential(*layers).double()

        def stream(whole: Tensor) -> Tensor:
            return torch.cat([chain(chunk) for chunk in whole.split(CHUNK, -1)], -1)

        return Streamed(stream, delays[-1] if delays else 0)

    return run


def rewritten(model: nn.Module) -> Iterator[nn.Module]:
    """The layers of a chain as cached_conv has them; each is given the delay so far."""
    import cached_conv

    delay = 0
    try:
        traced = fx.symbolic_trace(model)
    except fx.proxy.TraceError:
        raise NoAnswerError(REWRITE) from None
    for node in traced.graph.nodes:
        if node.op in ("placeholder", "output"):
            continue
        if node.op != "call_module" or len(node.users) > 1:
            raise NoAnswerError(REWRITE)
        layer = traced.get_submodule(node.target)
        if isinstance(layer, (nn.Conv1d, nn.ConvTranspose1d)):
            is_conv = isinstance(layer, nn.Conv1d)
            if not layer.padding[0] and layer.kernel_size[0] > layer.stride[0]:
                raise NoAnswerError("it keeps what a layer pads, and these do not pad")
            kind = cached_conv.CachedConv1d if is_conv else cached_conv.CachedConvTranspose1d
            made = kind(
                layer.in_channels, layer.out_channels, layer.kernel_size[0], layer.stride[0],
                padding=(layer.padding[0],) * 2 if is_conv else layer.padding[0],
                dilation=layer.dilation[0], cumulative_delay=delay,
            )  # fmt: skip
            made.load_state_dict(layer.state_dict(), strict=False)
            delay = made.cumulative_delay
            yield made.requires_grad_(requires_grad=False)
        elif isinstance(layer, (nn.ReLU, nn.ELU, nn.BatchNorm1d)):
            yield layer
        else:
            raise NoAnswerError(f"it has no {type(layer).__name__}")


REWRITE = "its layers are to write networks with; this one is no chain, to be rewritten by hand"


def judge(network: Network, found: Streamed) -> tuple[str, str]:
    """Held against the whole signal; a delay that the tool names is taken off."""
    whole = in_double(network)(signal(network))
    output = found.stream(signal(network))[..., found.delay :]
    wanted = whole[..., : whole.shape[-1] - found.delay]
    note = f"{found.delay} samples late" if found.delay else ""
    if output.shape != wanted.shape:
        return SILENTLY_WRONG, f"{output.shape[-1]} samples, not {wanted.shape[-1]}"
    differs = ((output - wanted).abs() > RIGHT * whole.abs().max()).flatten(0, 1).any(0)
    if not bool(differs.any()):
        return "right", note
    first, last = differs.nonzero().flatten()[[0, -1]].tolist()
    size = len(differs)
    if last < size // 4 or first >= size - size // 4:
        side, count = ("first", last + 1) if last < size // 4 else ("last", size - first)
        return (
            "right but the border",
            f"{note}{', ' if note else ''}but the {side} {count} of {size}",
        )
    return SILENTLY_WRONG, f"{int(differs.sum())} of {size} samples"


CAPABILITY = Capability(
    module="peers_streams",
    subjects={network.name: network for network in SIGNALS},
    tools={
        "fieldwise": Tool(by_fieldwise, ("fieldwise",)),
        "fieldwise, several passes": Tool(by_passes, ("fieldwise",)),
        "TorchStream": Tool(by_torchstream, ("torchstream-lib",)),
        "cached_conv": Tool(by_cached_conv, ("cached-conv",)),
    },
    judge=judge,
    base=by_passes,
    base_name="fieldwise, several passes",
)
