"""Walks that go as deep as a network has nodes, on a stack of their own.

A step is a generator: it yields another step and is sent what that returns, or has raised in it
what that raises.  Written as recursion is, it has no limit but memory.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, TypeVar

T = TypeVar("T")
Walk = Generator["Walk[Any]", Any, T]


def walked(first: Walk[T]) -> T:
    """What a step returns, with all steps that it asks for.

    >>> def depth(left: int) -> Walk[int]:
    ...     return 0 if left == 0 else 1 + (yield depth(left - 1))
    >>> walked(depth(100_000))
    100000
    """
    stack: list[Walk[object]] = [first]
    found: Any = None
    error: Exception | None = None
    while stack:
        try:
            step = stack[-1]
            asked = step.send(found) if error is None else step.throw(error)
        except StopIteration as done:
            stack.pop()
            found, error = done.value, None
        except Exception as raised:
            stack.pop()
            if not stack:
                raise
            found, error = None, raised.with_traceback(None)
        else:
            stack.append(asked)
            found = error = None
    return found
