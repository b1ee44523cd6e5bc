"""What --help says of a command: its arguments, and its options under the headings of groups."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperCommand

_TYPE = re.compile(r" <[^>]*>$")


class WithHeadings(TyperCommand):
    """A command whose options stand under the headings of their groups, in their order."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """What follows the command: an argument in brackets where it may be left out."""
        return [
            piece.replace("{", "").replace("}", "") for piece in super().collect_usage_pieces(ctx)
        ]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, and the options group by group."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        for param in self.get_params(ctx):
            record = record_of(param, ctx)
            if record is None:
                continue
            if param.param_type_name == "argument":
                heading = "Arguments"
            else:
                heading = getattr(param, "rich_help_panel", None) or "Options"
            groups.setdefault(heading, []).append(record)
        for heading, records in groups.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)


def record_of(param: Any, ctx: Any) -> tuple[str, str] | None:
    """What a parameter is called and what it does; of an argument without its Python type."""
    record = param.get_help_record(ctx)
    if record is None or param.param_type_name != "argument":
        return record
    name, text = record
    return _TYPE.sub("", name), text.replace("  [required]", "")
