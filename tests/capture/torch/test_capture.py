"""Any network is recorded as it runs, or refused in one sentence that says where and why."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict, namedtuple
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from fieldwise.capture.torch import capture
from fieldwise.errors import CaptureError
from tests.capture.torch.ops.oracle import marks
from tests.capture.torch.replay import Net, is_replayed

# -------------------------------------------------------------------- real networks

TORCHVISION = {"alexnet": 96, "shufflenet_v2_x0_5": 64, "googlenet": 64, "mnasnet0_5": 64}
TIMM = {
    "resnet10t": 64, "mobilenetv3_small_050": 64, "levit_128s": 224, "convmixer_768_32": 64,
    "edgenext_xx_small": 64, "efficientvit_b0": 64, "repvgg_a0": 64, "halonet26t": 256,
    "pvt_v2_b0": 64, "swin_tiny_patch4_window7_224": 224, "visformer_tiny": 224,
    "resnest14d": 64, "res2net50_14w_8s": 64, "lambda_resnet26t": 256, "fastvit_t8": 64,
}  # fmt: skip


@pytest.mark.parametrize("name", TORCHVISION)
def test_a_torchvision_network_is_replayed(name):
    torch.manual_seed(0)
    options = {"init_weights": True} if name == "googlenet" else {}
    model = torchvision.models.get_model(name, weights=None, **options).eval()
    size = TORCHVISION[name]
    is_replayed(model, torch.randn(2, 3, size, size), tolerance=1e-5)


@pytest.mark.parametrize("name", TIMM)
def test_a_timm_network_is_replayed(name):
    torch.manual_seed(0)
    size = TIMM[name]
    is_replayed(timm.create_model(name).eval(), torch.randn(2, 3, size, size), tolerance=1e-5)


# -------------------------------------------------------------------- inputs and outputs

Pair = namedtuple("Pair", "left right")


@dataclasses.dataclass
class Result:
    logits: Tensor
    hidden: tuple[Tensor, ...] | None = None
    loss: Tensor | None = None


class ModelOutput(OrderedDict):
    """As transformers has it: a dict that is a dataclass, without what is None."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


def test_outputs_are_named_by_the_keys_that_lead_to_them():
    def tree(x: Tensor) -> Any:
        y = x + 1
        return {"out": [y, (x * 2,)], "pair": Pair(y * 3, None), "result": Result(y, (x, y))}

    graph = is_replayed(tree, torch.randn(2, 3))
    assert dict(zip(graph.output_names, graph.outputs, strict=True)) == {
        "out.0": "add", "out.1.0": "mul", "pair.left": "mul#2",
        "result.logits": "add", "result.hidden.0": "input", "result.hidden.1": "add",
    }  # fmt: skip


def test_an_ordered_dict_with_attributes_is_an_output():
    graph = is_replayed(lambda x: ModelOutput(logits=x.relu(), past=None), torch.randn(2, 3))
    assert graph.output_names == ("logits",)


def test_outputs_that_do_not_depend_on_the_input_are_left_out():
    def some(x: Tensor) -> tuple[Tensor, ...]:
        return torch.ones(2), x * 2, torch.zeros_like(x)

    assert is_replayed(some, torch.randn(2, 3), dead=2).output_names == ("1",)


def test_a_network_whose_output_ignores_its_input_is_refused():
    with pytest.raises(CaptureError, match="No output of the model depends on its input"):
        capture(Net(lambda x: torch.ones(3)), torch.randn(2))


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, "The model returns None; return the tensor that it computes."),
        ([None], "The model returns a 'list' without a tensor; return the tensor"),
        (3, "The model returns 3 of type 'int', no tensor; return the tensor"),
    ],
)
def test_a_network_that_returns_no_tensor_is_told_what_it_returns(returned, said):
    with pytest.raises(CaptureError) as caught:
        capture(Net(lambda x: returned), torch.randn(2))
    assert str(caught.value).startswith(said)


def test_a_failure_in_the_users_own_code_names_the_line():
    def fails(x: Tensor) -> Tensor:
        assert len(x) == 7
        return x

    line = fails.__code__.co_firstlineno + 1
    with pytest.raises(CaptureError, match=f"failed on input 2, at .*test_capture.py:{line}: Asse"):
        capture(Net(fails), torch.randn(2))


