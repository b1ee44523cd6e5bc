r"""Formulas on the site as MathML, which browsers draw themselves: no script, nothing to download.

A hook of mkdocs (see ``hooks`` in mkdocs.yml).  pymdownx.arithmatex marks what is a formula.
"""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from latex2mathml.converter import convert

_MARKED = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<tex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)


def on_page_content(html: str, **_: Any) -> str:
    r"""The page with its formulas drawn.

    >>> on_page_content(r'<p><span class="arithmatex">\(x\)</span></p>')
    '<p><math ... display="inline"><mrow><mi>x</mi></mrow></math></p>'
    """
    return _MARKED.sub(_drawn, html)


def _drawn(found: re.Match[str]) -> str:
    tex = unescape(found["tex"].strip())
    if found["tag"] == "span":
        return convert(tex, display="inline")
    return f'<div class="formula">{convert(tex, display="block")}</div>'
