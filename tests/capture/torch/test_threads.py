"""Thread beside thread: a capture disturbs nobody, and nobody disturbs it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fieldwise
from fieldwise.capture.torch import capture
from fieldwise.capture.torch.running import run
from fieldwise.errors import CaptureError
from fieldwise.graph.graph import Graph
from fieldwise.shift import certify, measure
from tests.capture.torch.replay import Net

CAPTURES = 20


class Noisy(nn.Module):
    """A model that draws, seeds and stores while it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv1d(2, 4, 3), nn.BatchNorm1d(4), nn.Dropout(0.5)
        self.norm.eval()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        random.seed(1)
        np.random.seed(1)
        torch.manual_seed(1)
        y = self.drop(self.norm(self.conv(x)))
        noise = torch.rand(1, dtype=y.dtype) + random.random() + np.random.rand()
        return y + noise + torch.rand_like(y)


def _towers() -> nn.Module:
    class Towers(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left = nn.Sequential(nn.Conv1d(2, 3, 3), nn.ReLU())
            self.right = nn.Sequential(nn.Conv1d(2, 3, 5, padding=1), nn.Sigmoid())

        def forward(self, x: Tensor) -> Tensor:
            return self.left(x) * self.right(x)

    return Towers().eval()


def _failing() -> nn.Module:
    return nn.Sequential(nn.Conv1d(2, 3, 3), Net(lambda x: x.view(7, 7)))


MODELS: tuple[Callable[[], nn.Module], ...] = (Noisy, _towers, _failing)


def told(model: nn.Module) -> Any:
    """A capture as a value: names, reads, shapes and scopes, or the error."""
    x = torch.zeros(1, 2, 16, dtype=torch.float32)
    try:
        graph: Graph = capture(model, x)
    except CaptureError as error:
        return str(error)
    reads = tuple((node.op, node.operands, node.results, node.reads) for node in graph.nodes)
    return reads, graph.values, graph.scopes, graph.outputs


@contextmanager
def beside(*others: Callable[[threading.Event], None]) -> Iterator[None]:
    """Run functions on threads of their own until the block is done; their errors are raised."""
    done, errors = threading.Event(), list[BaseException]()

    def guarded(other: Callable[[threading.Event], None]) -> None:
        try:
            other(done)
        except BaseException as error:  # noqa: BLE001  (raised below)
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(other,)) for other in others]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join()
    for error in errors:
        raise error


