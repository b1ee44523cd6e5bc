"""Translations by family: each file registers its operators where it is imported."""

from fieldwise.capture.onnx.translate import (
    attention,
    casts,
    classical,
    contrib,
    control,
    layout,
    normalise,
    pointwise,
    product,
    quantised,
    recurrent,
    reduce,
    refused,
    resample,
    select,
    window,
)

__all__ = [
    "attention",
    "casts",
    "classical",
    "contrib",
    "control",
    "layout",
    "normalise",
    "pointwise",
    "product",
    "quantised",
    "recurrent",
    "reduce",
    "refused",
    "resample",
    "select",
    "window",
]
