"""An emitted stream: plain modules, and files of them, that give what the whole model gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldwise.errors import UnsuitableError, UsageError
from fieldwise.tile import EmittedStream, MismatchError, StreamError, streamed
from fieldwise.tile.bands.emitted import PARTS, file_of
from tests.tile.bands.decoders import WIDTHS, WaveUNet, made, recurrent_decoder
from tests.tile.bands.networks import Recurrent, UNet, upsampled, volumes
from tests.tile.bands.networks import WaveUNet as Aligned

TIMES = dict.fromkeys(WIDTHS, 1) | {WaveUNet: 16}
"""Per network, what its lengths are multiples of."""


@cache
def emitted_from(
    make: Callable[[], nn.Module], dtype: torch.dtype = torch.float32, **options: int
) -> EmittedStream:
    """A network with fixed weights as a stream, the same one for all tests that ask for it."""
    example = torch.randn(1, WIDTHS[make], 96, dtype=dtype)
    return streamed(made(make).to(dtype), example, axis=-1).emit(**options)


@pytest.mark.parametrize("rest", [0, 6 * 16])
@pytest.mark.parametrize("make", WIDTHS, ids=lambda f: f.__name__)
def test_start_steps_and_finish_are_the_whole(make, rest):
    model, width = made(make), WIDTHS[make]
    emitted = emitted_from(make, torch.float64, chunk=48, rest=rest)
    for steps in (0, 1, 3):
        torch.manual_seed(steps)
        x = torch.randn(1, width, emitted.first + steps * 48 + rest, dtype=torch.float64)
        with torch.no_grad():
            wanted = model(x)
        (found,) = emitted.run(x)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


@pytest.mark.parametrize("make", WIDTHS, ids=lambda f: f.__name__)
def test_the_metadata_says_what_goes_in_and_what_comes_out(make):
    emitted = emitted_from(make, torch.float64, chunk=48, rest=0)
    said = emitted.metadata
    states: list[Tensor] = []
    for part, count in zip(PARTS, (said["first"], said["chunk"], said["rest"]), strict=True):
        given = [torch.randn(1, WIDTHS[make], count, dtype=torch.float64)] * (count > 0) + states
        assert [tuple(one.shape) for one in emitted.inputs(part)] == [
            tuple(one.shape) for one in given
        ]
        with torch.no_grad():
            output, *after = getattr(emitted, part)(*given)
        (told,) = said["outputs"]
        assert output.shape[told["axis"]] == told["rows"][part]
        if part == "finish":
            assert after == []
            continue
        states = after
        assert [(list(one.shape), str(one.dtype)) for one in states] == [
            (one["shape"], f"torch.{one['dtype']}") for one in said["states"]
        ]
    per_sample = told["rows"]["step"] / said["chunk"]
    assert told["delay"] == said["first"] - told["rows"]["start"] / per_sample


def test_an_image_and_outputs_at_several_rates_are_emitted():
    torch.manual_seed(0)
    model = UNet(upsampled("bilinear", align_corners=False)).eval().double()

    class Both(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = model

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            y = self.net(x)
            return {"fine": y, "coarse": F.max_pool2d(y, 2), "table": torch.ones(3)}

    emitted = streamed(Both(), torch.randn(1, 3, 32, 16).double(), axis=2).emit(chunk=16)
    x = torch.randn(1, 3, emitted.first + 32, 16, dtype=torch.float64)
    with torch.no_grad():
        wanted = Both()(x)
    fine, coarse = emitted.run(x)
    torch.testing.assert_close(fine, wanted["fine"], rtol=0, atol=1e-12)
    torch.testing.assert_close(coarse, wanted["coarse"], rtol=0, atol=1e-12)
    assert [(one.name, one.step) for one in emitted.outputs] == [("fine", 16), ("coarse", 8)]
    kinds = {equality.name: equality.kind for equality in emitted.verify()}
    assert kinds == {"fine": "float64", "coarse": "float64", "table": "not checked"} or set(
        kinds.values()
    ) == {"bit-identical", "not checked"}


def test_a_running_sum_and_a_layer_with_one_state_are_handed_on():
    torch.manual_seed(0)
    model = Recurrent().eval()
    emitted = streamed(model, (1, 2, 40), axis=-1).emit(chunk=5, rest=2)
    assert [one.name.rpartition(".")[2] for one in emitted.states[-2:]] == ["hidden", "last"]
    assert emitted.verify(steps=5).kind in ("noise", "bit-identical")


def test_the_modules_have_the_weights_of_the_model_and_nothing_of_fieldwise():
    model = made(WaveUNet).float()
    emitted = streamed(model, (1, 1, 96), axis=-1).emit(chunk=32)
    own = {id(weight) for weight in model.parameters()}
    for part in PARTS:
        module = getattr(emitted, part)
        assert "fieldwise" not in module.code
        for name, weight in module.named_parameters():
            assert model.get_parameter(name.removeprefix("model.")) is weight
    assert {id(weight) for weight in emitted.step.parameters()} == own
    with torch.no_grad():
        next(model.parameters()).mul_(2)
    assert emitted.verify().kind in ("noise", "bit-identical")


@pytest.mark.parametrize("chunk", [16, 32, 80])
def test_what_is_kept_does_not_depend_on_the_chunk(chunk):
    emitted = emitted_from(WaveUNet, chunk=chunk)
    assert sum(torch.Size(one.shape).numel() for one in emitted.states) == 74
    assert emitted.first % chunk == 0


def test_a_causal_stream_has_no_delay_and_nothing_to_finish():
    emitted = emitted_from(recurrent_decoder, chunk=4)
    (output,) = emitted.outputs
    assert (output.delay, output.finish) == (0, 0)
    assert emitted.parts == ["start", "step"]


# -------------------------------------------------------------------- files


def of_onnx(emitted: EmittedStream, out: Path):
    """Runs the parts in ONNX Runtime."""
    sessions = {part: onnxruntime.InferenceSession(file_of(out, part)) for part in emitted.parts}

    def run(part, given):
        if part not in sessions:
            assert part == "finish"
            return [torch.empty(emitted.finish(*given)[0].shape)]
        names, made = emitted.names(part)
        session = sessions[part]
        assert [one.name for one in session.get_inputs()] == names
        assert [one.name for one in session.get_outputs()] == made
        feed = {name: one.numpy() for name, one in zip(names, given, strict=True)}
        return [torch.from_numpy(one) for one in session.run(None, feed)]

    return run


def of_pt2(emitted: EmittedStream, out: Path):
    """Runs the exported programs."""
    modules = {part: torch.export.load(file_of(out, part)).module() for part in emitted.parts}
    return lambda part, given: (modules.get(part) or emitted.finish)(*given)


def check_file(emitted: EmittedStream, out: Path) -> None:
    paths = emitted.save(out)
    assert [path.name for path in paths] == [
        *(file_of(out, part).name for part in emitted.parts), out.with_suffix(".json").name
    ]  # fmt: skip
    run = {".onnx": of_onnx, ".pt2": of_pt2}[out.suffix](emitted, out)
    certificate = emitted.verify(steps=4, by=run)
    assert certificate.kind in ("noise", "float64", "bit-identical")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("make", "suffix"), [(WaveUNet, ".onnx"), (recurrent_decoder, ".pt2")], ids=[".onnx", ".pt2"]
)
def test_a_file_runs_the_stream_chunk_by_chunk(make, suffix, tmp_path):
    check_file(emitted_from(make, chunk=16, rest=16), tmp_path / f"net{suffix}")
    told = json.loads((tmp_path / "net.json").read_text())
    assert told["files"]["step"] == f"net{suffix}"
    assert told["chunk"] == 16


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("make", WIDTHS, ids=lambda f: f.__name__)
@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_every_kind_of_network_runs_from_its_file(make, suffix, tmp_path):
    for rest in (0, 48):
        check_file(emitted_from(make, chunk=48, rest=rest), tmp_path / f"net{suffix}")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_volumes_that_onednn_convolves_run_from_their_files(suffix, tmp_path):
    emitted = streamed(volumes(), torch.randn(1, 1, 16, 12, 12), axis=2).emit(chunk=16)
    check_file(emitted, tmp_path / f"net{suffix}")


# -------------------------------------------------------------------- what makes no sense


def test_a_chunk_off_the_grid_is_told_the_nearest_that_are_on_it():
    for chunk, near in ((24, "use 16 or 32"), (3, "use 16"), (0, "use 16"), (49, "use 48 or 64")):
        with pytest.raises(UsageError, match=rf"no multiple of the grid 16.*; {near}\.$"):
            emitted_from(WaveUNet, chunk=chunk)
    with pytest.raises(UsageError, match="of samples, 0 or more, got -1"):
        emitted_from(WaveUNet, rest=-1)


def test_what_no_session_streams_without_its_length_is_not_emitted():
    with pytest.raises(StreamError, match=r"upsample_linear.*\n.*\nAnnounce the length"):
        streamed(Aligned().eval(), (1, 1, 64), axis=-1).emit()
    model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.GroupNorm(1, 2)).eval()
    with pytest.raises(StreamError, match=r"'1' \(group_norm\): every result reads the whole"):
        streamed(model, (1, 1, 64), axis=-1).emit()


def test_the_states_of_another_model_are_named():
    emitted = emitted_from(recurrent_decoder, chunk=4)
    x = torch.randn(1, 3, emitted.first + 4)
    (_, *states) = emitted.start(x[..., : emitted.first])
    rows, after = emitted.advance(x[..., emitted.first :], states)
    assert rows[0].shape[2] == 24
    assert [one.shape for one in after] == [one.shape for one in states]
    with pytest.raises(UsageError, match=r"has 7 states, and was given 6; pass on those"):
        emitted.advance(x[..., -4:], states[1:])
    with pytest.raises(UsageError, match=r"^State 0 of this stream \('0/pad'\) is 1x3x6 float32, "):
        emitted.advance(x[..., -4:], [states[0][..., 1:], *states[1:]])
    with pytest.raises(UsageError, match=r"was given as 1x3x6 float64; pass on those that"):
        emitted.advance(x[..., -4:], [states[0].double(), *states[1:]])
    with pytest.raises(UsageError, match="A step takes 1x3x4 samples, and was given 1x3x5"):
        emitted.advance(x[..., -5:], states)


def test_a_signal_of_another_length_is_told_which_are_taken():
    emitted = emitted_from(WaveUNet, chunk=32, rest=16)
    with pytest.raises(UsageError, match=r"has 80 samples and a multiple of 32 more, this one has"):
        emitted.run(torch.randn(1, 1, 100))


def test_an_unknown_suffix_is_told_the_known_ones(tmp_path):
    emitted = emitted_from(WaveUNet, chunk=16)
    with pytest.raises(UsageError, match=r"'net.pth' has no suffix .* end it in .onnx or .pt2"):
        emitted.save(tmp_path / "net.pth")
    assert list(tmp_path.iterdir()) == []


def test_what_torch_cannot_write_is_said_in_a_sentence(tmp_path):
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.special.bessel_j0(x)

    emitted = streamed(Odd(), (1, 1, 9), axis=-1).emit(chunk=4)
    with pytest.raises(
        UnsuitableError, match=r"^torch cannot write .* No ONNX function .*bessel_j0"
    ):
        emitted.save(tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_valid_model_is_not_left_there(tmp_path):
    """torch.onnx joins the weights of projections of another number of dimensions."""

    class Projected(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 6, proj_size=3, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.lstm(x)[0]

    emitted = streamed(Projected().eval(), (1, 9, 4), axis=1).emit(chunk=4)
    with pytest.raises(
        UnsuitableError, match=r"is no valid ONNX model .*write the stream as \.pt2"
    ):
        emitted.save(tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_step_that_computes_something_else_is_caught():
    emitted = emitted_from(WaveUNet, chunk=16)

    def wrong(part, given):
        made = [*getattr(emitted, part)(*given)]
        made[-1] = made[-1] * 1.01
        return [one.detach() for one in made]

    with pytest.raises(MismatchError):
        emitted.verify(by=wrong)
