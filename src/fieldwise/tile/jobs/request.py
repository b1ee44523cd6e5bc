"""What a user asks of a job, and the input as the engines read it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from fieldwise.graph.ir import Shape
from fieldwise.tile.arrays import numpy_dtype
from fieldwise.tile.choices import Cache, Compression, EngineName, GlobalOps, Runtime
from fieldwise.tile.crops.batches import BatchSize
from fieldwise.tile.files import (
    AxisLayout,
    BlockRows,
    ModelView,
    Scaled,
    Source,
    open_source,
    side_multiple,
)
from fieldwise.tile.jobs.cuts import Cut
from fieldwise.tile.jobs.models import JobModel

FIRST_SPATIAL = 2
"""The model's first dimension behind batch and channels."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a user asks for.

    source: what is read; layout: how its axes stand for the model's dimensions
    engine: 'stream', or 'halo' for crops; None: crops only where they cost least
    out:    where the result goes (several: names with the outputs' names in them)
    along:  the model's dimension that bands follow ('stream'); None: the best is chosen
    band:   input rows per step ('stream'); tile: input samples from tile to tile ('halo')
    batch:  crops per call ('halo'; see ``tiled``)
    strip:  input samples from strip to strip along the longest other axis ('stream'); None: one
            strip, unless memory is too little for that
    cache:  what is kept instead of computed twice (see work.JobPlan); None: rows, or what costs
            least where memory is too little for bands as wide as the input
    piece:  input rows per piece, at least ('stream'); by default what is read twice is little
    memory: bytes for rows and weights
    scale:  the input is multiplied by it once it has the model's type
    mask:   nonzero where results are wanted, with the spatial axes of the input; nodata: the value
            of input samples where they are not; fill: what stands there in the results
    compression, chunks: of the result's file, and the longest side of its blocks (see NewFile.of)
    pyramid: whether a result in OME-Zarr has smaller levels too
    mean, std: what is subtracted from each channel then, and what it is divided by; empty: nothing
    runtime, providers: what runs the crops of an ONNX file ('halo'; see ``tiled``)
    global_ops: whether layers that need the whole axis may have passes of their own ('stream')
    asked:  the request itself, where this is it as a job was begun (see ``as_begun``)
    """

    model: JobModel
    source: Source
    layout: AxisLayout
    out: Path
    engine: EngineName | None = None
    along: int | None = None
    band: int | None = None
    tile: int | Sequence[int] | None = None
    batch: BatchSize = "auto"
    strip: int | None = None
    cache: Cache | None = None
    piece: int | None = None
    memory: int | None = None
    scale: float = 1.0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    global_ops: GlobalOps = "refuse"
    runtime: Runtime = "torch"
    providers: tuple[str, ...] = ()
    pyramid: bool = False
    mask: Source | None = None
    nodata: float | None = None
    fill: float = 0.0
    compression: Compression | None = None
    chunks: int | None = None
    asked: Request | None = None

    def __reduce__(self) -> tuple[object, ...]:
        """Another process may work in another folder, so paths are absolute."""
        asked = {one.name: getattr(self, one.name) for one in fields(self)}
        if self.mask is not None:
            asked["mask"] = open_source(Path(os.path.abspath(self.mask.path)))
        source, out = (Path(os.path.abspath(path)) for path in (self.source.path, self.out))
        return _request_again, (source, {**asked, "source": None, "out": out})

    @property
    def shape(self) -> Shape:
        """Of what the model takes at a time."""
        return self.layout.call_shape(self.source.shape)

    @property
    def samples(self) -> int:
        """How many times or planes it takes, one by one; 1 where it takes all that there is."""
        layout = self.layout
        return layout.model_shape(self.source.shape)[0] if layout.one_by_one else 1

    @property
    def bytes_beside(self) -> int:
        """What is kept of the chunks that the input lies in."""
        return self.by_blocks().nbytes // self.samples

    @property
    def multiple(self) -> int:
        """Positions of which the sides of blocks are multiples in the files of the results."""
        return side_multiple(self.out)

    def keeping(self, cache: Cache) -> Request:
        """The same with nothing but the cache laid down."""
        return replace(self, cache=cache, engine="halo" if cache == "none" else "stream")

    def as_begun(self, cut: Cut | None) -> Request:
        """The same, cut as a job that was begun wherever nothing else is asked for.

        cut: None where it is not known
        """
        if cut is None or self.engine not in (None, cut.engine):
            return self
        if self.cache not in (None, cut.cache):
            return self
        usual = {one.name: one.default for one in fields(self)}
        begun = {name: getattr(cut, name) for name in cut.plain()}
        free = {name: one for name, one in begun.items() if getattr(self, name) == usual[name]}
        return replace(self, **free, asked=self)

    def without_cuts(self) -> Request:
        """The same as it is cut by default."""
        return replace(self, band=None, strip=None, tile=None, piece=None)

    @property
    def is_masked(self) -> bool:
        """Whether only a part of the results is wanted."""
        return self.mask is not None or self.nodata is not None

    @property
    def is_free(self) -> bool:
        """Whether nobody has said how it is cut across its bands."""
        return self.cache is None and self.strip is None and self.global_ops == "refuse"

    @property
    def may_be_crops(self) -> bool:
        """Whether nobody has said that it is a stream, or how one is cut."""
        return self.engine is None and self.band is None and self.piece is None

    def by_blocks(self) -> BlockRows:
        """The input, of which rows are read with those that lie in the same chunks."""
        along = FIRST_SPATIAL if self.along is None else self.along
        return BlockRows(self.source, self.layout.dims.index(along))

    def view(self) -> Scaled:
        """The input as the model takes it."""
        source = self.by_blocks() if self.engine != "halo" else self.source
        view = ModelView(source, self.layout)
        return Scaled(view, numpy_dtype(self.model.dtype), self.scale, self.mean, self.std)


def _request_again(source: Path, asked: dict[str, Any]) -> Request:
    return Request(**{**asked, "source": open_source(source)})
