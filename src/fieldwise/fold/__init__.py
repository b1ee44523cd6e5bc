"""Affine layers folded into their neighbours: the algebra is here, folding a model is not yet."""

from fieldwise.fold.affine import batchnorm_affine as batchnorm_affine
from fieldwise.fold.affine import fold_affine as fold_affine
from fieldwise.fold.affine import fold_affine_before as fold_affine_before
