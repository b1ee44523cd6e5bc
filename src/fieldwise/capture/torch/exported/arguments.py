"""What a call is given, by the kinds that torch writes: values made earlier, numbers, types."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch

from fieldwise.capture.torch.exported.fields import Field
from fieldwise.capture.torch.exported.refusal import foreign, malformed, too_large
from fieldwise.capture.torch.exported.steps import Template
from fieldwise.capture.torch.exported.tensors import DTYPES, STRIDED

SMALLER = "export a smaller model, or name a package.module:factory."
_LONGEST_LIST = 100_000
_MEMORY_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}
_CPU = torch.device("cpu")


def find_known(scope: Mapping[str, Template], name: Field) -> Template:
    """What a name stands for.  Raises UnreadableError where nothing has made it yet."""
    if name.text() not in scope:
        raise malformed(f"{name.value[:60]!r} is used before it is made")
    return scope[name.value]


def read_argument(argument: Field, scope: Mapping[str, Template]) -> Template:
    """An argument; ``scope`` says what names stand for.  Raises UnreadableError for other kinds."""
    kind, inner = argument.choice()
    if kind in _PLAIN:
        return plain(kind, inner)
    if kind in _PLAIN_LISTS:
        return [_PLAIN_LISTS[kind](one) for one in _few(inner)]
    if kind == "as_tensor":
        return find_known(scope, inner["name"])
    if kind == "as_tensors":
        return [find_known(scope, one["name"]) for one in _few(inner)]
    if kind == "as_optional_tensor":
        return read_argument(inner, scope)
    if kind == "as_optional_tensors":
        return [read_argument(one, scope) for one in _few(inner)]
    if kind in _SYMBOLIC:
        return _symbolic(inner, scope)
    if kind in _SYMBOLIC_LISTS:
        return [_symbolic(one, scope) for one in _few(inner)]
    raise foreign(kind)


def _few(items: Field) -> Iterator[Field]:
    if isinstance(items.value, list) and len(items.value) > _LONGEST_LIST:
        raise too_large(f"{items.where} has more than {_LONGEST_LIST:,} elements", SMALLER)
    return items.items()


def _symbolic(value: Field, scope: Mapping[str, Template]) -> Template:
    kind, inner = value.choice()
    if kind == "as_name":
        return find_known(scope, inner)
    if kind not in ("as_int", "as_float", "as_bool"):
        raise foreign(kind)
    return plain(kind, inner)


def plain(kind: str, value: Field) -> object:
    """A number, a text, a type or None."""
    return _PLAIN[kind](value)


def _scalar_type(value: Field) -> torch.dtype:
    found = DTYPES.get(value.integer())
    if found is None:
        raise foreign(value.value)
    return found


def _memory_format(value: Field) -> torch.memory_format:
    found = _MEMORY_FORMATS.get(value.integer())
    if found is None:
        raise foreign(value.value)
    return found


def _layout(value: Field) -> torch.layout:
    if value.integer() != STRIDED:
        raise foreign(value.value)
    return torch.strided


def _device(value: Field) -> torch.device:
    value["type"].text()
    return _CPU


_PLAIN: Mapping[str, Callable[[Field], object]] = {
    "as_none": lambda value: None,
    "as_int": Field.integer,
    "as_float": Field.number,
    "as_bool": Field.flag,
    "as_string": Field.text,
    "as_complex": lambda value: complex(value["real"].number(), value["imag"].number()),
    "as_scalar_type": _scalar_type,
    "as_memory_format": _memory_format,
    "as_layout": _layout,
    "as_device": _device,
}
CONSTANTS = ("as_none", "as_int", "as_float", "as_bool", "as_string")
"""What an input may be that is no tensor."""

_PLAIN_LISTS: Mapping[str, Callable[[Field], object]] = {
    "as_ints": Field.integer,
    "as_floats": Field.number,
    "as_bools": Field.flag,
    "as_strings": Field.text,
}
_SYMBOLIC = ("as_sym_int", "as_sym_float", "as_sym_bool")
_SYMBOLIC_LISTS = ("as_sym_ints", "as_sym_floats", "as_sym_bools")


def value_name(value: Field) -> str:
    """The name of a tensor or of a number that is not known beforehand."""
    kind, inner = value.choice()
    if kind not in ("as_tensor", "as_sym_int", "as_sym_bool", "as_sym_float"):
        raise foreign(kind)
    return inner_name(inner)


def inner_name(inner: Field) -> str:
    """The name within the description of a value."""
    return (inner.get("name") or inner["as_name"]).text()
