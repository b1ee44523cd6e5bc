"""Models of the user's own code: a function, a class or a module, in a package or in a file."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any
from zlib import crc32

from fieldwise.capture.arguments import read_arguments
from fieldwise.errors import (
    FieldwiseError,
    UsageError,
    did_you_mean,
    ended_by,
    said_by,
    summary_of,
)

if TYPE_CHECKING:
    from torch import nn

ZOOS = ("torchvision", "timm", "keras", "layers")
"""What may stand before the colon instead of a package of the user's."""
_WRITTEN = re.compile(
    r"(?P<code>.*?\.py|[A-Za-z_][\w.]*):(?P<name>[A-Za-z_][\w.]*)(?P<call>\(.*\))?", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Factory:
    """What a model of the user's is made by, as it is written.

    spec: all of it
    code: a package.module, or the path of a file that ends in .py
    name: of a function, a class or a module there
    call: its arguments in parentheses; '' where it is called without
    """

    spec: str
    code: str
    name: str
    call: str = ""

    @classmethod
    def find(cls, spec: str) -> Factory | None:
        r"""The factory that is written, or None.

        >>> print(*Factory.find("nets.unet:UNet(width=64)").parts(), sep=", ")
        nets.unet, UNet, (width=64)
        >>> print(*Factory.find(r"C:\nets\unet.py:make").parts(), sep=", ")
        C:\nets\unet.py, make,
        >>> Factory.find("resnet50")
        """
        found = _WRITTEN.fullmatch(spec)
        return found and cls(spec, found["code"], found["name"], found["call"] or "")

    def parts(self) -> tuple[str, str, str]:
        """Where it is, its name, its arguments."""
        return self.code, self.name, self.call

    @property
    def is_file(self) -> bool:
        """Whether the code is named by the path of a file."""
        return self.code.endswith(".py")

    def module_name(self) -> str | None:
        """The name by which code in this folder imports it; None where it has none.

        >>> Factory.find("nets.unet:UNet").module_name()
        'nets.unet'
        >>> Factory.find("elsewhere/unet.py:UNet").module_name()
        """
        if not self.is_file:
            return self.code
        path = Path(self.code).resolve()
        here = path.parent == Path.cwd() and not path.with_name("__init__.py").is_file()
        is_free = path.stem.isidentifier() and path.stem not in sys.stdlib_module_names
        return path.stem if here and is_free else None

    def absolute(self) -> str:
        """The same for a process that works in another folder."""
        if not self.is_file:
            return self.spec
        return f"{os.path.abspath(self.code)}:{self.name}{self.call}"

    def arguments(self) -> tuple[tuple[object, ...], dict[str, object]]:
        """The arguments that are written.  Raises UsageError for what is no literal.

        >>> Factory.find("nets:UNet(3, width=64, sizes=[1, 2])").arguments()
        ((3,), {'width': 64, 'sizes': [1, 2]})
        """
        return read_arguments(self.spec, self.call)

    def bound_arguments(self) -> tuple[dict[str, object], dict[str, object]] | None:
        """The arguments that are written and all with their defaults, by name, where each has one.

        None where it does not say what it takes, or takes some by their place alone.
        """
        args, named = self.arguments()
        try:
            bound = inspect.signature(self.find_object()).bind(*args, **named)
        except (TypeError, ValueError):
            return None
        kinds = {one.kind for one in bound.signature.parameters.values()}
        if kinds & {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL}:
            return None
        open_ended = [
            name
            for name, one in bound.signature.parameters.items()
            if one.kind is inspect.Parameter.VAR_KEYWORD
        ]
        written = _without(bound.arguments, open_ended)
        bound.apply_defaults()
        return written, _without(bound.arguments, open_ended)

    def find_object(self) -> Any:
        """What has this name in this code, which is imported."""
        module = self._import()
        return self._attribute(module)

    def is_ready(self) -> bool:
        """Whether it names a module that is made already, which is not called."""
        from fieldwise.capture.torch.zoo import is_module

        return is_module(self.find_object())

    def build(self) -> tuple[nn.Module, Callable[[], nn.Module] | None]:
        """The module in eval mode, and what makes it once more (None: the code holds it ready).

        Raises UsageError for code that cannot be imported, for what cannot be called so, and for
        what is no model.
        """
        from fieldwise.capture.torch.zoo import is_module

        found = self.find_object()
        if is_module(found):
            if self.call:
                raise UsageError(
                    f"{self.code}:{self.name} is a module that is made already; write it without "
                    f"{self.call}."
                )
            return found.eval(), None
        if not callable(found):
            raise UsageError(
                f"{self.spec!r} is of type {type(found).__name__!r}, neither a torch.nn.Module nor "
                "a function or class that makes one; name one that does."
            )
        args, kwargs = self.arguments()
        self._check_arguments(found, args, kwargs)
        return self._called(found, args, kwargs), lambda: self._called(found, args, kwargs)

    def _called(
        self, found: Callable[..., Any], args: Iterable[object], kwargs: dict[str, object]
    ) -> nn.Module:
        from fieldwise.capture.torch.zoo import is_module

        try:
            model = found(*args, **kwargs)
        except FieldwiseError:
            raise
        except ModuleNotFoundError as error:
            raise UsageError(
                f"{self.code}:{self.name} needs {error.name!r}, which is not found; install it."
            ) from error
        except SystemExit as error:
            raise UsageError(
                f"{self.code}:{self.name} ended with {ended_by(error)} when it was called; name a "
                "function or class that makes the model."
            ) from error
        except Exception as error:
            how = f"with {self.call}" if self.call else "without arguments"
            raise UsageError(
                f"{self.code}:{self.name} raised {type(error).__name__} when called {how}: "
                f"{said_by(error)}; repair it, or write other arguments."
            ) from error
        if not is_module(model):
            raise UsageError(
                f"{self.spec!r} returned {type(model).__name__!r}, which is no torch.nn.Module; "
                "name a function or class that makes the model."
            )
        return model.eval()

    def _check_arguments(
        self, found: Callable[..., Any], args: tuple[object, ...], kwargs: dict[str, object]
    ) -> None:
        """Raise UsageError where arguments are missing, or are none that it takes."""
        try:
            signature = inspect.signature(found)
        except (TypeError, ValueError):
            return
        try:
            signature.bind(*args, **kwargs)
        except TypeError as error:
            needed = [
                name
                for name, one in signature.parameters.items()
                if one.default is one.empty
                and one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
            ]
            shown = ", ".join(f"{name}=..." for name in needed)
            remedy = (
                f"write its arguments, as in '{self.code}:{self.name}({shown})', with numbers, "
                "texts and lists for the dots, or a function of your own that needs none."
                if needed
                else "write arguments that it takes."
            )
            plain = [one.replace(annotation=one.empty) for one in signature.parameters.values()]
            signature = signature.replace(parameters=plain, return_annotation=signature.empty)
            raise UsageError(
                f"{self.code}:{self.name}{signature} cannot be called with {self.call or '()'}: "
                f"{said_by(error)}; {remedy}"
            ) from error

    def _import(self) -> ModuleType:
        try:
            return _import_file(self.code) if self.is_file else _import_named(self.code)
        except FieldwiseError:
            raise
        except ModuleNotFoundError as error:
            if error.name != self.code.partition(".")[0] and error.name != self.code:
                raise UsageError(
                    f"{self.code!r} for {self.spec!r} imports {error.name!r}, which is not found; "
                    "install it, or run from the folder that holds it."
                ) from error
            where = f"name its file as in 'nets/{self.code}.py:{self.name}', or install it."
            remedy = did_you_mean(self.code, ZOOS, otherwise=where)
            raise UsageError(
                f"Cannot import {error.name!r} for {self.spec!r}; run from the folder that holds "
                f"it, {remedy}"
            ) from error
        except SystemExit as error:
            raise UsageError(
                f"Importing {self.code!r} for {self.spec!r} ended with {ended_by(error)}; put what "
                "it does as a script under if __name__ == '__main__'."
            ) from error
        except Exception as error:
            raise UsageError(
                f"Importing {self.code!r} for {self.spec!r} raised {summary_of(error)}; repair the "
                "module first."
            ) from error

    def _attribute(self, module: ModuleType) -> Any:
        found: Any = module
        for name in self.name.split("."):
            if not hasattr(found, name):
                public = [one for one in dir(found) if not one.startswith("_")]
                remedy = did_you_mean(name, public, otherwise="check the name.")
                raise UsageError(f"{self.code!r} has no {name!r} for {self.spec!r}; {remedy}")
            found = getattr(found, name)
        return found


def find_misspelt(spec: str) -> UsageError | None:
    """What to say of code that is named without what makes the model in it, or without .py.

    >>> print(find_misspelt("/srv/nets/unet:make"))
    '/srv/nets/unet:make' is no package.module:NAME; of a file write '/srv/nets/unet.py:make'.
    """
    if spec.lower().endswith(".py"):
        names = _names_in(Path(spec))
        has = f": it has {', '.join(names)}" if names else ""
        which = names[0] if names else "NAME"
        return UsageError(
            f"{spec!r} is a file of Python; name what makes the model in it, as in "
            f"'{spec}:{which}'{has}."
        )
    found = re.fullmatch(
        r"(?P<code>.*[/\\][^:]+):(?P<rest>[A-Za-z_][\w.]*(\(.*\))?)", spec, re.DOTALL
    )
    if found is None:
        return None
    meant = f"{found['code']}.py:{found['rest']}"
    return UsageError(f"{spec!r} is no package.module:NAME; of a file write {meant!r}.")


def _names_in(path: Path) -> list[str]:
    """The public classes and functions of a file, classes first; it is read and not run."""
    try:
        body = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    kinds = (ast.ClassDef, ast.FunctionDef)
    return [
        one.name
        for kind in kinds
        for one in body
        if isinstance(one, kind) and not one.name.startswith("_")
    ][:_NAMED]


_NAMED = 8


def _without(arguments: Mapping[str, Any], open_ended: Iterable[str]) -> dict[str, object]:
    """Arguments by name; those that ``**kwargs`` takes among the others."""
    named = dict(arguments)
    for name in open_ended:
        named.update(named.pop(name, {}))
    return named


def _import_named(code: str) -> ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")
    return importlib.import_module(code)


def _import_file(code: str) -> ModuleType:
    """The module in a file, imported as Python would: its folder, or its package's, is searched."""
    path = Path(code).resolve()
    if not path.is_file():
        raise UsageError(f"There is no file {code!r}; check the path.")
    folder, parts = path.parent, [path.stem]
    while (folder / "__init__.py").is_file() and folder != folder.parent:
        parts.insert(0, folder.name)
        folder = folder.parent
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
    known = sys.modules.get(name)
    if known is not None and _file_of(known) == path:
        return known
    if len(parts) > 1 and known is None:
        return importlib.import_module(name)
    if known is not None or path.stem in sys.stdlib_module_names:
        name = f"_file_{crc32(str(path).encode()):08x}_{path.stem}"
    return _load_file(name, path)


def _load_file(name: str, path: Path) -> ModuleType:
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _file_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return None if file is None else Path(file).resolve()
