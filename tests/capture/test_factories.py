"""Code of the user's, as it is written: modules, files, arguments, and what is said of the rest."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fieldwise.capture import load_model
from fieldwise.capture.factories import Factory
from fieldwise.errors import UsageError

pytest.importorskip("torch")

NET = """
from torch import nn

class UNet(nn.Conv2d):
    def __init__(self, width=4, classes=2, *, sizes=(3, 3)):
        super().__init__(width, classes, sizes)

class Wide(nn.Conv2d):
    def __init__(self, width: int, classes: "int", depth: int = 4) -> None:
        super().__init__(width, classes, 3)

def make():
    return UNet(classes=5)

class Zoo:
    small = staticmethod(make)

ready = UNet()
"""


@pytest.fixture(autouse=True)
def _code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    (tmp_path / "unet_code.py").write_text(NET)
    folder = tmp_path / "deep" / "nets_pkg"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "parts.py").write_text(NET)
    (folder / "made.py").write_text(
        "from .parts import UNet\n\ndef make():\n    return UNet(7, 3)\n"
    )
    (tmp_path / "deep" / "beside.py").write_text("WIDTH = 6")
    (tmp_path / "deep" / "alone.py").write_text(
        "from beside import WIDTH\nfrom torch import nn\ndef make():\n"
        "    return nn.Conv2d(WIDTH, 1, 1)\n"
    )
    (tmp_path / "deep" / "random.py").write_text(NET)
    yield
    for name in set(sys.modules) - known:
        del sys.modules[name]


def refusal(spec):
    with pytest.raises(UsageError) as caught:
        load_model(spec, "1x4x8x8")
    return str(caught.value)


@pytest.mark.parametrize(
    ("spec", "channels"),
    [
        ("unet_code:make", (4, 5)),
        ("unet_code:UNet", (4, 2)),
        ("unet_code:UNet()", (4, 2)),
        ("unet_code:UNet(6)", (6, 2)),
        ("unet_code:UNet(width=64, classes=3)", (64, 3)),
        ("unet_code:UNet(3, sizes=(1, 5))", (3, 2)),
        ("unet_code:ready", (4, 2)),
        ("unet_code:Zoo.small", (4, 5)),
        ("unet_code.py:make", (4, 5)),
        ("./unet_code.py:UNet(classes=9)", (4, 9)),
        ("deep/alone.py:make", (6, 1)),
        ("deep/nets_pkg/made.py:make", (7, 3)),
        ("deep/random.py:make", (4, 5)),
    ],
)
def test_a_function_a_class_or_a_module_is_named_in_a_module_or_a_file(spec, channels):
    for name in (spec, str(Path(spec.partition(":")[0]).absolute()) + ":" + spec.partition(":")[2]):
        if name is not spec and ".py" not in spec:
            continue
        net = load_model(name, "1x4x8x8").module
        assert (net.in_channels, net.out_channels) == channels
        assert not net.training


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        (r"C:\nets\unet.py:make", (r"C:\nets\unet.py", "make", "")),
        ("C:/nets/unet.py:UNet(width=8)", ("C:/nets/unet.py", "UNet", "(width=8)")),
        ("C:unet.py:make", ("C:unet.py", "make", "")),
        ("a (copy)/unet.py:make", ("a (copy)/unet.py", "make", "")),
        ("nets.unet:UNet({'a': ':'})", ("nets.unet", "UNet", "({'a': ':'})")),
        ("a.py/b.py:make", ("a.py/b.py", "make", "")),
        ("my.pkg:Outer.Inner(x=1)", ("my.pkg", "Outer.Inner", "(x=1)")),
    ],
)
def test_the_colon_of_a_drive_and_those_of_arguments_are_none_of_ours(spec, parts):
    found = Factory.find(spec)
    assert found is not None
    assert found.parts() == parts


def test_a_file_of_another_folder_with_the_same_name_is_another_module(tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "unet_code.py").write_text(NET.replace("classes=5", "classes=8"))
    assert load_model("unet_code.py:make", "1x4x8x8").module.out_channels == 5
    assert load_model("other/unet_code.py:make", "1x4x8x8").module.out_channels == 8
    assert load_model("unet_code:make", "1x4x8x8").module.out_channels == 5


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (
            "unet_code:Wide",
            "unet_code:Wide(width, classes, depth=4) cannot be called with (): missing a required "
            "argument: 'width'; write its arguments, as in 'unet_code:Wide(width=..., "
            "classes=...)', with numbers, texts and lists for the dots, or a function of your own "
            "that needs none.",
        ),
        (
            "unet_code:Wide(width=3, clases=2)",
            "unet_code:Wide(width, classes, depth=4) cannot be called with (width=3, clases=2): "
            "missing a required argument: 'classes'",
        ),
        (
            "unet_code:UNet(width=torch.relu)",
            "'torch.relu' in 'unet_code:UNet(width=torch.relu)' is no literal; write numbers, "
            "texts in quotes, True, False, None, and lists, tuples and dicts of these, or a "
            "function of your own that makes the model.",
        ),
        ("unet_code:UNet(width=__import__('os').getpid())", "\"__import__('os').getpid()\" in "),
        (
            "unet_code:UNet(wide=3)",
            "unet_code:UNet(width=4, classes=2, *, sizes=(3, 3)) cannot be called with (wide=3): "
            "got an unexpected keyword argument 'wide'; write arguments that it takes.",
        ),
        ("unet_code:UNet(*[1])", "'*[1]' in 'unet_code:UNet(*[1])' is no literal"),
        ("unet_code:UNet(**{})", "'unet_code:UNet(**{})' holds '**'; write each argument by its"),
        ("unet_code:UNet(1)(2)", "'unet_code:UNet(1)(2)' holds more than one call; write one."),
        ("unet_code:UNet(width=)", "The arguments of 'unet_code:UNet(width=)' cannot be read ("),
        ("unet_code:ready()", "unet_code:ready is a module that is made already; write it without"),
        (
            "unet_code:UNet(width=-1)",
            "unet_code:UNet raised RuntimeError when called with (width=-1): ",
        ),
        (
            "unet_code.py",
            "'unet_code.py' is a file of Python; name what makes the model in it, as in "
            "'unet_code.py:UNet': it has UNet, Wide, Zoo, make.",
        ),
        (
            "deep/alone:make",
            "'deep/alone:make' is no package.module:NAME; of a file write 'deep/alone.py:make'.",
        ),
        ("gone.py:make", "There is no file 'gone.py'; check the path."),
        (
            "gone:make",
            "Cannot import 'gone' for 'gone:make'; run from the folder that holds it, name its "
            "file as in 'nets/gone.py:make', or install it.",
        ),
        ("torchvison:resnet18", "Cannot import 'torchvison' for 'torchvison:resnet18'; run from"),
    ],
)
def test_what_cannot_be_called_so_is_told_with_the_remedy(spec, said):
    assert refusal(spec).startswith(said)


def test_a_file_that_imports_what_is_not_there_is_named_with_what_it_imports(tmp_path):
    path = tmp_path / "needs_more.py"
    path.write_text("import gone_module\n")
    assert refusal(f"{path}:make") == (
        f"'{path}' for '{path}:make' imports 'gone_module', which is not found; install it, or run "
        "from the folder that holds it."
    )


def refused(spec):
    with pytest.raises(UsageError) as caught:
        load_model(spec, "1x4x8x8")
    return str(caught.value)


def test_code_that_ends_the_process_is_told_and_the_process_goes_on(tmp_path):
    (tmp_path / "script_code.py").write_text("import sys\nsys.exit(3)\n")
    assert refused("script_code.py:UNet") == (
        "Importing 'script_code.py' for 'script_code.py:UNet' ended with sys.exit(3); put what it "
        "does as a script under if __name__ == '__main__'."
    )
    (tmp_path / "ends_code.py").write_text("def make():\n    raise SystemExit('no GPU')\n")
    assert refused("ends_code.py:make") == (
        "ends_code.py:make ended with sys.exit('no GPU') when it was called; name a function or "
        "class that makes the model."
    )


def test_a_package_that_is_imported_when_the_model_is_made_is_named(tmp_path):
    (tmp_path / "late_code.py").write_text("def make():\n    import not_there_at_all.parts\n")
    assert refused("late_code.py:make") == (
        "late_code.py:make needs 'not_there_at_all', which is not found; install it."
    )
