"""``%load_ext fieldwise.views.notebook``, which no notebook needs any more.

Reports show themselves (``Report._repr_html_``); the extension stays for notebooks that load it.
"""

from __future__ import annotations

from typing import Any

from fieldwise.views import html

_FORMATTERS = {
    ("fieldwise.field.analysis", "FieldReport"): html.field_report,
    ("fieldwise.folding.report", "FoldReport"): html.fold_report,
    ("fieldwise.shift.certificate", "Certificates"): html.certificates,
    ("fieldwise.shift.certificate", "Certificate"): html.certificate,
    ("fieldwise.tile.crops.plan", "TilePlan"): html.lines,
    ("fieldwise.tile.bands.plan", "StreamPlan"): html.lines,
    ("fieldwise.tile.certificate", "RunCertificate"): html.lines,
}


def load_ipython_extension(ipython: Any) -> None:
    """Show results as HTML in this IPython session (called by ``%load_ext``)."""
    formatter = ipython.display_formatter.formatters["text/html"]
    for (module, name), render in _FORMATTERS.items():
        formatter.for_type_by_name(module, name, render)


def unload_ipython_extension(ipython: Any) -> None:
    """Show them as text again (called by ``%unload_ext``)."""
    formatter = ipython.display_formatter.formatters["text/html"]
    for module, name in _FORMATTERS:
        formatter.pop(f"{module}.{name}", None)
