"""Solvers, disks and drivers that fail: every failure is one point's, is told in words, and costs what it must and no more."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped, unused-ignore]
import pytest

from nwidth.errors import ConfigError, RunError
from nwidth.runs.producing import produce
from tests.clusters import real_cluster
from tests.fullorder.cases import failures, ledger, stored_runs, study_of, told, write_case

STUDY = """
[study]
name = "case"
store = "case.zarr"

[full_order]
solver = "command"
deck = "input.json"
files = ["solve.py"]
design = "design.csv"
folder = '{folder}'
executable = '{executable}'
slots = 2
options = {{ command = "python -I -S solve.py", output = "result.npz", reader = "numpy" }}
"""
DEADLINE_SECONDS = 60.0


def start(tmp_path: Path, rows: str, folder: str = "production") -> list[str]:
    """Write a case and its study file; the command that produces it in a process of its own."""
    write_case(tmp_path, rows)
    (tmp_path / "study.toml").write_text(STUDY.format(folder=folder, executable=sys.executable), "utf-8")
    return [str(Path(sys.executable).with_name("nwidth")), "produce", str(tmp_path / "study.toml")]


def until(happens: Path) -> str:
    """Wait for a file that has a line, and give it."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if happens.exists() and (text := happens.read_text("utf-8")).endswith("\n"):
            return text
        time.sleep(0.02)
    raise AssertionError(f"{happens} did not come")


def assert_gone(pids: list[int]) -> None:
    """All processes end; one that nobody has waited for counts as ended."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    left = set(pids)
    while left and time.monotonic() < deadline:
        left = {pid for pid in left if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE}
        time.sleep(0.02)
    assert not left


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("crash", "ended with status 3.*the stiffness is singular"),
        ("licence", "ended with status 1.*no licence is free"),
        ("segfault", "was killed by SIGSEGV"),
        ("mute", "did not print 'done'"),
        ("garbage", "wrote what cannot be read: .*result.npz"),
        ("truncated", "wrote what cannot be read: .*result.npz"),
        ("empty", "wrote what cannot be read: .*result.npz"),
        ("nan", "the store refuses its results: .*temperature is nan at node 7 of snapshot 1"),
    ],
)
def test_a_failed_point_is_told_and_the_others_go_on(tmp_path: Path, how: str, words: str) -> None:
    """Whatever a solver does to itself or its output, its point fails in words, its neighbours are stored in their order."""
    study = write_case(tmp_path, f"0,1.0,well\n1,2.0,{how}\n2,3.0,well\n")
    report = produce(study)
    assert list(report.failed) == ["point-0001"]
    assert re.search(words, report.failed["point-0001"]), report.failed["point-0001"]
    assert stored_runs(study) == ["point-0000", "point-0002"]
    attempt = tmp_path / "production/points/point-0001/attempt-1"
    assert (attempt / "stdout.txt").read_text("utf-8").startswith("solving for 2.0")


def test_a_hanging_solver_is_killed_with_its_children(tmp_path: Path) -> None:
    """After the timeout nothing of the solver's process group is left, and its point failed."""
    study = write_case(tmp_path, "0,1.0,hang\n1,2.0,well\n", timeout=1.0)
    assert "was killed after 1 s (timeout)" in failures(study)["point-0000"]
    assert_gone([int(pid) for pid in until(tmp_path / "production/points/point-0000/hanging").split()])
    assert stored_runs(study) == ["point-0001"]


def test_another_attempt_is_made_in_a_fresh_folder(tmp_path: Path) -> None:
    """A licence that comes free at the second attempt makes the point good; the first one's folder is swept."""
    study = write_case(tmp_path, "0,1.0,flaky\n", attempts=2)
    assert told(produce(study)) == (1, 1, 0)
    assert [path.name for path in sorted((tmp_path / "production/points/point-0000").glob("attempt-*"))] == ["attempt-2"]
    assert next(event for event in ledger(study) if event["event"] == "point done")["attempts"] == 2


def test_what_failed_is_tried_again_and_nothing_else(tmp_path: Path) -> None:
    """A second production runs the failed point alone, and appends it."""
    study = write_case(tmp_path, "0,1.0,flaky\n1,2.0,well\n")
    assert told(produce(study)) == (1, 1, 1)
    assert told(produce(study)) == (1, 1, 0)
    assert stored_runs(study) == ["point-0001", "point-0000"]


