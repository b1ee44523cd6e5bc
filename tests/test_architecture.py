"""Imports point one way, and frameworks stay in their rooms (ARCHITECTURE.md)."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "fieldwise"
MODULES = sorted((*SOURCE.rglob("*.py"), *SOURCE.rglob("*.pyi")))

FOUNDATION = {"axes", "graph"}
RESULTS = {"effective", "field", "folding", "shift", "tile"}
MAY_IMPORT = {
    "errors": set(),
    "reports": set(),
    "collecting": set(),
    "remembered": set(),
    "contents": set(),
    "written": set(),
    "resizing": set(),
    "version": set(),
    "axes": set(),
    "graph": {"axes"},
    "capture": FOUNDATION,
    "field": FOUNDATION | {"capture"},
    "folding": FOUNDATION | {"capture"},
    "shift": FOUNDATION | {"capture", "field"},
    "tile": FOUNDATION | {"capture", "field"},
    "effective": FOUNDATION | {"capture", "field"},
    "onnx": {"capture"},
    "testing": FOUNDATION | RESULTS - {"effective"} | {"capture"},
    "see": FOUNDATION | RESULTS - {"effective"} | {"capture"},
    "views": FOUNDATION | RESULTS | {"see"},
    "cli": FOUNDATION | RESULTS | {"capture", "views", "see"},
    "__main__": {"cli"},
    "__init__": FOUNDATION | RESULTS | {"capture", "onnx", "see", "testing"},
}
INSIDE = {
    "capture": (
        "arguments", "pickles", "layer_kinds", "layer_limits", "layer_list", "layers",
        "state_names", "published", "written_inputs", "torch", "onnx", "graphs", "factories",
        "fitting", "specs", "models",
    ),
    "shift": ("certificate", "exercise", "generic", "rolls", "proof", "measurement", "repair"),
    "tile": (
        "amounts", "choices", "errors", "arrays", "inputs", "outputs", "ending", "good_sizes",
        "samples", "memory_format", "workspace", "certificate", "recording", "trace", "replaying",
        "bands", "crops", "files", "jobs", "spread", "interop", "api",
    ),
}  # fmt: skip
"""Per room with sub-rooms its parts: each imports nothing but itself and what stands before it."""

EVERYONE_MAY_IMPORT = {
    "errors", "collecting", "contents", "remembered", "reports", "resizing", "written", "version",
}  # fmt: skip

FRAMEWORKS = {
    "torch": (
        "capture/torch/",
        "capture/onnx/",
        "effective/",
        "field/probes/",
        "folding/",
        "shift/",
        "tile/",
        "testing/",
    ),
    "torchvision": ("capture/torch/",),
    "timm": ("capture/torch/",),
    "onnx": ("capture/onnx/", "folding/onnx", "shift/repair/onnx"),
    "onnxruntime": ("folding/onnx", "tile/"),
    "PIL": ("effective/", "resizing.py", "tile/files/", "views/"),
    "matplotlib": ("views/",),
    "dask": ("tile/", "cli/"),
    "distributed": ("tile/", "cli/"),
    "h5py": ("tile/files/",),
    "imagecodecs": ("tile/files/",),
    "nibabel": ("tile/files/",),
    "soundfile": ("tile/files/",),
    "zarr": ("tile/", "cli/"),
    "tifffile": ("tile/", "cli/"),
    "yaml": ("tile/", "cli/"),
    "rich": ("views/", "cli/"),
    "typer": ("cli/",),
    "hypothesis": ("testing/",),
}


def imports(tree: ast.AST) -> Iterator[str]:
    """The dotted names that a piece of code imports, those within functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_when_run(tree: ast.Module) -> Iterator[str]:
    """Those that are not for the type checker alone."""
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    return imports(tree)


def imports_at_import(tree: ast.Module) -> Iterator[str]:
    """Those that run as soon as the module is imported."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = []
    return imports_when_run(tree)


def room_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].partition(".")[0]


def dotted(path: Path) -> str:
    """The name by which a module is imported."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


KNOWN = {dotted(path) for path in MODULES}


def modules_in(path: Path) -> set[str]:
    """Our modules that a module imports: those that are named, or that hold a name."""
    names = list(imports(parsed(path)))
    return {name if name in KNOWN else name.rpartition(".")[0] for name in names} & KNOWN


def reachable(start: str, next_of: Mapping[str, set[str]]) -> set[str]:
    """What can be come to from here, in one step or more."""
    found: set[str] = set()
    todo = [start]
    while todo:
        new = next_of[todo.pop()] - found
        found |= new
        todo += new
    return found


