"""Whatever runs a model leaves it as it was, and fit to be trained."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fieldwise
from fieldwise.capture.torch import capture
from fieldwise.capture.torch.keeping import kept, remembered
from fieldwise.capture.torch.running import run
from fieldwise.errors import CaptureError
from fieldwise.field.probes.literal import unit_gradient
from fieldwise.field.probes.nan import nan_field
from fieldwise.shift import certify, circular, measure
from fieldwise.tile import TileError, plan_tiles
from tests.capture.torch.test_state import ramp


@cache
def _window() -> Tensor:
    return torch.tensor([0.5, 1.0])


class Caching(nn.Module):
    """A model that keeps a constant it has made, counts, and writes into its buffers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 2, 3, padding=1)
        self.register_buffer("seen", torch.zeros(1))
        self.register_buffer("grid", None)
        self.calls, self.sizes, self.cache = 0, [], {}

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.sizes.append(x.shape[-1])
        self.seen += 1
        if "scale" not in self.cache:
            self.cache["scale"] = torch.tensor([2.0, 3.0]).view(1, 2, 1)
        self.grid = torch.ones(2, 1)
        self.last = torch.full((1,), 2.0)
        return torch.relu(self.conv(x)) * self.cache["scale"] * _window()[:, None] * self.grid


def _verbs() -> dict[str, Callable[[nn.Module, Tensor], Any]]:
    return {
        "capture": capture,
        "field": fieldwise.receptive_fields,
        "fold": fieldwise.fold,
        "certify": certify,
        "measure": measure,
        "circular": circular,
        "streamed": lambda model, x: fieldwise.streamed(model, x, axis=2, band=8)(x),
        "tiled": lambda model, x: fieldwise.tiled(model, x, tile=16)(x),
        "tiled, verified": lambda model, x: fieldwise.tiled(model, x, tile=16, verify=True)(x),
        "run": run,
        "gradient": lambda model, x: unit_gradient(model, x, (3,)),
        "nan": lambda model, x: nan_field(model, x, None, (3,)),
    }


@pytest.mark.parametrize("verb", _verbs())
def test_a_model_that_stores_what_it_made_is_kept_and_can_be_trained(verb):
    model = Caching().eval()
    _window.cache_clear()
    _verbs()[verb](model, ramp(1, 1, 40))
    assert (model.calls, model.sizes, model.cache) == (0, [], {})
    assert model.grid is None
    assert not hasattr(model, "last")
    assert torch.equal(model.seen, torch.zeros(1))
    model.train()(ramp(2, 1, 8)).sum().backward()
    assert model.conv.weight.grad is not None


def test_runs_beside_each_other_put_a_model_back_when_the_last_is_done():
    model = Caching()
    first, second = kept(model), kept(model)
    first.__enter__()
    model(ramp(1, 1, 8))
    second.__enter__()
    model(ramp(1, 1, 8))
    first.__exit__(None, None, None)
    assert model.calls == 2
    second.__exit__(None, None, None)
    assert model.calls == 0


def test_what_other_threads_may_look_at_is_not_taken_away_meanwhile():
    model = Caching()

    class Watched(dict[str, Any]):
        def clear(self) -> None:
            raise AssertionError

    model.cache = Watched(a=1, b=2)
    with kept(model):
        model.cache["a"] = 3
        model.cache["c"] = 4
    assert model.cache == {"a": 1, "b": 2}


def test_streams_and_tiles_give_tensors_that_can_be_trained_on():
    model, x = nn.Conv1d(1, 2, 3, padding=1).eval(), ramp(1, 1, 40)
    for found in (
        fieldwise.streamed(model, x, axis=2, band=8)(x),
        fieldwise.tiled(model, x, tile=16)(x),
    ):
        assert not found.is_inference()
        assert not found.requires_grad


def test_a_run_inside_a_transform_of_torch_func_is_kept_as_well():
    class Counting(nn.Sequential):
        calls = 0

        def forward(self, x: Tensor) -> Tensor:
            self.calls += 1
            return super().forward(x)

    model = Counting(nn.Conv1d(1, 2, 3, padding=1), nn.BatchNorm1d(2)).eval()
    x = ramp(1, 1, 8)
    value, rate = torch.func.jvp(lambda x: run(model, x), (x,), (torch.ones_like(x),))
    assert value.shape == rate.shape == (1, 2, 8)
    assert model.calls == 0


