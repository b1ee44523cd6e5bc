"""Streams, crops and folded models on a card: beside the whole image, and the limits of the card.

    python benchmarks/gpu.py                          five minutes at most; writes docs/gpu.md
    python benchmarks/gpu.py --only "trunk float16"   these rows alone; writes no page
    python benchmarks/gpu.py --device cpu --small     the same lines on small images, in seconds

Times are ratios of medians over the whole image's, in turns, in one process, warm, by the card's
own clock; memory is the most that torch holds on the card, weights and image included.  Every way
is first compared with the whole (the class of its certificate); what differs, and what does not
fit, says so and is not timed.  The limits are measured on the spot: the largest rate of products
of matrices, and of copies.  MONAI takes part where it is installed, and is timed though it differs.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib.util import find_spec
from pathlib import Path

import torch
from gpu_measures import (
    KINDS,
    PAGE,
    Limits,
    Run,
    allocated,
    fits,
    in_turns,
    kernels_by_kind,
    limits,
    profiled,
    versions,
    work_of,
)
from marks import replaced
from tile import UNet, network
from torch import Tensor, nn

from fieldwise import fold
from fieldwise.capture.torch.devices import is_out_of_memory
from fieldwise.errors import summary_of
from fieldwise.tile import (
    MismatchError,
    RunCertificate,
    StreamedModel,
    TiledCallable,
    TilingError,
    streamed,
    tiled,
    verify,
)
from fieldwise.tile.replaying import Replayer

SECONDS = 270.0

Way = Callable[[nn.Module, Tensor], "Prepared"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A way to get the whole image's result: a call, how equal it is, and the steps it takes.

    differs: by how much, of a tool that makes another result and is timed nevertheless; or why it
             is not compared
    """

    run: Run
    certificate: RunCertificate | None
    steps: int = 1
    differs: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """A network on an image, and the ways to run it.

    shape: of the input; share: of the time that there is
    """

    name: str
    build: Callable[[], nn.Module]
    dtype: torch.dtype
    shape: tuple[int, ...]
    ways: dict[str, Way] = field(default_factory=dict)
    share: float = 1.0


# ------------------------------------------------------------------------------ the ways


def whole(model: nn.Module, x: Tensor) -> Prepared:
    """The model on the whole image."""
    return Prepared(lambda: model(x), None)


def channels_last(model: nn.Module, x: Tensor) -> Prepared:
    """The same, channels-last: weights and image."""
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    image = x.to(memory_format=torch.channels_last)
    return Prepared(lambda: last(image), _compared(last, model, x))


def stream(band: int | None) -> Way:
    """Band by band; None: as wide as fieldwise chooses."""

    def prepared(model: nn.Module, x: Tensor) -> Prepared:
        run = streamed(model, x[..., :64, :64], axis=-2, band=band)
        plan = run.plan(x.shape)
        same = streamed(model, x[..., :64, :64], axis=-2, band=run.band)
        return Prepared(lambda: run(x), _verified(same, x[..., :CORNER]), plan.steps)

    return prepared


def halo(tile: int, batch: int | str, *, graphs: bool = True) -> Way:
    """Crops, in batches, with CUDA graphs or without."""

    def prepared(model: nn.Module, x: Tensor) -> Prepared:
        run = tiled(model, x[..., :64, :64], tile=tile, batch=batch)
        if not graphs:
            run.target.replayer = Replayer(None)
        calls = len(list(run.plan(x.shape).batches()))
        if 2 * tile > LARGEST:
            return Prepared(lambda: run(x), None, calls, "not compared: two tiles take too long")
        return Prepared(lambda: run(x), _verified(run, x[..., : 2 * tile, : 2 * tile]), calls)

    return prepared


