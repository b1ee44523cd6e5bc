from fieldwise.folding.affine import batchnorm_affine as batchnorm_affine
from fieldwise.folding.affine import fold_affine as fold_affine
from fieldwise.folding.affine import fold_affine_before as fold_affine_before
from fieldwise.folding.api import fold as fold
from fieldwise.folding.report import Folded as Folded
from fieldwise.folding.report import FoldReport as FoldReport
from fieldwise.folding.report import Item as Item
from fieldwise.folding.report import Verification as Verification
