"""Carrying out a plan in modules: what is kept of the user's model, and what takes its place."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from timm.layers import ScaledStdConv2dSame
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from benchmarks.fold_subjects import randomise
from fieldwise.errors import CaptureError, UsageError
from fieldwise.folding import Folded, fold
from fieldwise.folding.replace import Copy
from fieldwise.folding.same import SameConv

IMAGE = torch.randn(2, 3, 9, 9, dtype=torch.float64)


class Block(nn.Module):
    """A conv and a bn, with things that a user leaves on modules."""

    version = 3

    def __init__(self, conv: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = conv or nn.Conv2d(3, 4, 3, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.head = nn.Conv2d(4, 2, 1)
        self.note = "mine"

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.bn(self.conv(x)).relu())


def folded(model: nn.Module, example: Any = IMAGE, **options: Any) -> Folded:
    randomise(model).double().eval()
    found = fold(model, example, **options)
    assert found.report.verify is not None
    assert found.report.verify.passed
    with torch.no_grad():
        torch.testing.assert_close(found.model(example), model(example), rtol=1e-11, atol=1e-11)
    return found


def test_the_user_s_class_and_attributes_stay():
    found = folded(Block()).model
    assert type(found) is Block
    assert (found.note, found.version) == ("mine", 3)
    assert type(found.bn) is nn.Identity
    assert found.bn.num_features == 4


def test_a_new_bias_stands_where_the_state_dict_expects_it():
    assert list(folded(Block()).model.state_dict()) == [
        "conv.weight", "conv.bias", "head.weight", "head.bias",
    ]  # fmt: skip


def test_hooks_stay_on_what_takes_the_place():
    seen: list[Tensor] = []
    block = Block()
    block.bn.register_forward_hook(lambda module, args, out: seen.append(out))
    found = folded(block).model
    seen.clear()
    expected, got = block.bn(block.conv(IMAGE)), found.bn(found.conv(IMAGE))
    torch.testing.assert_close(got, expected)
    assert len(seen) == 2


def test_parameters_keep_whether_they_want_gradients():
    found = folded(Block().requires_grad_(False)).model
    assert not any(parameter.requires_grad for parameter in found.parameters())


def test_the_class_of_a_parametrised_original_is_left_alone():
    block = Block(parametrizations.weight_norm(nn.Conv2d(3, 4, 3)))
    found = folded(block).model
    assert type(found.conv) is nn.Conv2d
    assert list(found.conv.state_dict()) == ["weight", "bias"]
    assert "parametrizations.weight.original0" in block.conv.state_dict()
    assert block.conv.weight.shape == (4, 3, 3, 3)


def test_a_computed_weight_keeps_its_padding():
    found = folded(Block(ScaledStdConv2dSame(3, 4, 3, stride=2))).model
    assert isinstance(found.conv, SameConv)
    assert found.conv.stride == (2, 2)


def test_what_is_written_to_later_is_a_copy():
    class Written(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.skip = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.skip(x := x.sin())
            y += self.conv(x)
            return y.relu() + x

    found = folded(Written())
    assert found.report.items[0].direction == "merge"
    assert isinstance(found.model.skip, Copy)


def test_a_number_made_of_the_input_s_size_stays():
    class Sized(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x / torch.tensor(float(x.shape[-1]), dtype=x.dtype)

    report = folded(nn.Sequential(nn.Conv2d(3, 4, 3), Sized())).report
    assert "makes its constant anew" in (report.items[0].because or "")


def arithmetic() -> nn.Module:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3)
            self.scale = nn.Parameter(torch.rand(4, 1, 1) + 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x) * self.scale

    return Scaled()


def test_arithmetic_in_a_forward_names_the_remedy():
    report = folded(arithmetic()).report
    assert "allow_graph=True makes a graph module" in (report.items[0].because or "")
    assert (report.folded, report.exact_possible) == (0, 1)


def test_the_remedy_works():
    found = folded(arithmetic(), allow_graph=True)
    assert found.report.items[0].into == "conv"
    assert list(found.model.state_dict()) == ["conv_weight", "conv_bias"]


@pytest.mark.parametrize(
    "output", [lambda y: {"a": [y, y.relu()], "n": 3}, lambda y: (y, (y.sin(),)), lambda y: [y]]
)
def test_a_graph_module_returns_what_the_model_returns(output):
    class Nested(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = arithmetic()

        def forward(self, x: Tensor) -> Any:
            return output(self.inner(x))

    model = Nested().double().eval()
    with torch.no_grad():
        found, expected = fold(model, IMAGE, allow_graph=True).model(IMAGE), model(IMAGE)
    assert type(found) is type(expected)
    torch.testing.assert_close(found, expected)


def test_a_model_in_training_mode_is_refused():
    with pytest.raises(CaptureError, match="eval"):
        fold(Block().double().train(), IMAGE)


def test_what_is_no_module_is_refused():
    with pytest.raises(UsageError, match="of weights"):
        fold({}, IMAGE)  # type: ignore[arg-type]


def test_weights_without_values_are_refused():
    with pytest.raises(UsageError, match="has no weights to fold"):
        fold(Block().to("meta").eval(), (1, 3, 9, 9))


def test_weights_keep_their_memory_format():
    block = Block().to(memory_format=torch.channels_last)
    found = folded(block).model
    assert found.conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_of_a_compiled_model_what_was_compiled_is_folded():
    assert type(folded(torch.compile(Block())).model) is Block


def test_a_model_that_cannot_be_copied_is_refused_with_the_cause():
    block = Block().eval()
    block.lock = threading.Lock()
    with pytest.raises(UsageError, match=r"cannot be copied \(cannot pickle '_thread.lock'"):
        fold(block, IMAGE.float())


class ScaledAtEveryRun(nn.Module):
    """One convolution, run twice, with the same arithmetic behind each run."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x):
        once = 0.25 * self.conv(x)
        return once, 0.25 * self.conv(torch.relu(once))