def types_of(tree: ast.Module) -> Iterator[str]:
    """The classes and the type aliases that a module gives, but for its private ones."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield node.name
        elif isinstance(node, ast.Assign) and is_type(node.value):
            yield from (ast.unparse(target) for target in node.targets if is_camel(target))


def is_camel(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and target.id[0].isupper() and not target.id.isupper()


def is_type(value: ast.expr) -> bool:
    """Whether an assigned value is written as types are: ``dict[str, int]``, ``A | B``."""
    return isinstance(value, (ast.Subscript, ast.BinOp))


def part_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[1].partition(".")[0]


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_room_imports_only_what_stands_before_it(path):
    room = room_of(path)
    allowed = MAY_IMPORT[room] | EVERYONE_MAY_IMPORT | {room}
    inner = (name.split(".") for name in imports(parsed(path)))
    rooms = {parts[1] for parts in inner if parts[0] == "fieldwise" and len(parts) > 1}
    assert rooms <= allowed


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_framework_is_imported_only_in_its_rooms(path):
    """Code that opens the door to a framework, within a function of capture, may ask for it."""
    tree = parsed(path)
    found = imports_at_import(tree) if room_of(path) == "capture" else imports_when_run(tree)
    for framework in {name.split(".")[0] for name in found} & set(FRAMEWORKS):
        assert name_of(path).startswith(FRAMEWORKS[framework]), framework


def test_every_room_is_in_the_table():
    assert {room_of(path) for path in MODULES} <= set(MAY_IMPORT)


@pytest.mark.parametrize("room", INSIDE)
def test_a_part_of_a_room_imports_only_what_stands_before_it(room):
    parts = INSIDE[room]
    inside = [path for path in MODULES if room_of(path) == room]
    for path in inside:
        names = [name.split(".") for name in imports(parsed(path))]
        found = {name[2] for name in names if name[:2] == ["fieldwise", room]}
        if (part := part_of(path)) != "__init__":
            assert found <= {*parts[: parts.index(part) + 1]}, name_of(path)
    assert {part_of(path) for path in inside} == {*parts, "__init__"}


def test_no_modules_import_each_other_in_a_circle():
    """Imports within functions and for the type checker alone count too."""
    imported = {dotted(path): modules_in(path) for path in MODULES}
    assert [name for name in imported if name in reachable(name, imported)] == []


def test_a_type_has_a_name_of_its_own():
    """One word for one idea: who reads a name knows which type it is (aliases are types too)."""
    found = Counter(name for path in MODULES for name in types_of(parsed(path)))
    assert [name for name, count in found.items() if count > 1] == []


def rows_of_rooms() -> Iterator[tuple[set[str], set[str]]]:
    """Of each row of the table of rooms those that it is for, and those that they may import."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for row in re.findall(r"^\| (`.*) \|$", text.partition("### ")[0], re.MULTILINE):
        first, *_, last = row.split(" | ")
        named = re.findall(r"`([a-z_]+)[/.`]", first)[:1]
        last = last.replace("results", ", ".join(f"`{room}`" for room in RESULTS))
        yield set(named), set(re.findall(r"`([a-z_]+)`", last))


def test_the_table_of_rooms_says_what_a_room_may_import():
    """Rooms have a row, or several, of which each may import what any of them says."""
    stated: dict[str, set[str]] = {}
    for rooms, imported in rows_of_rooms():
        for room in rooms:
            stated.setdefault(room, set()).update(imported - {room} - EVERYONE_MAY_IMPORT)
    everything = {room for room in MAY_IMPORT if not room.startswith("__")}
    assert stated.pop("cli") == set()  # all
    assert stated == {room: MAY_IMPORT[room] for room in everything - {"cli"}}


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_every_file_and_folder_that_a_page_names_exists(page):
    """By the end of its path, as the tables of ARCHITECTURE.md name files of one room."""
    named = set(
        re.findall(r"`([\w/]+(?:\.(?:pyi?|js)|/))`", (ROOT / page).read_text(encoding="utf-8"))
    )
    there = [f"/{path.relative_to(ROOT).as_posix()}" for path in files()]
    there += [f"{path.rpartition('/')[0]}/" for path in there]
    assert [one for one in named if not any(path.endswith(f"/{one}") for path in there)] == []
    assert named


def files() -> list[Path]:
    """The files of the repository in which there is code, or that stand beside it."""
    rooms = ("src", "tests", "benchmarks", "docs")
    return [path for room in rooms for path in (ROOT / room).rglob("*") if path.is_file()]


def test_every_name_of_a_module_that_the_architecture_names_exists():
    """``module.name``, where there is a module called so."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(\w+)\.((?!pyi?`|js`)\w+)`", text))
    known = {(path.stem, name) for path in MODULES for name in names_of(parsed(path))}
    modules = {module for module, _ in known}
    assert [pair for pair in named if pair[0] in modules and pair not in known] == []
    assert named & known


def names_of(tree: ast.Module) -> Iterator[str]:
    """What a module defines or assigns."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
