"""``fieldwise view`` through the real command line."""

from __future__ import annotations

from typer.testing import CliRunner

from fieldwise.cli import app

CHAIN = "layers:conv3/2 conv3"


def run(*args, code=0):
    result = CliRunner().invoke(app, ["view", *args])
    assert result.exit_code == code, result.output + result.stderr
    return result.stdout if code == 0 else result.stderr


def test_a_page_is_written_and_named(tmp_path):
    out = tmp_path / "page.html"
    assert run(CHAIN, "-o", str(out)) == f"wrote {out}\n"
    assert "<title>layers:conv3/2 conv3</title>" in out.read_text(encoding="utf-8")


def test_two_models_stand_in_one_page(tmp_path):
    out = tmp_path / "page.html"
    run(CHAIN, "layers:conv5", "-o", str(out))
    assert "conv3/2 conv3 and layers:conv5</title>" in out.read_text(encoding="utf-8")


def test_another_suffix_is_refused_before_anything_is_built(tmp_path):
    said = run("torchvision:none", "-o", str(tmp_path / "page.pdf"), code=2)
    assert "a page is written as .html" in said
