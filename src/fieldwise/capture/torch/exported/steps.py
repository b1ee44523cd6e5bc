"""An exported program as values: its inputs, its steps, and how what they give is nested."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from fieldwise.capture.torch.exported.operators import Operator
from fieldwise.capture.torch.exported.sizes import Size
from fieldwise.capture.torch.exported.trees import Tree


@dataclass(frozen=True, slots=True)
class MadeValue:
    """A value that an input or an earlier step gives."""

    name: str


@dataclass(frozen=True, slots=True)
class ExportedState:
    """A parameter, buffer or constant, by its path."""

    path: str


Template = object
"""What an argument is made of: ``MadeValue``, ``ExportedState``, plain values, lists of these."""

ResultNames = str | None | tuple["ResultNames", ...]
"""The names of what a step gives, nested as that is."""

RunningModule = tuple[str, str]
"""A running module: which of its runs this is, and its path."""


@dataclass(frozen=True, slots=True)
class Autocast:
    """A region in which torch casts operands by itself."""

    device: str
    dtype: torch.dtype | None
    enabled: bool


@dataclass(frozen=True, slots=True)
class ExportedStep:
    """One call: what is called, with what, what it gives, and within which modules."""

    operator: Operator
    args: tuple[Template, ...]
    kwargs: Mapping[str, Template]
    results: ResultNames
    stack: tuple[RunningModule, ...]
    casts: tuple[Autocast, ...]


@dataclass(frozen=True, slots=True)
class Input:
    """An input: a tensor of these sizes, or a value that stands in the file.

    sizes: of a tensor; None for another value
    usual: the sizes it was exported with, or the value
    """

    name: str
    sizes: tuple[Size, ...] | None
    usual: Any
    dtype: torch.dtype | None = None


@dataclass(frozen=True, slots=True)
class ExportedProgram:
    """An exported program.

    takes, returns: how inputs and outputs are nested
    mutations:      what is written after the last step, and where
    ranges:         of named sizes
    modules:        the paths of its modules, in order
    buffers:        the paths of its buffers; other constants stand in the code of forward
    """

    inputs: tuple[Input, ...]
    steps: tuple[ExportedStep, ...]
    outputs: tuple[Template, ...]
    mutations: tuple[tuple[Template, Template], ...]
    takes: Tree
    returns: Tree
    ranges: Mapping[str, tuple[int | None, int | None]]
    modules: tuple[str, ...]
    buffers: frozenset[str]
