"""What a user names, catches or annotates is in the table of contents of its room."""

from __future__ import annotations

import ast
import builtins
import inspect
import pkgutil
import pydoc
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_type_hints

import pytest

import fieldwise
from fieldwise import axes, capture, field, folding, graph, see, shift, testing, tile
from fieldwise.errors import FieldwiseError

TABLES = {room.__name__: room for room in (fieldwise, field, folding, see, shift, testing, tile)}
ROOMS = [*TABLES.values(), axes, capture, graph]
NOT_FOR_USERS = {"UnknownSizeError", "OtherModelError"}
"""Raised and caught inside."""


def stub_of(room: ModuleType) -> dict[str, str]:
    """Per name of a stub, the module that it is imported from."""
    text = Path(str(room.__file__)).with_suffix(".pyi").read_text(encoding="utf-8")
    return {
        alias.name: str(node.module)
        for node in ast.parse(text).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name == alias.asname and alias.name != "__version__"
    }


@pytest.mark.parametrize("name", TABLES)
def test_a_room_shows_what_its_stub_says_and_nothing_else(name):
    room = TABLES[name]
    assert dir(room) == sorted(room.__all__) == sorted(stub_of(room))


@pytest.mark.parametrize("name", TABLES)
def test_every_name_of_a_stub_can_be_imported(name):
    room = TABLES[name]
    for one, home in stub_of(room).items():
        found = getattr(room, one)
        assert getattr(room, one) is found
        if inspect.isclass(found) or inspect.isfunction(found):
            assert found.__name__ == one
            assert found.__module__.startswith(home)


@pytest.mark.parametrize("name", TABLES)
def test_no_name_is_that_of_a_module_which_would_take_its_place(name):
    room = TABLES[name]
    modules = {module.name for module in pkgutil.iter_modules(room.__path__)}
    assert {one for one, home in stub_of(room).items() if home != name} & modules == set()


@pytest.mark.parametrize("name", TABLES)
def test_help_describes_every_name(name):
    page = pydoc.plain(pydoc.render_doc(TABLES[name]))
    assert [one for one in TABLES[name].__all__ if one not in page] == []


def test_an_unknown_name_is_an_attribute_error_that_names_the_room():
    with pytest.raises(AttributeError, match=r"'fieldwise.shift' has no attribute"):
        shift.certfy  # noqa: B018


def every_error(base: type[FieldwiseError]) -> Iterator[type[FieldwiseError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from every_error(kind)


def test_every_error_that_leaves_fieldwise_can_be_caught_by_name():
    offered = {one for room in TABLES.values() for one in room.__all__}
    names = {kind.__name__ for kind in every_error(FieldwiseError)}
    assert {"StreamError", "TileError", "MismatchError"} <= names
    assert names - offered - NOT_FOR_USERS == set()


def classes_in(hint: Any) -> Iterator[type]:
    """Our classes in an annotation."""
    if inspect.isclass(hint) and hint.__module__.startswith("fieldwise."):
        yield hint
    for part in get_args(hint):
        yield from classes_in(part)


@pytest.mark.parametrize("name", TABLES)
def test_what_a_function_takes_and_returns_can_be_annotated_by_name(name):
    offered = {id(getattr(room, one)) for room in ROOMS for one in vars(room)}
    offered |= {id(getattr(room, one)) for room in TABLES.values() for one in room.__all__}
    functions = [getattr(TABLES[name], one) for one in TABLES[name].__all__]
    for function in filter(inspect.isfunction, functions):
        found = [kind for hint in get_type_hints(function).values() for kind in classes_in(hint)]
        assert [kind for kind in found if id(kind) not in offered] == [], function


@pytest.mark.parametrize("name", TABLES)
def test_no_name_hides_one_of_python(name):
    assert set(TABLES[name].__all__) & set(vars(builtins)) == set()


@pytest.mark.slow
def test_a_type_checker_knows_the_names(tmp_path):
    program = tmp_path / "user.py"
    program.write_text(
        "import fieldwise\n"
        "from fieldwise.shift import Certificates, certify\n"
        "found: Certificates = certify(None)\n"
        "reveal_type(fieldwise.tile.TileError('no').reasons)\n"
        "fieldwise.shift.certfy\n"
    )
    from mypy import api

    told, _, _ = api.run(["--strict", f"--cache-dir={tmp_path}", str(program)])
    assert "tuple[fieldwise.errors.Reason, ...]" in told
    assert 'Module has no attribute "certfy"' in told
    assert "Found 1 error" in told
