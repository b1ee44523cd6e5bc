"""Steps are replayed as they would be called: tested with a recorder of the processor."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

from fieldwise.capture.torch.tree import tensors_in
from fieldwise.tile import tiled
from fieldwise.tile.replaying import Replayer, state_key


class Recorder:
    """Replays by calling the step again into the tensors of the first time."""

    def __init__(self):
        self.recorded = self.replayed = 0

    def __call__(self, step):
        self.recorded += 1
        outputs = step()

        def replay():
            self.replayed += 1
            for static, again in zip(tensors_in(outputs), tensors_in(step()), strict=True):
                static.copy_(again)

        return replay, outputs


def twice(inputs):
    return {"double": inputs[0] * 2, "half": (inputs[0] / 2, None)}


def test_from_the_third_call_on_a_step_is_replayed_and_gives_the_same():
    record = Recorder()
    replayer = Replayer(record)
    for number in range(5):
        x = torch.full((3,), float(number))
        found = replayer(twice, [x])
        assert found["double"].tolist() == [2.0 * number] * 3
        assert found["half"][0].tolist() == [number / 2] * 3
        assert found["half"][1] is None
    assert (record.recorded, record.replayed) == (1, 4)


def test_each_shape_type_layout_and_state_has_a_recording_of_its_own():
    record = Recorder()
    replayer = Replayer(record)
    images = [
        torch.zeros(1, 2, 3, 3),
        torch.zeros(1, 2, 3, 4),
        torch.zeros(1, 2, 3, 3, dtype=torch.float64),
        torch.zeros(1, 2, 3, 3).contiguous(memory_format=torch.channels_last),
    ]
    for _ in range(3):
        for x in images:
            replayer(twice, [x])
    assert record.recorded == len(images)
    for state in ("before", "before", "after", "after"):
        replayer(twice, [images[0]], key=lambda state=state: state)
    assert record.recorded == len(images) + 2


def test_what_is_returned_is_the_callers_where_that_is_asked_for():
    found = {}
    for own in (False, True):
        replayer = Replayer(Recorder(), own=own)
        found[own] = [replayer(twice, [torch.tensor([n])])["double"] for n in range(4)]
    assert [x.item() for x in found[True]] == [0, 2, 4, 6]
    assert [x.item() for x in found[False]] == [0, 6, 6, 6]


def test_a_step_that_cannot_be_recorded_is_called_each_time():
    tried = []

    def record(step):
        tried.append(step)
        raise RuntimeError("operation not permitted when stream is capturing")

    replayer = Replayer(record)
    found = [replayer(twice, [torch.tensor([n])])["double"].item() for n in range(4)]
    assert found == [0, 2, 4, 6]
    assert len(tried) == 1


def test_errors_of_the_step_itself_come_out():
    def fails(_):
        raise ValueError("of its own")

    replayer = Replayer(Recorder())
    with pytest.raises(ValueError, match="of its own"):
        replayer(fails, [torch.zeros(1)])


def test_on_the_processor_nothing_is_recorded_and_the_key_is_not_asked():
    def key():
        raise AssertionError

    replayer = Replayer()
    for number in range(4):
        assert replayer(twice, [torch.tensor([number])], key=key)["double"].item() == 2 * number


def test_a_replayer_is_sent_without_what_it_has_recorded():
    sent = pickle.loads(pickle.dumps(Replayer(own=True)))
    assert sent._own is True
    assert sent._made == {}


class Conv(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())


def test_crops_are_replayed_per_shape_and_give_what_the_whole_gives():
    model, x = Conv().eval(), torch.randn(1, 3, 200, 232)
    run, record = tiled(model, x, tile=32, batch=3), Recorder()
    run.target.replayer = Replayer(record, own=True)
    with torch.no_grad():
        wanted = model(x)
    pieces = [array for _, _, array in run.pieces(x)]
    assert len(pieces) == len(run.plan(x.shape))
    assert torch.allclose(run(x), wanted, atol=1e-5)
    shapes = {(b.tiles[0].lengths, b.count) for b in run.plan(x.shape).batches()}
    assert 1 < record.recorded <= len(shapes)
    assert record.replayed > record.recorded
    for part, (_, place, array) in zip(pieces, run.pieces(x), strict=True):
        assert torch.allclose(part, array)  # what was handed out is not overwritten
        assert torch.allclose(part, wanted[place], atol=1e-5)


def test_new_weights_are_seen():
    model, x = Conv().eval(), torch.randn(1, 3, 96, 96)
    run = tiled(model, x, tile=16)
    run.target.replayer = Replayer(Recorder(), own=True)
    run(x)
    with torch.no_grad():
        model[0].weight.mul_(2)
        assert torch.allclose(run(x), model(x), atol=1e-5)
        model[0].weight = nn.Parameter(torch.randn(4, 3, 3, 3))
        assert torch.allclose(run(x), model(x), atol=1e-5)


def test_models_with_hooks_and_models_that_draw_are_called_each_time():
    record, x = Recorder(), torch.randn(1, 3, 96, 96)
    hooked, called = Conv().eval(), []
    hooked[2].register_forward_hook(lambda *_: called.append(0))
    assert state_key(hooked) is None
    run = tiled(hooked, x, tile=16)
    run.target.replayer = Replayer(record, own=True)
    run.plan(x.shape)
    called.clear()
    run(x)
    assert len(called) >= len(run.plan(x.shape))
    assert record.recorded == 0
