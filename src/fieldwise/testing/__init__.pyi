from fieldwise.testing.fields import check_field as check_field
from fieldwise.testing.fields import check_reads as check_reads
from fieldwise.testing.folds import check_fold as check_fold
from fieldwise.testing.kinds import check_kinds as check_kinds
from fieldwise.testing.outcome import Outcome as Outcome
from fieldwise.testing.shifts import check_shift as check_shift
from fieldwise.testing.tiles import check_streamed as check_streamed
from fieldwise.testing.tiles import check_tiled as check_tiled
