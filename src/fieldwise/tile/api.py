"""``streamed`` and ``tiled``, and the plans of tiles: what most users call."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from functools import partial
from itertools import product
from numbers import Real
from pathlib import Path

from torch import nn

from fieldwise.capture.models import as_module
from fieldwise.capture.torch.model_call import ModelCall
from fieldwise.errors import CaptureError, UsageError
from fieldwise.graph.spatial import Axes, chosen_axes, usual_axes
from fieldwise.tile.amounts import check_bytes
from fieldwise.tile.bands import StreamedModel
from fieldwise.tile.bands.choosing import BAND, candidate_axes
from fieldwise.tile.bands.latency_report import LatencyReport, latency_report
from fieldwise.tile.bands.programs import Programs, Streaming
from fieldwise.tile.bands.store import Store
from fieldwise.tile.bands.streamed import Choices
from fieldwise.tile.choices import GlobalOps, Runtime
from fieldwise.tile.crops import TiledCallable
from fieldwise.tile.crops import plan_tiles as plan_tiles
from fieldwise.tile.crops import suggest_tile as suggest_tile
from fieldwise.tile.crops.batches import BatchSize, check_batch
from fieldwise.tile.crops.plan import TilePlan
from fieldwise.tile.crops.runtime import target_of
from fieldwise.tile.crops.sizes import tiled_axes
from fieldwise.tile.crops.targets import AnyCallable, PlannedModel
from fieldwise.tile.errors import OffGridError, StreamError, TileError
from fieldwise.tile.jobs.kept import ScratchStore


def streamed(
    model: object,
    example: object = None,
    *,
    axis: int | None = None,
    band: int | None = None,
    memory: int | None = None,
    global_ops: GlobalOps = "refuse",
    scratch: str | Path | None = None,
    verify: bool = False,
) -> StreamedModel:
    """A callable that computes what the model does, band by band along one axis.

    model:         in eval mode; it is not changed; or what ``receptive_fields`` takes
    example:       a tensor, or a tuple or dict of tensors, of the rank and dtypes that the model
                   takes, or shapes in their place; sizes do not matter
    axis:          of the inputs, along which bands are cut (rows of an image are -2, samples of
                   audio -1); by default the first behind batch and channels along which the model
                   can be streamed in little memory
    band:          input rows per step: less memory, or less overhead; by default 64, or as
                   many as make 64 steps of a long input, if they take no more than 64 MiB, or 8
                   steps, if they take no more than 1 MiB
    memory:        bytes at once, at most, of rows and of what is kept between passes (whole
                   inputs, outputs and weights not counted); with 'auto', less is kept and more
                   computed again until it is enough
    global_ops:    what to do with layers that read the whole axis: 'refuse' them; go through the
                   input once more for each in sequence, summing up what it needs (global means
                   and extremes, group, instance and batch norm; 'multipass'); keep what they read
                   and run them once ('materialise'); or keep what costs less than computing it
                   again ('auto')
    scratch:       a folder in whose files lies what is kept between passes, as long as a run
                   needs it; by default it is in memory
    verify:        before the first run on a size, compare with the whole on a corner of the input
                   that has borders, seams and interior; ``certificates`` tells how equal they were

    Every layer keeps the few rows that the next band still needs, so nothing is computed twice,
    and the result is the whole image's: to the last bits of the arithmetic, borders included.
    What a run on a given size will keep is in ``plan(shape)``, before anything runs.

    Raises StreamError where a layer needs the whole axis (a global mean, attention, instance norm),
    and names every such layer: at once, unless the model does not run on the example; UsageError
    where ``memory`` is not enough, with what is; MismatchError where what is verified differs.

    >>> import torch
    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)).eval()
    >>> large = torch.randn(1, 3, 200, 100)
    >>> run = streamed(net, torch.empty(1, 3, 32, 32), band=50)
    >>> print(run.plan(large.shape))
    5 steps of 50 input rows; 5.5 KiB kept between steps, at most 314.8 KiB at once
      keeps 1 of 200 rows of '1', 3.1 KiB
      keeps 2 of 200 rows of 'input', 2.3 KiB
    >>> torch.allclose(run(large), net(large), atol=1e-6)
    True
    """
    check_bytes(memory)
    folder = None if scratch is None else _folder(scratch)
    call = ModelCall.of(*as_module(model, example))
    axes = candidate_axes(call.shapes) if axis is None else (axis,)
    streaming = Streaming(call, axes[0], BAND if band is None else band, global_ops)
    chooses = axis is None or band is None or memory is not None
    wanted = Choices(axes, band, memory, apart=folder is not None) if chooses else None
    store = Store if folder is None else partial(ScratchStore, folder)
    found = StreamedModel(streaming, verify=verify, wanted=wanted, store=store)
    found.check_streams()
    return found


def _folder(path: str | Path) -> Path:
    """A folder that is there.  Raises UsageError where it is not."""
    if not Path(path).is_dir():
        raise UsageError(f"The scratch folder '{path}' is not there; make it, or name another.")
    return Path(path)


def tiled(
    model: object,
    example: object = None,
    *,
    tile: int | Sequence[int] | None = None,
    axes: Axes | None = None,
    batch: BatchSize = "auto",
    verify: bool = False,
    runtime: Runtime = "torch",
    providers: Sequence[str] = (),
) -> TiledCallable:
    """A callable that computes what the model does, crop by crop, with the model as it is.

    model:         in eval mode, as for ``receptive_fields``; or, with a ``TilePlan`` in place of
                   the example, any callable that takes a crop (a session of ONNX Runtime, a server)
    example:       a tensor, or a tuple or dict of tensors, of the rank and dtypes that the model
                   takes, or shapes in their place; sizes along the tiled axes do not matter.  Or
                   a plan
    tile:          input samples from tile to tile, a multiple of the network's grid; one for all
                   axes, or one each
    axes:          of the inputs, along which tiles are cut; by default all from 2 on
    batch:         crops of one shape that one call computes, at most, side by side along the first
                   axis of every input; 'auto': as many as the card holds, one on the processor
    verify:        before the first run on a size, compare with the whole on a part of the image
                   that has corners, seams and interior, in batches of the size that is run;
                   ``certificates`` tells how equal they were
    runtime:       what runs the crops of a model that was read from an ONNX file: torch, or a
                   session of ONNX Runtime ('ort'), whose ``providers`` are tried in order

    Every crop starts on the grid and holds what its outputs see; what comes out is the whole
    image's, to the last bits of the arithmetic, borders included.  Which crops are read, and what
    they cost, is in ``plan(shape)``, before anything runs.

    Raises TileError where a layer sees the whole image, for a tile off the grid, where no crop is
    proven to give what the whole image gives, and where one is not in a batch (of 'auto', crops
    stay by themselves): at once, with what would work, unless the model
    does not run on the example; MismatchError where what is verified differs.

    >>> import torch
    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)).eval()
    >>> large = torch.randn(1, 3, 200, 100)
    >>> run = tiled(net, torch.empty(1, 3, 32, 32), tile=100)
    >>> print(run.plan(large.shape))
    2 crops; at most 757.0 KiB at once (1.4 MiB for the whole image); 1.02 times the image is read
      axis 2: 2 tiles of 100 of 200; grid 2, halo 1 before and 1 after, clipped
      axis 3: 1 tile of 100 of 100; grid 2, halo 1 before and 1 after, clipped
      output output: 1x8x100x50, 1/2 x 1/2 positions per input sample
    >>> torch.allclose(run(large), net(large), atol=1e-6)
    True
    """
    if isinstance(example, TilePlan):
        if tile is not None or axes is not None or batch != "auto":
            raise UsageError("The plan says what is cut; give no tile, axes or batch beside it.")
        return TiledCallable(AnyCallable(as_module(model, ())[0], example), verify=verify)
    if tile is None:
        raise UsageError("Give the size of a tile; suggest_tile finds one for a memory budget.")
    module, example = as_module(model, example)
    if not isinstance(module, nn.Module) and callable(module):
        raise UsageError(
            "The crops of a callable that is no torch.nn.Module are not known; make a plan of the "
            "network that it runs with plan_tiles, and give it in place of the example."
        )
    check_batch(batch)
    target = PlannedModel(ModelCall.of(module, example), tile, axes, batch)
    try:
        target.check()
    except OffGridError:
        raise
    except TileError as error:
        raise error.with_option(_option(target)) from error.__cause__
    return TiledCallable(target_of(target, runtime, providers), verify=verify)


def _option(target: PlannedModel) -> str:
    """What does the same for a model that cannot be tiled so, which is tried; empty: nothing."""
    call = target.call
    tiled_ones = tiled_axes(call.shapes, target.axes)
    for axis in tiled_ones if len(tiled_ones) > 1 and isinstance(target.tile, int) else ():
        with suppress(TileError):
            PlannedModel(call, target.tile, axis).check()
            return f"Or tile axis {axis} alone: axes={axis}."
    with suppress(CaptureError):
        graph = call.graph()
        for (global_ops, given), axis in product(_WAYS.items(), tiled_ones):
            with suppress(StreamError):
                Streaming(call, axis, BAND, global_ops).check(graph)
                return f"Or stream it: fieldwise.streamed(model, example, axis={axis}{given})."
    return ""


_WAYS: dict[GlobalOps, str] = {
    "refuse": "",
    "multipass": ", global_ops='multipass'",
    "auto": ", global_ops='auto'",
}


def latency(
    model: object,
    example: object = None,
    *,
    axis: int | None = None,
    rate: float | Fraction | None = None,
) -> LatencyReport:
    """What a stream of live data takes: look-ahead and latency of every output, state and cost.

    model:   in eval mode; it is not changed; or what ``receptive_fields`` takes
    example: its only input, or the shape of it; sizes do not matter
    axis:    of the input, that goes on; by default the first spatial one
    rate:    input samples per second, for durations and for operations per second

    Nothing is run.  What is in the way of streaming is in the report, with the remedy.

    Raises UsageError for several inputs, and for a rate where it is not clear which axis is time;
    CaptureError where the model cannot be recorded.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv1d(1, 2, 5, padding=2), nn.ConvTranspose1d(2, 1, 4, 2, 1))
    >>> print(latency(net, (1, 1, 40), rate=16000))
    latency, input 1x1x40 along axis 2, 16000 samples per second
    output  causal  rows per sample     looks ahead     sees back       latency
    output  no                    2  5/2 (0.156 ms)  3 (0.188 ms)  3 (0.188 ms)
    streams  chunks of any size; the total length need not be known
    grid     1 sample
    state    24 B between chunks
    cost     36 FLOP per sample, 576 kFLOP/s
    """
    call = ModelCall.of(*as_module(model, example, values=False))
    return latency_report(
        Programs(Streaming(call, _live_axis(call, axis, rate), 1, "refuse")),
        rate=None if rate is None else _positive(rate),
    )


def _live_axis(call: ModelCall, axis: int | None, rate: object) -> int:
    rank = call.inputs[0].dim() if call.inputs else 0
    if axis is not None:
        return chosen_axes(axis, rank)[0]
    usual = usual_axes(rank)
    if not usual:
        raise UsageError("The input has no axis along which it could go on.")
    if rate is not None and len(usual) > 1:
        raise UsageError(
            f"A rate counts samples along one axis, and this input has {len(usual)} spatial ones; "
            "say which is time: axis=2 (--axis 2)."
        )
    return usual[0]


def _positive(rate: float | Fraction) -> Fraction:
    if not isinstance(rate, Real) or not 0 < rate < float("inf"):
        raise UsageError(f"A rate is a number of samples per second above 0, got {rate!r}.")
    return Fraction(rate)
