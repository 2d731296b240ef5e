"""Timers: the exit statuses that they read, the templates that are installed, and one that fires while the last run is alive."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nwidth.cli import main
from nwidth.config import load_study
from nwidth.runs.folder import RunFolder
from tests.repository import REPOSITORY
from tests.runs.studies import add_run

TIMERS = REPOSITORY / "deploy" / "timers"
PROGRAMS = Path(sys.executable).parent
SNAPSHOTS = np.outer(np.arange(1.0, 9.0), np.sin(np.arange(300.0)))


def study_in(folder: Path, scheduler: str) -> Path:
    """A study that a timer would run, with its store."""
    add_run(folder / "store.zarr", "a", {"T": SNAPSHOTS})
    file = folder / "study.toml"
    file.write_text(
        '[study]\nname = "s"\nstore = "store.zarr"\n[reduce]\nrank = 1\n'
        f'[workers]\naddress = "{scheduler}"\n[report]\nenabled = false\n'
    )
    return file


def test_statuses_tell_done_from_nothing_to_do_from_failed(
    tmp_path: Path, scheduler: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """``run --exit-status``: 0 done, 3 nothing to do (0 without the option), 1 failed, 2 wrong usage."""
    study = study_in(tmp_path, scheduler)
    assert main(["run", str(study), "--exit-status"]) == 0
    assert main(["run", str(study), "--exit-status"]) == 3
    assert "nothing to do" in capsys.readouterr().out
    assert main(["run", str(study), "--exit-status", "--json"]) == 3
    assert main(["run", str(study)]) == 0
    shutil.rmtree(tmp_path / "store.zarr")
    assert main(["run", str(study), "--exit-status"]) == 1
    assert main(["run", str(study), "--exit-statuses"]) == 2


def test_a_timer_that_fires_while_the_last_run_is_alive(
    tmp_path: Path, scheduler: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second run and a second watch end at once with status 75 and one sentence, and the first is not disturbed."""
    study = study_in(tmp_path, scheduler)
    with RunFolder(load_study(study).run_folder).held() as scratch:
        assert main(["run", str(study), "--exit-status"]) == 75
        assert re.search(r"^nwidth: another run is at work in .*; wait for it", capsys.readouterr().err)
        assert main(["watch", str(study), "--once"]) == 75
        assert capsys.readouterr().out.startswith("busy (version")
        assert scratch.is_dir()
    assert main(["run", str(study), "--exit-status"]) == 0


def crontab_lines() -> tuple[dict[str, str], str]:
    """Variables of the crontab, and the command of its one entry."""
    lines = [line for line in (TIMERS / "crontab").read_text("utf-8").splitlines() if line and not line.startswith("#")]
    variables = dict(line.split("=", 1) for line in lines[:-1])
    entry = re.fullmatch(r"((?:[\d*/,-]+ ){5})(.*)", lines[-1])
    assert entry is not None
    assert "%" not in entry[2], "cron reads a percent sign as the end of the line"
    return variables, entry[2]


def test_the_crontab_prints_only_what_should_be_mailed(tmp_path: Path, scheduler: str) -> None:
    """Its command, run by the shell that cron uses: silent when done and when there is nothing to do, words when it fails."""
    study_in(tmp_path, scheduler)
    variables, command = crontab_lines()
    environment = {**os.environ, **variables, "STUDY": str(tmp_path), "PATH": f"{PROGRAMS}:{variables['PATH']}"}

    def fired() -> str:
        done = subprocess.run(
            ["/bin/sh", "-c", command], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        return done.stdout + done.stderr

    assert fired() == ""
    assert "error" in (tmp_path / "nwidth.log").read_text("utf-8")
    with RunFolder(tmp_path / "runs" / "s").held():
        assert fired() == ""
    assert "another run is at work" in (tmp_path / "nwidth.log").read_text("utf-8")
    (tmp_path / "study.toml").write_text("[study]\n")
    assert "'study.name' is missing" in fired()


needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def analyzed(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)


def units_in(folder: Path, **changes: str) -> list[Path]:
    """Copies of the units for an instance, with the program of this environment and `changes` of the service's text."""
    service = (TIMERS / "nwidth@.service").read_text("utf-8").replace("/usr/local/bin/nwidth", str(PROGRAMS / "nwidth"))
    for old, new in changes.items():
        assert old in service
        service = service.replace(old, new)
    (folder / "nwidth@blade.service").write_text(service)
    shutil.copy(TIMERS / "nwidth@.timer", folder / "nwidth@blade.timer")
    return [folder / "nwidth@blade.service", folder / "nwidth@blade.timer"]


@needs_systemd
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    """``systemd-analyze verify`` has nothing to say about them, and names a misspelt setting in a copy."""
    accepted = analyzed("verify", "--man=no", *units_in(tmp_path))
    said = [line for line in accepted.stderr.splitlines() if "nwidth" in line]
    assert (accepted.returncode, said) == (0, [])
    spoilt = analyzed("verify", "--man=no", *units_in(tmp_path, SuccessExitStatus="SuccesExitStatus"))
    assert re.search(r"Unknown key.*'SuccesExitStatus'", spoilt.stderr)


@needs_systemd
def test_systemd_reads_the_calendar() -> None:
    """The timer's times are a calendar expression that systemd normalizes to every quarter of an hour."""
    found = re.search(r"^OnCalendar=(.*)$", (TIMERS / "nwidth@.timer").read_text("utf-8"), re.MULTILINE)
    assert found is not None
    answer = analyzed("calendar", found[1])
    assert answer.returncode == 0, answer.stderr
    assert "Normalized form: *-*-* *:00/15:00" in answer.stdout


def test_the_service_calls_every_expected_status_a_success() -> None:
    """What the command line may return without having failed is what the unit lists."""
    from nwidth.cli.statuses import BUSY, NOTHING_TO_DO

    assert f"SuccessExitStatus={NOTHING_TO_DO} {BUSY}\n" in (TIMERS / "nwidth@.service").read_text("utf-8")
