"""Op rules by family; importing this package fills the registry."""

from fieldwise.capture.torch.rules import attention as attention
from fieldwise.capture.torch.rules import counting as counting
from fieldwise.capture.torch.rules import indexing as indexing
from fieldwise.capture.torch.rules import joins as joins
from fieldwise.capture.torch.rules import layout as layout
from fieldwise.capture.torch.rules import losses as losses
from fieldwise.capture.torch.rules import mask as mask
from fieldwise.capture.torch.rules import normalise as normalise
from fieldwise.capture.torch.rules import pad as pad
from fieldwise.capture.torch.rules import pointwise as pointwise
from fieldwise.capture.torch.rules import pool as pool
from fieldwise.capture.torch.rules import product as product
from fieldwise.capture.torch.rules import quantise as quantise
from fieldwise.capture.torch.rules import recurrent as recurrent
from fieldwise.capture.torch.rules import reduce as reduce
from fieldwise.capture.torch.rules import regroup as regroup
from fieldwise.capture.torch.rules import resample as resample
from fieldwise.capture.torch.rules import sampling as sampling
from fieldwise.capture.torch.rules import scatter as scatter
from fieldwise.capture.torch.rules import solve as solve
from fieldwise.capture.torch.rules import spectral as spectral
from fieldwise.capture.torch.rules import window as window