class Numbered(nn.Module):
    """Counts its runs, and adds what it drew in each."""

    runs = 0

    def forward(self, x: Tensor) -> Tensor:
        self.runs += 1
        return x * self.runs + torch.rand(())


def test_a_remembered_model_is_put_back_after_each_run():
    model = Numbered().eval()
    with remembered(model):
        for _ in range(3):
            with kept(model):
                model(torch.zeros(1))
                assert model.runs == 1
            assert model.runs == 0
            assert "runs" not in vars(model)


@pytest.mark.parametrize(
    ("model", "draws"),
    [
        (Numbered(), True),
        (nn.Dropout(0.5).train(), True),
        (nn.Dropout(0.5).eval(), False),
        (nn.RReLU().eval(), False),
        (nn.Conv2d(3, 3, 3), False),
        (nn.TransformerEncoderLayer(8, 2, batch_first=True).eval(), False),
    ],
)
def test_a_graph_tells_whether_a_run_may_draw(model, draws):
    x = torch.zeros(1, 3, 8, 8) if isinstance(model, nn.Conv2d) else torch.zeros(1, 8, 8)
    assert capture(model, x).draws is draws


class Drawing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        torch.manual_seed(5)
        return x + torch.rand(())


def test_tiles_of_a_model_that_draws_leave_the_generator_of_the_process_alone():
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    fieldwise.tiled(Drawing().eval(), torch.zeros(1, 1, 8, 8), tile=4)(torch.zeros(1, 1, 8, 8))
    assert torch.equal(torch.rand(4), wanted)


class Memory:
    """What a module may hold that is no module."""

    def __init__(self) -> None:
        self.before: Tensor | None = None
        self.table: dict[int, Tensor] = {}


class Remembering(nn.Module):
    """Adds what it has seen before, which it keeps in objects, and what it draws by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 2, 3, padding=1)
        self.memory, self.notes = Memory(), [SimpleNamespace(sizes=[])]
        self.dice = torch.Generator().manual_seed(1), random.Random(1)
        self.bits = {"old": np.random.RandomState(1), "new": np.random.default_rng(1)}

    def forward(self, x: Tensor) -> Tensor:
        found = self.conv(x)
        if self.memory.before is not None:
            found = found + self.memory.before.mean()
        self.memory.before = found
        self.memory.table[x.shape[-1]] = found
        self.notes[0].sizes.append(x.shape[-1])
        drawn = self.dice[1].random() + self.bits["old"].rand() + self.bits["new"].random()
        return found + torch.rand((), generator=self.dice[0]) + float(drawn)


@pytest.mark.parametrize("verb", _verbs())
def test_objects_and_generators_that_modules_hold_are_as_they_were(verb):
    torch.manual_seed(0)
    model, x = Remembering().eval(), ramp(1, 1, 40)
    twin = copy.deepcopy(model)
    _verbs()[verb](model, x)
    assert (vars(model.memory), model.notes) == ({"before": None, "table": {}}, [_unused()])
    assert torch.equal(model(x), twin(x))


def _unused() -> SimpleNamespace:
    return SimpleNamespace(sizes=[])


def test_tiles_of_a_model_that_holds_a_memory_are_those_of_the_whole():
    model, x = Remembering().eval(), ramp(1, 1, 40)
    found = fieldwise.tiled(model, x, tile=16)(x)
    torch.testing.assert_close(found, run(model, x))


class DoubleByDefault(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        torch.set_default_dtype(torch.float64)
        return x * 2


@pytest.mark.parametrize("verb", ["measure", "fold", "run", "gradient"])
def test_a_default_dtype_that_a_model_sets_is_put_back(verb):
    _verbs()[verb](DoubleByDefault().eval(), ramp(1, 1, 8))
    assert torch.get_default_dtype() is torch.float32


class Scribbling(nn.Module):
    """Writes into what it holds, whatever that is, and multiplies with it."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("counted", torch.ones(1))
        self.plain, self.listed, self.memory = torch.ones(1), [torch.ones(1)], Memory()
        self.memory.before = torch.ones(1)
        self.array = np.ones(1)

    def forward(self, x: Tensor) -> Tensor:
        self.array *= 2
        for tensor in (self.counted, self.plain, *self.listed, self.memory.before):
            x = x * tensor.mul_(2)
        return x * float(self.array[0])


