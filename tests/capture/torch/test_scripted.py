"""TorchScript archives: loaded where the spec says so, and else named with the form that does."""

from __future__ import annotations

from zipfile import ZipFile

import pytest
import torch
from torch import nn

import fieldwise
from fieldwise.capture import load_model
from fieldwise.capture.specs import absolute_spec
from fieldwise.errors import CaptureError, UsageError

SHAPE = (1, 2, 32, 32)
MAKERS = {
    "traced": lambda net: torch.jit.trace(net, torch.zeros(SHAPE)),
    "scripted": torch.jit.script,
}


class Net(nn.Module):
    """A small network whose weights do not depend on the run."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(2, 3, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(3)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(torch.relu(self.norm(self.conv(x))))


@pytest.fixture(params=MAKERS)
def file(request, tmp_path):
    path = tmp_path / "net.pt"
    torch.jit.save(MAKERS[request.param](Net().eval()), path)
    return path


def test_its_field_is_that_of_the_module(file):
    found = fieldwise.receptive_fields(f"script:{file}", SHAPE)
    expected = fieldwise.receptive_fields(Net().eval(), SHAPE)
    assert found["output"].row.axes == expected["output"].row.axes


def test_a_shape_at_which_it_does_not_run_is_refused_in_a_sentence(file):
    with pytest.raises(CaptureError, match="1x5x32x32"):
        fieldwise.receptive_fields(f"script:{file}", (1, 5, 32, 32))


def test_it_is_folded_by_its_graph_and_tiled(file):
    x = torch.randn(SHAPE)
    folded = fieldwise.fold(f"script:{file}", SHAPE, allow_graph=True)
    assert folded.report.folded == 1
    with torch.no_grad():
        expected = Net().eval()(x)
        assert torch.allclose(folded.model(x), expected, atol=1e-5)
        tiled = fieldwise.tiled(f"script:{file}", SHAPE, tile=8)
        assert torch.allclose(tiled(x), expected, atol=1e-5)


def test_a_file_named_alone_is_not_run_and_the_form_is_said(file):
    with pytest.raises(UsageError) as said:
        load_model(str(file), "1x2x32x32")
    assert str(said.value) == (
        f"{str(file)!r} is a TorchScript program, which is code and may write files; fieldwise "
        f"runs none by itself. Where you trust it, name 'script:{file}': that runs the program in "
        "the file, like a module of your own."
    )


def test_what_is_no_such_archive_is_refused_and_not_unpickled(tmp_path):
    path = tmp_path / "state.pt"
    torch.save(Net().state_dict(), path)
    for name, said in (
        (
            path,
            f"{str(path)!r} is no TorchScript archive, as torch.jit.save writes; name the code "
            "that builds the model, and give it the file by --weights.",
        ),
        ("nowhere.pt", "There is no file 'nowhere.pt'; check the path."),
    ):
        with pytest.raises(UsageError) as caught:
            load_model(f"script:{name}", "1x2x32x32")
        assert str(caught.value) == said


def test_a_damaged_archive_is_told(tmp_path):
    path = tmp_path / "net.pt"
    with ZipFile(path, "w") as archive:
        archive.writestr("net/constants.pkl", b"")
    with pytest.raises(UsageError) as said:
        load_model(f"script:{path}", "1x2x32x32")
    assert str(said.value).startswith(f"{str(path)!r} cannot be loaded (")
    assert str(said.value).endswith("); save it again with torch.jit.save.")


def test_another_process_finds_the_file(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert absolute_spec("script:net.pt") == f"script:{tmp_path / 'net.pt'}"