def test_a_failed_point_may_get_another_deck(tmp_path: Path) -> None:
    """A deck that failed everywhere can be mended in place: there is nothing good that belongs to the old one."""
    study = write_case(tmp_path, "0,1.0,crash\n")
    produce(study)
    deck = tmp_path / "input.json"
    deck.write_text(
        deck.read_text("utf-8").replace('"load"', '"unused": "${how}", "load"').replace('"how": "${how}"', '"how": "well"')
    )
    assert told(produce(study)) == (1, 1, 0)


@pytest.mark.parametrize("how", ["flood", "trickle"])
def test_a_solver_cannot_fill_the_disk(tmp_path: Path, how: str) -> None:
    """One large file and many small ones are both stopped near the limit, and what they wrote is removed."""
    study = write_case(tmp_path, f"0,1.0,{how}\n1,2.0,well\n", disk="16 MiB")
    assert "wrote more than 16 MiB; raise full_order.disk" in failures(study)["point-0000"]
    left = sum(file.stat().st_size for file in (tmp_path / "production/points/point-0000").rglob("*") if file.is_file())
    # The trickle writes 50 MiB a second at most and is looked at every second or two; its pieces are of one MiB, and may stay.
    assert left < 200 << 20 if how == "trickle" else left < 1 << 20


def test_a_solver_cannot_take_all_memory(tmp_path: Path) -> None:
    """With full_order.memory a solver that asks for more fails by itself, and its point alone."""
    (tmp_path / "eater.py").write_text("taken = bytearray(3 << 30)\nprint('done')\n", "utf-8")
    options = {"command": "python -I -S eater.py", "output": "result.npz", "reader": "numpy"}
    study = write_case(tmp_path, "0,1.0,well\n", files=["eater.py"], memory="1 GiB", options=options)
    assert "MemoryError" in failures(study)["point-0000"]


def test_a_missing_executable_is_named_before_anything_runs(tmp_path: Path) -> None:
    """The sentence has the executable, what to install, and the setting; no folder of a point was made."""
    study = write_case(tmp_path, "0,1.0,well\n", executable="no-such-solver")
    with pytest.raises(ConfigError, match=r"'no-such-solver' of the solver command was not found .*full_order\.executable"):
        produce(study)
    (tmp_path / "deck.inp").write_text("${load} ${how}", "utf-8")
    study = write_case(tmp_path, "0,1.0,well\n", solver="calculix", deck="deck.inp", executable="no-such-ccx", options={})
    with pytest.raises(ConfigError, match=r"'no-such-ccx' of the solver calculix .*the Debian package calculix-ccx"):
        produce(study)
    assert not any((tmp_path / "production/points").iterdir())


def test_an_executable_that_goes_ends_the_production(tmp_path: Path) -> None:
    """A program that stops being executable in the middle is not tried at a thousand points; what was done stays."""
    program = tmp_path / "solver"
    program.write_text(f"#!/bin/sh\nchmod -x {program}\nexec {sys.executable} -I -S solve.py\n", "utf-8")
    program.chmod(0o755)
    study = write_case(tmp_path, "0,1.0,well\n1,2.0,well\n2,3.0,well\n", executable=str(program), slots=1)
    with pytest.raises(RunError, match=r"point-0001: .* was not found .*\(1 runs were added"):
        produce(study)
    program.chmod(0o755)
    program.write_text(f"#!/bin/sh\nexec {sys.executable} -I -S solve.py\n", "utf-8")
    assert told(produce(study)) == (2, 2, 0)


