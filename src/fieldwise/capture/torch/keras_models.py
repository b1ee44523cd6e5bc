"""Models of keras.applications by name, as torch modules and without weights."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from torch import nn

from fieldwise.axes.region import Shape
from fieldwise.capture.torch.zoo import build
from fieldwise.errors import UsageError, did_you_mean

_USUAL = 224
_BACKEND = "KERAS_BACKEND"


def keras_model(
    name: str, arguments: Mapping[str, object] = MappingProxyType({})
) -> tuple[nn.Module, tuple[Shape, ...]]:
    """A model of keras.applications and its usual input shape, whose channels stand last.

    Raises UsageError where keras is not installed, or was imported with another backend, and for a
    name that it does not have, with close ones.
    """
    applications = _import_keras().applications
    known = [one for one in dir(applications) if one[:1].isupper()]
    if name not in known:
        remedy = did_you_mean(name, known, otherwise=f"it has {', '.join(known)}.")
        raise UsageError(f"keras.applications has no model {name!r}; {remedy}")
    make: Any = getattr(applications, name)
    model = build(f"keras:{name}", make, arguments, {"weights": None})
    if not isinstance(model, nn.Module):
        raise UsageError(f"'keras:{name}' is no torch module; install Keras 3.")
    shape: Any = model.input_shape
    sizes = (_USUAL if size is None else size for size in shape[1:])
    return model.eval(), ((1, *sizes),)


def _import_keras() -> Any:
    """keras, whose backend is torch."""
    if "keras" not in sys.modules:
        before = os.environ.get(_BACKEND)
        os.environ[_BACKEND] = "torch"
        try:
            importlib.import_module("keras")
        except ImportError as error:
            if before is None:
                del os.environ[_BACKEND]
            else:
                os.environ[_BACKEND] = before
            raise UsageError("'keras' is not installed; install it with pip install keras.") from (
                error
            )
    keras: Any = sys.modules["keras"]
    backend = keras.config.backend()
    if backend != "torch":
        raise UsageError(
            f"keras was imported with the backend {backend!r}, and its models are torch modules "
            f"with 'torch'; set {_BACKEND}=torch before keras is imported."
        )
    return keras
