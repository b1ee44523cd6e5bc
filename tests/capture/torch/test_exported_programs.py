"""Exported programs of many kinds compute and report what the models they come from do."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.utils import _pytree as pytree

from fieldwise import receptive_fields
from fieldwise.capture import load_model
from fieldwise.capture.torch.exported.module import ExportedModule
from fieldwise.errors import NodeFailsError

F = nn.functional


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 6, 2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(12, 3)

    def forward(self, x):
        found, (state, _) = self.lstm(x)
        return self.head(found), state


class Sizes(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)

    def forward(self, x):
        found = self.conv(x)
        batch, channels, height, width = found.shape
        flat = found.reshape(batch, channels, height * width).transpose(1, 2)
        return flat, torch.arange(height)[:, None] + found


class Shared(nn.Module):
    """A module that runs twice, and a weight of two modules."""

    def __init__(self):
        super().__init__()
        self.one, self.two = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(2))
        self.two.weight = self.one.weight
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(self.two(self.relu(self.one(self.relu(self.one(x))))))


class Buffers(nn.Module):
    """Tied, expanded and non-persistent buffers; nested outputs, one of integers."""

    def __init__(self):
        super().__init__()
        tied = torch.randn(4, 1, 1)
        self.register_buffer("a", tied)
        self.register_buffer("b", tied)
        self.register_buffer("c", torch.randn(4, 1, 1), persistent=False)
        self.register_buffer("d", torch.randn(1).expand(4, 1, 1))
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        found = self.conv(x) * self.a + self.b + self.c * self.d
        return {"out": [found], "where": (x.argmax(1), None)}


class Several(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(2, 3, 3)

    def forward(self, x, y, scale=2.0):
        return self.conv(x) * scale + y.mean()


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(10, 8)
        self.conv = nn.Conv1d(8, 4, 3)

    def forward(self, words):
        return self.conv(self.embedding(words).transpose(1, 2))


class Regions(nn.Module):
    """Steps without gradients and under autocast."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 4)

    def forward(self, x):
        with torch.no_grad():
            doubled = x * 2 + torch.ones(4)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = self.head(doubled)
        return found.float() + F.softmax(x, -1)


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.utils.parametrizations.weight_norm(nn.Conv1d(2, 4, 3))
        self.two = nn.utils.parametrizations.spectral_norm(nn.Conv1d(4, 4, 3))

    def forward(self, x):
        return self.two(F.gelu(self.one(x)))


class Writes(nn.Module):
    """Writes in place, into a constant, and into a buffer that counts."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x):
        self.count.add_(1)
        found = F.relu(self.conv(x), inplace=True)
        found[:, 0] = 0
        kept = torch.zeros_like(found)
        kept[..., ::2] = found[..., ::2]
        closed = torch.ones(found.shape[-2], found.shape[-1]).tril().bool()
        return kept.masked_fill(~closed, 0.0)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.cell = nn.LSTMCell(8, 8)

    def forward(self, x):
        found = self.norm(self.attention(x, x, x, need_weights=False)[0] + x)
        states = self.cell(found[:, 0])
        spectrum = torch.fft.rfft(found, dim=1).abs()
        return torch.einsum("btc,bsc->bts", found, x), states, spectrum, (x > 0) & (found > 0)


def convolutions(**options):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).to(**options)


IMAGE = torch.randn(1, 3, 9, 8)
DYNAMIC = ({2: torch.export.Dim("h", min=4, max=64), 3: torch.export.Dim("w", min=4, max=64)},)
CASES = {
    "recurrent": (Recurrent, (torch.randn(2, 5, 8),), None),
    "sizes": (Sizes, (IMAGE,), DYNAMIC),
    "shared": (Shared, (torch.randn(1, 4, 9, 9),), None),
    "buffers": (Buffers, (IMAGE,), None),
    "several": (Several, (torch.randn(1, 2, 9), torch.randn(1, 4)), None),
    "words": (Words, (torch.randint(0, 10, (2, 7)),), None),
    "regions": (Regions, (torch.randn(2, 4),), None),
    "normed": (Normed, (torch.randn(1, 2, 12),), None),
    "writes": (Writes, (IMAGE,), None),
    "attention": (Attention, (torch.randn(2, 5, 8),), None),
    "bfloat16": (lambda: convolutions(dtype=torch.bfloat16), (IMAGE.bfloat16(),), None),
    "channels last": (lambda: convolutions(memory_format=torch.channels_last), (IMAGE,), None),
}


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES)
def case(request, tmp_path_factory):
    """The eager model, its example, the path of its program, and the module that is read."""
    make, example, dynamic = request.param
    torch.manual_seed(0)
    model = make().eval()
    path = tmp_path_factory.mktemp("programs") / "net.pt2"
    exported = torch.export.export(model, example, dynamic_shapes=dynamic, strict=False)
    torch.export.save(exported, path)
    return model, example, path, load_model(str(path))


def same(one, other):
    """Whether two results are nested alike, with equal tensors of equal types."""
    left, shape = pytree.tree_flatten(one)
    right, other_shape = pytree.tree_flatten(other)
    pairs = zip(left, right, strict=True)
    return shape == other_shape and all(
        a is b or (a.dtype == b.dtype and torch.equal(a, b)) for a, b in pairs
    )


def test_it_computes_bit_for_bit_what_torch_does(case):
    _, example, path, loaded = case
    expected = torch.export.load(path).module()
    for _ in range(2):
        drawn = [torch.randn_like(x) if x.is_floating_point() else x.flip(0) for x in example]
        with torch.no_grad():
            assert same(loaded.source(*drawn), expected(*drawn))


def test_its_report_is_that_of_the_eager_model(case):
    model, example, _, loaded = case
    ours = receptive_fields(loaded.source, loaded.example())
    theirs = receptive_fields(model, example)
    rows = [[(row.name, row.axes) for row in report.rows] for report in (ours, theirs)]
    assert rows[0] == rows[1]


def test_its_state_is_that_of_the_eager_model(case):
    model, _, path, _ = case
    state = load_model(str(path)).source.state_dict()
    assert list(state) == list(model.state_dict())
    for name, tensor in model.state_dict().items():
        if name != "count":
            assert torch.equal(state[name], tensor)
            assert state[name].stride() == tensor.stride()


def test_it_can_be_copied_and_pickled(case):
    _, example, _, loaded = case
    again = pickle.loads(pickle.dumps(loaded.source))
    copied = copy.deepcopy(loaded.source)
    assert isinstance(again, ExportedModule)
    with torch.no_grad():
        assert same(copied(*example), again(*example))


def test_sizes_that_it_was_not_exported_for_are_refused_by_name(case):
    _, example, path, loaded = case
    wrong = [torch.cat([x, x], 0) for x in example]
    said_so = r"was exported for size \d along axis 0, not for"
    with pytest.raises(NodeFailsError, match=said_so) as said:
        loaded.source(*wrong)
    assert str(path) in str(said.value)
