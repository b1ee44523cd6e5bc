"""Strips that hand on columns give what the whole gives, and compute nothing twice."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from fieldwise.capture.torch import capture
from fieldwise.errors import UsageError
from fieldwise.graph.flops import flops
from fieldwise.tile import streamed
from fieldwise.tile.bands import fusing
from fieldwise.tile.bands.choosing import TooLittleError
from fieldwise.tile.bands.kernels.fused import ADD_RELU
from fieldwise.tile.bands.plan import _Tally
from fieldwise.tile.bands.strip_network import ColumnStream
from fieldwise.tile.certificate import MismatchError
from fieldwise.tile.errors import OffGridError, StreamError
from fieldwise.tile.jobs.banded import BandedInput
from fieldwise.tile.jobs.cached_strips import _Choice, cached_strip_work, scratch, strip_grid
from fieldwise.tile.jobs.checkpoint import Checkpoint
from fieldwise.tile.jobs.kept_columns import KeptColumns
from fieldwise.tile.jobs.streams import assembled
from fieldwise.tile.jobs.work import PieceState
from fieldwise.written import counted
from tests.tile.bands.networks import volumes
from tests.tile.bands.ops import Ops
from tests.tile.jobs.cases import carried_out, content, enter, image, planned
from tests.tile.jobs.test_job import CrashError, crashing
from tests.tile.jobs.test_strips import PLANES


@pytest.fixture
def folder(tmp_path, monkeypatch):
    enter(tmp_path, monkeypatch)
    np.save(tmp_path / "in.npy", image(3, 60, 200))
    return tmp_path


def worked(model, shape, *, along=2, strips=4, dtype=torch.float64, **options):
    """Planned in about so many strips."""
    if "strip" not in options and "memory" not in options:
        graph = capture(model, torch.empty(shape, dtype=dtype, device="meta"))
        stream = ColumnStream.of(model, graph, torch.device("cpu"), along, 5 - along)
        grid = strip_grid(stream)
        options["strip"] = grid * max(shape[5 - along] // strips // grid, 1)
    strip = options.pop("strip", None)
    given = BandedInput(model, shape, dtype, axis=along, **options)
    return cached_strip_work(given, across=5 - along, strip=strip)


def run(work, x):
    """Its only result."""
    with scratch(work) as ready, torch.no_grad():
        (found,) = assembled(ready, x).values()
    return found


class UNet(nn.Module):
    """Two levels, with skips that wait for what is deeper."""

    def __init__(self, width=4, levels=2):
        super().__init__()
        widths = [width << level for level in range(levels + 1)]
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU())
            for before, after in zip([3, *widths], widths, strict=False)
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(2 * width, width, 2, 2) for width in reversed(widths[:-1])
        )
        self.join = nn.ModuleList(
            nn.Conv2d(2 * width, width, 3, padding=1) for width in reversed(widths[:-1])
        )

    def forward(self, x):
        passed = []
        for level, block in enumerate(self.down):
            x = block(nn.functional.max_pool2d(x, 2) if level else x)
            passed.append(x)
        for up, join, skip in zip(self.up, self.join, reversed(passed[:-1]), strict=True):
            x = join(torch.cat([skip, up(x)], 1)).relu()
        return x


@pytest.mark.parametrize(("kind", "shape"), PLANES, ids=lambda case: getattr(case, "__name__", ""))
@pytest.mark.parametrize(("along", "band", "strips"), [(2, 3, 9), (3, 5, 3)])
def test_every_micro_network_gives_in_cached_strips_what_it_gives_whole(
    kind, shape, along, band, strips
):
    torch.manual_seed(0)
    shape = (*shape[:2], *(2 * size for size in shape[2:]))
    model, x = kind().double().eval(), torch.randn(shape, dtype=torch.float64)
    with suppress(StreamError):  # refused, with the reason
        found = run(worked(model, shape, along=along, band=band, strips=strips), x.numpy())
        with torch.no_grad():
            np.testing.assert_allclose(found, model(x).numpy(), atol=1e-11)


def test_most_micro_networks_can_be_run_in_cached_strips():
    cut = 0
    for kind, shape in PLANES:
        with suppress(StreamError):
            shape = (*shape[:2], *(2 * size for size in shape[2:]))
            cut += len(worked(kind().double().eval(), shape, band=4).plan.pieces) > 1
    assert cut > len(PLANES) * 3 / 4


def test_volumes_that_onednn_convolves_give_in_cached_strips_what_they_give_whole():
    model, x = volumes(), torch.randn(1, 1, 8, 12, 10)
    with Ops() as ops, torch.no_grad():
        wanted = model(x).numpy()
        streamed(model, x, band=4)(x)
    assert any(ops.named("mkldnn_convolution"))
    work = worked(model, x.shape, dtype=torch.float32, strip=4, band=4)
    assert len(work.plan.pieces) == 3
    np.testing.assert_allclose(run(work, x.numpy()), wanted, atol=1e-6)


LAYERS = st.sampled_from(
    [
        lambda n: nn.Conv2d(n, 2, 3, padding=1),
        lambda n: nn.Conv2d(n, 3, (3, 5)),
        lambda n: nn.Conv2d(n, 2, 3, stride=2, padding=1),
        lambda n: nn.Conv2d(n, 2, 3, dilation=3, padding=3, padding_mode="reflect"),
        lambda n: nn.Conv2d(n, 2, 5, padding="same", padding_mode="replicate"),
        lambda n: nn.ConvTranspose2d(n, 2, 3, stride=2, padding=1, output_padding=1),
        lambda n: nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        lambda n: nn.AvgPool2d(2, 1, count_include_pad=False),
        lambda n: nn.Upsample(scale_factor=2, mode="bilinear"),
        lambda n: nn.LeakyReLU(),
    ]
)


@settings(max_examples=15, deadline=None)
@given(
    st.lists(LAYERS, min_size=1, max_size=6),
    st.integers(18, 40),
    st.integers(40, 90),
    st.integers(2, 9),
    st.integers(2, 9),
)
@example(  # rows that are kept are a part of those that were made
    [
        lambda n: nn.Conv2d(n, 2, 3, stride=2, padding=1),
        lambda n: nn.MaxPool2d(3, 2, 1, ceil_mode=True),
        lambda n: nn.Conv2d(n, 2, 5, padding="same", padding_mode="replicate"),
    ],
    18, 40, 4, 2,
)  # fmt: skip
def test_random_networks_give_in_cached_strips_what_they_give_whole(
    makers, height, width, strips, band
):
    torch.manual_seed(0)
    layers, channels = [], 2
    for make in makers:
        layers.append(make(channels).double())
        channels = getattr(layers[-1], "out_channels", channels)
    net, x = nn.Sequential(*layers).eval(), torch.randn(1, 2, height, width, dtype=torch.float64)
    with torch.no_grad():
        try:
            wanted = net(x).numpy()
        except RuntimeError:  # smaller than a window
            return
    if wanted.size:
        found = run(worked(net, x.shape, strips=strips, band=band), x.numpy())
        np.testing.assert_allclose(found, wanted, atol=1e-11)


def test_on_a_card_relus_make_what_is_before_them(monkeypatch):
    monkeypatch.setattr(fusing, "fuses_on", lambda _: True)
    torch.manual_seed(0)
    net, x = UNet().eval(), torch.randn(1, 3, 64, 128)
    work = worked(net, tuple(x.shape), strip=16, dtype=torch.float32)
    strips = [work.stream.compiled(16, number).program for number in work.stream.firsts(16)]
    assert ADD_RELU in {op.node.source.target for one in strips for op in one.ops}
    with torch.no_grad():
        np.testing.assert_allclose(run(work, x), net(x).numpy(), rtol=0, atol=1e-5)


def test_no_operation_is_done_twice():
    """But for those of transposed convolutions at the ends of strips, which make what they drop."""
    net = UNet().eval()
    work = worked(net, (1, 3, 64, 128), strip=16, dtype=torch.float32)
    graph = capture(net, torch.empty(1, 3, 64, 128, device="meta"))
    whole, strips = Counter(), Counter()
    for node in graph.nodes:
        whole[node.op] += flops(node, graph.values)
    for number in work.stream.firsts(16):
        one = work.stream.compiled(16, number)
        for node in one.graph.nodes:
            strips[node.op] += flops(node, one.graph.values)
    moved = {op for op in strips if op not in whole}
    assert not any(strips[op] for op in moved)
    assert {op: strips[op] for op in whole if op != "conv_transpose"} == {
        op: number for op, number in whole.items() if op != "conv_transpose"
    }
    assert 1 <= work.plan.work < 1.02
    assert len(work.plan.pieces) == 8


def test_strips_that_do_the_same_are_compiled_once():
    stream = worked(UNet().eval(), (1, 3, 32, 512), strip=32, dtype=torch.float32).stream
    assert len(stream.steps(32)) == 16
    assert sorted(set(stream.firsts(32))) == [0, 1, 15]


def test_strips_of_which_positions_differ_are_compiled_each():
    class Marked(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3, padding=1)
            self.table = nn.Parameter(torch.randn(1, 1, 1, 48))

        def forward(self, x):
            return self.conv(self.conv(x) + self.table)

    torch.manual_seed(0)
    net, x = Marked().double().eval(), torch.randn(1, 1, 20, 48, dtype=torch.float64)
    work = worked(net, x.shape, strip=8, band=4)
    assert len(set(work.stream.firsts(8))) == 6
    with torch.no_grad():
        np.testing.assert_allclose(run(work, x.numpy()), net(x).numpy(), atol=1e-12)


@pytest.mark.parametrize("shape", [(7, 7), (16, 5), (5, 16)])
def test_an_image_narrower_than_the_stride_is_one_strip(shape):
    """A strip as wide as that had less than one position, and the job ended in a fault."""
    net = nn.Sequential(nn.Conv2d(2, 3, 5, 4, 2), nn.MaxPool2d(2), nn.Conv2d(3, 2, 3, padding=1))
    net = net.double().eval()
    x = torch.randn(1, 2, *shape, dtype=torch.float64)
    for along in (2, 3):
        given = BandedInput(net, x.shape, torch.float64, axis=along)
        work = cached_strip_work(given, across=5 - along)
        with torch.no_grad():
            np.testing.assert_allclose(run(work, x.numpy()), net(x).numpy(), atol=1e-12)


@pytest.mark.parametrize("width", [256, 4096])
def test_memory_does_not_grow_with_the_width(width):
    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 1, 5, padding=2)).eval()
    work = worked(net, (1, 1, 64, width), strip=64, band=8, dtype=torch.float32)
    narrow = worked(net, (1, 1, 64, 192), strip=64, band=8, dtype=torch.float32)
    assert work.plan.peak_bytes == narrow.plan.peak_bytes


@pytest.mark.parametrize("net", [UNet, lambda: nn.Conv2d(3, 2, 9, padding=4)])
def test_too_little_memory_is_refused_with_the_least_and_hardly_a_plan_is_made(net, monkeypatch):
    """Every width was planned twice, each to its end, before a hopeless memory was refused."""
    model, shape, choices, plans = net().eval(), (1, 3, 4096, 4096), [], []
    chosen, finished = _Choice.chosen, _Tally.plan
    monkeypatch.setattr(
        _Choice, "chosen", lambda self, strip: choices.append(self) or chosen(self, strip)
    )
    monkeypatch.setattr(_Tally, "plan", lambda self: plans.append(self) or finished(self))

    def refused(memory):
        with pytest.raises(TooLittleError) as caught:
            worked(model, shape, memory=memory, dtype=torch.float32)
        return caught.value

    error, made = refused(1), len(plans)
    choice = choices[0]
    widths = list(choice._sides(strip_grid(choice.stream)).halves(4096))
    every = {
        (choice._fit(width, rows, None).peak, width, rows) for width in widths for rows in (16, 1)
    }
    peak, width, rows = min(every)
    assert error.needed == peak
    assert str(error).startswith(f"Strips of {width} in bands of {counted(rows, 'row')} need ")
    assert made <= 2 * len(set(choice.stream.firsts(min(widths))))
    assert refused(peak - 1).needed == peak
    assert worked(model, shape, memory=peak, dtype=torch.float32).plan.peak_bytes <= peak


def test_a_slide_of_ten_gigapixels_is_planned_within_two_gibibytes():
    net = UNet(32, 4).bfloat16().eval()
    work = worked(net, (1, 3, 100_000, 100_000), memory=2 << 30, dtype=torch.bfloat16)
    assert work.plan.peak_bytes <= 2 << 30
    assert work.plan.work < 1.01
    assert work.plan.pieces[-1].writes[0][3][1] == 100_000
    files = [kind for number in {0, 1} for kind in work.stream.compiled(work.strip, number).kept]
    assert 0 < work.plan.kept_bytes <= sum(kind.row_bytes * kind.rows for kind in files)


@pytest.mark.parametrize(
    ("net", "out"), [("unet", "out.npy"), ("several", "out.zarr"), ("unet", "out.tif")]
)
def test_a_job_that_ends_at_any_step_is_resumed_with_the_same_bytes(folder, monkeypatch, out, net):
    strips = {"along": 2, "strip": 96, "cache": "both", "band": 8}
    whole = planned(folder / "in.npy", folder / "whole" / out, net, **strips)
    assert len(whole.plan.pieces) == 3
    carried_out(whole)
    wanted = [content(file.path) for file in whole.files]
    one = planned(folder / "in.npy", folder / "one" / "out.npy", net, along=2)
    carried_out(one)
    if out.endswith("npy"):
        for file, plain in zip(whole.files, one.files, strict=True):
            np.testing.assert_allclose(np.load(file.path), np.load(plain.path), atol=1e-5)
    for moment in (1, 5, 12):
        place = folder / str(moment)
        with monkeypatch.context() as patch, suppress(CrashError):
            crashing(patch, moment)
            carried_out(planned(folder / "in.npy", place / out, net, **strips))
        resumed = planned(folder / "in.npy", place / out, net, **strips)
        carried_out(resumed, resume=True)
        assert [content(file.path) for file in resumed.files] == wanted
        assert not list(place.glob("*.passes*"))


def begun(work, place, x, number):
    """A strip that is left at a state; the state, and what was given by then."""
    ready = work.prepared(x, Checkpoint(place, "run"))
    for piece in work.plan.pieces[:number]:
        list(ready.blocks(piece, x))
    given = []
    for block in ready.blocks(work.plan.pieces[number], x):
        if isinstance(block, PieceState):
            ready.kept.sync()
            return block, given
        given.append(block)
    raise AssertionError("a strip without states")


@pytest.mark.parametrize(
    "lost", ["nothing", "1.0.columns", "0.0.columns", "0.json", "2.0.columns", "all"]
)
def test_what_is_not_kept_as_it_was_is_computed_again(tmp_path, lost):
    torch.manual_seed(0)
    net, x = UNet().eval(), torch.randn(1, 3, 48, 128).numpy()
    work = worked(net, x.shape, strip=32, band=4, dtype=torch.float32)
    place = tmp_path / "out.passes"
    state, given = begun(work, place, x, 2)
    folder = Checkpoint(place, "run").folder
    for path in folder.iterdir():
        if lost in ("all", path.name):
            path.write_bytes(b"other")
    ready = work.prepared(x, Checkpoint(place, "run"))
    blocks = ready.blocks(work.plan.pieces[2], x, state)
    rest = [one for one in blocks if not isinstance(one, PieceState)]
    rows = np.concatenate([block[2] for block in [*given, *rest]], 2)
    np.testing.assert_array_equal(rows, run(work, x)[..., 64:96])


def test_another_run_s_columns_are_not_taken(tmp_path):
    work = worked(UNet().eval(), (1, 3, 16, 64), strip=32, dtype=torch.float32)
    kinds = work.stream.compiled(32, 0).kept
    for run_of in ("one", "other"):
        kept = KeptColumns(tmp_path, run_of)
        assert not kept.has(0, kinds)
        kept.begin(0, kinds)
        for number, kind in enumerate(kinds):
            kept.append(number, 0, torch.zeros(kind.band(kind.rows), dtype=kind.dtype))
        kept.finish(0)
        assert kept.has(0, kinds)


def test_a_job_is_compared_with_the_whole(folder, monkeypatch):
    job = planned(folder / "in.npy", folder / "out.npy", along=2, cache="both", strip=32, band=8)
    assert str(job.verify()).startswith("compared with the whole on 1x3x")
    read = KeptColumns.arrays
    monkeypatch.setattr(
        KeptColumns, "arrays", lambda *given: [one[:] * 2 for one in map(_all, read(*given))]
    )
    with pytest.raises(MismatchError):
        job.verify()


def _all(file):
    return file[(slice(None),) * len(file.shape)]


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"strip": 33}, OffGridError, "not a multiple of the stride 2; use 32 or 34"),
        ({"net": "gated"}, StreamError, "group_norm"),
        ({"global_ops": "multipass"}, UsageError, "give --cache both or --global-ops"),
        ({"piece": 8}, UsageError, "every strip is a piece; omit --piece"),
        ({"memory": 10}, TooLittleError, "give more --memory"),
    ],
)
def test_cached_strips_that_cannot_be_are_refused(folder, options, error, told):
    net = options.pop("net", "unet")
    with pytest.raises(error, match=told):
        planned(folder / "in.npy", folder / "out.npy", net, along=2, cache="both", **options)
