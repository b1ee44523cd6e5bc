"""What every unit of a convolutional network sees, exactly."""

from fieldwise.errors import FieldwiseError as FieldwiseError

__version__ = "0.1.0"
