"""``capture``: a PyTorch module and an example input in, a graph out, the module unchanged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain

import torch
from torch import Tensor, nn

from fieldwise.capture.torch.autocast import without_autocast
from fieldwise.capture.torch.blame import is_ours, line_of, needs_data, our_fault
from fieldwise.capture.torch.constants import NamedTensors
from fieldwise.capture.torch.example import as_example, placed
from fieldwise.capture.torch.given import check_model, describe_module, find_misfit_of_inputs
from fieldwise.capture.torch.hidden import without_hidden
from fieldwise.capture.torch.keeping import RECORDING
from fieldwise.capture.torch.naming import finish
from fieldwise.capture.torch.own_names import own_names
from fieldwise.capture.torch.python_api import PythonApi
from fieldwise.capture.torch.recorder import Recorder
from fieldwise.capture.torch.scene import below_autograd, scene
from fieldwise.capture.torch.trace import Trace
from fieldwise.capture.torch.tree import (
    find_hidden,
    map_tensors,
    named_state,
    named_tensors,
    tensors_in,
)
from fieldwise.capture.torch.zeros import with_zeros
from fieldwise.collecting import uncollected
from fieldwise.errors import OUR_FAULT, CaptureError, UsageError, summary_of
from fieldwise.graph.graph import Graph
from fieldwise.graph.ir import Args, Kwargs, Node, Ref, unknown
from fieldwise.graph.verify import find_misfit, verify


def capture(model: nn.Module, example: object) -> Graph:
    """Record one run of ``model`` on inputs like ``example``; no arithmetic is done.

    ``example`` is a tensor, a tuple of positional inputs or a dict of keyword inputs, or shapes in
    their place (see ``as_example``); only shapes and dtypes matter.  Inputs and outputs may be
    tensors, tuples, lists, dicts and dataclasses of tensors, nested.  Parameters, buffers, hooks,
    training flags and the state of the random generators are afterwards as they were.

    Under autocast, around the call or inside forward, what autocast casts is recorded as casts.

    Raises CaptureError where the model raises, where its control flow or a shape depends on the
    data, and where torch cannot tell a shape without computing; UsageError where an exported
    program asks for more than it may (see ``exported``).

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()).eval()
    >>> [node.op for node in capture(net, torch.empty(1, 3, 8, 8)).nodes]
    ['conv', 'relu']
    """
    model = _unwrapped(model)
    with RECORDING, uncollected():
        given = as_example(example, model)
        return with_zeros(_captured(model, given), model, partial(_captured, example=given))


def record(model: nn.Module, example: object) -> Graph:
    """The graph of one run of the model: of ``capture`` all but ``Graph.zeros``.

    To know which zeros of its constants are there for good, ``capture`` runs some models again.
    """
    model = _unwrapped(model)
    with RECORDING, uncollected():
        return _captured(model, as_example(example, model))


def _unwrapped(model: nn.Module) -> nn.Module:
    model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    check_model(model)
    return model


def _captured(model: nn.Module, example: object) -> Graph:
    state = named_state(model)
    _check(state, example)
    recorder = Recorder(model, state, _home(state, example))
    with scene(model, state, recorder):
        args, kwargs = _inputs(recorder, example)
        try:
            with PythonApi(recorder), recorder, below_autograd():
                output = model(*args, **kwargs)
        except UsageError:
            raise
        except Exception as error:
            failure = recorder.refusal or CaptureError(_failure(recorder, model, example, error))
            raise failure from error
        if recorder.refusal is not None:
            raise recorder.refusal
        outputs, structure = _outputs(recorder, output)
        own = own_names(recorder.memory, model)
    if not outputs:
        raise CaptureError(_nothing_found(output))
    try:
        with without_autocast():
            graph = _finished(recorder.trace, example, outputs, own.first)
        trace = recorder.trace
        return replace(
            graph,
            structure=structure,
            draws=trace.draws,
            drawn=tuple(dict.fromkeys(trace.drawn)),
            writes=trace.writes,
            spelled=own.others(),
            lost=own.lost,
        )
    except Exception as error:
        raise our_fault(error, "after the model ran") from error


def _finished(
    trace: Trace, example: object, outputs: Sequence[tuple[str, int]], given: Mapping[int, str]
) -> Graph:
    names = _input_names(len(trace.inputs), example)
    inputs = list(zip(names, trace.inputs, strict=True))
    graph = finish(trace.drafts, trace.shapes, trace.dtypes, inputs, outputs, trace.scopes, given)
    try:
        return _verified(without_hidden(graph))
    except Exception:  # noqa: BLE001  (whatever reads that do not fit may cause)
        return _verified(without_hidden(_without_misfits(graph)))


def _verified(graph: Graph) -> Graph:
    verify(graph)
    return graph


def _without_misfits(graph: Graph) -> Graph:
    """The graph with reads that do not fit the shapes, a rule's fault, as Unknown."""

    def fitting(node: Node) -> Node:
        misfit = find_misfit(node, graph)
        if misfit is None:
            return node
        why = f"the rule of {node.op} is wrong ({misfit.rstrip('.')}; {OUR_FAULT})"
        ranks = [len(graph.shape(name)) for name in node.operands]
        reads = tuple(unknown(number, rank, why) for number, rank in enumerate(ranks))
        return replace(node, reads=(reads,) * len(node.results))

    return replace(graph, nodes=tuple(map(fitting, graph.nodes)))


