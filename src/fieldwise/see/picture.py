"""The user's image, as it stands in a page: its own bytes, as a data address."""

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

    Raises UsageError for a file that is none, and for one that is too large for a page.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"Cannot read the image {path}: {error.strerror}.") from error
    kind = next((kind for start, kind in _KINDS.items() if content.startswith(start)), None)
    if kind is None and content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        kind = "image/webp"
    if kind is None:
        raise UsageError(f"{path} is no image that browsers show; write PNG, JPEG, WebP or GIF.")
    if len(content) > LARGEST:
        raise UsageError(
            f"{path} has {len(content)} bytes; a page holds images of up to {LARGEST}."
        )
    return {"name": path.name, "src": f"data:{kind};base64,{b64encode(content).decode()}"}
