"""Translation equivariance: proven from the graph, measured, and repaired."""

from fieldwise.shift.certificate import AxisCertificate as AxisCertificate
from fieldwise.shift.certificate import Breaker as Breaker
from fieldwise.shift.certificate import Certificate as Certificate
from fieldwise.shift.certificate import Certificates as Certificates
from fieldwise.shift.certificate import Circular as Circular
from fieldwise.shift.certificate import Interior as Interior
from fieldwise.shift.certificate import Move as Move
from fieldwise.shift.prove import certify as certify
