"""A list of layers as it is written, for pen-and-paper work: text → layers.

A list is layers separated by spaces or commas, each written without spaces::

    NAME [KERNEL] [/STRIDE] [dDILATION] [pPADDING | same | valid] [oOUTPUT_PADDING]

    conv3        kernel 3, stride 1, no padding (as in torch)
    conv3x5/2    kernel 3 along the first axis and 5 along the second, stride 2 along both
    conv3d4p4    dilation 4, padding 4 on each side
    conv3same    padded so that the length stays (stride 1 only, as in torch)
    dwconv3p1    depthwise
    tconv4/2p1   transposed; o1 adds an output padding of 1
    maxpool2     stride = kernel (as in torch); avgpool likewise
    up2          nearest-neighbour upsampling by 2; a pixel shuffle sees the same
    bilinear2    linear interpolation by 2 along every axis
    globalpool   the mean over all positions
    relu bn …    element-wise; see ``layer_kinds``

A value has the name of its layer as written; a repeated one is counted: ``conv3``, ``conv3#2``.

A list has at most 4096 layers, their numbers are at most a million, and ``layer_limits`` bounds
what they come to together.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NoReturn

from fieldwise.capture.layer_kinds import KINDS, POOLS, AxisOptions
from fieldwise.capture.layer_limits import MAX_LAYERS, MAX_NUMBER
from fieldwise.errors import UsageError, close_names, did_you_mean

MOST_AXES = 3


@dataclass(frozen=True, slots=True)
class LayerSpec:
    """One layer of a list; per-axis options have one entry (for all axes) or one per axis.

    text:   the layer as written, and ``column`` where it starts in the list
    kind:   its name ('conv', 'maxpool', 'relu', …)
    kernel_size, stride, dilation, output_padding: per axis; the factor of 'up2' is its kernel
    padding: per axis, on each side; None: as much as keeps the length ('same')
    """

    text: str
    column: int
    kind: str
    kernel_size: tuple[int, ...] = ()
    stride: tuple[int, ...] = (1,)
    dilation: tuple[int, ...] = (1,)
    padding: tuple[int, ...] | None = (0,)
    output_padding: tuple[int, ...] = (0,)

    def at(self, axis: int) -> AxisOptions:
        """The options along one axis, the first being 0."""
        kernel_size, dilation = _pick(self.kernel_size, axis), _pick(self.dilation, axis)
        total = dilation * (kernel_size - 1)
        same = (total // 2, total - total // 2)
        return AxisOptions(
            kernel_size,
            _pick(self.stride, axis),
            dilation,
            same if self.padding is None else (_pick(self.padding, axis),) * 2,
            _pick(self.output_padding, axis),
        )

    @property
    def axes(self) -> int:
        """How many axes it is written for: 1 if its options are the same along all."""
        options = (self.kernel_size, self.stride, self.dilation, self.padding, self.output_padding)
        return max(len(option) if option else 1 for option in options)


def parse_layers(text: str) -> tuple[LayerSpec, ...]:
    """The layers of a written list.  Raises UsageError with a caret under what is wrong.

    >>> conv, pool = parse_layers("conv3x5/2d2p1 maxpool2")
    >>> conv.kernel_size, conv.stride, conv.dilation, conv.padding
    ((3, 5), (2,), (2,), (1,))
    >>> pool.stride
    (2,)
    >>> parse_layers("conv3 rleu")
    Traceback (most recent call last):
    fieldwise.errors.UsageError: Unknown layer 'rleu'; did you mean 'relu'?
      conv3 rleu
            ^^^^
    """
    found = list(islice(re.finditer(r"[^\s,]+", text), MAX_LAYERS + 1))
    if not found:
        raise UsageError("The layer list is empty; write for example 'conv3 relu maxpool2'.")
    if len(found) > MAX_LAYERS:
        extra = found[-1]
        _fail(
            f"A layer list has at most {MAX_LAYERS} layers; leave out what comes after them.",
            text,
            extra.start(),
            len(extra.group()),
        )
    return tuple(_parse_layer(text, match) for match in found)


def layer_names(layers: Sequence[LayerSpec]) -> tuple[str, ...]:
    """A unique name per layer: its text, counted from its second appearance.

    >>> layer_names(parse_layers("conv3 relu conv3"))
    ('conv3', 'relu', 'conv3#2')
    """
    seen: Counter[str] = Counter()
    names = []
    for layer in layers:
        seen[layer.text] += 1
        count = seen[layer.text]
        names.append(layer.text if count == 1 else f"{layer.text}#{count}")
    return tuple(names)


def _parse_layer(text: str, match: re.Match[str]) -> LayerSpec:
    token, column = match.group(), match.start()
    if len(token) > _LONGEST:
        _fail(
            f"The layer {token[:10]!r}... has {len(token)} characters; separate layers by spaces.",
            text,
            column,
            len(token),
        )
    kind = max((name for name in KINDS if token.startswith(name)), key=len, default="")
    if not kind:
        _unknown_kind(text, token, column)
    options = _parse_options(text, token, kind, column)
    kernel_size = options.get("kernel", ())
    padding = options.get("padding", (0,))
    layer = LayerSpec(
        text=token,
        column=column,
        kind=kind,
        kernel_size=kernel_size,
        stride=options.get("stride", kernel_size if kind in POOLS else (1,)),
        dilation=options.get("dilation", (1,)),
        padding=None if padding == _SAME else padding,
        output_padding=options.get("output padding", (0,)),
    )
    _check(text, layer)
    return layer


def _parse_options(text: str, token: str, kind: str, column: int) -> dict[str, tuple[int, ...]]:
    """The options that follow the name, by what they are called in ``LayerKind.takes``."""
    options: dict[str, tuple[int, ...]] = {}
    position = len(kind)
    while position < len(token):
        match = _OPTION.match(token, position)
        if not match:
            _fail(
                f"Cannot read {token[position:]!r} in layer {token!r}; write "
                "NAME KERNEL /STRIDE dDILATION pPADDING without spaces, as in 'conv3x5/2d2p1'.",
                text,
                column + position,
                len(token) - position,
            )
        mark, numbers, word = match.groups()
        what = "padding" if word else _MARKS[mark]
        needed = "same" if word else what
        where = (text, column + position, match.end() - position)
        if needed not in KINDS[kind].takes:
            _fail(f"Layer {kind!r} takes no {needed}; leave {match.group()!r} out.", *where)
        if what in options:
            _fail(f"Layer {token!r} gives its {what} twice; leave one out.", *where)
        if word:
            options[what] = _SAME if word == "same" else (0,)
        else:
            options[what] = _numbers(token, numbers.split("x"), where)
        position = match.end()
    return options


def _numbers(token: str, written: Sequence[str], where: tuple[str, int, int]) -> tuple[int, ...]:
    if len(written) > MOST_AXES:
        _fail(f"{token!r} gives {len(written)} numbers for at most {MOST_AXES} axes.", *where)
    for number in written:
        if int(number) > MAX_NUMBER:
            _fail(
                f"The number {number} in {token!r} is too large; use at most {MAX_NUMBER}.", *where
            )
    return tuple(map(int, written))


def _check(text: str, layer: LayerSpec) -> None:
    """Options that are readable but make no sense."""
    takes, where = KINDS[layer.kind].takes, (text, layer.column, len(layer.text))
    if "kernel" in takes and not layer.kernel_size:
        _fail(f"Layer {layer.text!r} needs a size; write for example '{layer.kind}3'.", *where)
    if 0 in (*layer.kernel_size, *layer.stride, *layer.dilation):
        _fail(f"A kernel, stride or dilation of 0 in {layer.text!r}; use 1 or more.", *where)
    if layer.padding is None and set(layer.stride) != {1}:
        _fail(
            f"'same' in {layer.text!r} needs stride 1; write the padding as a number, "
            "for example 'p1'.",
            *where,
        )
    for axis in range(layer.axes if "kernel" in takes else 0):
        options = layer.at(axis)
        if layer.kind in POOLS and 2 * options.padding[0] > options.kernel_size:
            _fail(
                f"The padding {options.padding[0]} of {layer.text!r} is more than half its "
                f"kernel {options.kernel_size}; use p{options.kernel_size // 2} or less.",
                *where,
            )
        if options.output_padding >= max(options.stride, options.dilation):
            _fail(
                f"The output padding {options.output_padding} of {layer.text!r} must be smaller "
                f"than its stride {options.stride}; leave it out or lower it.",
                *where,
            )


def _unknown_kind(text: str, token: str, column: int) -> NoReturn:
    word = re.split(r"[^A-Za-z_]", token)[0] or token
    close = close_names(word, KINDS, most=1)
    remedy = did_you_mean(word, close, otherwise=f"use one of {', '.join(KINDS)}.")
    _fail(f"Unknown layer {word!r}; {remedy}", text, column, len(word))


def _fail(message: str, text: str, column: int, length: int) -> NoReturn:
    """Raise UsageError with a caret under a part of the list; of a long list, what is around it."""
    first, last = max(column - _AROUND, 0), min(column + length + _AROUND, len(text))
    length = min(length, _LONGEST)
    shown = text[first : min(last, column + length + _AROUND)]
    shown = "".join(letter if letter.isprintable() else " " for letter in shown)
    before, after = "..." * (first > 0), "..." * (first + len(shown) < len(text))
    place = " " * (len(before) + column - first)
    raise UsageError(f"{message}\n  {before}{shown}{after}\n  {place}{'^' * length}")


def fail_at(layer: LayerSpec, message: str, text: str) -> NoReturn:
    """Raise UsageError with a caret under a layer of the list."""
    _fail(message, text, layer.column, len(layer.text))


def _pick(values: tuple[int, ...], axis: int) -> int:
    return values[axis if len(values) > 1 else 0] if values else 1


_MARKS = {"": "kernel", "/": "stride", "d": "dilation", "p": "padding", "o": "output padding"}
_OPTION = re.compile(r"(?:(|/|d|p|o)([0-9]+(?:x[0-9]+)*)|(same|valid))")
_SAME = (-1,)
_LONGEST = 128
"""Characters of a layer."""
_AROUND = 60
"""Characters of a list that are shown on either side of what is wrong with it."""