@pytest.mark.parametrize(
    "example",
    [
        (torch.randn(2, 3), torch.randn(3)),
        {"x": torch.randn(2, 3), "y": torch.randn(3)},
        {"y": torch.randn(3), "x": torch.randn(2, 3)},
    ],
    ids=["tuple", "dict", "dict in another order"],
)
def test_several_inputs_come_as_a_tuple_or_by_keyword(example):
    class Two(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x * 2 + y

    graph = is_replayed(Two(), example)
    names = tuple(example) if isinstance(example, dict) else ("input0", "input1")
    assert graph.inputs == names


def test_inputs_may_be_nested_and_hold_things_that_are_no_tensors():
    class Nested(nn.Module):
        def forward(self, pair: Pair, more: dict[str, Any], scale: float) -> Tensor:
            return pair.left * scale + more["deep"][0] + pair.right

    left, right, deep = torch.randn(3, 2).unbind(0)
    example = {"pair": Pair(left, right), "more": {"deep": [deep]}, "scale": 2.0}
    graph = is_replayed(Nested(), example)
    assert graph.inputs == ("pair.left", "pair.right", "more.deep.0")
    assert set(graph.nodes[-1].operands) == {"add", "pair.right"}


def test_the_same_tensor_twice_is_one_input():
    x = torch.randn(3)
    assert is_replayed(lambda a, b: a.mul_(2) + b, (x, x)).inputs == ("input",)


@pytest.mark.parametrize("shape", [(3, 2, 8), (1, 2, 4, 4, 4), (2, 2, 5, 6)])
def test_data_may_have_any_number_of_axes_and_any_batch(shape):
    layer = {3: nn.Conv1d, 4: nn.Conv2d, 5: nn.Conv3d}[len(shape)](2, 4, 3, padding=1)
    is_replayed(nn.Sequential(layer, nn.ReLU(inplace=True)), torch.randn(shape))


def test_integers_are_embedded():
    model = nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 2))
    graph = is_replayed(model, torch.randint(10, (2, 5)))
    assert graph.values["input"].dtype == "int64"


def test_memory_formats_are_kept():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()).eval()
    is_replayed(model, torch.randn(2, 3, 8, 8).to(memory_format=torch.channels_last))
    is_replayed(lambda x: x.permute(0, 2, 1).contiguous().view(2, -1), torch.randn(2, 3, 4))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64, torch.complex64])
def test_other_dtypes_are_kept(dtype):
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).to(dtype)
    graph = is_replayed(model, torch.randn(2, 3).to(dtype), tolerance=1e-2)
    assert {value.dtype for value in graph.values.values()} == {str(dtype)[6:]}


@pytest.mark.parametrize("device", ["meta", "cpu"])
def test_a_model_without_values_is_recorded(device):
    with torch.device("meta"):
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)).eval()
    graph = capture(model, torch.empty(1, 3, 8, 8, device=device))
    assert [node.op for node in graph.nodes] == ["conv", "batch_norm", "conv"]


def test_constants_keep_their_values_beside_weights_that_have_none():
    def shuffled(self: Any, x: Tensor) -> Tensor:
        index = torch.tensor([2, 0, 1], device=x.device)
        return self.conv(x[:, index]) + torch.arange(2, device=self.conv.weight.device)[:, None]

    meta = Net(shuffled, conv=nn.Conv1d(3, 2, 1, device="meta"))
    real = Net(shuffled, conv=nn.Conv1d(3, 2, 1))
    assert capture(meta, torch.empty(1, 3, 2)).nodes == capture(real, torch.empty(1, 3, 2)).nodes


# -------------------------------------------------------------------- what networks do


