"""The small frozen graph on which every analysis stands."""

from fieldwise.graph.graph import Graph as Graph
from fieldwise.graph.graph import to_text as to_text
from fieldwise.graph.ir import WHOLE as WHOLE
from fieldwise.graph.ir import Along as Along
from fieldwise.graph.ir import Call as Call
from fieldwise.graph.ir import Coord as Coord
from fieldwise.graph.ir import Fixed as Fixed
from fieldwise.graph.ir import Node as Node
from fieldwise.graph.ir import Read as Read
from fieldwise.graph.ir import Ref as Ref
from fieldwise.graph.ir import Reshape as Reshape
from fieldwise.graph.ir import Separable as Separable
from fieldwise.graph.ir import Unknown as Unknown
from fieldwise.graph.ir import Value as Value
from fieldwise.graph.ir import Whole as Whole
from fieldwise.graph.verify import verify as verify
