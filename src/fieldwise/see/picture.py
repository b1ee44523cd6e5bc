"""The user's image, as it stands in a page: its own bytes, or a PNG of it, as a data address."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

from fieldwise.errors import UsageError

LARGEST = 8 << 20
"""Bytes of the largest image that a page holds."""
_KINDS = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
}


def image_of(path: str | Path) -> dict[str, object]:
    """An image file as plain data; it is told by its first bytes, not by its name.

    What browsers do not show (TIFF, arrays) is turned into a PNG, and its name says how.

    Raises UsageError for a file that is none, and for one that is too large for a page.
    """
    path = Path(path)
    name, content = path.name, _content(path)
    kind = next((kind for start, kind in _KINDS.items() if content.startswith(start)), None)
    if kind is None and content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        kind = "image/webp"
    if kind is None:
        content, said = _shown(path)
        name, kind = f"{name} ({said})" if said else name, "image/png"
    if len(content) > LARGEST:
        raise UsageError(
            f"{path} has more than {LARGEST} bytes, which a page does not hold; show a smaller one."
        )
    return {"name": name, "src": f"data:{kind};base64,{b64encode(content).decode()}"}


def _content(path: Path) -> bytes:
    """Its bytes, as far as a page holds them, and one more where there are more; of a folder none.

    Raises UsageError where it cannot be read.
    """
    if path.is_dir():
        return b""
    try:
        with path.open("rb") as file:
            return file.read(LARGEST + 1)
    except OSError as error:
        raise UsageError(f"Cannot read the image {path}: {error.strerror}.") from error


def _shown(path: Path) -> tuple[bytes, str]:
    """A PNG of an image that browsers do not show.  Raises UsageError where it is none."""
    from fieldwise.tile.files.preview import preview

    try:
        return preview(path)
    except UsageError as error:
        raise UsageError(
            f"{path} is no image that browsers show (PNG, JPEG, WebP, GIF), nor one that can be "
            f"turned into one: {error}"
        ) from error
