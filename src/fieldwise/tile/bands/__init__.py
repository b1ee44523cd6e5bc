"""Streaming: a network computed band by band along one axis, nothing twice, borders cached."""

from fieldwise.tile.bands.plan import Kept as Kept
from fieldwise.tile.bands.plan import StreamPlan as StreamPlan
from fieldwise.tile.bands.streamed import StreamedModel as StreamedModel
from fieldwise.tile.errors import StreamError as StreamError
