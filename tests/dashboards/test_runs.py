"""Ledgers and states: what a folder tells of its runs, while they write, and whatever else lies there."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from nwidth.dashboards.alive import FRESH_SECONDS, at_work, lock_is_held
from nwidth.dashboards.ledger import read_ledger
from nwidth.dashboards.runs import find_runs, run_state
from nwidth.runs.folder import RunFolder
from tests.dashboards.folders import begin, event, finished, held, note
from tests.report.samples import line


def later() -> datetime:
    """A time at which nothing that was written until now is fresh any more."""
    return datetime.now(UTC) + timedelta(seconds=2 * FRESH_SECONDS)


def test_events_come_in_order_and_damage_is_counted(tmp_path: Path) -> None:
    """Lines that are no events are passed over and counted; what stands around them is read."""
    damaged = ['{"event": "half', '["a list"]', '{"time": "x"}', "\\x00\\xff", '{"event": ' + "[" * 5000]
    note(tmp_path, event("started", key="k"), *damaged, "", event("failed", error="no room"))
    (tmp_path / "ledger.jsonl").write_bytes((tmp_path / "ledger.jsonl").read_bytes() + b"\xff\xfe\n")
    found = read_ledger(tmp_path / "ledger.jsonl")
    assert [entry.name for entry in found.events] == ["started", "failed"]
    assert found.damaged == len(damaged) + 1
    assert found.events[0].time == datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_line_that_is_being_written_is_no_damage(tmp_path: Path) -> None:
    """The last line, without its end, is waited for; a whole one without its end is an event."""
    (tmp_path / "ledger.jsonl").write_text(json.dumps(event("started")) + "\n" + '{"time": "2026-03-01T12:0')
    assert [len(read_ledger(tmp_path / "ledger.jsonl").events), read_ledger(tmp_path / "ledger.jsonl").damaged] == [1, 0]
    (tmp_path / "ledger.jsonl").write_text(json.dumps(event("started")))
    assert len(read_ledger(tmp_path / "ledger.jsonl").events) == 1


def test_only_the_end_of_a_long_ledger_is_read(tmp_path: Path) -> None:
    """Of a ledger longer than the limit, whole last events; and it is said that there are more."""
    note(tmp_path, *(event("nothing to do", number=number) for number in range(400)))
    found = read_ledger(tmp_path / "ledger.jsonl", most_bytes=4096)
    numbers = [entry.details["number"] for entry in found.events]
    assert found.truncated
    assert found.damaged == 0
    assert numbers == list(range(numbers[0], 400))
    assert read_ledger(tmp_path / "none.jsonl").events == ()


def test_a_lock_is_seen_and_not_touched(tmp_path: Path) -> None:
    """A held lock is found in the kernel's list; looking for it takes none: a run begins while the folder is looked at."""
    assert not lock_is_held(tmp_path / ".lock")
    with held(tmp_path):
        assert lock_is_held(tmp_path / ".lock")
    assert not lock_is_held(tmp_path / ".lock")
    with RunFolder(tmp_path).held():
        assert at_work(tmp_path, later().timestamp())


def test_every_state_by_its_folder(tmp_path: Path) -> None:
    """Running, failed, finished, cut off, planning and new folders are told apart, and running ones come first."""
    finished(tmp_path / "done", line())
    note(tmp_path / "bad", event("started"), event("failed", "2026-03-01T12:00:09Z", error="RunError: no room is left"))
    begin(tmp_path / "cut", 3)
    begin(tmp_path / "live", 5)
    (tmp_path / "planning").mkdir()
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / ".lock").touch()
    (tmp_path / "unrelated").mkdir()
    with held(tmp_path / "live"), held(tmp_path / "planning"):
        found = {run.folder.name: run for run in find_runs(tmp_path, later())}
        first = find_runs(tmp_path, later())[0].state
    states = {name: run.state for name, run in found.items()}
    assert states == {
        "done": "finished", "bad": "failed", "cut": "stopped", "live": "running", "planning": "running", "new": "empty",
    }  # fmt: skip
    assert first == "running"
    assert found["bad"].words == "RunError: no room is left"
    assert (found["bad"].seconds, found["done"].seconds) == (9.0, 2.6)
    assert found["planning"].words == "planning"
    assert [(p.name, p.done, p.total) for p in found["live"].passes] == [("gram-T", 5, 8)]
    assert found["done"].model_key
    assert found["done"].title == "sample (done)"


def test_a_run_of_another_host_is_alive_while_it_writes(tmp_path: Path) -> None:
    """Without a lock on this host, fresh files of the attempt say that somebody is at work; old ones do not."""
    folder = begin(tmp_path / "far", 2)
    assert run_state(folder, datetime.now(UTC)).state == "running"
    for path in (folder / ".attempt-k").rglob("*"):
        os.utime(path, (0, 0))
    os.utime(folder / ".attempt-k", (0, 0))
    assert run_state(folder, datetime.now(UTC)).state == "stopped"


@pytest.mark.parametrize("content", ["", "no json", "[1]", '{"study": 3, "plan": {"fields": 7}, "configuration": "x"}'])
def test_a_record_that_cannot_be_read_hides_no_run(tmp_path: Path, content: str) -> None:
    """Whatever stands in run.json, the run is listed with the state of its ledger."""
    begin(tmp_path / "r", 1)
    (tmp_path / "r" / "run.json").write_text(content)
    with held(tmp_path / "r"):
        assert [run.state for run in find_runs(tmp_path)] == ["running"]


def test_no_folder_holds_no_run(tmp_path: Path) -> None:
    """A folder that is empty, or vanished, has no runs; a folder `runs` inside is looked into."""
    assert find_runs(tmp_path) == ()
    assert find_runs(tmp_path / "gone") == ()
    note(tmp_path / "runs" / "s", event("started"))
    assert [run.folder for run in find_runs(tmp_path)] == [tmp_path / "runs" / "s"]
    assert [run.folder for run in find_runs(tmp_path / "runs" / "s")] == [tmp_path / "runs" / "s"]