def test_positions_are_made_from_the_device_and_dtype_of_the_input():
    def grids(x: Tensor) -> Tensor:
        rows = torch.arange(x.shape[2], device=x.device, dtype=x.dtype)
        columns = torch.linspace(-1, 1, x.shape[3]).to(x)
        cross = torch.stack(torch.meshgrid(rows, columns.type_as(x), indexing="ij"))
        scale = torch.tensor([1.0, 2.0], device=x.device)[:, None, None]
        shift = x.new_tensor([0.5]).expand_as(x)
        order = torch.as_tensor([1, 0], device=x.device)
        mean = torch.as_tensor([0.1, 0.2], dtype=x.dtype, device=x.device).view(1, 2, 1, 1)
        return torch.where(cross > 0, x, torch.zeros((), device=x.device))[:, order] * scale + (
            shift - mean.to(x.device)
        )

    graph = is_replayed(grids, torch.randn(1, 2, 4, 5))
    assert "input" in graph.values
    assert len(graph.nodes) == 4


def test_constants_that_take_a_shape_from_the_input_stay_constants():
    def masks(x: Tensor) -> Tensor:
        mask = torch.ones_like(x).view_as(x).cumsum(-1).to(x)
        return x * mask + torch.full_like(x, 2.0) + x.new_ones(4).expand_as(x)

    graph = is_replayed(masks, torch.randn(2, 4))
    assert [node.op for node in graph.nodes] == ["mul", "add", "add"]


def test_transposes_conversions_and_moves_are_recorded():
    def moves(x: Tensor) -> Any:
        return (
            x.T,
            x[None].mT,
            x.cpu(),
            x.to("cpu", torch.float64),
            x.double().to(x),
            x.to(x.device),
        )

    is_replayed(moves, torch.randn(2, 3))


def test_control_flow_on_shapes_is_plain_python():
    def halves(x: Tensor) -> Tensor:
        while x.shape[-1] > 2 and not x.is_cuda and x.device.type == "cpu":
            x = x[..., ::2] + len(x)
        return x

    assert len(is_replayed(halves, torch.randn(1, 16)).nodes) == 6


@torch.jit.script
def _scripted(x: Tensor, times: int) -> Tensor:
    for _ in range(times):
        x = x.relu() + 1
    return x


def test_scripted_functions_and_modules_are_looked_into():
    scripted = torch.jit.script(nn.Sequential(nn.Conv1d(2, 2, 3), nn.ReLU()))
    model = Net(lambda self, x: _scripted(self.inner(x), 2), inner=scripted)
    graph = is_replayed(nn.Sequential(model, nn.Conv1d(2, 1, 1)), torch.randn(1, 2, 8))
    assert [n.op for n in graph.nodes] == ["conv", "relu", "relu", "add", "relu", "add", "conv"]


def test_traced_modules_are_recorded():
    traced = torch.jit.trace(nn.Sequential(nn.Conv1d(2, 2, 3), nn.ReLU()), torch.randn(1, 2, 8))
    assert [node.op for node in capture(traced, torch.randn(1, 2, 8)).nodes] == ["conv", "relu"]


def test_compiled_modules_and_functions_run_uncompiled():
    model = nn.Sequential(nn.Conv1d(2, 2, 3), Net(torch.compile(lambda x: x.relu() + 1)))
    graph = capture(torch.compile(model), torch.randn(1, 2, 8))
    assert [node.op for node in graph.nodes] == ["conv", "relu", "add"]


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_parts_are_recorded(reentrant):
    def run(self: Any, x: Tensor) -> Tensor:
        return checkpoint(self.conv, x, use_reentrant=reentrant)

    is_replayed(Net(run, conv=nn.Conv1d(2, 2, 3)), torch.randn(1, 2, 8))


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x.sigmoid()


def test_custom_autograd_functions_are_looked_into():
    graph = is_replayed(Swish.apply, torch.randn(2, 3))
    assert [node.op for node in graph.nodes] == ["sigmoid", "mul"]


def test_attention_takes_no_fast_path():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    is_replayed(nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), torch.randn(2, 5, 8))
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    is_replayed(lambda x: attention(x, x, x), torch.randn(2, 5, 8))
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    is_replayed(lambda x: F.scaled_dot_product_attention(x, x, x, mask), torch.randn(2, 2, 5, 4))


def test_heads_are_viewed_as_features_again_where_attention_keeps_their_layout():
    def attend(x: Tensor) -> Tensor:
        heads = x.view(2, 5, 2, 4).transpose(1, 2)
        found = F.scaled_dot_product_attention(heads, heads, heads)
        return found.transpose(1, 2).view(2, 5, 8)

    is_replayed(attend, torch.randn(2, 5, 8))


