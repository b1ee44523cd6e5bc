"""How large a tile states that it is, where it is a picture of its own: before it is unpacked.

Each function takes the bytes of one and gives width, height and components; those of a header that
says nothing are (0, 0, 0), and are left to who unpacks it.
"""

from __future__ import annotations

import re
from fractions import Fraction

Stated = tuple[int, int, int]
_NOTHING: Stated = (0, 0, 0)


def jpeg(data: bytes) -> Stated:
    """JPEG: the header of the frame, after any number of other segments."""
    at = 2
    for _ in range(_SEGMENTS):
        kind = _number(data, at, 2)
        if kind in _FRAMES:
            return _number(data, at + 7, 2), _number(data, at + 5, 2), _number(data, at + 9, 1)
        at += 1 if kind == _FILL else 2 + _number(data, at + 2, 2)
        if at >= len(data):
            return _NOTHING
    raise ValueError(f"none of its first {_SEGMENTS} segments states its size")


def png(data: bytes) -> Stated:
    """Portable Network Graphics: the header comes first."""
    if data[12:16] != b"IHDR":
        return _NOTHING
    return _number(data, 16, 4), _number(data, 20, 4), 4


def jpeg_2000(data: bytes) -> Stated:
    """JPEG 2000: the largest of the headers that may be that of the picture."""
    found = [_NOTHING]
    for match in re.finditer(rb"\xff\x4f\xff\x51", data):
        at = match.end() + 4
        found.append((_number(data, at, 4), _number(data, at + 4, 4), _number(data, at + 32, 2)))
    return max(found, key=lambda one: one[0] * one[1] * one[2])


def webp(data: bytes) -> Stated:
    """WebP: the canvas, or the only frame."""
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + _small(data, 24, 3), 1 + _small(data, 27, 3), 4
    if kind == b"VP8L":
        sides = _small(data, 21, 4)
        return 1 + (sides & 0x3FFF), 1 + (sides >> 14 & 0x3FFF), 4
    if kind == b"VP8 ":
        return _small(data, 26, 2) & 0x3FFF, _small(data, 28, 2) & 0x3FFF, 4
    return _NOTHING


def jpeg_xl(data: bytes) -> Stated:
    """JPEG XL: a bare code stream, or the first one in its boxes."""
    at = 0
    for _ in range(_BOXES):
        if data[at : at + 2] == _STREAM:
            return _size_of_stream(_small(data, at + 2, 16))
        size, kind = _number(data, at, 4), data[at + 4 : at + 8]
        inside = at + 8 + 8 * (size == 1) + 4 * (kind == b"jxlp")
        at = (
            inside
            if kind in (b"jxlc", b"jxlp")
            else at + (_number(data, at + 8, 8) if size == 1 else max(size, 8))
        )
        if at >= len(data):
            return _NOTHING
    raise ValueError(f"none of its first {_BOXES} boxes states its size")


def _size_of_stream(bits: int) -> Stated:
    """Of the bits behind the signature of a JPEG XL code stream, the first one lowest."""
    small, bits = bits & 1, bits >> 1
    height, bits = _side(bits, small=bool(small))
    ratio, bits = bits & 7, bits >> 3
    width = int(height * _RATIOS[ratio - 1]) if ratio else _side(bits, small=bool(small))[0]
    return width, height, 4


def _side(bits: int, *, small: bool) -> tuple[int, int]:
    """A side, and the bits behind it."""
    if small:
        return 8 * (1 + (bits & 31)), bits >> 5
    width = (9, 13, 18, 30)[bits & 3]
    return 1 + (bits >> 2 & (1 << width) - 1), bits >> 2 + width


def _number(data: bytes, at: int, width: int) -> int:
    return int.from_bytes(data[at : at + width], "big")


def _small(data: bytes, at: int, width: int) -> int:
    return int.from_bytes(data[at : at + width], "little")


_SEGMENTS, _FILL = 4096, 0xFFFF
_FRAMES = frozenset(range(0xFFC0, 0xFFD0)) - {0xFFC4, 0xFFC8, 0xFFCC}
_STREAM, _BOXES = b"\xff\x0a", 64
_RATIOS = (
    Fraction(1), Fraction(6, 5), Fraction(4, 3), Fraction(3, 2), Fraction(16, 9), Fraction(5, 4),
    Fraction(2),
)  # fmt: skip
