"""A JSON Schema for the data of every report, from the tables of docs/json.md and from documents.

    python -m tests.views.schemas     writes docs/schema

The tables say which fields there are and what each is, the documents of ``documents.py`` of which
types they are and which are always there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from fieldwise import receptive_fields
from fieldwise.see import notes_of, view
from tests.views.documents import SHAPE, Document, documents, every_report, net

DOCS = Path(__file__).parents[2] / "docs"
FOLDER = DOCS / "schema"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
NUMBER = {"anyOf": [{"type": ["number", "null"]}, {"type": "string", "pattern": r"^-?\d+/\d+$"}]}
"""A number that is not finite is null, a fraction that is not whole is text."""
SOMETIMES = re.compile(r"^(where|with|beside)\b")
"""How the description of a field begins that is not always there."""

Schema = dict[str, Any]


def described() -> dict[str, dict[str, str]]:
    """Per heading of docs/json.md, what its table says of each field."""
    page = (DOCS / "json.md").read_text(encoding="utf-8")
    sections = re.split(r"^## ", page, flags=re.MULTILINE)[1:]
    return {
        section.split("\n")[0].strip("` "): dict(
            re.findall(r"^\| `([^`]+)` \| (.*) \|$", section, re.MULTILINE)
        )
        for section in sections
    }


def schema(title: str, fields: Mapping[str, str], found: Sequence[Document]) -> Schema:
    """The schema of documents whose fields are those of a table.

    >>> made = schema("A", {"schema": "the version", "of": "a name, or null"}, [{"schema": 1}])
    >>> made["properties"]["schema"]["const"], made["required"]
    (1, ['schema'])
    """
    made = _object(fields, "", found)
    made["properties"]["schema"] = {"const": 1, "description": fields["schema"]}
    return {"$schema": DIALECT, "title": title, **made}


def _object(fields: Mapping[str, str], path: str, found: Sequence[Document]) -> Schema:
    start = f"{path}." if path else ""
    names = [name[len(start) :] for name in fields if name.startswith(start)]
    own = [name for name in names if "." not in name]
    properties = {}
    for name in own:
        values = [each[name] for each in found if name in each]
        text = fields[f"{start}{name}"]
        properties[name] = {"description": text, **_value(fields, f"{start}{name}", values, text)}
    always = [
        name
        for name in own
        if all(name in each for each in found) and not SOMETIMES.match(fields[f"{start}{name}"])
    ]
    return {
        "type": "object",
        "properties": properties,
        "required": always,
        "additionalProperties": False,
    }


def _value(fields: Mapping[str, str], path: str, values: Sequence[Any], text: str) -> Schema:
    if any(name.startswith(f"{path}[].") for name in fields):
        within = [each for value in values for each in _flat(value)]
        items = _object(fields, f"{path}[]", within)
        return {"type": ["array", "null"] if None in values else "array", "items": items}
    if any(name.startswith(f"{path}.") for name in fields):
        made = _object(fields, path, [value for value in values if value is not None])
        nullable = None in values or "null" in text
        return {"anyOf": [made, {"type": "null"}]} if nullable else made
    return _leaf(values, nullable="null" in text)


def _flat(value: Any) -> Iterator[Document]:
    if isinstance(value, dict):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _flat(each)


def _leaf(values: Sequence[Any], *, nullable: bool) -> Schema:
    """The schema of values without named fields: numbers, text, truth values, lists of them."""
    lists = [value for value in values if isinstance(value, list)]
    single = [value for value in values if not isinstance(value, list) and value is not None]
    choices: list[Schema] = []
    if lists:
        items = _leaf([each for value in lists for each in value], nullable=False)
        choices.append({"type": "array", "items": items} if any(lists) else {"type": "array"})
    if any(isinstance(value, bool) for value in single):
        choices.append({"type": "boolean"})
    if any(isinstance(value, (int, float)) and not isinstance(value, bool) for value in single):
        choices.extend(NUMBER["anyOf"])
    if any(isinstance(value, str) for value in single):
        choices.append({"type": "string"})
    if any(isinstance(value, dict) for value in single):
        choices.append({"type": "object"})
    if not choices:
        return {}
    if nullable or None in values:
        choices.append({"type": "null"})
    return choices[0] if len(choices) == 1 else {"anyOf": choices}


def page_document() -> Document:
    """What ``fieldwise view`` prints: the data of a page of two networks."""
    report = receptive_fields(net(), SHAPE)
    data = view(report, report, names=["one", "two"], notes=[notes_of(report)] * 2).data
    return dict(json.loads(json.dumps(data)))


def page_schema() -> Schema:
    """The outline of a page's data, whose inner fields docs/see.md describes."""
    made = page_document()
    network = made["networks"][0]
    kinds = {list: "array", dict: "object", str: "string"}
    properties = {name: {"type": kinds[type(value)]} for name, value in network.items()}
    properties["shift"] = {"type": ["object", "null"]}
    outline = {"type": "object", "properties": properties, "required": [*properties]}
    return {
        "$schema": DIALECT,
        "title": "Page",
        "type": "object",
        "properties": {
            "schema": {"const": made["schema"]},
            "image": {"type": ["object", "null"]},
            "networks": {"type": "array", "items": outline, "minItems": 1, "maxItems": 2},
            "pairs": {"type": "array"},
        },
        "required": ["schema", "image", "networks", "pairs"],
        "additionalProperties": False,
    }


def schemas() -> dict[str, Schema]:
    """A schema per section of docs/json.md, and that of a page."""
    with TemporaryDirectory() as folder:
        found = documents(every_report(Path(folder)))
    made = {name: schema(name, fields, found[name]) for name, fields in described().items()}
    return {**made, "Page": page_schema()}


def text(made: Schema) -> str:
    """A schema as its file has it."""
    return f"{json.dumps(made, indent=1, ensure_ascii=False)}\n"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, made in schemas().items():
        (FOLDER / f"{name}.json").write_text(text(made), encoding="utf-8")
