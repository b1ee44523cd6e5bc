"""How values lie in memory is decided in one place, by device and type."""

from __future__ import annotations

import pytest
import torch

from fieldwise.tile.memory_format import (
    Convolved,
    in_channels_last,
    is_channels_last,
    pays_on,
    rounds_to_tf32,
)

HALVES = (torch.float16, torch.bfloat16)
CPU = torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, *HALVES])
def test_a_processor_takes_every_type_in_channels_last(dtype):
    assert pays_on("cpu", [dtype])


@pytest.mark.parametrize(
    ("dtype", "capability", "tf32", "pays"),
    [
        (torch.float16, (6, 1), True, False),
        (torch.float16, (7, 0), False, True),
        (torch.bfloat16, (7, 5), True, False),
        (torch.bfloat16, (8, 0), False, True),
        (torch.float32, (9, 0), True, True),
        (torch.float32, (9, 0), False, False),
        (torch.float64, (9, 0), True, False),
    ],
)
def test_a_card_does_where_its_tensor_cores_have_the_type(dtype, capability, tf32, pays):
    assert pays_on("cuda", [dtype], capability=capability, tf32=tf32) is pays


def test_one_type_that_wants_it_decides_for_a_run_under_autocast():
    assert pays_on("cuda", [torch.float32, torch.bfloat16], capability=(9, 0), tf32=False)
    assert not pays_on("mps", [torch.float16])


@pytest.mark.parametrize("shape", [(2, 3, 5, 4), (1, 1, 5, 4), (2, 3, 4, 5, 4), (1, 1, 4, 5, 4)])
def test_values_in_channels_last_are_the_same_and_torch_takes_them_for_that(shape):
    x = torch.randn(shape)
    found = in_channels_last(x)
    assert is_channels_last(found)
    assert not is_channels_last(x)
    assert torch.equal(found, x)
    assert in_channels_last(found) is found
    assert is_channels_last(found.relu()) or x.shape[1] == 1
    assert is_channels_last(found.narrow(2, 1, 2))


def test_sequences_have_no_such_layout():
    x = torch.randn(2, 3, 8)
    assert in_channels_last(x) is x
    assert not is_channels_last(x)


def test_a_weight_is_converted_once_where_it_is_kept(monkeypatch):
    x, weight = torch.randn(1, 3, 8, 8), torch.randn(4, 3, 3, 3)
    kept = Convolved(CPU, [x.dtype])
    rows, converted = kept(x, weight)
    assert is_channels_last(rows)
    assert is_channels_last(converted)
    assert torch.equal(converted, weight)
    assert kept(x, weight)[1] is converted
    assert Convolved(CPU, [x.dtype], keeps=False)(x, weight)[1] is weight
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (6, 0))
    old_card = Convolved(torch.device("cuda"), [torch.float16])
    assert old_card(x, weight) == (x, weight)


def test_a_kernel_one_sample_wide_is_not_copied():
    x, weight = torch.randn(1, 3, 8, 8), torch.randn(4, 3, 1, 1)
    assert Convolved(CPU, [x.dtype])(x, weight)[1] is weight


class Exact:
    """Settings of convolutions that round nothing."""

    fp32_precision = "ieee"


def test_float32_is_rounded_to_tf32_on_a_card_alone_and_where_torch_may(monkeypatch):
    card = torch.device("cuda:0")
    assert rounds_to_tf32(card)
    assert not rounds_to_tf32(CPU)
    monkeypatch.setattr(torch.backends.cudnn, "conv", Exact)
    assert not rounds_to_tf32(card)
