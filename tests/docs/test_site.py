"""The documentation site builds without a warning."""

from __future__ import annotations

import subprocess
import sys

from tests.docs.pages import ROOT


def test_the_site_builds_and_every_link_leads_somewhere(tmp_path):
    command = (sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    exercise = (tmp_path / "exercise" / "index.html").read_text(encoding="utf-8")
    assert exercise.count("<math") == exercise.count("</math>") > 20
    assert r"\(" not in exercise
    assert r"\[" not in exercise
