"""After a capture, and after a failed one, everything is as it was: the model, torch, the world."""

from __future__ import annotations

import gc
import random
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from fieldwise.capture.torch import capture
from fieldwise.errors import CaptureError
from fieldwise.graph import to_text
from tests.capture.torch.replay import Net, is_replayed


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Assert that nothing around this block has changed."""
    before = _state(model)
    yield
    after = _state(model)
    assert before.keys() == after.keys()
    for key, value in before.items():
        assert _same(value, after[key]), key
    assert not _get_current_dispatch_mode_stack()
    assert not _get_current_function_mode_stack()


def ramp(*shape: int) -> Tensor:
    """An input that draws nothing from a random generator."""
    return torch.linspace(-1, 1, torch.Size(shape).numel()).reshape(shape)


def _state(model: nn.Module) -> dict[str, Any]:
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    state: dict[str, Any] = {"generator": torch.get_rng_state(), "numpy": np.random.get_state()[1]}
    for name, tensor in tensors.items():
        meta = (
            id(tensor),
            tensor._version,
            tensor.requires_grad,
            tensor.data_ptr(),
            id(tensor.grad),
        )
        state[f"meta of {name}"] = meta
        state[f"data of {name}"] = tensor.detach().clone()
    for path, module in model.named_modules():
        state[f"names of {path}"] = list(module.__dict__)
        state[f"attributes of {path}"] = [id(value) for value in module.__dict__.values()]
        for name, value in module.__dict__.items():
            if isinstance(value, (dict, list, set, deque)):
                state[f"{path}.{name}"] = str(value)
    state["hooks"] = [
        len(hooks)
        for name, hooks in vars(torch_module).items()
        if name.startswith("_global_") and isinstance(hooks, dict)
    ]
    state["torch"] = (
        torch.is_grad_enabled(), torch.get_default_dtype(), torch.empty(0).device,
        torch.is_inference_mode_enabled(), random.getstate(),
    )  # fmt: skip
    return state


def _same(one: Any, two: Any) -> bool:
    if isinstance(one, (Tensor, np.ndarray)):
        return bool((one == two).all())
    return one == two


class Busy(nn.Module):
    """A model that leaves traces wherever it can."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv1d(2, 2, 3)
        self.register_buffer("runs", torch.zeros((), dtype=torch.long))
        self.register_buffer("mean", torch.zeros(2))
        self.register_buffer("grid", None)
        self.plain, self.seen, self.tags = torch.zeros(3), [], {"a"}
        self.nested, self.queue = {"list": [1], "count": Counter()}, deque([1], maxlen=4)
        self.loose = [nn.Linear(2, 2)]
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.runs += 1
        self.runs.add_(torch.ones((), dtype=torch.long))
        self.mean.mul_(0.9).add_(torch.ones(2))
        self.mean[0] = 7
        self.plain[1:] = 5
        self.grid = torch.arange(x.shape[-1])
        self.register_buffer("late", torch.ones(1))
        self.cache = x
        self.seen.append(x.shape)
        self.tags.add("b")
        self.nested["list"].append(2)
        self.nested["count"]["x"] += 1
        self.queue.append(3)
        self.loose[0].flag = True
        self.loose[0].weight.data.zero_()
        self.conv.weight.data = self.conv.weight.data * 2
        self.conv.bias.requires_grad_(False)
        self.train(not self.training)
        self.mean.copy_(x.mean((0, 2)))
        noise = torch.rand(1) + random.random() + np.random.rand()
        return self.conv(x) * self.runs + self.plain[1] + noise.dtype.is_floating_point


def test_a_model_that_leaves_traces_is_unchanged():
    model = Busy().eval()
    weight = model.loose[0].weight.clone()
    with untouched(model):
        capture(model, ramp(1, 2, 8))
    assert not hasattr(model, "cache")
    assert not hasattr(model.loose[0], "flag")
    assert torch.equal(model.plain, torch.zeros(3))
    assert torch.equal(model.loose[0].weight, weight)
    assert model.seen == []
    assert model.nested == {"list": [1], "count": Counter()}


def test_the_recorded_calls_hold_what_the_constants_were_when_they_ran():
    is_replayed(Busy().eval(), ramp(1, 2, 8))


def test_derived_writes_into_buffers_are_seen_later_and_undone():
    def moving(self: Any, x: Tensor) -> Tensor:
        self.mean.mul_(0.5).add_(x.mean(0))
        self.mean[0] += 1
        return x - self.mean

    model = Net(moving, mean=torch.ones(3))
    with untouched(model):
        is_replayed(model, ramp(2, 3))


