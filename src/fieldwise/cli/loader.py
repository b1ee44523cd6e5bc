"""The lines of Python that load folded weights into the model that a spec names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fieldwise.folding import Saved

_FACTORY = re.compile(r"(?P<module>[A-Za-z_][\w.]*):(?P<name>[A-Za-z_]\w*)(?P<call>\(.*\))?")


def loader_lines(saved: Saved, spec: str, shape: str | None) -> tuple[str, ...]:
    """Three lines; none where what was written holds no weights to be loaded.

    >>> builder_of("torchvision:resnet18", None)
    ('import torchvision', "torchvision.models.get_model('resnet18')")
    >>> builder_of("nets:UNet(width=8)", None)
    ('from nets import UNet', 'UNet(width=8)')
    """
    if not saved.loader:
        return ()
    path = next(path for path in saved.paths if path.suffix.lower() == ".safetensors")
    build, expression = builder_of(spec, shape)
    return (
        build,
        "from fieldwise import load_folded",
        f"model = load_folded({expression}, {str(path)!r})",
    )


def builder_of(spec: str, shape: str | None) -> tuple[str, str]:
    """An import, and the expression that builds the model of a spec."""
    source, _, name = spec.partition(":")
    if source == "torchvision":
        return "import torchvision", f"torchvision.models.get_model({name!r})"
    if source == "timm":
        return "import timm", f"timm.create_model({name!r})"
    found = _FACTORY.fullmatch(spec)
    if found is not None and source != "layers":
        return (
            f"from {found['module']} import {found['name']}",
            f"{found['name']}{found['call'] or '()'}",
        )
    given = repr(spec) if shape is None else f"{spec!r}, {shape!r}"
    return "from fieldwise.capture import load_model", f"load_model({given}).runnable().module"