def test_a_full_disk_ends_the_production(tmp_path: Path) -> None:
    """No further point is tried where one found the disk full; the sentence says what to do, and the good points are stored."""
    rows = "0,1.0,well\n1,2.0,full\n" + "".join(f"{number},{number}.5,well\n" for number in range(2, 30))
    study = write_case(tmp_path, rows, slots=1)
    with pytest.raises(RunError, match=r"point-0001: .*No space left on device.*\(1 runs were added"):
        produce(study)
    assert stored_runs(study) == ["point-0000"]
    assert not (tmp_path / "production/points/point-0003").exists()


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    """On a file system of one MiB that a solver fills, the production ends with one sentence, and no traceback."""
    mount = tmp_path / "small"
    mount.mkdir()
    command = start(tmp_path, "0,1.0,well\n1,2.0,flood\n2,3.0,well\n", folder="small")
    script = f'mount -t tmpfs -o size=1m tmpfs \'{mount}\' && exec "$0" "$@"'
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("no mount of our own: unshare -rm is not allowed here")
    done = subprocess.run(["unshare", "-rm", "sh", "-c", script, *command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("nwidth: ")]
    assert len(said) == 1
    assert "No space left on device" in said[0]


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_driver_that_is_killed_is_taken_up(tmp_path: Path, number: signal.Signals) -> None:
    """With the driver its solvers end; the next production runs what is missing, and stores nothing twice."""
    command = start(tmp_path, "0,1.0,well\n1,2.0,hang-once\n2,3.0,well\n")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as driver:
        pid = int(until(tmp_path / "production/points/point-0001/hanging"))
        until(tmp_path / "production/points/point-0002/attempt-1/stdout.txt")
        driver.send_signal(number)
        _, said = driver.communicate(timeout=60)
    assert_gone([pid])
    if number == signal.SIGINT:
        assert driver.returncode == 130
        assert "Traceback" not in said
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    study = write_case(tmp_path, "0,1.0,well\n1,2.0,hang-once\n2,3.0,well\n")
    assert sorted(stored_runs(study)) == ["point-0000", "point-0001", "point-0002"]


@pytest.mark.slow
def test_a_worker_that_dies_gives_its_point_to_another(tmp_path: Path) -> None:
    """With a killed worker goes its solver; the point is run again elsewhere, and stored once."""
    with real_cluster(2) as cluster:
        study = write_case(tmp_path, "0,1.0,hang-once\n1,2.0,well\n")
        assert study.full_order is not None
        study = study_of(tmp_path, study.full_order.model_dump(), address=cluster.scheduler_address)
        waiting = subprocess.Popen([sys.executable, "-c", KILL_PARENT_WORKER, str(tmp_path)])
        report = produce(study)
        assert waiting.wait(60) == 0
    assert told(report) == (2, 2, 0)
    assert stored_runs(study) == ["point-0000", "point-0001"]


KILL_PARENT_WORKER = """
import pathlib, sys, time, psutil
file = pathlib.Path(sys.argv[1], "production/points/point-0000/hanging")
while not (file.exists() and file.read_text().endswith(chr(10))):
    time.sleep(0.05)
psutil.Process(int(file.read_text())).parent().parent().kill()   # solver, guard, worker
"""


@pytest.mark.parametrize(
    ("design", "words"),
    [
        ("point,load\n0,nan\n", "load in row 2 is nan"),
        ("point,load\n0,1\n0,2\n", "identifier '0' comes twice"),
        ("point,load\n0,1\n1,1\n", "rows 0 and 1 have the same parameters"),
        ("point,load,speed\n0,1,2\n", "a column 'speed', and .* has no place"),
        ("point,laod\n0,1\n", r"a place \$\{load\}, and .* has no column 'load'; did you mean 'laod'"),
        ("point,load\n../0,1\n", "cannot name a folder"),
        ("point,load\n", "has no parameters"),
        ("point,load\n0,\n", "row 2 has no load"),
    ],
)
def test_a_bad_design_is_refused(tmp_path: Path, design: str, words: str) -> None:
    """What is wrong with a design is said by its row or column, and no folder is made."""
    study = write_case(tmp_path, "0,1.0,well\n")
    (tmp_path / "input.json").write_text('{"load": ${load}, "how": "well"}', "utf-8")
    (tmp_path / "design.csv").write_text(design, "utf-8")
    with pytest.raises(ConfigError, match=words):
        produce(study)
    assert not (tmp_path / "production").exists()


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"solver": "abaqus"}, "no solver is called 'abaqus'; the solvers are calculix, command"),
        ({"files": ["absent.py"]}, "absent.py is not a file"),
        ({"deck": "absent.json"}, "the template .*absent.json cannot be read"),
        ({"options": {"comand": "x"}}, "the solver command has no option 'comand'; it takes command, finished, output, reader"),
        ({"options": {"command": "x", "output": "../x", "reader": "numpy"}}, "outside of the folder of a run"),
        ({"options": {"command": "x", "output": "x"}}, "needs reader"),
    ],
)
def test_a_bad_setting_is_refused(tmp_path: Path, setting: dict[str, object], words: str) -> None:
    """Solver, files and options are checked before a folder is made."""
    study = write_case(tmp_path, "0,1.0,well\n", **setting)
    with pytest.raises(ConfigError, match=words):
        produce(study)
    assert not (tmp_path / "production").exists()


def test_results_that_do_not_depend_on_the_parameters_are_noticed(tmp_path: Path) -> None:
    """Two points that give the same bytes are no two runs: the second one fails with a hint at the deck."""
    study = write_case(tmp_path, "0,1.0,well\n1,2.0,well\n")
    script = tmp_path / "solve.py"
    script.write_text(script.read_text("utf-8").replace('order["load"]', "1.0"), "utf-8")
    assert "byte for byte what another point gave" in failures(study)["point-0001"]
