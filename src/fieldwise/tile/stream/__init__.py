"""Streaming: a network computed band by band along one axis, nothing twice, borders cached."""

from fieldwise.tile.refusal import Refusal as Refusal
from fieldwise.tile.refusal import StreamError as StreamError
from fieldwise.tile.stream.plan import Kept as Kept
from fieldwise.tile.stream.plan import StreamPlan as StreamPlan
from fieldwise.tile.stream.streamed import StreamedModel as StreamedModel