@pytest.mark.parametrize("verb", _verbs())
def test_what_is_written_into_tensors_and_arrays_that_modules_hold_is_undone(verb):
    model, x = Scribbling().eval(), ramp(1, 1, 40)
    found = _verbs()[verb](model, x)
    if verb in ("streamed", "tiled", "run"):
        assert torch.equal(found, Scribbling()(x))
    held = (model.counted, model.plain, *model.listed, model.memory.before, model.array)
    assert [float(one[0]) for one in held] == [1.0] * 5


class Gumbel(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.gumbel_softmax(x, dim=1)


def test_planning_tiles_of_a_model_that_draws_neither_draws_nor_says_a_word(capfd):
    torch.manual_seed(3)
    wanted = torch.rand(4)
    torch.manual_seed(3)
    with pytest.raises(TileError, match="it draws random numbers, others in each run"):
        plan_tiles(Gumbel().eval(), (1, 2, 8, 8), tile=4)
    assert torch.equal(torch.rand(4), wanted)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("verb", ["field", "certify", "measure", "fold", "streamed", "tiled"])
def test_a_model_that_has_never_run_is_told_to_run_first(verb):
    model = nn.Sequential(nn.LazyConv1d(2, 3)).eval()
    with pytest.raises(CaptureError, match="run it once on a real input first"):
        _verbs()[verb](model, ramp(1, 1, 40))


class Halving(nn.Module):
    """Writes into its own weights in each run."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        self.conv.weight.data.mul_(0.5)
        return self.conv(x)


def test_a_model_that_writes_into_its_weights_gives_and_keeps_what_one_run_would():
    model, x = Halving().eval(), ramp(1, 1, 40)
    weight = model.conv.weight.detach().clone()
    with kept(model, parameters=True):
        wanted = model(x)
    assert torch.equal(model.conv.weight, weight)
    assert capture(model, x).writes
    assert not capture(model.conv, x).writes
    for found in (
        fieldwise.streamed(model, x, axis=2, band=8, verify=True)(x),
        fieldwise.tiled(model, x, tile=16, verify=True)(x),
    ):
        assert torch.allclose(found, wanted, atol=1e-5)
    assert torch.equal(model.conv.weight, weight)


@pytest.mark.parametrize("verb", _verbs())
def test_no_verb_leaves_what_a_run_wrote_into_the_weights(verb):
    model = nn.Sequential(Halving(), nn.BatchNorm1d(2)).eval()
    weight = model[0].conv.weight.detach().clone()
    found = _verbs()[verb](model, ramp(1, 1, 40))
    assert torch.equal(model[0].conv.weight, weight)
    if verb == "fold":
        assert torch.equal(found.model[0].conv.weight, weight)


class Turning(nn.Module):
    """Looks at its own square weights the other way round, and back again the next time."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        self.linear.weight.data = self.linear.weight.data.t()
        return self.linear(x)


@pytest.mark.parametrize("verb", ["capture", "field", "fold", "certify", "run"])
def test_square_weights_that_are_turned_are_turned_back(verb):
    model, x = Turning().eval(), ramp(1, 1, 4)
    _verbs()[verb](model, x)
    assert model.linear.weight.stride() == (4, 1)


UNUSUAL: dict[str, Callable[[], Tensor]] = {
    "sparse": lambda: torch.eye(4).to_sparse(),
    "compressed rows": lambda: torch.eye(4).to_sparse_csr(),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
}


@pytest.mark.filterwarnings("ignore:Sparse CSR", "ignore:The PyTorch API of nested")
@pytest.mark.parametrize("verb", _verbs())
@pytest.mark.parametrize("kind", UNUSUAL)
def test_a_module_may_hold_tensors_without_strides(kind, verb):
    model = nn.Sequential(nn.Conv1d(1, 2, 3, padding=1))
    model.kept = UNUSUAL[kind]()
    if kind == "sparse":
        model.register_buffer("graph", UNUSUAL[kind]())
    _verbs()[verb](model.eval(), ramp(1, 1, 40))
