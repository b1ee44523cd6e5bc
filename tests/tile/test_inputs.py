"""Inputs of any kind come out right, or are refused with what to do; no input is changed."""

from __future__ import annotations

from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fieldwise.errors import UsageError
from fieldwise.tile import plan_tiles, streamed, tiled
from fieldwise.tile.arrays import named_arrays
from fieldwise.tile.certificate import MismatchError

ENGINES = {"tiled": {"tile": 16}, "streamed": {"band": 8}}
SHAPE = (1, 3, 80, 66)


def run_of(engine: str, model: nn.Module, example: object = None, **options: object):
    make = tiled if engine == "tiled" else streamed
    given = torch.empty(1, 3, 16, 16) if example is None else example
    return make(model, given, **ENGINES[engine], **options)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 2, 3, padding=1)
    ).eval()


def whole(model: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x.clone())


class Normalising(nn.Module):
    """Changes the tensor that it is given."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.mul_(0.5).add_(1))


@pytest.mark.parametrize("verify", [False, True])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_model_that_changes_its_input_changes_neither_the_users_nor_the_next_crops(
    engine, verify
):
    model, x = Normalising().eval(), torch.randn(SHAPE)
    before, wanted = x.clone(), whole(model, x)
    for given in (x, x.numpy()):
        found = torch.as_tensor(run_of(engine, model, verify=verify)(given))
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=0)
        assert torch.equal(x, before)


@pytest.mark.parametrize(
    "dtype", [">f4", ">f8", ">u2", "u1", "u2", "i8", "?", "f2", np.longdouble], ids=str
)
@pytest.mark.parametrize("engine", ENGINES)
def test_arrays_of_any_number_and_byte_order_are_read(engine, dtype):
    x = (np.random.default_rng(0).random(SHAPE) * 9).astype(dtype)
    wanted = whole(network(), torch.from_numpy(x.astype("f4")))
    found = run_of(engine, network(), verify=True)(x)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("given", "told"),
    [
        (np.ma.masked_less(np.zeros(SHAPE), 1), "masked, and a network sees no mask; fill it"),
        (da.ma.masked_less(da.zeros(SHAPE), 1), "masked, and a network sees no mask; fill it"),
        (np.zeros(SHAPE, "c8"), "complex and the example is torch.float32; give its real"),
        (torch.zeros(SHAPE, dtype=torch.complex64), "complex and the example is torch.float32"),
        (np.zeros(SHAPE, object), "dtype object, which is no number; convert it first"),
        ([[1.0]], "is a list; give an array or a tensor"),
    ],
    ids=["masked", "masked-dask", "complex", "complex-tensor", "object", "list"],
)
def test_what_would_be_read_as_something_else_is_refused(engine, given, told):
    with pytest.raises(UsageError, match=f"^Input 0 .*{told}"):
        run_of(engine, network())(given)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_dask_array_of_unknown_size_is_refused_with_the_remedy(engine):
    x = da.ones((1, 3, 80, 66), chunks=(1, 3, 20, 20))
    with pytest.raises(UsageError, match=r"unknown size; call its compute_chunk_sizes\(\) first"):
        run_of(engine, network())(x[:, :, x[0, 0, :, 0] > 0])


class Minus(nn.Module):
    """Does not treat its inputs alike."""

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(first, 3, 1, 1) - 2 * second


@pytest.mark.parametrize("engine", ENGINES)
def test_names_that_the_example_does_not_have_are_not_guessed(engine):
    x, y = torch.randn(SHAPE), torch.randn(SHAPE)
    pair = (torch.empty(1, 3, 16, 16), torch.empty(1, 3, 16, 16))
    with pytest.raises(UsageError, match="The example has no names, and the inputs 'second', 'f"):
        run_of(engine, Minus(), pair)(second=y, first=x)
    run = run_of(engine, Minus(), {"first": pair[0], "second": pair[1]}, verify=True)
    with pytest.raises(UsageError, match="are 'first', 'second', and 'second', 'frist' were giv"):
        run(second=y, frist=x)
    with pytest.raises(UsageError, match="'second' were given beside 1 without a name"):
        run(x, second=y)
    torch.testing.assert_close(run(second=y, first=x), Minus()(x, y))


@pytest.mark.parametrize("engine", ENGINES)
def test_dask_arrays_and_others_go_together(engine):
    x, y = torch.randn(SHAPE), torch.randn(SHAPE)
    run = run_of(engine, Minus(), (torch.empty(1, 3, 16, 16), torch.empty(1, 3, 16, 16)))
    lazy = da.from_array(y.numpy(), (1, 2, 7, 66))
    for beside in (x, x.numpy()):
        found = run(beside, lazy).compute(scheduler="synchronous")
        np.testing.assert_allclose(found, Minus()(x, y), atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("lazy", [False, True])
def test_bfloat16_comes_to_numpy_as_float32(engine, lazy):
    model, x = network().to(torch.bfloat16), torch.randn(SHAPE)
    run = run_of(engine, model, torch.empty(1, 3, 16, 16, dtype=torch.bfloat16), verify=True)
    found = run(da.from_array(x.numpy(), (1, 3, 20, 20)) if lazy else x.numpy())
    assert found.dtype == np.float32
    wanted = whole(model, x.bfloat16()).float()
    np.testing.assert_allclose(np.asarray(found), wanted, atol=0.02)


# ------------------------------------------------------------------- callables under a plan


def called(given: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return network()(torch.as_tensor(given)).numpy()


def blanking(crop: np.ndarray) -> np.ndarray:
    found = called(crop)
    crop[...] = 0
    return found


SERVED = {
    "in a tuple": lambda crop: (called(crop),),
    "in a dict": lambda crop: {"any": called(crop)},
    "of another layout": lambda crop: np.asfortranarray(called(crop)),
    "reversed": lambda crop: called(crop)[..., ::-1].copy()[..., ::-1],
    "with a gradient": lambda crop: network()(torch.as_tensor(crop)),
    "blanking its input": blanking,
}


@pytest.mark.parametrize("call", SERVED.values(), ids=SERVED)
def test_what_a_callable_returns_may_come_in_any_form(call):
    x = np.random.default_rng(0).random(SHAPE, "float32")
    before, wanted = x.copy(), called(x)
    found = tiled(call, plan_tiles(network(), SHAPE, tile=16), verify=True)(x)
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert np.array_equal(x, before)


def test_a_callable_in_half_precision_is_within_its_own_noise_floor():
    run = tiled(lambda crop: called(crop).astype("f2"), plan_tiles(network(), SHAPE, tile=16))
    assert run.verify(np.random.default_rng(0).random(SHAPE, "float32")).kind != "float64"


WRONG = {
    "twice as large": (lambda y: y.repeat(2, 2).repeat(2, 3), r"\(1, 2, 20, 20\)"),
    "padded": (lambda y: np.pad(y, ((0, 0), (0, 0), (1, 0), (1, 0))), r"\(1, 2, 11, 11\)"),
    "without the batch": (lambda y: y[0], r"\(2, 10, 10\)"),
    "of fewer channels": (lambda y: y[:, :1], r"\(1, 1, 10, 10\)"),
    "with the channels last": (lambda y: np.moveaxis(y, 1, 3), r"\(1, 10, 10, 2\)"),
}


@pytest.mark.parametrize(("change", "told"), WRONG.values(), ids=WRONG)
def test_an_output_of_another_shape_than_planned_is_refused(change, told):
    run = tiled(lambda crop: change(called(crop)), plan_tiles(network(), SHAPE, tile=16))
    with pytest.raises(UsageError, match=f"'output' of a crop has the shape {told} instead of "):
        run(np.zeros(SHAPE, "float32"))


def test_tensors_and_arrays_are_found_side_by_side():
    tree = {"a": torch.ones(2), "b": (np.ones(3), None, 4.0)}
    assert [name for name, _ in named_arrays(tree)] == ["a", "b.0"]


@pytest.mark.parametrize("fill", [0.0, 255.0, np.nan])
def test_a_wrong_plan_does_not_pass_on_an_image_whose_corner_is_empty(fill):
    plan = plan_tiles(network(), SHAPE, tile=16)
    first, *rest = plan.axes
    cut = tuple(
        replace(piece, reads=((start + 2, stop),), gives=(piece.gives[0] - 1,),
                keeps=tuple((a - 1, b - 1) for a, b in piece.keeps))
        if start > 0
        else piece
        for piece in first.pieces
        for start, stop in piece.reads
    )  # fmt: skip
    wrong = replace(plan, axes=(replace(first, pieces=cut), *rest))
    with pytest.raises(MismatchError, match="from pieces differs"):
        tiled(called, wrong, verify=True)(np.full(SHAPE, fill, "float32"))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_sparse_tensor_and_one_without_data_are_refused(engine: str):
    run = run_of(engine, network())
    with pytest.raises(UsageError, match=r"Input 0 is a sparse tensor.*; give its to_dense\(\)"):
        run(torch.ones(SHAPE).to_sparse())
    with pytest.raises(UsageError, match="Input 0 is on the meta device and holds nothing"):
        run(torch.empty(SHAPE, device="meta"))


def test_a_model_without_weights_is_planned_in_crops_and_not_run():
    run = run_of("tiled", network().to("meta"))
    assert len(run.plan(SHAPE)) > 1
    with pytest.raises(UsageError, match=r"are on the meta device .*; load them first"):
        run(torch.ones(SHAPE))


class Difference(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x - y


@pytest.mark.parametrize("engine", ENGINES)
def test_one_tensor_in_two_places_of_the_example_is_one_input_and_that_is_said(engine):
    x, y = torch.randn(2, *SHAPE)
    same, other = torch.empty(1, 3, 16, 16), torch.empty(1, 3, 16, 16)
    with pytest.raises(UsageError, match=r"one tensor in several places, .* of its own for each"):
        run_of(engine, Difference(), (same, same))(x, y)
    assert torch.equal(run_of(engine, Difference(), (same, other))(x, y), x - y)
