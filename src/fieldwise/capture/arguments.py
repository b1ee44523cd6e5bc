"""The arguments that a spec writes behind a name, as in Python: ``UNet(width=64, classes=3)``."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from fieldwise.errors import UsageError, said_by


def split_call(text: str) -> tuple[str, str]:
    """A name and its arguments in parentheses; '' where there are none.

    >>> split_call("resnet50(num_classes=10)"), split_call("resnet50")
    (('resnet50', '(num_classes=10)'), ('resnet50', ''))
    """
    name, parenthesis, rest = text.partition("(")
    return name, parenthesis + rest


def read_arguments(spec: str, call: str) -> tuple[tuple[object, ...], dict[str, object]]:
    """The arguments that a spec writes.  Raises UsageError for what is no literal.

    >>> read_arguments("nets:UNet(3, width=64)", "(3, width=64)")
    ((3,), {'width': 64})
    """
    name = spec.removesuffix(call)
    try:
        found = ast.parse(f"f{call or '()'}", mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UsageError(
            f"The arguments of {spec!r} cannot be read ({said_by(error)}); write them as in "
            f"Python, for example '{name}(width=64, classes=3)'."
        ) from error
    if not isinstance(found, ast.Call) or not isinstance(found.func, ast.Name):
        raise UsageError(f"{spec!r} holds more than one call; write one.")
    named = {str(one.arg): _literal(spec, one.value) for one in found.keywords if one.arg}
    if len(named) < len(found.keywords):
        raise UsageError(f"{spec!r} holds '**'; write each argument by its name.")
    return tuple(_literal(spec, one) for one in found.args), named


def written_call(args: Sequence[object], named: Mapping[str, object]) -> str:
    """Arguments in parentheses, as they are read.

    >>> written_call((3,), {"width": 64, "mode": "same"})
    "(3, width=64, mode='same')"
    """
    given = [repr(one) for one in args]
    return f"({', '.join([*given, *(f'{name}={one!r}' for name, one in named.items())])})"


def _literal(spec: str, node: ast.expr) -> object:
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError) as error:
        raise UsageError(
            f"{ast.unparse(node)!r} in {spec!r} is no literal; write numbers, texts in "
            "quotes, True, False, None, and lists, tuples and dicts of these, or a function of "
            "your own that makes the model."
        ) from error
