from __future__ import annotations

import torch

from fieldwise.capture.torch.calls import OutOfPlace
from fieldwise.graph.calls import bind, changed, constants_of, opened, rebind, replay, target_name
from fieldwise.graph.ir import Call, Ref

aten = torch.ops.aten


def test_arguments_are_bound_by_name_and_defaults_are_filled_in():
    call = Call(aten.conv1d.default, (Ref(0), torch.ones(1, 1, 2)), {"stride": [2]})
    given = bind(call)
    assert given["input"] == Ref(0)
    assert given["stride"] == [2]
    assert given["bias"] is None
    assert given["groups"] == 1


def test_a_call_without_a_schema_has_its_keywords_alone():
    assert bind(Call(max, (1, 2), {"key": abs})) == {"key": abs}
    assert target_name(max) == ""


def test_the_operator_under_a_wrapper_is_the_one_that_names_the_arguments():
    call = Call(OutOfPlace(aten.add_.Tensor, (0,)), (Ref(0), 2.0))
    assert target_name(call.target) == "add"
    assert bind(call) == {"self": Ref(0), "other": 2.0, "alpha": 1}


def test_an_argument_changed_by_name_is_the_one_that_the_call_is_made_with():
    call = rebind(Call(aten.sum.dim_IntList, (Ref(0), [0])), {"keepdim": True, "dtype": None})
    (total,) = replay(call, [torch.ones(3, 2)])
    assert total.tolist() == [[3.0, 3.0]]
    assert call.kwargs == {"dtype": None}


def test_leaves_are_found_in_lists_and_keywords():
    one, two = torch.ones(1), torch.zeros(1)
    call = Call(aten.cat.default, ([Ref(0), one],), {"dim": 0, "out": two})
    assert constants_of(call) == [one, two]
    filled = changed(call, Ref, lambda ref: f"operand {ref.operand}")
    assert filled.args == (["operand 0", one],)


def test_constants_become_operands_in_the_order_of_the_arguments():
    call = Call(aten.cat.default, ([torch.ones(1), Ref(0), torch.zeros(1)],))
    again, constants = opened(call, 1)
    assert again.args == ([Ref(1), Ref(0), Ref(2)],)
    (joined,) = replay(again, [torch.full((1,), 5.0), *constants])
    assert joined.tolist() == [1.0, 5.0, 0.0]


def test_only_the_tensors_of_a_result_are_results():
    call = Call(lambda x: (x, None, [x, x], 3), (Ref(4),))
    x = torch.ones(2)
    assert replay(call, {4: x}) == [x]
    assert replay(Call(lambda x: x, (Ref(0),)), [x]) == [x]


def test_a_call_may_be_made_by_someone_else():
    call = Call(aten.relu.default, (Ref(0),))
    (made,) = replay(call, ["x"], by=lambda target, args, kwargs: torch.tensor(len(args)))
    assert made == 1
