"""The section of the page about how the run went: all that is known, nothing that is not."""

from __future__ import annotations

import dataclasses
import json

import pytest
import vl_convert
from page_reader import Page

from mixedflow.recording import Attempt, Phase, RunLog, Worker
from mixedflow.recording.summary import MOST_JOBS, bars, summaries
from mixedflow.report import ReportInput, render_report
from mixedflow.report.running import running_view

HOSTILE = "<img src=x onerror=alert(1)>"
BARE = Attempt(id="1", stage="fit", target="m", began=100.0)
FULL = Attempt(
    id="2",
    stage="condense",
    target="d.ab",
    began=90.0,
    run="r1",
    number=2,
    outcome="done",
    host="node1",
    seconds=4.0,
    cpu_seconds=6.5,
    queue_seconds=75.0,
    peak_bytes=10**8,
    rows=12345,
    bytes_read=2 * 10**6,
    phases=(Phase("start", 1.0), Phase("condense", 3.0)),
    workers=(Worker("tcp://10.0.0.2:1", "node2", 3 * 10**8),),
    lost_workers=1,
    tasks_again=4,
)
FAILED = dataclasses.replace(
    FULL,
    id="0",
    number=1,
    began=80.0,
    outcome="failed",
    reason=f"no column '{HOSTILE}'",
    workers=(),
    lost_workers=None,
    tasks_again=None,
)


def page_of(*attempts: Attempt, unread: int = 0) -> str:
    return render_report(ReportInput(models=(), log=RunLog(attempts, unread=unread)))


def test_every_job_has_a_row():
    text = " ".join(Page(page_of(FAILED, FULL)).text).split()
    words = " ".join(text)
    assert "How it ran" in words
    assert "condense d.ab done 2 4.00 s 6.50 s 300 MB 12,345 2 MB 75 s node1" in words
    assert "condense d.ab 1 failed 4.00 s no column" in words
    assert "start 1.00 s, condense 3.00 s" in words
    assert "tcp://10.0.0.2:1 node2 300 MB" in words
    assert "1 workers were lost and 4 tasks ran again for it." in words


def test_what_is_not_known_is_a_dash_or_has_no_column():
    assert "–" in [cell.text for cell in running_view(RunLog((BARE, FULL))).tables[0].rows[0]]
    view = running_view(RunLog((BARE,)))
    assert [table.caption for table in view.tables] == ["Jobs", "Attempts that did not end well"]
    assert [cell.text for cell in view.tables[0].rows[0]] == ["fit m", "no end", "1"]
    assert view.figures == ()
    assert "no end" in page_of(BARE)


@pytest.mark.parametrize("field", ["stage", "target", "reason", "host"])
def test_names_are_escaped(field):
    attempt = dataclasses.replace(FAILED, **{field: HOSTILE}, seconds=1.0)
    html = page_of(attempt)
    assert HOSTILE not in html
    assert not Page(html).having("img")


def test_nothing_recorded_makes_no_section():
    assert running_view(None) is None
    assert running_view(RunLog()) is None
    assert 'id="running"' not in render_report(ReportInput(models=()))


def test_lines_that_could_not_be_read_are_told():
    assert "3 lines of the log could not be read" in page_of(FULL, unread=3)


def test_many_jobs_of_a_stage_are_one_row():
    jobs = [
        dataclasses.replace(FULL, id=str(i), target=f"s.{i}", number=1, began=float(i), workers=())
        for i in range(MOST_JOBS + 1)
    ]
    jobs[3] = dataclasses.replace(jobs[3], outcome="failed", peak_bytes=9 * 10**9)
    (row,) = summaries(RunLog(tuple(jobs)))
    assert (row.job, row.attempts, row.outcome, row.well) == (
        f"condense ({MOST_JOBS + 1} jobs)", MOST_JOBS + 1, f"{MOST_JOBS} done, 1 failed", False,
    )  # fmt: skip
    assert (row.rows, row.peak_bytes) == (12345 * (MOST_JOBS + 1), 9 * 10**9)
    assert {bar.job for bar in bars(RunLog(tuple(jobs)))} == {"condense"}


def test_the_line_of_time_shows_the_last_run_and_can_be_drawn():
    before = dataclasses.replace(FULL, id="a", run="r0", target="other", began=1.0)
    view = running_view(RunLog((before, FAILED, FULL)))
    (figure,) = view.figures
    values = next(iter(figure.spec["datasets"].values()))
    assert [(one["begin"], one["end"], one["ended"]) for one in values] == [
        (0, 4, "failed"), (10, 14, "well"),
    ]  # fmt: skip
    assert "<svg" in vl_convert.vegalite_to_svg(json.dumps(figure.spec))