def monai(window: int) -> Way:
    """MONAI's sliding window: a quarter overlapping, Gaussian weights, four windows per call."""

    def prepared(model: nn.Module, x: Tensor) -> Prepared:
        from monai.inferers import sliding_window_inference

        def run(image: Tensor) -> object:
            return sliding_window_inference(image, window, 4, model, overlap=0.25, mode="gaussian")

        try:
            return Prepared(lambda: run(x), _compared(run, model, x))
        except MismatchError as error:
            return Prepared(lambda: run(x), None, differs=_first(error))

    return prepared


def compiled(backend: str, *, freezing: bool = False) -> Way:
    """torch.compile of the whole; with its own folding where it freezes weights."""

    def prepared(model: nn.Module, x: Tensor) -> Prepared:
        import torch._inductor.config as settings

        torch._dynamo.reset()
        with settings.patch(freezing=freezing):
            run = torch.compile(model, backend=backend)
            run(x)  # compiles
        return Prepared(lambda: run(x), _compared(run, model, x, like=x))

    return prepared


def folded(model: nn.Module, x: Tensor) -> Prepared:
    """BatchNorm folded away."""
    found = fold(model, x).model
    return Prepared(lambda: found(x), _compared(found, model, x, like=x))


def _verified(run: StreamedModel | TiledCallable, x: Tensor) -> RunCertificate | None:
    """The certificate of a run on a corner of an image; None where the whole does not fit."""
    try:
        return run.verify(x)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return None


def _compared(
    run: Callable[[Tensor], object], model: nn.Module, x: Tensor, like: Tensor | None = None
) -> RunCertificate:
    """The certificate on a corner, or on an image like another."""
    corner = x[..., :CORNER, :CORNER].contiguous() if like is None else like
    return verify(lambda image: run(image), lambda image: model(image), corner)


CORNER, LARGEST = 512, 2048
"""Sides of what is compared with the whole, in float64 too: usually, and at most."""


# ------------------------------------------------------------------------------ the cases