def together(*work: Callable[[], Any]) -> list[Any]:
    """What each of these gives, all at the same time, each on a thread of its own."""
    results: list[Any] = [None] * len(work)

    def store(number: int) -> None:
        try:
            results[number] = work[number]()
        except BaseException as error:  # noqa: BLE001  (compared by the caller)
            results[number] = error

    threads = [threading.Thread(target=store, args=(number,)) for number in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.fixture
def default_dtype() -> Iterator[None]:
    yield
    torch.set_default_dtype(torch.float32)


def _trained(steps: int) -> list[float]:
    """The losses of a training whose numbers come from a generator of its own."""
    dice = torch.Generator().manual_seed(5)
    weight = torch.randn(4, 4, generator=dice, dtype=torch.float32).requires_grad_()
    losses = []
    for _ in range(steps):
        x = torch.randn(8, 4, generator=dice, dtype=torch.float32)
        loss = F.mse_loss(torch.relu(x @ weight), x)
        (gradient,) = torch.autograd.grad(loss, weight)
        with torch.no_grad():
            weight -= 0.1 * gradient
        losses.append(float(loss.detach()))
    return losses


def train(done: threading.Event) -> None:
    layer = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    while not done.is_set():
        for _ in range(10):
            layer(torch.ones(2, 4, dtype=layer[0].weight.dtype)).sum().backward()
        assert _trained(20) == _trained(20)


def draw(drawn: list[tuple[float, ...]], done: threading.Event) -> None:
    while not done.is_set():
        floats = torch.rand(2, dtype=torch.float64).tolist()
        drawn.append((*floats, random.random(), float(np.random.rand())))


def set_dtypes(done: threading.Event) -> None:
    while not done.is_set():
        for dtype in (torch.float64, torch.float32):
            torch.set_default_dtype(dtype)
            for _ in range(20):
                assert torch.get_default_dtype() == dtype
                assert torch.ones(1).dtype == dtype


@pytest.mark.usefixtures("default_dtype")
def test_captures_beside_threads_that_train_draw_and_set_dtypes():
    alone = {make: told(make().float()) for make in MODELS}
    drawn: list[tuple[float, ...]] = []

    def captures(number: int) -> Callable[[], list[bool]]:
        def work() -> list[bool]:
            make = MODELS[number % len(MODELS)]
            return [told(make().float()) == alone[make] for _ in range(CAPTURES)]

        return work

    with beside(train, partial(draw, drawn), partial(draw, drawn), set_dtypes):
        found = together(*map(captures, range(8)))
    assert found == [[True] * CAPTURES] * 8
    for values in zip(*drawn, strict=True):
        assert len(set(values)) == len(values) > 10


def test_captures_of_one_model_at_a_time_leave_it_as_it_was():
    model = Noisy()
    alone = told(model)
    found = together(*[lambda: [told(model) == alone for _ in range(5)]] * 4)
    assert found == [[True] * 5] * 4
    assert model.calls == 0


def test_a_model_runs_on_one_thread_while_another_captures_it():
    model = _towers()
    x = torch.ones(1, 2, 16)
    wanted, alone = model(x), told(model)

    def infer(done: threading.Event) -> None:
        while not done.is_set():
            with torch.no_grad():
                assert torch.equal(model(x), wanted)

    with beside(infer, infer):
        assert all(told(model) == alone for _ in range(CAPTURES))


def test_a_run_draws_the_same_each_time_and_moves_no_generator():
    def states() -> tuple[Any, ...]:
        numpy = np.random.get_state()[1]
        return torch.get_rng_state().tolist(), random.getstate(), numpy.tolist()

    def noisy(x: Tensor) -> Tensor:
        y = F.dropout(x + random.random() + np.random.rand(), 0.5)
        y = y + torch.rand_like(x) + torch.randn(3) + torch.randint(9, (3,)) + torch.randperm(3)
        torch.manual_seed(3)
        return y + torch.rand(3) + torch.bernoulli(torch.full((3,), 0.5)) + x.clone().normal_()

    before = states()
    first, second = (run(Net(noisy), torch.ones(3)) for _ in range(2))
    capture(Net(noisy), torch.ones(3))
    assert states() == before
    assert torch.equal(first, second)
    torch.manual_seed(3)
    seeded = torch.rand(3)
    assert torch.equal(run(Net(lambda x: x * 0 + _seeded()), torch.ones(3)), seeded)


def _seeded() -> Tensor:
    torch.manual_seed(3)
    return torch.rand(3)


def test_all_verbs_answer_on_threads_what_they_answer_alone():
    model = nn.Sequential(nn.Conv1d(1, 2, 3, padding=1), nn.BatchNorm1d(2), nn.ReLU()).eval()
    x = torch.linspace(-1, 1, 40).reshape(1, 1, 40)

    def fold() -> Any:
        return fieldwise.fold(model, x).model(x).tolist()

    def shift() -> Any:
        return str(certify(model, x))

    def measured() -> Any:
        return str(measure(model, x))

    def streamed() -> Any:
        return fieldwise.streamed(model, x, axis=2, band=8)(x).tolist()

    def tiled() -> Any:
        return fieldwise.tiled(model, x, tile=16)(x).tolist()

    verbs = (fold, shift, measured, streamed, tiled)
    alone = [verb() for verb in verbs]
    assert together(*verbs, *verbs) == [*alone, *alone]
