"""What is reached at most and at least, where a read on the way is not known."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fieldwise.axes import IndexSet, Region
from fieldwise.capture.torch import capture
from fieldwise.field.pull import Reach, pull, push
from fieldwise.graph.graph import Graph

ALL = IndexSet.range(0, 12)


class Beside(nn.Module):
    """Two convolutions, and between them a pick by the data beside what the first one gives."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = (nn.Conv1d(1, 1, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = self.one(x)
        picked = x.gather(2, (y > 0).long())
        both = y + picked
        return self.two(both), both.reshape(1, 3, 4).sum(1), picked + x.gather(2, x.long())


def graph() -> Graph:
    return capture(Beside().eval(), torch.zeros(1, 1, 12))


def box(*sides: IndexSet) -> Region:
    return Region.of([sides])


def along(*indices: int) -> IndexSet:
    return IndexSet.of(indices)


ONE = IndexSet(0, 1)


def test_at_least_is_what_known_reads_reach_and_at_most_everything():
    net = graph()
    reach = pull(net, net.outputs[0], box(ONE, ONE, along(6)), source="input")
    assert reach.region == box(ONE, ONE, ALL)
    assert reach.sure == box(ONE, ONE, along(4, 5, 6, 7, 8))
    assert not reach.exact
    assert reach.inside
    assert reach.why == "; ".join(reach.whys) != ""


def test_a_reason_is_told_once_and_at_the_edge_some_reads_fall_outside():
    net = graph()
    reach = pull(net, net.outputs[2], box(ONE, ONE, along(0)), source="input")
    assert len(reach.whys) == len(set(reach.whys)) == 1
    assert reach.sure == box(ONE, ONE, along(0, 1))
    assert not reach.inside


def test_what_is_sure_goes_through_reshapes():
    net = graph()
    reach = pull(net, net.outputs[1], box(ONE, along(1)), source="input")
    assert reach.sure == box(ONE, ONE, along(0, 1, 2, 4, 5, 6, 8, 9, 10))
    assert not reach.exact


def test_pushed_on_what_is_sure_is_told_apart_too():
    net = graph()
    reached = push(net, "input", box(ONE, ONE, along(6)))
    first, second, third = (reached[name] for name in net.outputs)
    assert first.region == box(ONE, ONE, ALL)
    assert first.sure == box(ONE, ONE, along(4, 5, 6, 7, 8))
    assert second.sure == box(ONE, along(1, 2, 3))
    assert third.sure == box(ONE, ONE, along(5, 6, 7))
    assert [each.exact for each in (first, second, third)] == [False] * 3
    assert all(each.whys for each in (first, second, third))


class PickedLater(nn.Module):
    """A pick by the data of what a convolution gives, beside all of it, and one after that."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = (nn.Conv1d(1, 1, 3, padding=1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        y = self.one(x)
        return self.two(y + y.gather(2, (x > 0).long()))


def test_what_is_sure_goes_on_through_layers_on_both_sides_of_a_pick():
    net = capture(PickedLater().eval(), torch.zeros(1, 1, 12))
    reach = pull(net, net.outputs[0], box(ONE, ONE, along(6)), source="input")
    assert (reach.region, reach.sure) == (box(ONE, ONE, ALL), box(ONE, ONE, along(4, 5, 6, 7, 8)))
    reached = push(net, "input", box(ONE, ONE, along(6)))[net.outputs[0]]
    assert (reached.region, reached.sure) == (reach.region, reach.sure)


def test_an_exact_answer_gives_no_reason():
    net = capture(nn.Conv1d(1, 1, 3), torch.zeros(1, 1, 12))
    reach = pull(net, net.outputs[0], box(ONE, ONE, along(0, 5)), source="input")
    assert (reach.exact, reach.why, reach.inside) == (True, None, True)
    assert reach.region is reach.sure
    pushed = push(net, "input", box(ONE, ONE, along(0)))[net.outputs[0]]
    assert (pushed.region, pushed.why) == (box(ONE, ONE, along(0)), None)


def test_reaches_are_joined_part_by_part():
    one, two = box(along(1)), box(along(2))
    exact, bound = Reach(one, one), Reach(one | two, two, ("a", "b"), inside=False)
    both = exact | bound
    assert (both.region, both.sure) == (one | two, one | two)
    assert (both.whys, both.inside, both.exact) == (("a", "b"), False, True)
    assert (bound | bound).whys == ("a", "b")
    assert bound.why == "a; b"
    joined = exact | Reach(two, two, inside=False)
    assert joined.region is joined.sure == one | two
    assert (joined.whys, joined.inside) == ((), False)


def test_of_a_diagonal_each_index_reads_its_own_element():
    net = capture(Diagonal(), torch.zeros(4, 4))
    reach = pull(net, net.outputs[0], box(along(0, 1, 3)), source="input")
    assert reach.region == Region.of([(along(i), along(i)) for i in (0, 1, 3)])


class Diagonal(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.diagonal()


def test_a_sample_at_the_edge_is_pushed_to_all_that_repeats_it():
    net = capture(nn.ReplicationPad1d((0, 2)), torch.zeros(1, 1, 12))
    reached = push(net, "input", box(ONE, ONE, along(11)))[net.outputs[0]]
    assert reached.region == box(ONE, ONE, along(11, 12, 13))