def test_tensors_that_change_their_shape_in_place_get_it_back():
    def reshaped(self: Any, x: Tensor) -> tuple[Tensor, ...]:
        before, line = x * self.square, self.plain.view(-1)
        self.square.t_()
        self.weight.t_()
        self.plain.t_().resize_(2, 2)
        after = x * self.square
        self.square.as_strided_((2,), (1,))
        return before, after, self.weight[:3] * x, self.plain * x[:2, :2], line * x[0, :1]

    square, weight = torch.arange(9.0).view(3, 3), nn.Parameter(torch.arange(12.0).view(3, 4))
    model = Net(reshaped, square=square, weight=weight)
    model.__dict__["plain"] = plain = torch.arange(6.0).view(2, 3)
    with untouched(model):
        is_replayed(model, ramp(3, 3))
    for tensor in (square, plain):
        assert tensor.is_contiguous()
    assert plain.shape == (2, 3)
    assert model.weight.stride() == (4, 1)


def test_batch_norm_counters_do_not_move():
    model = nn.Sequential(nn.Conv1d(2, 2, 3), nn.BatchNorm1d(2)).train()
    with untouched(model), pytest.raises(CaptureError):
        capture(model, ramp(1, 2, 8))


def test_statistics_of_constants_do_not_move():
    def twice(self: Any, x: Tensor) -> Tensor:
        return x + self.norm(ramp(4, 3))[0]

    model = Net(twice, norm=nn.BatchNorm1d(3)).train()
    with untouched(model):
        capture(model, ramp(2, 3))


@pytest.mark.parametrize("error", [RuntimeError("no"), KeyboardInterrupt(), SystemExit(1)])
def test_a_run_that_is_cut_short_leaves_nothing_behind(error):
    def stop(self: Any, x: Tensor) -> Tensor:
        self.runs += 1
        self.cache = self.inner(x)
        raise error

    model = nn.Sequential(nn.Linear(3, 3), Net(stop, inner=nn.Linear(3, 3), runs=torch.zeros(1)))
    kind = CaptureError if isinstance(error, Exception) else type(error)
    with untouched(model), pytest.raises(kind):
        capture(model, ramp(2, 3))
    with untouched(model[0]):
        is_replayed(model[0], ramp(2, 3))


def test_the_input_is_unchanged():
    x = ramp(2, 3).requires_grad_()
    before = x.detach().clone()
    capture(Net(lambda x: x.mul_(2) + 1), x)
    assert torch.equal(x, before)
    assert x.requires_grad
    assert x._version == 0


def test_hooks_are_honoured_and_still_there():
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 2))
    seen = []
    model[0].register_forward_hook(lambda module, args, out: out * 2)
    model[1].register_forward_pre_hook(lambda module, args: (args[0] + 1,))
    model[2].register_forward_hook(
        lambda module, args, kwargs, out: seen.append(1), with_kwargs=True
    )
    with untouched(model):
        graph = is_replayed(model, ramp(2, 3))
    assert [node.op for node in graph.nodes] == ["linear", "mul", "add", "relu", "linear"]
    assert [node.module for node in graph.nodes] == ["0", "0", "1", "1", "2"]
    assert graph.scopes["0"] == (("0",),)
    assert graph.nodes[1].results == ("0",)
    assert len(model[0]._forward_hooks) == 1
    assert seen


def test_global_state_that_the_model_changes_is_put_back():
    def rude(x: Tensor) -> Tensor:
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        torch.set_grad_enabled(True)
        torch.manual_seed(3)
        random.seed(3)
        np.random.seed(3)
        return x + torch.ones(3, device="cpu")

    with untouched(nn.Identity()):
        capture(Net(rude), ramp(3))


@pytest.mark.parametrize("around", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_a_capture_may_run_under_any_grad_mode(around):
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(inplace=True))
    with around(), untouched(model):
        is_replayed(model, ramp(2, 3))


def test_a_capture_may_run_under_a_default_device():
    model = Net(lambda self, x: self.linear(x) + torch.ones(2), linear=nn.Linear(3, 2))
    with torch.device("meta"):
        graph = capture(model, torch.ones(1, 3, device="cpu"))
    assert [node.op for node in graph.nodes] == ["linear", "add"]


def test_a_second_capture_gives_the_first_graph_also_after_failed_ones():
    def noisy(self: Any, x: Tensor) -> Tensor:
        self.runs += 1
        return self.drop(self.linear(x)) + torch.rand(3) * self.runs

    model = Net(noisy, linear=nn.Linear(3, 3), drop=nn.Dropout(0.5), runs=torch.zeros(1))
    first = to_text(capture(model, ramp(2, 3)))
    threshold, functions = gc.get_threshold(), _functions()
    for error in (RuntimeError("no"), KeyboardInterrupt(), SystemExit(1)):

        def fail(x: Tensor, error: BaseException = error) -> Tensor:
            torch.manual_seed(1)
            torch.set_default_dtype(torch.float64)
            raise error

        with pytest.raises((CaptureError, KeyboardInterrupt, SystemExit)):
            capture(nn.Sequential(model, Net(fail)), ramp(2, 3))
        with untouched(model):
            assert to_text(capture(model, ramp(2, 3))) == first
    assert gc.get_threshold() == threshold
    assert _functions() == functions


def _functions() -> tuple[Any, ...]:
    """Some of those that a capture replaces while it runs."""
    return random.random, np.random.rand, torch.manual_seed, nn.Module._call_impl
