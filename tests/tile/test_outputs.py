"""What comes out of a run from pieces has the structure that the model's output has."""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fieldwise.capture.torch import capture
from fieldwise.capture.torch.tree import map_tensors
from fieldwise.errors import UsageError
from fieldwise.graph.ir import Ref
from fieldwise.tile import plan_tiles, streamed, tiled
from fieldwise.tile.bands import StreamError


@dataclass(frozen=True)
class Output:
    logits: Tensor
    hidden: Any = None
    classes: int = 3


class Pair(NamedTuple):
    first: Tensor
    second: Any


@dataclass
class Sized:
    maps: Tensor
    shape: tuple[int, ...]


class Attributes(dict[str, Any]):
    """Its items are its attributes; any other name is a KeyError."""

    __getattr__ = dict.__getitem__


class Itself(dict[str, Any]):
    """Its attributes are itself."""

    def __init__(self, **items: Any) -> None:
        super().__init__(**items)
        self.__dict__ = self


class Tagged(list[Any]):
    """A list that says what it is of."""

    tag = ""


def _tagged(*items: Any) -> Tagged:
    found = Tagged(items)
    found.tag = "maps"
    return found


FORMS: dict[str, Callable[[Tensor], Any]] = {
    "a tensor": lambda x: x * 2,
    "a tuple of one": lambda x: (x * 2,),
    "a dict of one": lambda x: {"out": x * 2},
    "a list": lambda x: [x, x * 2],
    "nested": lambda x: {"maps": [x, (x * 2, {"deep": x + 1})], "aux": None, "name": "a", "n": 4},
    "a dataclass": lambda x: Output(x * 2, {"layers": [x]}),
    "a named tuple": lambda x: Pair(x, [x * 3]),
    "an ordered dict": lambda x: OrderedDict(z=x, a=x * 2),
    "a default dict": lambda x: defaultdict(list, a=x * 2),
    "other keys spelled alike": lambda x: {"a": {"b": x}, "a.b": x * 2, 1: x * 3, "1": x * 4},
    "one value twice": lambda x: (lambda y: [y, {"again": y}])(x + 1),
    "a dataclass with a shape": lambda x: Sized(x * 2, (1, 2)),
    "items that are attributes": lambda x: Attributes(out=x * 2, count=3),
    "attributes that are items": lambda x: Itself(out=x * 2, pair=[x, x + 1]),
    "a list with attributes": lambda x: _tagged(x, x * 2),
    "constants between": lambda x: (torch.arange(3.0), x * 2, {"scale": torch.tensor(0.5)}),
}


class Net(nn.Module):
    def __init__(self, form: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.form = form

    def forward(self, x: Tensor) -> Any:
        return self.form(x)


def _alike(one: Any, other: Any, kind: type) -> bool:
    """Whether two trees are of the same types and equal; ``kind`` is that of the first's arrays."""
    if isinstance(other, Tensor):
        return isinstance(one, kind) and np.array_equal(np.asarray(one), other.numpy())
    if type(one) is not type(other):
        return False
    if isinstance(other, (Itself, Tagged)) and not _alike(dict(vars(one)), dict(vars(other)), kind):
        return False
    if isinstance(other, dict):
        return list(one) == list(other) and all(_alike(one[k], other[k], kind) for k in other)
    if isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(
            _alike(a, b, kind) for a, b in zip(one, other, strict=True)
        )
    if is_dataclass(other):
        pairs = ((getattr(one, f.name), getattr(other, f.name)) for f in fields(other))
        return all(_alike(a, b, kind) for a, b in pairs)
    return one == other


@pytest.fixture
def x() -> Tensor:
    return torch.randn(1, 2, 12, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_outputs_of_pieces_have_the_structure_of_the_models(form, x):
    model, wanted = Net(form), form(x)
    for run in (streamed(model, x, band=5, verify=True), tiled(model, x, tile=4, verify=True)):
        assert _alike(run(x), wanted, Tensor)
        assert _alike(run(x.numpy()), wanted, np.ndarray)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_chunks_of_a_session_have_the_structure_of_the_models(form, x):
    session = streamed(Net(form), x).session()
    pieces = [session.push(x[:, :, :7]), session.push(x[:, :, 7:]), session.close()]
    first = form(x[:, :, :7])
    assert _alike(pieces[0], first, Tensor)
    assert _alike(pieces[1], form(x[:, :, 7:]), Tensor)


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_lazy_outputs_have_the_structure_of_the_models(form, x):
    da = pytest.importorskip("dask.array")
    lazy, wanted = da.from_array(x.numpy(), chunks=4), form(x)
    for run in (streamed(Net(form), x, band=5), tiled(Net(form), x, tile=4)):
        assert _alike(run(lazy), wanted, da.Array)


def test_a_plan_gives_a_callable_the_structure_of_the_planned_model(x):
    form = FORMS["nested"]
    plan = plan_tiles(Net(form), x, tile=4)
    assert _alike(tiled(form, plan)(x), form(x), Tensor)


def test_a_constant_that_is_handed_back_is_a_copy():
    class Held(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.arange(3.0))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x * 2, self.table

    model, x = Held(), torch.ones(1, 1, 8, 8)
    for run in (streamed(model, x, band=3), tiled(model, x, tile=4)):
        run(x)[1].zero_()
        run(x.numpy())[1][:] = 0
        assert torch.equal(model.table, torch.arange(3.0))


def test_a_constant_that_knows_the_length_is_no_output_of_an_endless_session():
    model = Net(lambda x: (x, torch.arange(x.shape[2])))
    with pytest.raises(StreamError, match="a constant in it depends on the total length"):
        streamed(model, torch.empty(1, 1, 8, 8)).session()
    session = streamed(model, torch.empty(1, 1, 8, 8)).session(length=5)
    assert torch.equal(session.push(torch.zeros(1, 1, 5, 8))[1], torch.arange(5))


def test_a_graph_keeps_the_structure_with_its_outputs_numbered():
    graph = capture(Net(FORMS["nested"]), torch.empty(1, 2, 4, 4))
    maps = [Ref(0), (Ref(1), {"deep": Ref(2)})]
    assert graph.structure == {"maps": maps, "aux": None, "name": "a", "n": 4}
    assert graph.output_names == ("maps.0", "maps.1.0", "maps.1.1.deep")


def test_tensors_are_changed_in_place_of_each_other_whatever_holds_them():
    tree = Output(torch.ones(2), defaultdict(list, a=(torch.ones(3), "kept")))
    changed = map_tensors(lambda t: t.shape[0], tree)
    assert changed == Output(2, {"a": (3, "kept")})
    assert changed.hidden.default_factory is list


class Holder:
    def __init__(self, maps: Any) -> None:
        self.maps = maps


@pytest.mark.parametrize("hold", [Holder, lambda y: {y}, lambda y: iter([y])])
def test_outputs_in_objects_of_other_kinds_are_refused_and_never_handed_back_as_they_are(hold, x):
    model = Net(lambda x: (x * 2, hold(x * 3)))
    for run in (streamed(model, x, band=5), tiled(model, x, tile=4)):
        with pytest.raises(UsageError, match="holds outputs, which is not put together"):
            run(x)


def test_objects_without_outputs_are_handed_back_with_the_others(x):
    held = Holder(torch.ones(2))
    model = Net(lambda x: (x * 2, held))
    for run in (streamed(model, x, band=5), tiled(model, x, tile=4)):
        assert torch.equal(run(x)[0], x * 2)
        assert run(x)[1] is held
