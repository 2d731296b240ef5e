"""The Snakefile, run by Snakemake itself: files to store to model, nothing twice, and what a failure leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import nwidth as nw
from tests.repository import REPOSITORY
from tests.runs.studies import snapshots_of

pytest.importorskip("snakemake")

SNAKEFILE = REPOSITORY / "deploy" / "workflows" / "Snakefile"
SNAPSHOTS = snapshots_of(300, 18)


def snakemake(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the workflow of `folder`, with the programs of this environment."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "XDG_CACHE_HOME": str(folder / "cache")}
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(SNAKEFILE), "--configfile", "workflow.yaml", "--cores", "1"]
    return subprocess.run(
        [*command, *options], cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def workflow_in(folder: Path, scheduler: str, runs: Sequence[str] = ("a", "b")) -> None:
    """Solver files, a study without a report, and the workflow's configuration."""
    for number, name in enumerate(runs):
        solver_file(folder, name, number)
    (folder / "study.toml").write_text(
        '[study]\nname = "s"\nstore = "store.icechunk"\n[reduce]\nrtol = 1e-3\n'
        f'[workers]\naddress = "{scheduler}"\n[report]\nenabled = false\n'
    )
    (folder / "workflow.yaml").write_text("store: store.icechunk\nfiles: run-*.npz\nstudies: [study.toml]\n")


def solver_file(folder: Path, name: str, number: int) -> None:
    """Six snapshots, as a solver would write them."""
    np.savez(folder / f"run-{name}.npz", time=np.arange(6.0), T=SNAPSHOTS[6 * number : 6 * number + 6])


def record(folder: Path, name: str) -> dict[str, object]:
    """What a rule was told."""
    told: dict[str, object] = json.loads((folder / "records" / name).read_text("utf-8"))
    return told


@pytest.mark.slow
def test_files_become_a_model_once_and_a_new_file_is_all_that_is_done_anew(tmp_path: Path, scheduler: str) -> None:
    """First: all. Again: "nothing to be done". One more file: it alone is ingested, and the study runs on the store that grew."""
    workflow_in(tmp_path, scheduler)
    first = snakemake(tmp_path)
    assert first.returncode == 0, first.stderr
    assert record(tmp_path, "ingested.json")["added"] == ["run-a", "run-b"]
    assert record(tmp_path, "studies/study.toml.json")["status"] == "done"
    assert nw.open_model(tmp_path / "runs" / "s").basis.coefficients.shape[1] == 12

    again = snakemake(tmp_path)
    assert again.returncode == 0
    assert "Nothing to be done" in again.stderr

    solver_file(tmp_path, "c", 2)
    grown = snakemake(tmp_path)
    assert grown.returncode == 0, grown.stderr
    assert record(tmp_path, "ingested.json")["added"] == ["run-c"]
    assert nw.open_model(tmp_path / "runs" / "s").basis.coefficients.shape[1] == 18


@pytest.mark.slow
def test_a_record_that_is_lost_costs_a_look_and_a_failure_leaves_the_last_model(tmp_path: Path, scheduler: str) -> None:
    """Without its record a study is looked at and not run; where it fails, Snakemake says so, and the last model stays."""
    workflow_in(tmp_path, scheduler)
    assert snakemake(tmp_path).returncode == 0
    (tmp_path / "records" / "studies" / "study.toml.json").unlink()
    assert snakemake(tmp_path).returncode == 0
    assert record(tmp_path, "studies/study.toml.json")["status"] == "nothing to do"

    study = tmp_path / "study.toml"
    study.write_text(study.read_text("utf-8").replace("rtol = 1e-3", 'fields = ["U"]'))
    failed = snakemake(tmp_path)
    assert failed.returncode == 1
    assert "nwidth: " in failed.stderr
    assert not (tmp_path / "records" / "studies" / "study.toml.json").exists()
    assert nw.open_model(tmp_path / "runs" / "s").basis.certificate.frobenius_error < 1e-3


def test_the_rules_that_a_configuration_asks_for_are_planned(tmp_path: Path, scheduler: str) -> None:
    """Without running anything: ingestion comes before the study, draws after it, and a study's own change asks for it again."""
    workflow_in(tmp_path, scheduler)
    with (tmp_path / "workflow.yaml").open("a", encoding="utf-8") as configuration:
        configuration.write("draws: [study.toml]\n")
    planned = snakemake(tmp_path, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    rules = [line.split()[1].rstrip(":") for line in planned.stdout.splitlines() if line.startswith(("rule ", "localrule "))]
    assert rules == ["ingest", "reduce", "draw", "all"]
