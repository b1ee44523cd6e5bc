"""An input that is gone through in bands, whatever is kept across them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from fieldwise.capture.torch.example import meta_tensor
from fieldwise.capture.torch.model_call import ModelCall
from fieldwise.graph.ir import Shape
from fieldwise.tile.bands.choosing import BAND
from fieldwise.tile.bands.programs import Programs, Streaming
from fieldwise.tile.choices import GlobalOps
from fieldwise.tile.jobs.work import Output

Grains = Callable[[Output], int]
"""The rows that the file of an output takes at a time."""


@dataclass(frozen=True, slots=True)
class BandedInput:
    """A model on one input of this shape and type, and how that is cut into bands.

    axis:   along which bands are cut
    band:   input rows per step; None: see choosing.candidate_bands, and what fits in ``memory``
    memory: bytes for rows and weights; None: as many as there are
    grains: of the files that results go to
    beside: bytes that the source holds
    elsewhere: bytes in which a plan is known to fit that is cut in another way; a refusal does not
        work out how many more this one takes
    multiple: of results, in steps of which strips give them where nobody asks for strips
    """

    model: nn.Module
    shape: Shape
    dtype: torch.dtype
    axis: int = 2
    band: int | None = None
    memory: int | None = None
    grains: Grains = lambda _: 1
    beside: int = 0
    multiple: int = 1
    elsewhere: int | None = None

    @classmethod
    def of(cls, run: Programs, shape: Shape) -> BandedInput:
        """An input of another size for a model that is streamed already, in the same bands."""
        return cls(run.call.model, shape, run.single_input().dtype, run.axis, run.band)

    @property
    def call(self) -> ModelCall:
        """The model with such an input, without data."""
        return ModelCall(self.model, meta_tensor(self.shape, self.dtype))

    def streaming(self, global_ops: GlobalOps) -> Streaming:
        """The model as it is streamed, in bands of BAND rows where none are asked for."""
        return Streaming(self.call, self.axis, self.band or BAND, global_ops)
