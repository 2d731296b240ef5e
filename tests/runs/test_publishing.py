"""A model is published whole or not at all: killed drivers, full disks and closed folders leave the earlier one as it was."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import nwidth as nw
from nwidth.errors import RunError, StoreError
from nwidth.exchange import exchange
from nwidth.runs import run
from nwidth.runs.folder import RunFolder
from tests.runs.studies import add_run, left_in, snapshots_of, study_of

NODES = 60_000
PUBLISHED = {".lock", "ledger.jsonl", "model.zarr", "run.json"}
DRIVER = """
import sys
from pathlib import Path
from nwidth.runs import run
from tests.runs.studies import study_of
print("ready", flush=True)
sys.stdin.readline()
folder, store, address = sys.argv[1:]
run(study_of(Path(folder), Path(store), address or None, reduce={"rank": 30}), force=True)
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that takes a good second to reduce and to publish."""
    url = tmp_path_factory.mktemp("publishing") / "store.zarr"
    add_run(url, "alpha", {"T": snapshots_of(NODES, 30, decades=3)})
    return url


def driver(*arguments: str) -> subprocess.Popen[str]:
    """A process of its own that has imported everything, and runs the study when it is sent a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def start(process: subprocess.Popen[str]) -> None:
    """Let it run."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


@pytest.mark.parametrize("kills", [3, pytest.param(12, marks=pytest.mark.slow)])
def test_a_killed_driver_leaves_the_earlier_model(tmp_path: Path, store: Path, scheduler: str, kills: int) -> None:
    """SIGKILL at random moments: a whole model can be opened after each; what else is left is hidden, and swept later."""
    study = study_of(tmp_path, store, scheduler, reduce={"rank": 30})
    expected = nw.open_model(run(study).model).basis.modes.values
    started = time.perf_counter()
    run(study, force=True)
    whole = time.perf_counter() - started
    killed = 0
    for moment in np.random.default_rng(kills).uniform(0.0, 1.0, kills):
        with driver(str(tmp_path), str(store), scheduler) as process:
            start(process)
            time.sleep(moment * whole)
            process.kill()
        killed += process.returncode == -signal.SIGKILL
        extra = left_in(study.run_folder) - PUBLISHED
        assert all(name.startswith((".attempt-", ".scratch-")) for name in extra), extra
        np.testing.assert_array_equal(nw.open_model(study.run_folder).basis.modes.values, expected)
    assert killed >= kills / 2, "most moments were too late to prove anything"
    assert run(study, force=True).status == "done"
    assert left_in(study.run_folder) == PUBLISHED


@pytest.mark.slow
def test_a_killed_driver_takes_its_local_workers_along(tmp_path: Path, store: Path) -> None:
    """Worker processes that a driver started end by themselves after it was killed."""
    with driver(str(tmp_path), str(store), "") as process:
        start(process)
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob("runs/s/.attempt-*/model.zarr")):  # made for the second pass: the workers are at work
            assert process.poll() is None, "the run ended before it could be killed"
            assert time.monotonic() < deadline, "no worker was started"
            time.sleep(0.01)
        workers = offspring(process.pid)
        process.kill()
    assert workers
    deadline = time.monotonic() + 30
    while alive := [pid for pid in workers if not has_ended(pid)]:
        assert time.monotonic() < deadline, f"processes {alive} outlive their driver"
        time.sleep(0.1)


def offspring(pid: int) -> list[int]:
    """All processes below one, from the kernel's own list."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    if not listed.exists():
        pytest.skip("this kernel does not list the children of a process")
    children = [int(word) for task in Path(f"/proc/{pid}/task").iterdir() for word in (task / "children").read_text().split()]
    return children + [below for child in children if Path(f"/proc/{child}").exists() for below in offspring(child)]


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or only waits for somebody to ask for its exit status."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_models_change_places_in_one_step(tmp_path: Path) -> None:
    """Two folders are exchanged; where one is missing nothing happens, and the answer is False."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    if not exchange(tmp_path / "old", tmp_path / "new"):
        pytest.skip("this system or file system cannot exchange two folders")
    assert [path.name for path in (tmp_path / "old").iterdir()] == ["new"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["old"]
    assert not exchange(tmp_path / "old", tmp_path / "missing")
    assert (tmp_path / "old").is_dir()


def test_publishing_works_where_folders_cannot_be_exchanged(
    tmp_path: Path, store: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a file system without the exchange, two renames do it, and nothing is left over."""
    monkeypatch.setattr("nwidth.runs.folder.exchange", lambda *_: False)
    for rank in (2, 3):
        result = run(study_of(tmp_path, store, scheduler, reduce={"rank": rank}))
        assert nw.open_model(result.model).basis.rank == rank
    assert left_in(result.folder) == PUBLISHED


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB, where this process may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs privileges that are not here")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_leaves_the_earlier_model(small_disk: Path, store: Path, scheduler: str) -> None:
    """When a worker finds no room for the modes, one sentence says so, and the model of the earlier run is whole."""
    small = study_of(small_disk, store, scheduler, reduce={"rank": 2})
    expected = nw.open_model(run(small).model).basis.modes.values
    with pytest.raises(RunError, match=r"no room is left under .*runs/s; set study\.output to another folder"):
        run(study_of(small_disk, store, scheduler, reduce={"rank": 30}))
    np.testing.assert_array_equal(nw.open_model(small.run_folder).basis.modes.values, expected)
    assert left_in(small.run_folder) == PUBLISHED
    failed = json.loads((small.run_folder / "ledger.jsonl").read_text().splitlines()[-1])
    assert failed["event"] == "failed"
    assert run(small).status == "nothing to do"


@pytest.mark.slow
def test_a_limit_on_file_sizes_is_a_full_disk(tmp_path: Path, store: Path) -> None:
    """Where the system forbids large files (RLIMIT_FSIZE), the same sentence is said; needs no privileges."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, before[1]))
    try:
        with pytest.raises(RunError, match="no room is left"):
            run(study_of(tmp_path, store, reduce={"rank": 30}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert left_in(tmp_path / "runs" / "s") == {".lock", "ledger.jsonl"}


def test_results_below_a_file_are_refused(tmp_path: Path, store: Path) -> None:
    """An output folder that is a file is refused with the setting to change."""
    (tmp_path / "runs").write_text("not a folder")
    with pytest.raises(StoreError, match=r"cannot write results to .*; set study\.output to a writable folder"):
        run(study_of(tmp_path, store))


def test_a_closed_folder_is_refused(tmp_path: Path) -> None:
    """A folder without write permission is refused before any work, and the setting to change is named."""
    (tmp_path / "runs").mkdir(mode=0o500)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)  # permissions do not bind the superuser
    try:
        with (
            pytest.raises(StoreError, match=r"cannot write results to .*: Permission denied; set study\.output"),
            RunFolder(tmp_path / "runs" / "s").held(),
        ):
            pytest.fail("nobody can hold a closed folder")
    finally:
        os.seteuid(user)


def test_an_attempt_without_partials_is_removed_whatever_happens(tmp_path: Path) -> None:
    """An exception inside an attempt that has kept nothing removes its folder and frees the lock."""
    folder = RunFolder(tmp_path / "s")

    def fail() -> None:
        with folder.held(), folder.attempt("0123") as attempt:
            (attempt / "model.zarr").mkdir()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert left_in(tmp_path / "s") == {".lock"}
    with folder.held():
        pass
