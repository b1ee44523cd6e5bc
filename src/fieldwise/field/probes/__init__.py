"""Independent checks of the structural answer: by gradients and by NaN.  They need torch."""

from fieldwise.field.probes.gradient import GradientProbe, gradient_field
from fieldwise.field.probes.literal import unit_gradient
from fieldwise.field.probes.nan import NanProbe, NanUnit, NanVerdict, nan_check, nan_field
from fieldwise.field.probes.result import Probe

__all__ = [
    "GradientProbe",
    "NanProbe",
    "NanUnit",
    "NanVerdict",
    "Probe",
    "gradient_field",
    "nan_check",
    "nan_field",
    "unit_gradient",
]