@pytest.mark.parametrize(
    "layer",
    [
        nn.utils.weight_norm(nn.Conv1d(2, 3, 3)),
        nn.utils.spectral_norm(nn.Conv1d(2, 3, 3)),
        parametrizations.weight_norm(nn.Conv1d(2, 3, 3)),
        parametrizations.spectral_norm(nn.Conv1d(2, 3, 3)),
        parametrizations.orthogonal(nn.Conv1d(2, 3, 1)),
    ],
    ids=["weight_norm", "spectral_norm", "new weight_norm", "new spectral_norm", "orthogonal"],
)
def test_reparametrised_layers_are_recorded_as_their_layer(layer):
    layer = layer.eval()
    graph = capture(layer, torch.randn(1, 2, 8))
    assert [node.op for node in graph.nodes] == ["conv"]
    assert graph.nodes[0].parameters


def test_parameters_may_be_swapped_by_functional_call():
    conv = nn.Conv1d(2, 2, 1)

    def doubled(self: Any, x: Tensor) -> Tensor:
        weights = {"weight": self.conv.weight * 2}
        return torch.func.functional_call(self.conv, weights, (x,))

    graph = is_replayed(Net(doubled, conv=conv), torch.randn(1, 2, 8))
    assert graph.nodes[0].parameters == ("conv.bias", "conv.weight")


def test_vmap_is_looked_into():
    is_replayed(torch.vmap(lambda row: row.cumsum(0) * 2), torch.randn(3, 4))


