"""What is given in place of a model or of its inputs, and what to say where it is no such thing."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from torch import nn

from fieldwise.errors import UsageError, said_by
from fieldwise.graph.ir import Args, Kwargs

NO_EXAMPLE = "A torch module is analysed on an example input; pass one, or its shape."
_LONGEST = 120


def check_model(model: object) -> None:
    """Raise UsageError, with the remedy, where a model is no torch module.

    >>> check_model(nn.ReLU)
    Traceback (most recent call last):
    ...
    fieldwise.errors.UsageError: A model is a torch.nn.Module, and this is the class 'ReLU'; make \
one of it: ReLU(...).
    """
    if not isinstance(model, nn.Module):
        raise UsageError(f"A model is a torch.nn.Module, and this is {_kind_of(model)}.")


def _kind_of(model: object) -> str:
    kind = type(model).__name__
    if isinstance(model, type):
        return f"the class {model.__name__!r}; make one of it: {model.__name__}(...)"
    if isinstance(model, str):
        return f"the text {model!r}; fieldwise.capture.load_model makes the model that it names"
    if isinstance(model, Mapping):
        return f"a {kind!r} of weights; build the model and load them with load_state_dict"
    if inspect.isfunction(model):
        made = f"give what it makes, {model.__name__}(...)"
        return f"the function {model.__name__!r}; {made}, or put what it computes into a forward"
    if callable(getattr(model, "module", None)):
        return f"a {kind!r}; give what its module() returns"
    return f"a {kind!r}; put what it computes into the forward of one"


def find_misfit_of_inputs(model: nn.Module, args: Args, kwargs: Kwargs) -> str | None:
    """What to say where forward does not take so many inputs, or inputs of these names; or None."""
    try:
        signature = inspect.signature(model.forward)
    except (TypeError, ValueError):
        return None
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        kinds = {one.kind for one in signature.parameters.values()}
        names = ", ".join(signature.parameters)
        how = "by name" if inspect.Parameter.KEYWORD_ONLY in kinds else "in this order or by name"
        return (
            f"its forward({names}) does not take these inputs ({said_by(error)}); give what it "
            f"takes, {how}."
        )
    return None


def describe_module(model: nn.Module, path: str) -> str:
    """A sentence on what the layer at a path is; '' where it is no single layer, or long.

    >>> describe_module(nn.Sequential(nn.Conv1d(1, 4, 3)), "0")
    'That module is Conv1d(1, 4, kernel_size=(3,), stride=(1,)). '
    """
    module = dict(model.named_modules()).get(path)  # scripted ones have no get_submodule
    if module is None:
        return ""
    written = repr(module)
    plain = not any(True for _ in module.children()) and "\n" not in written
    return f"That module is {written}. " if path and plain and len(written) <= _LONGEST else ""
