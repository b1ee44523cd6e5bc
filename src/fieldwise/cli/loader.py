"""The lines of Python that load folded weights into the model that a spec names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fieldwise.capture.arguments import split_call
from fieldwise.capture.factories import Factory

if TYPE_CHECKING:
    from fieldwise.folding import Saved


def loader_lines(saved: Saved, spec: str, shapes: Sequence[str] | None) -> tuple[str, ...]:
    """Three lines; none where what was written holds no weights to be loaded.

    >>> builder_of("torchvision:resnet18", None)
    ('import torchvision', "torchvision.models.get_model('resnet18')")
    >>> builder_of("timm:resnet18(num_classes=10)", None)
    ('import timm', "timm.create_model('resnet18', num_classes=10)")
    >>> builder_of("torch.nn:Conv2d(1, 2, 3)", None)
    ('from torch.nn import Conv2d', 'Conv2d(1, 2, 3)')
    """
    if not saved.loader:
        return ()
    path = next(path for path in saved.paths if path.suffix.lower() == ".safetensors")
    build, expression = builder_of(spec, shapes)
    return (
        build,
        "from fieldwise import load_folded",
        f"model = load_folded({expression}, {str(path)!r})",
    )


def builder_of(spec: str, shapes: Sequence[str] | None) -> tuple[str, str]:
    """An import, and the expression that builds the model of a spec."""
    source, _, name = spec.partition(":")
    name, call = split_call(name)
    more = f", {call[1:-1]}" if call else ""
    if source == "torchvision":
        return "import torchvision", f"torchvision.models.get_model({name!r}{more})"
    if source == "timm":
        return "import timm", f"timm.create_model({name!r}{more})"
    factory = None if source == "layers" else Factory.find(spec)
    if factory is not None and (module := factory.module_name()):
        call = "" if factory.is_ready() else factory.call or "()"
        first = factory.name.partition(".")[0]
        return f"from {module} import {first}", f"{factory.name}{call}"
    given = f"{spec!r}, {','.join(shapes)!r}" if shapes else repr(spec)
    return "from fieldwise.capture import load_model", f"load_model({given}).runnable().module"
