"""Whose an error is, the model's or ours, and at which line of the user's code it came up."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

import torch

from fieldwise import errors
from fieldwise.errors import CaptureError, fault, summary_of
from fieldwise.graph.ir import Args, Kwargs


def ask_torch(func: Any, args: Args, kwargs: Kwargs) -> Any:
    """Call an op for the model: an error that comes out of here is the model's."""
    return func(*args, **kwargs)


def is_ours(error: BaseException) -> bool:
    """Whether the code that raised the error is fieldwise's own."""
    if isinstance(error, (RecursionError, MemoryError)):
        return False
    code, _ = next(_raised_in(error))
    return code.co_filename.startswith(_OURS) and code is not ask_torch.__code__


def needs_data(error: BaseException) -> bool:
    """Whether torch speaks of the meta device, where values that derive from the input live.

    >>> needs_data(NotImplementedError("Cannot copy out of meta tensor; no data!"))
    True
    >>> needs_data(KeyError("meta")), needs_data(ValueError("no metadata"))
    (False, False)
    """
    of_torch = isinstance(error, (RuntimeError, TypeError, ValueError))
    return of_torch and re.search(r"\bmeta\b", str(error), re.IGNORECASE) is not None


def line_of(error: BaseException) -> str:
    """The innermost line outside torch and fieldwise through which an error came: 'net.py:12'."""
    return _first_outside(_raised_in(error))


def running_line() -> str:
    """The innermost line outside torch and fieldwise that is running: 'net.py:12'."""
    return _first_outside(_running(sys._getframe(1)))


def our_fault(error: BaseException, where: object) -> CaptureError:
    """The error for what went wrong inside fieldwise."""
    code, line = next(_raised_in(error))
    place = f"{Path(code.co_filename).name}:{line}"
    return fault(f"fieldwise failed ({where}) with {summary_of(error)} ({place})")


def _first_outside(places: Iterator[tuple[CodeType, int]]) -> str:
    for code, line in places:
        if not code.co_filename.startswith((_OURS, _TORCH)):
            return f"{code.co_filename}:{line}"
    return ""


def _raised_in(error: BaseException) -> Iterator[tuple[CodeType, int]]:
    """The code and line of each frame through which an error came, the innermost first."""
    places, traceback = [], error.__traceback__
    while traceback is not None:
        places.append((traceback.tb_frame.f_code, traceback.tb_lineno))
        traceback = traceback.tb_next
    return reversed(places)


def _running(frame: FrameType | None) -> Iterator[tuple[CodeType, int]]:
    while frame is not None:
        yield frame.f_code, frame.f_lineno
        frame = frame.f_back


def _folder(module: ModuleType) -> str:
    return f"{Path(str(module.__file__)).parent}{os.sep}"


_OURS = _folder(errors)
_TORCH = _folder(torch)
