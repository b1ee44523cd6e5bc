"""A research engineer: a network in a file, a checkpoint of Lightning, a smaller copy."""

from __future__ import annotations

import json

import pytest
import torch

from tests.folding.saving.networks import settled
from tests.people.bare import Bare
from tests.people.nets import UNet

MODEL = "nets.py:UNet(width=8, classes=3)"
INPUT = ("--input", "1x3x32x32")


@pytest.fixture(scope="module")
def engineer(user: Bare) -> Bare:
    """Someone with run.ckpt, which has the weights of a loss too, and a program of the same."""
    torch.manual_seed(0)
    net = settled(UNet(8, 3))
    state = {f"model.{name}": value for name, value in net.state_dict().items()}
    run = {
        "epoch": 7,
        "pytorch-lightning_version": "2.5.0",
        "state_dict": {**state, "loss.weight": torch.ones(3), "loss.bias": torch.ones(3)},
        "hyper_parameters": {"width": 8, "lr": 1e-3},
        "optimizer_states": [{"param_groups": []}],
    }
    torch.save(run, user.here / "run.ckpt")
    trunk = {name: value for name, value in state.items() if ".head." not in name}
    torch.save({"state_dict": trunk}, user.here / "headless.ckpt")
    program = torch.export.export(net, (torch.rand(1, 3, 32, 32),))
    torch.export.save(program, user.here / "net.pt2")
    return user


def test_a_network_with_arguments_is_asked_for_its_field(engineer):
    said = engineer.script("field", MODEL, *INPUT, "--layer", "head", "--format", "json")
    (head,) = json.loads(said.out)["layers"]
    # Two convolutions at full size see 2 + 2 more, one at half size 4, the pool 1 on either path.
    assert (head["extent"], head["stride"], head["shape"]) == ([10, 10], [1, 1], [1, 3, 32, 32])
    assert said.err == "", "weights do not count"
    (output,) = json.loads(
        engineer.fieldwise("field", "net.pt2", "--layer", "output", "--format", "json").out
    )["layers"]
    assert (output["extent"], output["start"]) == (head["extent"], head["start"])


def test_the_folded_weights_load_into_the_class_and_give_the_same(engineer):
    said = engineer.fieldwise(
        "fold", MODEL, *INPUT, "--weights", "run.ckpt", "-o", "folded.safetensors", "--no-time"
    )
    assert said.err == (
        "note: weights of 'run.ckpt': 22 entries, under 'state_dict'; without the prefix 'model.'; "
        "2 entries of the file left over ('loss.weight', 'loss.bias')\n"
    )
    lines = said.out.splitlines()
    assert "3 of 3 affine ops and parallel branches folded: 3 ops and 32 parameters fewer" in lines
    assert "  parameters  3,131 before, 3,099 now" in lines
    assert any(line.startswith("wrote folded.safetensors, ") for line in lines)
    loader = "\n".join(line[14:] for line in lines[-3:])
    (engineer.here / "use.py").write_text(f"""
import torch
{loader}
print(type(model).__name__, type(model.fine[1]).__name__, model.fine[0].bias is not None)
before = UNet(width=8, classes=3)
run = torch.load("run.ckpt", weights_only=True)["state_dict"]
before.load_state_dict({{name[6:]: run[name] for name in run if name.startswith("model.")}})
x = torch.rand(2, 3, 34, 48, dtype=torch.float64)
wanted, found = before.eval().double()(x), model.double()(x)
print(((found - wanted).abs().max() / wanted.abs().max()).item())
""")
    kind, norm, biased, error = engineer.python("use.py").out.split()
    assert (kind, norm, biased) == ("UNet", "Identity", "True")
    assert float(error) < 1e-6, "the folded weights are float32"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            ("fold", MODEL, "-o", "no.safetensors"),
            f"'{MODEL}' has random weights in 7 of 13 parameters, 'fine.0.weight' first, and "
            "no.safetensors would hold what they make; --weights FILE loads trained ones, and "
            "--random-weights writes it nevertheless.",
        ),
        (
            ("fold", MODEL, "--weights", "headless.ckpt", "-o", "no"),
            "'headless.ckpt' lacks 2 of the 22 entries of the model: 'head.weight', 'head.bias'. "
            "Give this model's weights.",
        ),
        (
            ("fold", "nets.py:UNet(width=8)", "--weights", "run.ckpt", "-o", "no"),
            "'run.ckpt' is of another model: 'head.weight' is 3x8x1x1 in the file and 2x8x1x1 in "
            "the model, and 1 more differ. It fits 'nets.py:UNet(width=8, classes=3)'.",
        ),
        (
            ("field", "nets.py:UNet(width=8, clases=3)"),
            "nets.py:UNet(width=4, classes=2, channels=3) cannot be called with "
            "(width=8, clases=3): got an unexpected keyword argument 'clases'; write arguments "
            "that it takes.",
        ),
        (
            ("field", "nets.py:Unet"),
            "'nets.py' has no 'Unet' for 'nets.py:Unet'; did you mean 'UNet'?",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_sentence_and_nothing_is_written(
    engineer, asked, message
):
    before = sorted(engineer.here.iterdir())
    said = engineer.fieldwise(*asked, *INPUT, code=2)
    assert (said.out, said.err) == ("", f"error: {message}\n")
    assert sorted(engineer.here.iterdir()) == before


def test_random_weights_are_written_only_where_that_is_asked_for(engineer):
    said = engineer.fieldwise(
        "fold", MODEL, *INPUT, "-o", "random.safetensors", "--random-weights", "--no-time"
    )
    assert said.err == ""
    assert (engineer.here / "random.safetensors").exists()


def test_a_program_of_the_network_is_folded_by_its_graph_without_a_flag(engineer):
    said = engineer.fieldwise("fold", "net.pt2", "-o", "small.pt2", "--no-time")
    assert "3 of 3 affine ops" in said.out
    x = torch.rand(1, 3, 32, 32)
    before, now = (
        torch.export.load(engineer.here / name).module() for name in ("net.pt2", "small.pt2")
    )
    torch.testing.assert_close(now(x), before(x), rtol=1e-4, atol=1e-5)
    kept = {
        name.rsplit(".", 1)[-1]
        for name in torch.export.load(engineer.here / "small.pt2").state_dict
    }
    assert "running_var" not in kept


def test_two_versions_are_compared_and_the_exit_code_says_whether_they_see_the_same(engineer):
    same = engineer.fieldwise("compare", MODEL, "nets.py:UNet(width=16, classes=3)", *INPUT)
    assert same.out.splitlines()[1:] == [
        "13 layers see the same; the outputs see the same, with the same halo"
    ]
    differ = engineer.fieldwise(
        "compare", MODEL, "nets.py:Sharper(width=8, classes=3)", *INPUT, code=1
    )
    (head,) = (line.split() for line in differ.out.splitlines() if line.startswith("head "))
    assert head == "head 10 → 12 1 -5 → -6 5+5 → 6+6".split()
    assert differ.out.endswith("the outputs' fields differ\n")
