"""What --help says of a command with groups of options: each group under its heading."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand


class WithHeadings(TyperCommand):
    """A command whose options stand under the headings of their groups, the others at the end."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, and the options group by group in their order."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": []}
        others: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx)
            if record is None:
                continue
            heading = getattr(param, "rich_help_panel", None)
            if param.param_type_name == "argument":
                groups["Arguments"].append(record)
            elif heading is None:
                others.append(record)
            else:
                groups.setdefault(heading, []).append(record)
        for heading, records in {**groups, "Options": others}.items():
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)
