"""Jobs that survive: results on disk piece by piece, resumed with the same bytes."""

from fieldwise.tile.jobs.job import Job as Job
from fieldwise.tile.jobs.job import plan_job as plan_job
from fieldwise.tile.jobs.journal import Journal as Journal
from fieldwise.tile.jobs.journal import begun_cut as begun_cut
from fieldwise.tile.jobs.journal import journal_path as journal_path
from fieldwise.tile.jobs.many import FileOutcome as FileOutcome
from fieldwise.tile.jobs.many import ManyReport as ManyReport
from fieldwise.tile.jobs.many import files_named as files_named
from fieldwise.tile.jobs.models import JobModel as JobModel
from fieldwise.tile.jobs.models import job_model as job_model
from fieldwise.tile.jobs.reading import check_channels as check_channels
from fieldwise.tile.jobs.reading import has_usual_shape as has_usual_shape
from fieldwise.tile.jobs.reading import taken_reading as taken_reading
from fieldwise.tile.jobs.report import JobFile as JobFile
from fieldwise.tile.jobs.report import JobReport as JobReport
from fieldwise.tile.jobs.request import Request as Request
from fieldwise.tile.jobs.trust import Checked as Checked
from fieldwise.tile.jobs.trust import check_result as check_result
from fieldwise.tile.jobs.work import JobPiece as JobPiece
from fieldwise.tile.jobs.work import JobPlan as JobPlan
from fieldwise.tile.jobs.work import Output as Output
