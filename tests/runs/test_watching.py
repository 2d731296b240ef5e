"""A watch runs a study when its store has changed, tells every event once, and stops when it is told to."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import nwidth as nw
from nwidth.cli import main
from nwidth.runs.watching import Event, watch
from tests.runs.ledgers import events
from tests.runs.studies import add_run, left_in, snapshots_of, study_of
from tests.runs.watcher import watching

SNAPSHOTS = snapshots_of(500, 16)


class StoppedError(Exception):
    """Ends a watch from its `wait`."""


def write_study(folder: Path, scheduler: str, update: str = "full") -> Path:
    """A study file whose store need not exist yet."""
    file = folder / "study.toml"
    file.write_text(
        f'[study]\nname = "s"\nstore = "store.zarr"\n[reduce]\nrtol = 1e-3\nupdate = "{update}"\n'
        f'[workers]\naddress = "{scheduler}"\n[report]\nenabled = false\n'
    )
    return file


def test_a_watch_follows_a_store_that_grows(tmp_path: Path, scheduler: str) -> None:
    """In a process of its own: it waits for the store, runs, updates with what is added, and ends with 0 on SIGTERM."""
    study = write_study(tmp_path, scheduler, update="fast")
    with watching(study, "--every", "0.2s") as watcher:
        assert watcher.event()["event"] == "waiting"
        add_run(tmp_path / "store.zarr", "a", {"T": SNAPSHOTS[:8]})
        first = watcher.event()
        # A look may fall between the store's making and its first run: that is refused, and looked at again.
        first = watcher.event() if first["event"] in ("failed", "waiting") else first
        assert (first["event"], first["snapshots"]) == ("done", 8)
        add_run(tmp_path / "store.zarr", "b", {"T": SNAPSHOTS[8:]})
        second = watcher.event()
        assert (second["event"], second["snapshots"]) == ("done", 16)
        assert "the last model is updated (fast)" in second["words"]
        assert watcher.stop(signal.SIGTERM) == 0
        assert watcher.event()["event"] == "stopped"
    assert nw.open_model(tmp_path / "runs" / "s").basis.coefficients.shape[1] == 16
    ledger = events(tmp_path / "runs" / "s")
    assert ledger[-1] == "watch stopped"
    assert not [name for name in left_in(tmp_path / "runs" / "s") if name.startswith((".attempt", ".scratch"))]


def test_once_says_by_its_status_whether_there_was_work(
    tmp_path: Path, scheduler: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """``--once``: 1 without a store, 0 where it ran, 3 where there is nothing to do; a time that is none is refused."""
    study = str(write_study(tmp_path, scheduler))
    assert main(["watch", study, "--once"]) == 1
    assert "waiting" in capsys.readouterr().out
    add_run(tmp_path / "store.zarr", "a", {"T": SNAPSHOTS[:8]})
    assert main(["watch", study, "--once"]) == 0
    assert "done (version" in capsys.readouterr().out
    assert main(["watch", study, "--once"]) == 3
    assert main(["watch", study, "--every", "soon"]) == 1
    assert "write for example 30s" in capsys.readouterr().err


def test_the_same_trouble_is_told_once(tmp_path: Path, scheduler: str) -> None:
    """A run that is refused is one event however often the store is looked at, and a new version gets its chance."""
    add_run(tmp_path / "store.zarr", "a", {"T": 0.0 * SNAPSHOTS[:4]})
    study = study_of(tmp_path, tmp_path / "store.zarr", scheduler, reduce={"rtol": 1e-3})
    events: list[Event] = []
    looks = 0

    def wait(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            add_run(tmp_path / "store.zarr", "b", {"T": SNAPSHOTS[:4]})
        if looks == 5:
            raise StoppedError

    with pytest.raises(StoppedError):
        watch(study, on_event=events.append, wait=wait)
    assert [event.name for event in events] == ["failed", "done"]
    assert "every snapshot of field 'T' is zero" in events[0].words
