"""How a run went: a piece of the log for each attempt at a job, gathered into one file of JSON lines.

The only room that every other may write to: without a recorder, which the workflow's rules ask for,
all of it does nothing. Stands outside the equations of ``docs/algorithm.md``: no number of a result
depends on it.
"""

from mixedflow.recording.events import SCHEMA, Attempt, Phase, Worker
from mixedflow.recording.gathering import LOG, RunLog, gather, keep_log, read_log
from mixedflow.recording.recorder import (
    Recorder,
    begin,
    current,
    end,
    note,
    note_reason,
    note_workers,
    phase,
)
from mixedflow.recording.runs import job_variables, name_run
from mixedflow.recording.sizes import note_read, note_written
from mixedflow.recording.summary import Bar, JobSummary, bars, summaries
from mixedflow.recording.table import UNKNOWN, job_of, log_text, peak_of, seconds_text, size_text

__all__ = [
    "Attempt",
    "Bar",
    "JobSummary",
    "LOG",
    "Phase",
    "Recorder",
    "RunLog",
    "SCHEMA",
    "UNKNOWN",
    "Worker",
    "bars",
    "begin",
    "current",
    "end",
    "gather",
    "job_of",
    "job_variables",
    "keep_log",
    "log_text",
    "name_run",
    "note",
    "note_read",
    "note_reason",
    "note_workers",
    "note_written",
    "peak_of",
    "phase",
    "read_log",
    "seconds_text",
    "size_text",
    "summaries",
]