def test_autocast_regions_are_recorded_with_their_casts_and_parameters():
    def cast(self: Any, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return self.linear(x)

    graph = capture(Net(cast, linear=nn.Linear(3, 2)), torch.randn(2, 3))
    assert graph.values[graph.outputs[0]].dtype == "bfloat16"
    assert [node.op for node in graph.nodes] == ["to", "linear"]
    assert graph.nodes[1].parameters == ("linear.bias", "linear.weight")


def test_composite_ops_that_insist_on_one_device_are_taken_apart_with_their_constants():
    def projected(x: Tensor) -> Tensor:
        y = x * 2
        z = y[:, 1:]
        y.add_(1)
        return torch.linalg.multi_dot([z, torch.ones(4, 3), torch.ones(3, 2)]).abs()

    graph = is_replayed(projected, torch.randn(2, 5))
    assert [node.op for node in graph.nodes][-4:] == ["constant", "matmul", "reshape", "abs"]
    assert not marks(graph)


def test_a_windowed_spectrum_is_recorded_and_marked_by_nothing():
    def spectrum(x: Tensor) -> Tensor:
        return torch.stft(x, 8, 4, 8, torch.hann_window(8), return_complex=True).abs()

    graph = is_replayed(spectrum, torch.randn(1, 33))
    assert [node.op for node in graph.nodes][-2:] == ["stft", "abs"]
    assert not marks(graph)


@pytest.mark.parametrize("layer", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_layers_are_recorded(layer):
    is_replayed(layer(3, 4, 2, batch_first=True, bidirectional=True), torch.randn(2, 5, 3))


def test_a_capture_may_run_within_another():
    def nested(x: Tensor) -> Tensor:
        assert len(capture(nn.Conv1d(2, 2, 1), torch.ones(1, 2, 4)).nodes) == 1
        return x * 2

    assert len(is_replayed(nested, torch.randn(2)).nodes) == 1


def test_random_tensors_are_constants():
    graph = capture(
        Net(lambda x: x + torch.randn_like(x) + x.new_empty(3).normal_()), torch.ones(3)
    )
    assert [node.op for node in graph.nodes] == ["add", "add"]


def test_training_mode_without_batch_norm_is_recorded():
    model = nn.Sequential(nn.Conv1d(2, 2, 3), nn.Dropout(0.5), nn.ReLU()).train()
    assert [n.op for n in capture(model, torch.ones(1, 2, 8)).nodes] == ["conv", "dropout", "relu"]
    assert model.training


# -------------------------------------------------------------------- refusals


class Picky(nn.Module):
    """A model whose second half looks at values."""

    def __init__(self, look: Any) -> None:
        super().__init__()
        self.body = nn.Linear(3, 3)
        self.head = Net(look)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


@pytest.mark.parametrize(
    "look",
    [
        lambda x: x * x.max().item(),
        lambda x: x if x.sum() > 0 else -x,
        lambda x: x * float(x[0, 0]),
        lambda x: x * x[0].tolist()[0],
        lambda x: x + torch.from_numpy(x.detach().numpy()),
        lambda x: x + torch.from_numpy(x.detach().cpu().numpy()),
        lambda x: x[x > 0],
        lambda x: x.nonzero(),
        lambda x: torch.where(x > 0)[0],
        lambda x: x.masked_select(x > 0),
        lambda x: x.unique(),
        lambda x: x if torch.equal(x, x) else -x,
        lambda x: x if torch.allclose(x, x) else -x,
        lambda x: [x, -x][x.argmax()],
        lambda x: x * float(f"{x.sum():.3f}"),
        lambda x: x.sum().int().item() + x,
    ],
)
def test_a_model_that_looks_at_values_is_refused_by_module(look):
    with pytest.raises(CaptureError) as caught:
        capture(Picky(look).eval(), torch.randn(2, 3))
    text = str(caught.value)
    assert "looks at values that depend on the input" in text
    assert "in module 'head'" in text
    assert "\n" not in text


def test_a_model_that_catches_the_refusal_is_refused_all_the_same():
    def hopeful(x: Tensor) -> Tensor:
        try:
            return x * x.sum().item()
        except Exception:  # noqa: BLE001  as careless models do
            return x

    with pytest.raises(CaptureError, match="looks at values"):
        capture(Net(hopeful), torch.randn(3))


@torch.jit.script
def _scripted_choice(x: Tensor) -> Tensor:
    if bool(x.sum() > 0):
        return x
    return -x


def test_scripted_code_that_looks_at_values_is_refused():
    with pytest.raises(CaptureError, match=r"looks at values .* in module 'head'"):
        capture(Picky(_scripted_choice), torch.randn(2, 3))


def test_values_that_are_on_the_meta_device_cannot_be_looked_at():
    model = Net(lambda self, x: x * self.scale.item(), scale=torch.ones((), device="meta"))
    with pytest.raises(
        CaptureError, match=r"on the meta device .* build the model with its weights"
    ):
        capture(model, torch.randn(3))


def test_batch_norm_in_training_mode_is_refused_with_the_remedy():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).train()
    with pytest.raises(CaptureError, match=r"eval\(\).*in module '1'"):
        capture(model, torch.randn(1, 3, 8, 8))


def test_what_the_model_raises_is_told_with_the_module_and_the_input():
    model = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(5, 4, 3)))
    with pytest.raises(CaptureError) as caught:
        capture(model, torch.randn(1, 3, 8, 8))
    text = str(caught.value)
    assert text.startswith("The model failed in module '1.1' on input 1x3x8x8: RuntimeError:")
    assert "\n" not in text
    assert capture(model[0], torch.randn(1, 3)).nodes


@pytest.mark.parametrize(("layer", "shape"), [(nn.Conv1d, (1, 2, 4)), (nn.Conv2d, (2, 6, 4)),
                                              (nn.Conv3d, (1, 2, 5, 5, 4))])  # fmt: skip
@pytest.mark.parametrize("padding", [0, "valid"])
def test_a_kernel_that_is_wider_than_its_input_is_refused(layer, shape, padding):
    with pytest.raises(CaptureError, match=r"The model failed .*(be greater than|is too small)"):
        capture(layer(2, 3, 5, padding=padding), torch.empty(shape))


def test_a_module_whose_failure_is_caught_is_not_blamed_for_the_next():
    def careful(self: Any, x: Tensor) -> Tensor:
        try:
            x = self.broken(x)
        except RuntimeError:
            x = x * 2
        return self.other(x)

    parts = {"broken": nn.Linear(7, 7), "other": nn.Linear(3, 2)}
    graph = is_replayed(Net(careful, **parts), torch.randn(2, 3))
    assert [node.module for node in graph.nodes] == ["", "other"]
    with pytest.raises(CaptureError, match="in module 'other'"):
        capture(Net(careful, **parts | {"other": nn.Linear(5, 2)}), torch.randn(2, 3))


