"""Writes in place, through views and into constants: the graph computes what eager torch does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fieldwise.capture.torch import capture
from fieldwise.capture.torch.tree import named_tensors
from tests.capture.torch.ops.oracle import marks, recorded
from tests.capture.torch.replay import Net, is_replayed

CASES: dict[str, tuple[Callable[..., Any], tuple[int, ...]]] = {}


def case(*shape: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function of one tensor of this shape."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        assert function.__name__ not in CASES
        CASES[function.__name__] = (function, shape)
        return function

    return register


# -------------------------------------------------------------------- writes through views


@case(2, 3, 4)
def a_slice(x: Tensor) -> Tensor:
    y = x * 2
    y[:, 1:, ::2] += 1
    return y


@case(2, 3, 4)
def a_slice_of_a_slice_with_steps(x: Tensor) -> Tensor:
    y = x * 2
    y[:, 1:][..., 1::2][:1].mul_(x[:1, 1:, :2])
    return y


@case(3, 4)
def a_strided_view_of_a_view_of_zeros(x: Tensor) -> Tensor:
    zeros = torch.zeros(3, 4, dtype=x.dtype)
    view = zeros.t()[1].as_strided((2,), (1,))
    zeros[:] = x
    return view * 2


@case(2, 3, 4)
def a_transpose(x: Tensor) -> Tensor:
    y = x * 2
    y.transpose(1, 2)[:, 0].add_(x[:, :, 1])
    return y


@case(2, 3, 4)
def a_reshape(x: Tensor) -> Tensor:
    y = x * 2
    y.view(6, 4)[2:4] = x.reshape(6, 4)[:2]
    y.view(-1).mul_(3)
    return y


@case(2, 6)
def parts_of_a_split(x: Tensor) -> Tensor:
    y = x * 2
    a, b, c = y.split([1, 2, 3], 1)
    b.add_(a)
    c.mul_(2)
    return y + a


@case(2, 6)
def parts_of_a_chunk(x: Tensor) -> tuple[Tensor, ...]:
    y = x * 2
    a, b = y.chunk(2, 1)
    a.add_(b)
    return a, b, y


@case(3, 4)
def parts_of_an_unbind(x: Tensor) -> Tensor:
    y = x * 2
    for number, row in enumerate(y.unbind(0)):
        row.add_(number)
    return y


@case(3, 4)
def a_loop_over_rows(x: Tensor) -> Tensor:
    y = x.clone()
    for row in y:
        row[1:] -= row[:1]
    return y


@case(2, 3, 4)
def a_select(x: Tensor) -> Tensor:
    y = x * 2
    y.select(1, -1).copy_(x[:, 0])
    y[0, 1, 2] = 5
    return y


@case(3, 4, 4)
def a_diagonal(x: Tensor) -> Tensor:
    y = x * 2
    y.diagonal(1, 1, 2).add_(x[:, 0, :3])
    return y


@case(3, 4)
def an_unsqueeze_and_a_squeeze(x: Tensor) -> Tensor:
    y = x * 2
    y.unsqueeze(1)[:, :, 0] = 1
    y.unsqueeze(0).squeeze(0).add_(x)
    return y


@case(3, 8)
def an_unfolded_dimension(x: Tensor) -> Tensor:
    y = x * 2
    y.unflatten(1, (2, 4)).transpose(1, 2).flatten(0, 0).mul_(2)
    y.view(3, 2, 2, 2).permute(0, 3, 1, 2)[:, 1].zero_()
    return y


@case(4, 6)
def a_strided_window(x: Tensor) -> Tensor:
    y = x * 2
    y.as_strided((2, 3), (6, 2), 7).add_(1)
    return y


@case(4, 6)
def a_strided_window_of_a_transpose(x: Tensor) -> Tensor:
    y = (x * 2).t()
    z = y.as_strided((2, 3), (6, 1), 0)
    y.add_(1)
    return z * y[:3, :2].t()


@case(2, 3, 4)
def a_view_taken_before_the_write(x: Tensor) -> Tensor:
    y = x * 2
    early = y[:, 0]
    y.mul_(3)
    late = y[:, 0]
    y.add_(1)
    return early + late


@case(2, 3, 4)
def a_copy_taken_before_the_write(x: Tensor) -> Tensor:
    y = x * 2
    copied = y[:, 0].clone()
    y.mul_(3)
    return copied + y[:, 0]


@case(2, 4)
def the_real_part_of_a_complex_tensor(x: Tensor) -> Tensor:
    y = torch.complex(x, x * 2)
    y.real.mul_(2)
    torch.view_as_real(y)[..., 1] += 1
    return y * y.conj()


# -------------------------------------------------------------------- order


@case(2, 3)
def the_input_itself(x: Tensor) -> Tensor:
    x += 1
    return x * 2


@case(2, 3)
def a_tensor_that_another_branch_has_read(x: Tensor) -> Tensor:
    y = x * 2
    before = y + 1
    y.relu_()
    return before * y


@case(2, 3)
def a_tensor_through_its_alias(x: Tensor) -> Tensor:
    y = x * 2
    z = y.detach()
    z.add_(1)
    y.view_as(y).mul_(2)
    return y * z


@case(2, 3)
def a_tensor_through_data(x: Tensor) -> Tensor:
    y = x * 2
    y.data.add_(1)
    y.data[:, 1:] *= x[:, 1:]
    return y


@case(2, 3)
def a_tensor_whose_data_is_replaced(x: Tensor) -> Tensor:
    y = x * 2
    y.data = x.data + 5
    y.add_(1)
    return y


@case(2, 3)
def a_parameter_made_of_a_derived_tensor(x: Tensor) -> Tensor:
    weight = nn.Parameter(x * 2)
    return F.linear(x, weight) + weight.sum()


@case(2, 3, 4)
def augmented_assignment_that_broadcasts(x: Tensor) -> Tensor:
    y = x * 2
    y += x[:, :1]
    y *= x[0, 0]
    y -= 1
    y /= 2
    return y


@case(1, 3, 4)
def metadata_in_place(x: Tensor) -> Tensor:
    y = x * 2
    z = y[:, 0]
    y.squeeze_(0)
    y.t_()
    y.unsqueeze_(1)
    y.add_(1)
    z.transpose_(0, 1)
    return y.sum(1) * z[:, :1] + y.mean()


# -------------------------------------------------------------------- other shapes in place


@case(12)
def other_strides(x: Tensor) -> Tensor:
    return x.clone().as_strided_((2, 3), (4, 1))


@case(12)
def other_strides_of_a_base_with_a_view(x: Tensor) -> tuple[Tensor, ...]:
    y = x * 2
    view = y[1:]
    y.as_strided_((2, 3), (4, 1)).add_(1)
    return y, view * 2


@case(3, 4)
def a_transpose_in_place_below_a_strided_window(x: Tensor) -> tuple[Tensor, ...]:
    y = x * 2
    view = y[1:]
    y.t_()
    y.mul_(x.t())
    y.transpose_(0, 1).swapaxes_(0, 1)
    return y, view, y.as_strided((2, 3), (4, 1))


@case(12)
def the_shape_of_the_input(x: Tensor) -> Tensor:
    x.unsqueeze_(0).squeeze_(0)
    x.resize_(3, 4).swapdims_(0, 1)
    x.add_(1)
    return x * 2


@case(12)
def a_smaller_size(x: Tensor) -> tuple[Tensor, ...]:
    y = (x * 2).view(3, 4).t()
    y.resize_(4, 3).add_(1)
    z = (x * 3).resize_as_(torch.zeros(2, 2))
    return y, z, x[::2].resize_(2, 3) + 0


@case(12)
def the_memory_of_another(x: Tensor) -> tuple[Tensor, ...]:
    y, z = x * 2, x * 3
    view = y[:3]
    y.set_(z)
    y.add_(1)
    return y, z, view


@case(12)
def its_own_memory_by_offset(x: Tensor) -> tuple[Tensor, ...]:
    y = x * 2
    z = y.view(3, 4)
    z.set_(y.untyped_storage(), 2, (2, 2), (1, 4))
    z.add_(1)
    return y, z


@case(12)
def a_constant_that_looks_at_derived_memory_by_offset(x: Tensor) -> Tensor:
    return torch.tensor([]).set_((x * 2).untyped_storage(), 1, (2, 3), (4, 1)) + 1


@case(12)
def the_memory_of_a_constant(x: Tensor) -> tuple[Tensor, ...]:
    y, z = x * 2, x * 3
    y.set_(torch.arange(1.0, 13.0).view(3, 4))
    y.mul_(x[:4])
    z.data = torch.ones(12)
    z.add_(x)
    return y, z


@case(12)
def a_constant_that_looks_at_derived_memory(x: Tensor) -> tuple[Tensor, ...]:
    c, d = torch.arange(12.0).view(3, 4), torch.zeros(3)
    c.set_(x)
    c.add_(1)
    d.data = x * 2
    d.add_(1)
    return c * 2, x, d, d[1:] * 2


@case(12)
def a_constant_with_views(x: Tensor) -> tuple[Tensor, ...]:
    c = torch.arange(1.0, 13).view(3, 4)
    row, turned, early = c[1], c.t(), x[:4] * c
    c.t_()
    c.add_(x[:3])
    return c * 2, row, turned, early


@case(12)
def a_square_constant_between_two_uses(x: Tensor) -> tuple[Tensor, ...]:
    c = torch.arange(1.0, 10.0).view(3, 3)
    row, early = c[1], x[:3] * c
    c.t_()
    late = early + c
    c.unsqueeze_(0).mul_(2)
    c.resize_(2, 3)
    return c + x[:3], row + x[:3], early, late


@case(12)
def a_detached_alias(x: Tensor) -> tuple[Tensor, ...]:
    y = (x * 2).view(3, 4) + 0
    z = y.data
    z.t_()
    z.unsqueeze_(0).add_(1)
    return y, z


# -------------------------------------------------------------------- writes into constants


@case(1, 2, 4)
def zeros(x: Tensor) -> Tensor:
    y = torch.zeros(1, 4, 4)
    y[:, 1:3] = x
    return y


@case(1, 2, 4)
def new_zeros_empty_and_ones(x: Tensor) -> Tensor:
    y = x.new_zeros(1, 4, 4)
    y[:, :2, ::2] = x[..., ::2]
    z = torch.empty_like(x)
    z.copy_(x)
    w = torch.ones(1, 2, 4, device=x.device)
    w *= x
    return y[:, :2] + z + w


@case(2, 4)
def a_view_of_a_constant_taken_before(x: Tensor) -> Tensor:
    y = torch.arange(12.0).view(3, 4)
    early = y[1:]
    part = y.t()[::2]
    y[1:] += x
    return early.sum() + y + part.sum(1)[:1]


@case(2, 4)
def a_split_of_a_constant_taken_before(x: Tensor) -> Tensor:
    y = torch.arange(12.0).view(3, 4)
    a, b = y.split(2, 1)
    early = a.sum()
    y[1:].mul_(x)
    return a + b + early


@case(2, 4)
def a_constant_through_a_reshaped_view(x: Tensor) -> Tensor:
    y = torch.zeros(2, 2, 4)
    lines = y.view(4, 4).view(2, 8)
    lines[:, 4:] = x
    return y + 1


@case(2, 4)
def a_constant_that_is_laid_out_in_another_order(x: Tensor) -> Tensor:
    y = torch.zeros(1, 2, 2, 4).to(memory_format=torch.channels_last) + 1
    y[0, :, 0] = x
    y.data[0, :, 1] = x * 2
    return y


@case(2, 4)
def a_constant_that_was_read_and_written_before(x: Tensor) -> Tensor:
    scale = torch.ones(4)
    y = x * scale
    scale += 1
    y = y + scale
    scale[1:] *= 3
    y = y * scale
    scale[:2] = x[0, :2]
    return y + scale


@case(2, 4)
def an_index_that_changes(x: Tensor) -> Tensor:
    index = torch.tensor([0, 1])
    y = x[:, index]
    index += 2
    return y + x[:, index]


@case(2, 4)
def a_list_of_constants_in_a_loop(x: Tensor) -> Tensor:
    steps = torch.zeros(3, 2, 4)
    for number in range(3):
        steps[number] = x if number == 0 else steps[number - 1] + x
    return steps


# -------------------------------------------------------------------- ops that write


@case(3, 4)
def out_arguments(x: Tensor) -> tuple[Tensor, ...]:
    y, z, w = torch.empty(3, 4), torch.empty(0), x * 0
    torch.add(x, 1, out=y)
    torch.matmul(x, x.t(), out=z)
    torch.mul(torch.ones(3, 4), 2, out=w)
    torch.mul(x, y, out=y)
    values, indices = torch.empty(3), torch.empty(3, dtype=torch.long)
    torch.max(x, 1, out=(values, indices))
    torch.cat([x, x], out=x.new_empty(6, 4))
    return y, z, w, values, indices


@case(3, 4)
def an_out_argument_that_is_a_slice(x: Tensor) -> Tensor:
    y = torch.zeros(3, 8)
    torch.sin(x, out=y[:, 2:6])
    return y


@case(3, 4)
def masks_and_fills(x: Tensor) -> Tensor:
    y = x * 2
    y.masked_fill_(x > 0, 7)
    y[:, 0].fill_(x[0, 0])
    y[y < 0] = 0
    y[torch.tensor([True, False, True])] = 3
    return y.masked_fill(torch.eye(3, 4).bool(), -1).clamp_(max=5)


@case(4, 4)
def indexed_writes(x: Tensor) -> Tensor:
    y = x * 2
    index = torch.tensor([0, 2])
    y[index] = x[:2]
    y[:, index] += 1
    y.index_add_(0, index, x[2:])
    y.index_copy_(1, index, x[:, :2])
    y.index_fill_(0, torch.tensor([3]), 2.0)
    y.scatter_(1, torch.tensor([[0, 1], [1, 2]]), x[:2, :2])
    y.scatter_add_(0, torch.tensor([[1, 1, 0, 0]]), x[:1])
    return torch.index_put(y, (index, index), x[0, :2], accumulate=True)


@case(3, 4)
def scatter_into_a_constant(x: Tensor) -> Tensor:
    y = torch.zeros(3, 4).scatter_(1, torch.tensor([[0, 1]] * 3), x[:, :2])
    return torch.zeros(4, 4).index_add_(0, torch.tensor([0, 2, 2]), x) + y.sum()


@case(3, 4)
def mixed_dtypes(x: Tensor) -> tuple[Tensor, ...]:
    half = x.half()
    half.add_(x.double().sum(1, keepdim=True))
    whole = torch.zeros(3, 4, dtype=torch.int32)
    whole[:] = x
    single = torch.zeros(3, 4)
    single += x.double()
    return half, whole, single, x.to(torch.bfloat16).float()


@case(3, 4)
def activations_in_place(x: Tensor) -> Tensor:
    y = F.relu(x * 2, inplace=True)
    y = F.leaky_relu_(y - 1)
    y = nn.Hardswish(inplace=True)(y)
    y = nn.SiLU(inplace=True)(y)
    y = nn.Dropout(inplace=True).eval()(y)
    return y.sigmoid_().clamp_(0.1).neg_()


@pytest.mark.parametrize("name", CASES)
def test_the_graph_computes_what_eager_torch_does_when_it_writes_to(name):
    function, shape = CASES[name]
    torch.manual_seed(0)
    is_replayed(function, torch.randn(shape))


SMOOTH = sorted(set(CASES) - {"masks_and_fills", "mixed_dtypes", "out_arguments"})
INEXACT = {"the_real_part_of_a_complex_tensor"}


@pytest.mark.parametrize("name", SMOOTH)
def test_the_graph_depends_on_what_changes_the_output_after_writes_to(name):
    function, shape = CASES[name]
    graph = capture(Net(function), torch.empty(shape))
    assert bool(marks(graph)) == (name in INEXACT), marks(graph)
    wanted = changes(function, shape)
    for key, per_input in recorded(graph).items():
        found = per_input["input"]
        assert not (wanted[key] & ~found).any()
        assert name in INEXACT or not (found & ~wanted[key]).any()


def changes(function: Callable[..., Any], shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Per output, which of its elements change when one element of the input does."""
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0)) + 0.5
    before = dict(named_tensors(function(x.clone())))
    found = {name: np.zeros((t.numel(), x.numel()), dtype=bool) for name, t in before.items()}
    for element in range(x.numel()):
        other = x.clone()
        other.view(-1)[element] += 0.25
        for name, after in named_tensors(function(other)):
            found[name][:, element] = (after != before[name]).reshape(-1).numpy()
    return found