def _outputs(recorder: Recorder, output: object) -> tuple[list[tuple[str, int]], object]:
    """The values among what a model returned, by name, and what it returned with these numbered."""
    names = (name for name, _ in named_tensors(output))
    found: list[tuple[str, int]] = []

    def place(tensor: Tensor) -> object:
        name, value = next(names), recorder.memory.value_of(tensor)
        if value is None:
            return tensor
        recorder.memory.check(tensor)
        found.append((name, value))
        return Ref(len(found) - 1)

    return found, map_tensors(place, output)


def _nothing_found(output: object) -> str:
    """Why no output is described: there is none, or it is where outputs are not looked for."""
    for holder, tensor in find_hidden(output):
        if tensor is None or tensor.is_meta:
            return (
                f"The model returns a '{type(holder).__name__}', in which outputs are not looked "
                f"for; return tensors in tuples, lists, dicts, named tuples or dataclasses."
            )
    if next(named_tensors(output), None) is None:
        return f"The model returns {_returned(output)}; return the tensor that it computes."
    return "No output of the model depends on its input."


def _returned(output: object) -> str:
    """What a model returned in which no tensor is, as a part of a sentence.

    >>> _returned(None), _returned([]), _returned({"n": 3}), _returned(3)
    ('None', "a 'list' without a tensor", "a 'dict' without a tensor", "3 of type 'int', no tensor")
    """
    kind = type(output).__name__
    if isinstance(output, (int, float, str)):
        return f"{str(output)[:40]} of type {kind!r}, no tensor"
    return "None" if output is None else f"a {kind!r} without a tensor"


def check_made(state: NamedTensors) -> None:
    """Raise CaptureError where a parameter or buffer has no shape yet."""
    if any(nn.parameter.is_lazy(tensor) for _, tensor in state):
        raise CaptureError(
            "The model has lazy parameters without a shape; run it once on a real input first."
        )


def _check(state: NamedTensors, example: object) -> None:
    """Refuse what cannot be recorded, whatever the model does."""
    check_made(state)
    for name, tensor in named_tensors(example, "input"):
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_nested:
            raise CaptureError(f"The input '{name}' is not a plain dense tensor; give it as one.")


def _home(state: NamedTensors, example: object) -> torch.device:
    """Where the model makes its own tensors: on the device of the input, or of the weights."""
    tensors = chain(named_tensors(example), state)
    return next((t.device for _, t in tensors if not t.is_meta), torch.device("cpu"))


def _inputs(recorder: Recorder, example: object) -> tuple[Args, Kwargs]:
    stand_ins: dict[int, Tensor] = {}

    def adopt(tensor: Tensor) -> Tensor:
        if id(tensor) not in stand_ins:
            stand_ins[id(tensor)] = recorder.adopt(tensor)
        return stand_ins[id(tensor)]

    return placed(map_tensors(adopt, example))


def _input_names(count: int, example: object) -> list[str]:
    if isinstance(example, Mapping):
        names = {id(tensor): name for name, tensor in reversed(list(named_tensors(example)))}
        first = dict.fromkeys(names[id(tensor)] for tensor in tensors_in(example))
        return list(first)
    return ["input"] if count == 1 else [f"input{number}" for number in range(count)]


def _failure(recorder: Recorder, model: nn.Module, example: object, error: Exception) -> str:
    trace = recorder.trace
    frame = trace.fault if trace.error is error and trace.fault else trace.frame
    where = f" {frame}" if frame.path else ""
    shapes = ", ".join("x".join(map(str, t.shape)) for t in tensors_in(example))
    if is_ours(error):
        return str(our_fault(error, frame))
    if needs_data(error) and recorder.constants.home.type != "meta":
        at = line_of(error)
        return (
            f"The model cannot be recorded{where}: torch takes no tensor without data "
            f"{f'at {at} ' if at else ''}({summary_of(error)}). Describe the part before it, or "
            f"the part behind it."
        )
    args, kwargs = placed(example)
    if not frame.path and (misfit := find_misfit_of_inputs(model, args, kwargs)):
        return f"The model failed on input {shapes}: {misfit}"
    described = describe_module(model, frame.path)
    at = "" if described else line_of(error)
    return (
        f"The model failed{where} on input {shapes}{f', at {at}' if at else ''}: "
        f"{summary_of(error)}. {described}"
        f"Check the input shape and that the model runs on such an input."
    )
