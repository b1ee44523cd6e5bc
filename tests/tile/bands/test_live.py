"""Live data: rows come as soon as they are certain, and not before."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldwise.errors import CaptureError, UsageError
from fieldwise.tile import streamed
from fieldwise.tile.bands import StreamError
from tests.tile.bands.networks import Chomped, Recurrent, UNet, WaveNet, WaveUNet, upsampled


def pushed(session, x: Tensor, axis: int, chunk: int) -> list[Tensor]:
    pieces = [session.push(part) for part in x.split(chunk, axis)]
    return [*pieces, session.close()]


@pytest.mark.parametrize("make", [lambda: WaveNet(causal=True), Chomped, Recurrent])
def test_a_causal_network_answers_every_sample_at_once(make):
    torch.manual_seed(0)
    model = make().eval()
    x = torch.randn(1, next(iter(model.parameters())).shape[1], 60)
    session = streamed(model, x[..., :40], axis=-1).session()
    assert session.latency == {"output": 0}
    pieces = pushed(session, x, 2, 1)
    assert [piece.shape[2] for piece in pieces] == [1] * 60 + [0]
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(pieces, 2), model(x), atol=1e-5, rtol=0)


def test_a_centred_network_waits_for_the_right_half_of_its_field():
    model = WaveNet(causal=False, depth=4).eval()
    x = torch.randn(1, 1, 100)
    session = streamed(model, x, axis=-1).session()
    assert session.latency == {"output": 1 + 2 + 4 + 8}
    pieces = pushed(session, x, 2, 10)
    assert [piece.shape[2] for piece in pieces] == [0, 5, *[10] * 8, 15]


def test_strides_wait_for_the_rest_of_their_window():
    model = nn.Sequential(nn.Conv1d(1, 2, 4, stride=4), nn.Conv1d(2, 2, 3, padding=1)).eval()
    session = streamed(model, torch.empty(1, 1, 32), axis=-1).session(multiple=4)
    assert session.latency == {"output": 3 + 4}


def test_an_arriving_image_streams_through_a_unet():
    torch.manual_seed(0)
    model = UNet(upsampled("bilinear", align_corners=False)).eval()
    x = torch.randn(1, 3, 72, 20)
    session = streamed(model, x[:, :, :32]).session(multiple=8)
    pieces = pushed(session, x, 2, 5)
    assert sum(piece.shape[2] for piece in pieces[:-1]) > 72 - session.latency["output"] - 8
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(pieces, 2), model(x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
@pytest.mark.parametrize("chunk", [1, 3, 8])
def test_rows_that_nobody_reads_any_more_are_left_out_when_the_end_comes(mode, chunk):
    """Where every other row is read, the last ones may be certain not to be."""

    class Halved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(1, 2, (3, 1), padding=(3, 0), dilation=(3, 1))

        def forward(self, x: Tensor) -> Tensor:
            twice = F.interpolate(x, scale_factor=2.0, mode=mode)
            return F.interpolate(self.conv(twice), size=x.shape[2:], mode=mode)

    torch.manual_seed(0)
    model, x = Halved().eval(), torch.randn(1, 1, 8, 4)
    pieces = pushed(streamed(model, x, axis=2).session(), x, 2, chunk)
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(pieces, 2), model(x), atol=1e-5, rtol=0)


def test_reflected_ends_are_found_when_the_end_comes():
    torch.manual_seed(0)
    model = nn.Conv1d(1, 1, 7, padding=3, padding_mode="reflect").eval()
    x = torch.randn(1, 1, 31)
    pieces = pushed(streamed(model, x, axis=-1).session(), x, 2, 4)
    assert pieces[-1].shape[2] == 3
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(pieces, 2), model(x))


def test_what_depends_on_the_length_is_refused_until_the_length_is_announced():
    torch.manual_seed(0)
    model, x = WaveUNet().eval(), torch.randn(1, 1, 64)
    run = streamed(model, x, axis=-1)
    with pytest.raises(StreamError, match=r"upsample_linear.*\n.*\nAnnounce the length"):
        run.session()
    pieces = pushed(run.session(length=64), x, 2, 9)
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(pieces, 2), model(x))


def test_columns_that_are_chosen_by_the_length_are_noticed():
    class Chosen(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            first = x.shape[2] % 5
            return x[..., first : first + 4] * 2

    x = torch.randn(1, 1, 64, 16)
    run = streamed(Chosen(), x, axis=2)
    with pytest.raises(
        StreamError, match=r"\(slice\): what it computes depends on the total length"
    ):
        run.session()
    pieces = pushed(run.session(length=64), x, 2, 9)
    torch.testing.assert_close(torch.cat(pieces, 2), Chosen()(x))


def test_a_number_that_is_computed_from_the_length_is_noticed():
    class Scaled(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.relu(x) / x.shape[-1]

    with pytest.raises(StreamError, match=r"\(div\): what it computes depends on the total length"):
        streamed(Scaled(), torch.empty(1, 1, 9), axis=-1).session()


def test_a_far_end_that_is_read_first_is_refused():
    model = nn.Conv1d(1, 1, 3, padding=1, padding_mode="circular").eval()
    with pytest.raises(StreamError, match="far end"):
        streamed(model, torch.empty(1, 1, 9), axis=-1).session()


def test_the_memory_of_a_session_does_not_depend_on_its_length():
    model = WaveNet(causal=True).eval()
    session = streamed(model, torch.empty(1, 1, 50), axis=-1).session()
    plan = session.plan(8)
    assert plan.state_bytes == 4 * sum(
        width * rows for width, rows in [(4, 1), (4, 2), (4, 4), (4, 8), (4, 16)]
    )
    for _ in range(50):
        session.push(torch.randn(1, 1, 8))
    assert session.peak_bytes <= plan.peak_bytes


def test_arrays_pushed_give_arrays():
    session = streamed(nn.ReLU(), torch.empty(1, 1, 9), axis=-1).session()
    assert isinstance(session.push(np.ones((1, 1, 3), np.float32)), np.ndarray)
    assert isinstance(session.close(), np.ndarray)


def test_a_session_says_what_does_not_fit():
    run = streamed(nn.ReLU(), torch.empty(1, 2, 9), axis=-1)
    with pytest.raises(UsageError, match=r"shape of the example, \(1, 2, 9\)"):
        run.session().push(torch.empty(1, 3, 4))
    session = run.session(length=4)
    session.push(torch.empty(1, 2, 3))
    with pytest.raises(UsageError, match="3 samples were pushed, 4 were announced"):
        session.close()
    session = run.session()
    session.push(torch.empty(1, 2, 3))
    session.close()
    with pytest.raises(UsageError, match="closed"):
        session.push(torch.empty(1, 2, 3))


def test_a_chunk_that_is_refused_changes_nothing():
    torch.manual_seed(0)
    model, x = nn.Conv1d(1, 1, 9, padding=4).eval(), torch.randn(1, 1, 60)
    session = streamed(model, x, axis=-1).session(length=60)
    pieces = [session.push(x[..., :40])]
    for refused, why in ((x, "100 samples were pushed, 60 were announced"), (x[0], "shape")):
        with pytest.raises(UsageError, match=why):
            session.push(refused)
    pieces += [session.push(x[..., 40:]), session.close()]
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(pieces, 2), model(x))


def test_a_session_whose_chunk_failed_halfway_is_of_no_use(monkeypatch):
    session = streamed(nn.ReLU(), torch.empty(1, 1, 9), axis=-1).session()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(session._engine, "step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            session.push(torch.ones(1, 1, 3))
    with pytest.raises(UsageError, match=r"failed halfway.*open another one"):
        session.push(torch.ones(1, 1, 3))


def changed_layer(model: nn.Sequential) -> None:
    model[0] = nn.Conv1d(1, 1, 5, padding=2)


def changed_weights(model: nn.Sequential) -> None:
    model.load_state_dict({name: one + 1 for name, one in model.state_dict().items()})


@pytest.mark.parametrize("change", [changed_layer, changed_weights, nn.Sequential.train])
def test_a_session_ends_with_the_model_that_it_began_with(change):
    model, x = nn.Sequential(nn.Conv1d(1, 1, 5, padding=2)).eval(), torch.randn(1, 1, 60)
    run = streamed(model, x, axis=-1)
    session = run.session()
    session.push(x)
    change(model)
    for refused in (lambda: session.push(x), session.close):
        with pytest.raises(UsageError, match=r"model has changed.*open another one"):
            refused()
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(pushed(run.session(), x, 2, 7), 2), model(x))


def test_a_copied_session_goes_on_with_the_copied_model():
    torch.manual_seed(0)
    model, x = nn.Conv1d(1, 1, 9, padding=4).eval(), torch.randn(1, 1, 60)
    nn.init.normal_(model.weight)
    session = streamed(model, x, axis=-1).session()
    first = session.push(x[..., :40])
    for one in (copy.deepcopy(session), session):
        pieces = [first, one.push(x[..., 40:]), one.close()]
        with torch.no_grad():
            torch.testing.assert_close(torch.cat(pieces, 2), model(x))


def test_a_session_runs_under_the_autocast_that_it_was_opened_under():
    model, x = nn.Conv1d(1, 1, 9, padding=4).eval(), torch.randn(1, 1, 60)
    run = streamed(model, x, axis=-1)
    plain = run.session()
    with torch.autocast("cpu", torch.bfloat16):
        pieces = pushed(plain, x, 2, 7)
        cast = run.session()
        with torch.no_grad():
            expected = model(x)
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(pieces, 2), model(x))
    torch.testing.assert_close(torch.cat(pushed(cast, x, 2, 7), 2), expected)


def test_a_length_that_is_handed_back_as_a_number_is_noticed():
    class Counted(nn.Module):
        def forward(self, x: Tensor) -> dict[str, object]:
            return {"rows": x * 2, "length": x.shape[-1]}

    run = streamed(Counted(), torch.empty(1, 1, 9), axis=-1)
    with pytest.raises(StreamError, match="a constant in it depends on the total length"):
        run.session()
    assert run.session(length=12).push(torch.empty(1, 1, 4))["length"] == 12


def test_a_table_that_ends_says_that_an_announced_length_is_captured_alone():
    class Tabled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.randn(60))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.table[: x.shape[-1]]

    run = streamed(Tabled(), torch.empty(1, 20), axis=-1)
    session = run.session()
    session.push(torch.empty(1, 30))
    with pytest.raises(CaptureError, match=r"up to twice .*session\(length=\.\.\.\)"):
        session.push(torch.empty(1, 30))
    x = torch.randn(1, 60)
    with torch.no_grad():
        torch.testing.assert_close(
            torch.cat(pushed(run.session(length=60), x, 1, 7), 1), run.call.model(x)
        )


def test_rows_that_wait_are_not_changed_by_who_fills_the_same_buffer_again():
    torch.manual_seed(0)
    model, x = nn.Conv1d(1, 1, 9, padding=4).eval(), torch.randn(1, 1, 60)
    run = streamed(model, x, axis=-1)
    for buffer in (torch.empty(1, 1, 3), np.empty((1, 1, 3), np.float32)):
        session, pieces = run.session(), []
        for part in x.split(3, 2):
            buffer[...] = part if isinstance(buffer, Tensor) else part.numpy()
            pieces.append(torch.as_tensor(session.push(buffer)))
        pieces.append(torch.as_tensor(session.close()))
        with torch.no_grad():
            torch.testing.assert_close(torch.cat(pieces, 2), model(x))


def test_further_passes_are_no_remedy_in_a_session():
    model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.InstanceNorm1d(2)).eval()
    run = streamed(model, torch.empty(1, 1, 9), axis=-1, global_ops="multipass")
    for length in (None, 40):
        with pytest.raises(StreamError, match="A session sees its input once") as refused:
            run.session(length=length)
        assert "Or give each of them" not in str(refused.value)


@pytest.mark.parametrize("options", [{"length": -3}, {"multiple": 0}, {"multiple": -2}])
def test_a_length_that_cannot_be_is_refused(options):
    with pytest.raises(UsageError, match=r"got -?\d\."):
        streamed(nn.ReLU(), torch.empty(1, 1, 9), axis=-1).session(**options)


def test_the_example_of_a_session_may_be_so_short_that_nothing_comes_out():
    torch.manual_seed(0)
    model = nn.ConvTranspose2d(1, 1, 1, padding=1).eval()
    x = torch.randn(1, 1, 4, 12)
    pieces = pushed(streamed(model, x[..., :2], axis=-1).session(), x, 3, 5)
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(pieces, 3), model(x))


class Pyramid(nn.Module):
    """Outputs at several rates."""

    def __init__(self) -> None:
        super().__init__()
        self.fine, self.coarse = nn.Conv1d(2, 3, 5, padding=2), nn.Conv1d(3, 4, 4, 2, 1)
        self.sixth, self.up = nn.Conv1d(4, 2, 3, 3), nn.ConvTranspose1d(4, 2, 2, 2)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        fine = self.fine(x).relu()
        half = self.coarse(fine).relu()
        return {"fine": fine, "half": half, "sixth": self.sixth(half), "up": self.up(half)}


@pytest.mark.parametrize("options", [{}, {"multiple": 6}, {"length": 120}])
def test_the_latency_of_every_output_is_what_single_samples_wait(options):
    torch.manual_seed(0)
    model, x = Pyramid().eval(), torch.randn(1, 2, 120)
    session = streamed(model, torch.empty(1, 2, 48), axis=-1).session(**options)
    samples = {"fine": 1, "half": 2, "sixth": 6, "up": 1}
    waited, rows = dict.fromkeys(samples, 0), dict.fromkeys(samples, 0)
    for at in range(120):
        for name, found in session.push(x[..., at : at + 1]).items():
            for _ in range(found.shape[2]):
                waited[name] = max(waited[name], at - rows[name] * samples[name])
                rows[name] += 1
    assert session.latency == waited


def test_a_length_at_which_the_model_does_not_run_is_none_that_a_session_waits_for():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv1d(1, 2, 4, 4), nn.ConvTranspose1d(2, 1, 4, 4))

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = model

        def forward(self, x: Tensor) -> Tensor:
            return x + self.inner(x)

    net, x = Net().eval(), torch.randn(1, 1, 48)
    pieces = pushed(streamed(net, x[..., :20], axis=-1).session(), x, 2, 5)
    with torch.no_grad():
        torch.testing.assert_close(torch.cat(pieces, 2), net(x))
    session = streamed(net, x[..., :20], axis=-1).session()
    session.push(x[..., :47])
    with pytest.raises(CaptureError, match="It runs on 1x1x44 or 1x1x48"):
        session.close()
