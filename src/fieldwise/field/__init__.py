"""Receptive fields: closed forms, exact regions by pulling, and gradients to check them."""

from fieldwise.field.analysis import FieldReport as FieldReport
from fieldwise.field.analysis import ValueField as ValueField
from fieldwise.field.analysis import receptive_fields as receptive_fields
from fieldwise.field.report import AxisField as AxisField
from fieldwise.field.report import Row as Row
from fieldwise.field.unit import UnitField as UnitField
from fieldwise.field.unproductive import Unproductive as Unproductive
from fieldwise.field.unproductive import unproductive as unproductive
