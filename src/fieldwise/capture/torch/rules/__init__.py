"""Op rules by family; importing this package fills the registry."""

from fieldwise.capture.torch.rules import layout as layout
from fieldwise.capture.torch.rules import linear as linear
from fieldwise.capture.torch.rules import pad as pad
from fieldwise.capture.torch.rules import pointwise as pointwise
from fieldwise.capture.torch.rules import reduce as reduce
from fieldwise.capture.torch.rules import window as window