def cases(*, small: bool) -> Iterator[Case]:
    """The rows of the page; small ones have the same ways on images of a few pixels."""
    side, trunk, huge = (64, 96, 128) if small else (4096, 4096, 16384)
    batch, edge = (1, 64) if small else (32, 224)
    scale = 64 if small else 1
    backend = "eager" if small else "inductor"
    bands = {f"streamed, {rows} rows": stream(max(8, rows // scale)) for rows in (256, 1024)}
    unet = {
        "whole, channels-last": channels_last,
        **bands,
        "streamed, rows chosen": stream(None),
        **({"MONAI, windows of 1024": monai(max(16, 1024 // scale))} if find_spec("monai") else {}),
        "halo 1024, 8 per call": halo(max(16, 1024 // scale), 8),
        "halo 1024, 1 crop per call": halo(max(16, 1024 // scale), 1),
        "halo 512, 1 crop per call": halo(max(16, 512 // scale), 1),
        "halo 512, 1 crop per call, no CUDA graph": halo(max(16, 512 // scale), 1, graphs=False),
    }

    def net() -> nn.Module:
        return UNet(4, 2) if small else network("U-Net")

    for dtype, share in ((torch.float32, 1.0), (torch.bfloat16, 0.8)):
        yield Case("U-Net", net, dtype, (1, 3, side, side), {"whole": whole, **unet}, share)
    rows = {f"streamed, {n} rows": stream(max(32, n // scale)) for n in (256, 1024, 2048)}
    yield Case(
        "ResNet-50, trunk", lambda: network("ResNet-50"),
        torch.bfloat16 if small else torch.float16, (1, 3, trunk, trunk),
        {"whole": whole, "whole, channels-last": channels_last, **rows,
         "streamed, rows chosen": stream(None)},
        0.8,
    )  # fmt: skip
    yield Case(
        "U-Net", net, torch.bfloat16, (1, 3, huge, huge),
        {"whole": whole, "streamed, rows chosen": stream(None),
         "halo 4096": halo(max(32, 4096 // scale), "auto")},
        0.8,
    )  # fmt: skip
    for dtype in (torch.float32, torch.bfloat16 if small else torch.float16, torch.bfloat16):
        ways, share = {"unfolded": whole, "folded": folded}, 0.3
        if dtype == torch.float32:
            ways |= {
                "torch.compile, its own folding": compiled(backend, freezing=True),
                "torch.compile": compiled(backend),
            }
            share = 1.6  # compiling takes long
        yield Case("ResNet-50", _classifier, dtype, (batch, 3, edge, edge), ways, share)
    yield Case(
        "U-Net", net, torch.bfloat16, (1, 3, side, side),
        {"whole": whole, "torch.compile": compiled(backend), "streamed, rows chosen": stream(None)},
    )  # fmt: skip


def _classifier() -> nn.Module:
    from torchvision.models import resnet50

    torch.manual_seed(0)
    return resnet50().eval()


# ------------------------------------------------------------------------------ the table


def rows(case: Case, device: torch.device, found: Limits, until: float) -> Iterator[str]:
    """The lines of a case: what is prepared, compared, fitted, and then timed in turns."""
    model = case.build().to(device, case.dtype).eval()
    x = torch.randn(case.shape, device=device).to(case.dtype)
    work = work_of(model, x)
    ready, held, said = dict[str, Prepared](), dict[str, int | None](), dict[str, str]()
    alone = allocated(device)
    for name, way in case.ways.items():
        others = allocated(device) - alone  # what earlier ways keep
        if ready and time.monotonic() > until:
            said[name] = "no time was left"
            continue
        try:
            prepared = way(model, x)
        except (MismatchError, TilingError) as error:
            said[name] = _first(error)
            continue
        except Exception as error:  # noqa: BLE001  (other rows go on, whatever a tool raises)
            said[name] = "does not fit" if is_out_of_memory(error) else summary_of(error)
            continue
        fitted, peak = fits(prepared.run, device)
        held[name] = None if peak is None else peak - others
        if fitted:
            ready[name] = prepared
        else:
            said[name] = "does not fit"
    times = in_turns({name: one.run for name, one in ready.items()}, device, until)
    base = times.get(next(iter(case.ways)))
    least = found.of(work, case.dtype)
    size = "x".join(map(str, case.shape))
    for name in case.ways:
        head = f"| {case.name} | {size} | {str(case.dtype).removeprefix('torch.')} | {name}"
        if name not in times:
            why = said.get(name, "does not fit beside the others")
            yield f"{head} | – | – | – | – | – | {why} |"
            continue
        spent, certificate = times[name], ready[name].certificate
        ratio = "–" if base is None else f"{spent / base:.2f}"
        peak = held[name]
        memory = "–" if peak is None else f"{peak / 2**30:.2f}"
        if certificate is not None:
            equal = certificate.kind
        elif name in ("whole", "unfolded"):
            equal = ""
        else:
            equal = ready[name].differs or "not compared: the whole does not fit"
        near = " | ".join(f"{100 * one / spent:.0f} %" for one in least)
        yield f"{head} | {ratio} | {1000 * spent:.1f} | {memory} | {near} | {equal} |"


def _first(error: Exception) -> str:
    """What it says first."""
    return str(error).splitlines()[0].partition(";")[0]


HEAD = (
    "| network | input | type | how | time | ms | GiB | of the FLOPs | of the bytes | equality |",
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
)


def profile_of(device: torch.device, *, small: bool) -> list[str]:
    """Where a step of a stream spends its time."""
    dtype = torch.bfloat16 if small else torch.float16
    model = network("ResNet-50").to(device, dtype)
    side, band = (128, 32) if small else (4096, 256)
    x = torch.randn(1, 3, side, side, device=device).to(dtype)
    prepared = stream(band)(model, x)
    one = profiled(prepared.run, device, prepared.steps)
    return [
        f"A step of ResNet-50's trunk, {side}², {band} rows, one of {one.steps}, in ms:",
        "",
        "| wall | Python and torch | kernels | of them copies | launches |",
        "| --- | --- | --- | --- | --- |",
        f"| {one.wall:.2f} | {one.host:.2f} | {one.kernels:.2f} | {one.copies:.2f} | "
        f"{one.launches:.0f} |",
    ]


def kinds_of(device: torch.device, *, small: bool) -> Iterator[str]:
    """What the kernels of a stream do, beside those of the whole image in channels-last."""
    yield "What kernels do, in ms:"
    yield ""
    yield f"| network | how | {' | '.join((*KINDS, 'others'))} | all |"
    yield "| --- | --- |" + " --- |" * (len(KINDS) + 2)
    side = 96 if small else 4096
    halves = torch.bfloat16 if small else torch.float16
    for name, make, dtype in (
        ("U-Net", lambda: UNet(4, 2) if small else network("U-Net"), torch.float32),
        ("ResNet-50, trunk", lambda: network("ResNet-50"), halves),
    ):
        model = make().eval().to(device, dtype)
        x = torch.randn(1, 3, side, side, device=device).to(dtype)
        for how, way in (("whole", channels_last), ("streamed", stream(None))):
            spent = kernels_by_kind(way(model, x).run, device).values()
            cells = " | ".join(f"{1000 * one:.2f}" for one in (*spent, sum(spent)))
            yield f"| {name} | {how} | {cells} |"


def measured(device: torch.device, *, small: bool, budget: float, only: str) -> Iterator[str]:
    """The part of the page that is measured, line by line; how long each case takes is logged.

    only: words that the names and types of cases hold
    """
    begun = time.monotonic()
    todo = [
        case
        for case in cases(small=small)
        if all(word in f"{case.name} {case.dtype}" for word in only.split())
    ]
    found = limits(device, sorted({case.dtype for case in todo}, key=str), small=small)
    yield f"`python benchmarks/gpu.py` on {date.today()}: {versions(device)}."
    if small:
        yield "**Small images, which show that the script runs, and nothing about speed.**"
    yield ""
    peaks = ", ".join(
        f"{rate / 1e12:.3g} TFLOP/s in {str(dtype).removeprefix('torch.')}"
        for dtype, rate in found.flops.items()
    )
    yield f"The device at its best, measured: {peaks}; {found.bandwidth / 1e9:.0f} GB/s."
    yield ""
    yield from HEAD
    left = sum(case.share for case in todo)
    with torch.inference_mode():
        for case in todo:
            now = time.monotonic()
            until = now + (budget - (now - begun)) * case.share / left
            left -= case.share
            if now - begun > budget:
                yield f"| {case.name} | | | no time was left | – | – | – | – | – | |"
                continue
            yield from rows(case, device, found, until)
            print(f"{case.name}: {time.monotonic() - now:.0f} s", file=sys.stderr, flush=True)
        if only:
            return
        yield ""
        yield from profile_of(device, small=small)
        yield ""
        yield from kinds_of(device, small=small)


def main(arguments: Sequence[str]) -> int:
    """Measure, print, and write the page where that is of a card, or asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true", help="images of a few pixels")
    parser.add_argument("--out", type=Path, default=None, help="the page; by default docs/gpu.md")
    parser.add_argument("--only", default="", help="words that the name and type of a case hold")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="at most, about")
    given = parser.parse_args(arguments)
    device = torch.device(given.device)
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)
        torch.cuda.set_device(device)
    lines = []
    for line in measured(device, small=given.small, budget=given.seconds, only=given.only):
        print(line, flush=True)
        lines.append(line)
    is_whole = device.type == "cuda" and not given.small and not given.only
    out = PAGE if given.out is None and is_whole else given.out
    if out is not None:
        page = PAGE.read_text(encoding="utf-8")
        out.write_text(replaced(page, "measured", "\n".join(lines)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
