from fieldwise.effective.api import effective_field as effective_field
from fieldwise.effective.field import EffectiveField as EffectiveField
from fieldwise.effective.mean import MapMean as MapMean
from fieldwise.effective.measures import Square as Square
from fieldwise.effective.protocols import PROTOCOLS as PROTOCOLS
from fieldwise.effective.protocols import Protocol as Protocol
