"""Kill anything at any moment: the next run reads only what is missing, and delivers the bits of an undisturbed run."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import numpy as np
import pytest

from nwidth.runs.folder import RunFolder
from tests.chaos.processes import Driver, members, reads, wait_until_gone
from tests.chaos.slow import BLOCKS, make_store, run_slowly, small_blocks, study_in
from tests.runs.studies import left_in

PUBLISHED = {".lock", "ledger.jsonl", "model.zarr", "run.json"}
WORKERS = 2
KILLS = 50
ORPHAN_SECONDS = 15


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of the model published in a study's folder, but for the manifest with its dates."""
    model = folder / "runs" / "s" / "model.zarr"
    files = (path for path in model.rglob("*") if path.is_file() and path.name != "manifest.json")
    return {str(path.relative_to(model)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of `BLOCKS` small blocks."""
    return make_store(tmp_path_factory.mktemp("chaos") / "store.zarr")


@pytest.fixture(scope="module")
def undisturbed(store: Path, tmp_path_factory: pytest.TempPathFactory, scheduler: str) -> dict[str, bytes]:
    """The model of a run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MIN_BLOCK_BYTES", "BLOCKS_OF_A_SMALL_FIELD"):  # `small_blocks` is for processes of their own
            patch.setattr(f"nwidth_graphs.budget.{name}", 0)
        small_blocks()
        result = run_slowly(study_in(folder, store, scheduler), folder / "log")
    assert result.plan["fields"]["T"]["blocks"] == BLOCKS
    assert len(reads(folder / "log")) == 2 * BLOCKS
    return contents(folder)


def check_result(folder: Path, log: Path, undisturbed: dict[str, bytes], in_flight: int) -> None:
    """Bits, reads and leftovers of a study that was killed, run again, and done in the end."""
    assert contents(folder) == undisturbed
    # Each block once in each of the two passes, and once more where a kill caught it between its read and its partial.
    assert 2 * BLOCKS <= len(reads(log)) <= 2 * BLOCKS + in_flight
    assert left_in(folder / "runs" / "s") == PUBLISHED
    assert RunFolder(folder / "runs" / "s").record() is not None


def test_a_driver_killed_in_either_pass_resumes(
    tmp_path: Path, store: Path, undisturbed: dict[str, bytes], scheduler: str
) -> None:
    """The driver is killed in the factor pass and in the lifting pass: same bits, and only blocks in flight are read twice."""
    log = tmp_path / "log"
    for moment in (BLOCKS // 2, BLOCKS + BLOCKS // 2):
        driver = Driver.ready(tmp_path, store, log, scheduler)
        driver.begin()
        driver.wait_for_reads(moment)
        assert driver.kill(), "the driver ended before it could be killed"
    driver = Driver.ready(tmp_path, store, log, scheduler)
    driver.begin()
    assert not driver.finish()
    check_result(tmp_path, log, undisturbed, in_flight=2 * WORKERS)
    lines = (tmp_path / "runs" / "s" / "ledger.jsonl").read_text().splitlines()
    told = [line for line in map(json.loads, lines) if line["event"] != "workers"]
    assert [line["event"] for line in told] == ["started", *["started", "resumed"] * 2, "finished"]
    assert told[-2]["blocks"]["gram of T"] == BLOCKS
    measured = RunFolder(tmp_path / "runs" / "s").record()["measured"]  # type: ignore[index]
    factor, _ = measured["passes"]
    assert (factor["blocks_reused"], factor["bytes_read"]) == (BLOCKS, 0)


class Round:
    """One study, disturbed until it is done."""

    def __init__(self, folder: Path, store: Path, rng: np.random.Generator) -> None:
        self.folder, self.store, self.rng = folder, store, rng
        self.log = folder / "log"
        self.kills = self.in_flight = 0
        self.hit: list[str] = []

    def disturb(self, most: int) -> None:
        """Kill and run again, `most` times at most; then let it be done."""
        while self.kills < most:
            driver = Driver.ready(self.folder, self.store, self.log)
            driver.begin()
            self._kill_sometime(driver, most)
            if not driver.alive:
                ended = driver.process.returncode == 0
                driver.close()
                wait_until_gone(driver.process.pid, ORPHAN_SECONDS)
                if ended:
                    return
        driver = Driver.ready(self.folder, self.store, self.log)
        driver.begin()
        errors = driver.finish()
        assert not errors, errors
        wait_until_gone(driver.process.pid, ORPHAN_SECONDS)

    def _kill_sometime(self, driver: Driver, most: int) -> None:
        """Workers, one after the other, until the driver itself is killed, alone or with all that it started."""
        while driver.alive:
            victim = str(self.rng.choice(["worker", "driver", "tree"], p=[0.5, 0.25, 0.25]))
            self._wait(driver)
            if victim == "worker":
                self._count(victim, driver.alive and driver.kill_worker(lambda n: int(self.rng.integers(n))), 1)
                if self.kills >= most:
                    driver.finish()
            else:
                self._count(victim, driver.kill() if victim == "driver" else driver.kill_tree(), WORKERS)

    def _wait(self, driver: Driver) -> None:
        """Until some more blocks were read, or for some time: while workers start, in a pass, at its end, while publishing."""
        if self.rng.random() < 0.6:
            driver.wait_for_reads(len(reads(self.log)) + int(self.rng.integers(1, 12)))
            time.sleep(self.rng.uniform(0, 0.05))
        else:
            until = time.monotonic() + self.rng.uniform(0, 4)
            driver.wait_while(lambda: time.monotonic() < until)

    def _count(self, victim: str, killed: bool, in_flight: int) -> None:
        if killed:
            self.kills += 1
            self.in_flight += in_flight
            self.hit.append(victim)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [0])
def test_fifty_kills_cost_time_only(tmp_path: Path, store: Path, undisturbed: dict[str, bytes], seed: int) -> None:
    """Workers, drivers and process trees are killed at random moments; every study ends with the bits of an undisturbed one.

    The scheduler of local workers lives in the driver, and dies with it. Nobody outlives his driver by more than some seconds.
    """
    rng, kills, victims, rounds = np.random.default_rng(seed), 0, set[str](), count()
    while kills < KILLS:
        folder = tmp_path / str(next(rounds))  # a study may be done before its first kill
        folder.mkdir()
        study = Round(folder, store, rng)
        study.disturb(most=int(rng.integers(3, 9)))
        check_result(folder, study.log, undisturbed, study.in_flight)
        kills += study.kills
        victims |= set(study.hit)
    assert victims == {"worker", "driver", "tree"}


@contextmanager
def own_cluster(scratch: Path) -> Iterator[tuple[str, subprocess.Popen[bytes], list[subprocess.Popen[bytes]]]]:
    """A scheduler and two workers in processes of their own, as somebody starts them by hand."""
    file = scratch / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)]
    scheduler = subprocess.Popen([*command, *options], **quiet)  # type: ignore[call-overload]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(file), "--nthreads", "1"]
    worker += ["--host", "127.0.0.1", "--no-dashboard", "--death-timeout", "5", "--memory-limit", "2GiB"]
    workers = [
        subprocess.Popen([*worker, "--local-directory", str(scratch)], start_new_session=True, **quiet)  # type: ignore[call-overload]
        for _ in range(WORKERS)
    ]
    try:
        while not file.exists() or not file.read_text():
            time.sleep(0.05)
        yield json.loads(file.read_text())["address"], scheduler, workers
    finally:
        for process in (scheduler, *workers):
            process.kill()
            process.wait()
        for process in workers:
            wait_until_gone(process.pid, ORPHAN_SECONDS)


@pytest.mark.slow
def test_a_scheduler_that_is_killed_costs_time_only(tmp_path: Path, store: Path, undisturbed: dict[str, bytes]) -> None:
    """A scheduler of its own is killed in each pass: the run ends with a sentence, and goes on with the next scheduler."""
    log = tmp_path / "log"
    for number, moment in enumerate((8, BLOCKS + 8)):
        scratch = tmp_path / str(number)
        scratch.mkdir()
        with own_cluster(scratch) as (address, scheduler, _):
            driver = Driver.ready(tmp_path, store, log, address)
            driver.begin()
            driver.wait_for_reads(moment)
            scheduler.kill()
            errors = driver.finish()
        assert "went away before it was done; start it again, then run again" in errors
        assert not members(driver.process.pid)
    (tmp_path / "last").mkdir()
    with own_cluster(tmp_path / "last") as (address, _, _):
        driver = Driver.ready(tmp_path, store, log, address)
        driver.begin()
        assert not driver.finish()
    check_result(tmp_path, log, undisturbed, in_flight=2 * WORKERS)
