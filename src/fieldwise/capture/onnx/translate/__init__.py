"""Translations by family: each file registers its operators where it is imported."""

from fieldwise.capture.onnx.translate import (
    contrib,
    control,
    layout,
    normalise,
    pointwise,
    product,
    quantised,
    recurrent,
    reduce,
    resample,
    select,
    window,
)

__all__ = [
    "contrib",
    "control",
    "layout",
    "normalise",
    "pointwise",
    "product",
    "quantised",
    "recurrent",
    "reduce",
    "resample",
    "select",
    "window",
]
