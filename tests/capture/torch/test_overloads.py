"""What an overload is, is asked of its schema and its tags, and alike with every torch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fieldwise.capture.torch.overloads import is_element_wise
from tests.capture.torch.ops.oracle import agree

aten = torch.ops.aten


@pytest.mark.parametrize(
    ("func", "wanted"),
    [
        (aten.relu.default, True),
        (aten.elu_.default, True),
        (aten.leaky_relu.default, True),
        (aten.leaky_relu_.default, True),
        (aten.ldexp.Tensor, True),
        (aten._conj_physical.default, True),
        (aten.softmax.int, False),
        (aten.cumsum_.default, False),
        (aten.leaky_relu_backward.default, False),
    ],
    ids=str,
)
def test_what_is_element_wise_does_not_depend_on_the_version_of_torch(func, wanted):
    assert is_element_wise(func) is wanted


@pytest.mark.parametrize(
    "function",
    [
        F.leaky_relu,
        lambda x: F.leaky_relu_(x * 1),
        lambda x: torch.ldexp(x, x[:1] + 1),
        lambda x: torch.view_as_real(torch._conj_physical(torch.view_as_complex(x)) * (2 + 1j)),
    ],
    ids=["leaky_relu", "leaky_relu_", "ldexp", "_conj_physical"],
)
def test_what_torch_was_late_to_call_element_wise_is(function):
    agree(function, (3, 2))
