"""Modules are joined in the order in which they need each other, each in a scope of its own."""

from __future__ import annotations

import pytest

from fieldwise.see.modules import joined
from fieldwise.see.page import SOURCES


def write(folder, **modules):
    for name, text in modules.items():
        (folder / f"{name}.js").write_text(text)
    return folder


def test_what_is_imported_comes_first_and_once(tmp_path):
    write(
        tmp_path,
        main='import { b } from "./b.js";\nimport { a } from "./a.js";\nb(a);\n',
        b='import { a } from "./a.js";\nexport function b(x) { return x + a; }\n',
        a="export const a = 1;\nconst hidden = 2;\n",
    )
    script = joined(tmp_path, "main.js")
    places = [script.index(f"const module_{name} = ") for name in ("a", "b", "main")]
    assert places == sorted(places)
    assert script.count("const a = 1;") == 1
    assert "return { a };" in script
    assert "const { a } = module_a;" in script
    assert "export" not in script


@pytest.mark.parametrize("line", ["export default 3;", 'import * as x from "./a.js";'])
def test_another_form_is_refused(tmp_path, line):
    write(tmp_path, main=f"{line}\n", a="")
    with pytest.raises(ValueError, match=r"main\.js has a line that is not understood"):
        joined(tmp_path, "main.js")


def test_a_circle_is_refused(tmp_path):
    write(
        tmp_path,
        main='import { a } from "./a.js";\n',
        a='import { b } from "./b.js";\nexport const a = 1;\n',
        b='import { a } from "./a.js";\nexport const b = 1;\n',
    )
    with pytest.raises(ValueError, match=r"main.js → a.js → b.js → a.js import each other"):
        joined(tmp_path, "main.js")


def test_every_module_of_the_page_is_in_its_script():
    script = joined(SOURCES, "main.js")
    names = {path.stem for path in SOURCES.glob("*.js")}
    assert {name for name in names if f"const module_{name} = " in script} == names
