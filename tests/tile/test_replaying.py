"""Steps are replayed as they would be called: tested with a recorder of the processor."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from fieldwise.tile import tiled
from fieldwise.tile.replaying import Replayer, state_key
from tests.tile.bands.standin import Broken, StandIn


class Recorder:
    """Makes recordings that run the ops again on the same memory, and counts them."""

    def __init__(self, kind=StandIn):
        self.kind, self.made, self.replayed = kind, [], 0

    def __call__(self):
        counts = self

        class Counted(self.kind):
            def replay(self):
                counts.replayed += 1
                super().replay()

        self.made.append(Counted())
        return self.made[-1]

    @property
    def recorded(self):
        return len(self.made)


def twice(inputs):
    return {"double": inputs[0] * 2, "half": (inputs[0] / 2, None)}


def test_from_the_fourth_call_on_a_call_is_replayed_and_gives_the_same():
    record = Recorder()
    replayer = Replayer(record)
    for number in range(7):
        x = torch.full((3,), float(number))
        found = replayer(twice, [x])
        assert found["double"].tolist() == [2.0 * number] * 3
        assert found["half"][0].tolist() == [number / 2] * 3
        assert found["half"][1] is None
    assert (record.recorded, record.replayed) == (1, 3)


def test_each_shape_type_layout_and_state_has_a_recording_of_its_own():
    record = Recorder()
    replayer = Replayer(record)
    images = [
        torch.zeros(1, 2, 3, 3),
        torch.zeros(1, 2, 3, 4),
        torch.zeros(1, 2, 3, 3, dtype=torch.float64),
        torch.zeros(1, 2, 3, 3).contiguous(memory_format=torch.channels_last),
    ]
    for _ in range(4):
        for x in images:
            replayer(twice, [x])
    assert record.recorded == len(images)
    for state in ("before", "after") * 4:
        replayer(twice, [images[0]], key=lambda state=state: state)
    assert record.recorded == len(images) + 2


@pytest.mark.parametrize(
    "call",
    [
        lambda x: x[0],
        lambda x: x[0].unsqueeze(0).expand(4, -1)[1:],
        lambda x: x[0].detach().t_(),
        lambda x: x[0][:0] * 2,
        lambda x: torch.empty_like(x[0])[:0],
    ],
    ids=["input", "view", "view in place", "of nothing", "unset"],
)
def test_a_call_that_computes_nothing_is_not_recorded(call):
    record = Recorder()
    replayer = Replayer(record)
    for number in range(6):
        x = torch.full((3,), float(number))
        assert torch.equal(replayer(call, [x]), call([x]))
    assert record.recorded == 0


@pytest.mark.parametrize(
    "call",
    [lambda x: x[0].clone(), lambda x: torch.empty_like(x[0]).copy_(x[0])],
    ids=["copied", "written"],
)
def test_a_call_that_copies_or_writes_is_recorded(call):
    record = Recorder()
    replayer = Replayer(record)
    for number in range(6):
        x = torch.full((3,), float(number))
        assert torch.equal(replayer(call, [x]), x)
    assert record.recorded == 1


def test_what_is_returned_is_the_callers():
    replayer = Replayer(Recorder())
    found = [replayer(twice, [torch.tensor([n])])["double"] for n in range(6)]
    assert [x.item() for x in found] == [0, 2, 4, 6, 8, 10]


def test_a_part_of_an_input_that_is_returned_is_the_callers():
    replayer = Replayer(Recorder())
    found = [replayer(lambda inputs: inputs[0][:1], [torch.tensor([n, 0])]) for n in range(6)]
    assert [x.item() for x in found] == [0, 1, 2, 3, 4, 5]


class Stale(StandIn):
    """Gives what it gave when it was recorded."""

    def replay(self):
        """Nothing is run again."""


def test_a_recording_that_gives_other_bits_is_dropped():
    record = Recorder(Stale)
    replayer = Replayer(record)
    found = [replayer(twice, [torch.tensor([n])])["double"].item() for n in range(9)]
    assert found == [2 * n for n in range(9)]
    assert (record.recorded, record.replayed) == (1, 1)


def test_calls_of_several_threads_keep_their_inputs_apart():
    replayer = Replayer(Recorder())
    tensors = [torch.full((1000,), float(n)) for n in range(200)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda x: replayer(twice, [x])["double"], tensors))
    assert all(torch.equal(two, 2 * one) for one, two in zip(tensors, found, strict=True))


def test_values_that_are_no_numbers_are_the_same_bits():
    record = Recorder()
    replayer = Replayer(record)
    for _ in range(7):
        assert replayer(twice, [torch.tensor([float("nan")])])["double"].isnan().all()
    assert (record.recorded, record.replayed) == (1, 3)


def test_a_call_that_cannot_be_recorded_is_made_each_time():
    record = Recorder(Broken)
    replayer = Replayer(record)
    found = [replayer(twice, [torch.tensor([n])])["double"].item() for n in range(6)]
    assert found == [0, 2, 4, 6, 8, 10]
    assert record.recorded == 1


def test_what_is_not_recorded_is_made_otherwise():
    def otherwise(inputs):
        return {"double": inputs[0] * 2, "otherwise": None}

    recorded, refused = Replayer(Recorder()), Replayer(Recorder(Broken))
    calls = [(refused, "state"), (Replayer(None), "state"), (Replayer(Recorder()), None)]
    for replayer, state in calls:
        for n in range(6):
            found = replayer(twice, [torch.tensor([n])], key=lambda s=state: s, otherwise=otherwise)
            assert found["double"].tolist() == [2 * n]
        assert "otherwise" in found
    made = [recorded(twice, [torch.tensor([n])], otherwise=otherwise) for n in range(6)]
    assert ["otherwise" in one for one in made] == [True] + [False] * 5


@pytest.mark.parametrize("alone", ["counts", "asks", "draws"])
def test_a_call_that_depends_on_more_than_its_inputs_is_made_each_time(alone):
    count, record = iter(range(100)), Recorder()

    def call(inputs):
        if alone == "counts":
            return inputs[0] + next(count)
        if alone == "asks":
            return inputs[0] * int(inputs[0].sum() > 0)
        return inputs[0] + torch.rand(())

    replayer = Replayer(record)
    found = [replayer(call, [torch.tensor([1.0])]).item() for _ in range(7)]
    assert record.recorded == 0
    assert (len(set(found)) == 1) == (alone == "asks")


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
    sent = pickle.loads(pickle.dumps(Replayer()))
    assert sent._known == {}


class Conv(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())


def test_crops_are_replayed_per_shape_and_give_what_the_whole_gives():
    model, x = Conv().eval(), torch.randn(1, 3, 360, 392)
    run, record = tiled(model, x, tile=32, batch=3), Recorder()
    run.target.replayer = Replayer(record)
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
    run.target.replayer = Replayer(Recorder())
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
    run.target.replayer = Replayer(record)
    run.plan(x.shape)
    called.clear()
    run(x)
    assert len(called) >= len(run.plan(x.shape))
    assert record.recorded == 0


def test_runs_in_inference_mode_and_outside_take_turns():
    replayer, x = Replayer(Recorder()), torch.ones(3)
    for mode in (torch.inference_mode, torch.no_grad) * 5:
        with mode():
            assert replayer(twice, [x])["double"].tolist() == [2.0] * 3
