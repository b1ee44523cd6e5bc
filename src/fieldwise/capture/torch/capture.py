"""``capture``: a PyTorch module and an example input in, a graph out, the module unchanged."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from fieldwise.capture.torch.naming import Scope, finish
from fieldwise.capture.torch.recorder import Recorder
from fieldwise.errors import CaptureError
from fieldwise.graph.ir import Graph
from fieldwise.graph.verify import verify


def capture(model: nn.Module, example: Any) -> Graph:
    """Record one run of ``model`` on inputs like ``example``; no arithmetic is done.

    ``example`` is a tensor, a tuple of positional inputs or a dict of keyword inputs; only
    shapes and dtypes matter (meta tensors are welcome).  Outputs may be tensors, tuples, lists,
    dicts and dataclasses of tensors, nested.  Parameters, buffers, hooks, training flags and the
    state of the random generators are afterwards as they were.

    Raises CaptureError where the model raises, or where its control flow depends on the data.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).eval()
    >>> [node.op for node in capture(net, torch.empty(1, 3, 8, 8)).nodes]
    ['conv', 'relu']
    """
    recorder = Recorder(model)
    with _scene(model, recorder):
        args, kwargs = _inputs(recorder, example)
        try:
            output = _run(model, recorder, args, kwargs)
        except CaptureError:
            raise
        except Exception as error:
            raise CaptureError(_failure(recorder, example, error)) from error
        outputs = [
            (name, value)
            for name, tensor in named_tensors(output)
            if (value := recorder.value_of(tensor)) is not None
        ]
    if not outputs:
        raise CaptureError("No output of the model depends on its input.")
    names = _input_names(len(recorder.inputs), example)
    graph = finish(
        recorder.drafts,
        recorder.shapes,
        recorder.dtypes,
        list(zip(names, recorder.inputs, strict=True)),
        outputs,
        recorder.scopes,
    )
    verify(graph)
    return graph


def meta_tensor(shape: Sequence[int]) -> Tensor:
    """An example input of this shape that holds no data."""
    return torch.empty(tuple(shape), device="meta")


def named_tensors(tree: Any, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors of a nested output with the keys that lead to them, joined by dots."""
    if isinstance(tree, Tensor):
        yield prefix or "output", tree
        return
    if isinstance(tree, Mapping):
        items: Any = tree.items()
    elif hasattr(tree, "_fields"):
        items = zip(tree._fields, tree, strict=True)
    elif isinstance(tree, (list, tuple)):
        items = enumerate(tree)
    elif dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        items = ((f.name, getattr(tree, f.name)) for f in dataclasses.fields(tree))
    else:
        return
    for key, item in items:
        yield from named_tensors(item, f"{prefix}.{key}" if prefix else str(key))


def _run(model: nn.Module, recorder: Recorder, args: tuple[Any, ...], kwargs: Any) -> Any:
    with recorder, torch._C._AutoDispatchBelowAutograd():
        return model(*args, **kwargs)


def _inputs(recorder: Recorder, example: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    def visit(item: Any) -> Any:
        if isinstance(item, Tensor):
            return recorder.adopt(item)
        if isinstance(item, (list, tuple)):
            return type(item)(visit(part) for part in item)
        return item

    if isinstance(example, Mapping):
        return (), {key: visit(item) for key, item in example.items()}
    if isinstance(example, tuple):
        return tuple(visit(item) for item in example), {}
    return (visit(example),), {}


def _input_names(count: int, example: Any) -> list[str]:
    if isinstance(example, Mapping) and len(example) == count:
        return [str(key) for key in example]
    return ["input"] if count == 1 else [f"input{number}" for number in range(count)]


@contextmanager
def _scene(model: nn.Module, recorder: Recorder) -> Iterator[None]:
    """Module paths by global hooks; attributes and random state put back at the end."""
    paths: dict[int, str] = {}
    for path, module in model.named_modules():
        paths.setdefault(id(module), path)

    def enter(module: nn.Module, args: Any) -> None:
        path = paths.get(id(module))
        if path is not None:
            runs = recorder.scopes[path]
            runs.append(Scope())
            recorder.stack.append((path, len(runs), module.training))

    def leave(module: nn.Module, args: Any, output: Any) -> None:
        path = paths.get(id(module))
        if path is not None:
            _, call, _ = recorder.stack.pop()
            recorder.scopes[path][call - 1].returned = tuple(
                value
                for _, tensor in named_tensors(output)
                if (value := recorder.value_of(tensor)) is not None
            )

    with ExitStack() as stack:
        stack.enter_context(torch.random.fork_rng(devices=[]))
        stack.enter_context(torch.no_grad())
        stack.enter_context(_restored(model))
        stack.callback(torch_module.register_module_forward_pre_hook(enter).remove)
        stack.callback(torch_module.register_module_forward_hook(leave).remove)
        yield


@contextmanager
def _restored(model: nn.Module) -> Iterator[None]:
    """Undo whatever a forward pass stores on its modules (caches, counters)."""
    saved = []
    for module in model.modules():
        attributes = module.__dict__
        inner = {key: dict(value) for key, value in attributes.items() if type(value) is dict}
        saved.append((attributes, dict(attributes), inner))
    try:
        yield
    finally:
        for attributes, before, inner in saved:
            if not _same(attributes, before):
                attributes.clear()
                attributes.update(before)
            for key, content in inner.items():
                if not _same(attributes[key], content):
                    attributes[key].clear()
                    attributes[key].update(content)


def _same(one: Mapping[str, Any], two: Mapping[str, Any]) -> bool:
    return one.keys() == two.keys() and all(one[key] is two[key] for key in two)


def _failure(recorder: Recorder, example: Any, error: Exception) -> str:
    path = recorder.stack[-1][0]
    where = f" in module '{path}'" if path else ""
    shapes = ", ".join("x".join(map(str, t.shape)) for _, t in named_tensors(example))
    first = str(error).strip().splitlines()[0] if str(error).strip() else ""
    return (
        f"The model failed{where} on input {shapes}: {type(error).__name__}: {first[:300]} "
        f"Check the input shape and that the model runs on such an input."
    )