def test_lazy_parameters_and_sparse_inputs_are_refused():
    with pytest.raises(CaptureError, match="lazy parameters without a shape; run it once"):
        capture(nn.LazyLinear(3), torch.randn(2, 3))
    with pytest.raises(CaptureError, match="'input' is not a plain dense tensor"):
        capture(nn.ReLU(), torch.eye(3).to_sparse())


def test_ops_that_cannot_be_recorded_are_refused_by_name():
    def overlapping_nowhere(x: Tensor) -> Tensor:
        return torch.istft(torch.stft(x, 8, return_complex=True), 8, window=torch.zeros(8))

    with pytest.raises(CaptureError, match=r"istft .* cannot be recorded: .* window overlap"):
        capture(Net(overlapping_nowhere), torch.randn(64))
    with pytest.raises(CaptureError, match=r"_foreach_add .* writes in a way that is not known"):
        capture(Net(lambda x: torch._foreach_add_([x * 2], 1.0)), torch.randn(3))


def test_an_op_without_a_meta_kernel_takes_the_layout_of_its_result_from_zeros():
    def there_and_back(x: Tensor) -> Tensor:
        window = torch.hann_window(8)
        spectrum = torch.stft(x, 8, window=window, return_complex=True)
        return torch.istft(spectrum, 8, window=window, length=64)

    graph = capture(Net(there_and_back), torch.randn(64))
    assert graph.shape(graph.outputs[0]) == (64,)
    is_replayed(Net(there_and_back), torch.randn(64))


def test_memory_that_changes_its_size_is_refused():
    with pytest.raises(CaptureError, match=r"resize_ .* changes memory that is in use"):
        capture(Net(lambda x: (x * 2).resize_(2, 2)), torch.randn(3))
    with pytest.raises(CaptureError, match="resizes its out= argument; give it the shape"):
        capture(Net(lambda x: torch.add(x, 1, out=torch.empty(7))), torch.randn(3))


class _Holder:
    def __init__(self, maps: Any) -> None:
        self.maps = maps


@pytest.mark.parametrize(
    ("kind", "hold"),
    [
        ("_Holder", _Holder),
        ("_Holder", lambda y: {"held": [_Holder({"deep": y})]}),
        ("set", lambda y: (3, {y})),
        ("generator", lambda y: (part for part in (y, y))),
    ],
)
def test_of_outputs_in_objects_it_is_said_that_they_are_not_looked_for_there(kind, hold):
    with pytest.raises(CaptureError, match=f"returns a '{kind}', in which outputs are not looked"):
        capture(Net(lambda x: hold(x * 2)), torch.ones(2, 3))


class TakesTwo(nn.Module):
    """Of a signature of its own."""

    def forward(self, image, mask, *, gain=1.0):
        return image * mask * gain


@pytest.mark.parametrize(
    ("example", "why"),
    [
        (torch.ones(1, 3), "missing a required argument: 'mask'"),
        ((torch.ones(1, 3),) * 4, "too many positional arguments"),
        ({"image": torch.ones(1, 3), "maks": torch.ones(1, 3)}, "missing a required argument"),
    ],
)
def test_inputs_that_forward_does_not_take_are_told_with_what_it_takes(example, why):
    with pytest.raises(CaptureError) as caught:
        capture(TakesTwo(), example)
    assert "its forward(image, mask, gain) does not take these inputs" in str(caught.value)
    assert why in str(caught.value)


def test_a_layer_that_refuses_its_input_is_told_with_what_it_is():
    with pytest.raises(CaptureError) as caught:
        capture(nn.Sequential(nn.Conv2d(1, 4, 3)), torch.ones(1, 3, 8, 8))
    assert " in module '0' on input 1x3x8x8: " in str(caught.value)
    assert "That module is Conv2d(1, 4, kernel_size=(3, 3), stride=(1, 1)). " in str(caught.value)