def test_every_run_of_a_shared_convolution_takes_what_stands_behind_each():
    torch.manual_seed(0)
    model, x = ScaledAtEveryRun().double().eval(), torch.randn(1, 3, 8, 8, dtype=torch.float64)
    folded = fold(model, x, allow_graph=True, verify=False)
    assert folded.report.folded == 2
    for found, wanted in zip(folded.model(x), model(x), strict=True):
        assert torch.allclose(found, wanted, rtol=1e-12, atol=1e-12)


class ReadsItsNorm(nn.Module):
    """What torch's encoder layers do in inference: the parameters of norms are looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.LayerNorm(9), nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        assert self.norm.weight.device == self.head.weight.device
        return self.head(self.norm(x))


@pytest.mark.parametrize("verify", [True, False])
def test_a_norm_whose_parameters_the_model_reads_keeps_ones_and_zeros(verify):
    model = randomise(ReadsItsNorm()).double().eval()
    found = fold(model, IMAGE, verify=verify)
    assert (found.report.folded, found.report.parameters_saved) == (1, 0)
    assert found.model.norm.weight.eq(1).all()
    assert found.model.norm.bias.eq(0).all()
    with torch.no_grad():
        torch.testing.assert_close(found.model(IMAGE), model(IMAGE), rtol=1e-11, atol=1e-11)


def test_torchs_encoder_layer_folds_its_norms():
    layer = nn.TransformerEncoderLayer(9, 3, 8, batch_first=True, norm_first=True)
    model = randomise(layer).double().eval()
    x = torch.randn(2, 5, 9, dtype=torch.float64)
    found = fold(model, x)
    assert found.report.folded == found.report.candidates == 2
    with torch.no_grad():
        torch.testing.assert_close(found.model(x), model(x), rtol=1e-11, atol=1e-11)


def test_norms_whose_scale_and_shift_the_model_reads_fold_once():
    """torch's encoder layer asks for them, so that they stay, of ones and zeros."""
    layer = nn.TransformerEncoderLayer(8, 2, 8, batch_first=True, norm_first=True)
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    again = fold(fold(randomise(layer).double().eval(), x).model, x).report
    assert (again.folded, again.candidates) == (0, 2)
    assert set(again.reasons()) == {
        "its scale is 1 and its shift is 0, and the model itself reads them"
    }


class ReadsItsBatchNorm(Block):
    def forward(self, x: Tensor) -> Tensor:
        assert self.bn.weight is not None
        return super().forward(x)


def test_a_fold_after_which_the_model_fails_is_undone_and_the_failure_named():
    report = fold(randomise(ReadsItsBatchNorm()).double().eval(), IMAGE).report
    assert (report.folded, report.verify.passed) == (0, True)
    assert "the model failed with AttributeError" in next(iter(report.reasons()))
