"""Workers as jobs of a real Slurm: they come, are replaced, are refused, and go; the templates are what sbatch takes."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nwidth.clusters import keeping
from nwidth.clusters.slurm import job_arguments, slurm_cluster, walltime_seconds
from nwidth.config import SlurmSection, Study, WorkersSection, check_study
from nwidth.errors import ConfigError, RunError
from nwidth.runs import run
from nwidth.shelf import FolderShelf
from nwidth_graphs.factor import factor_graph
from nwidth_graphs.reduction import GRAM
from nwidth_graphs.source import FieldSource, Reading
from tests.deploy.slurm_site import Site, slurm
from tests.graphs.problems import row_panels
from tests.oracles.pod import matrix_with_spectrum
from tests.repository import REPOSITORY
from tests.runs.studies import add_run

TEMPLATES = REPOSITORY / "deploy" / "slurm"
FIELD = np.ascontiguousarray(matrix_with_spectrum(6000, 6, 0.3 ** np.arange(6), 0).T)
BLOCK_SECONDS = 0.5


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A Slurm of one node with four cores; the commands of this process reach it."""
    with slurm(tmp_path_factory.mktemp("slurm")) as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environment.items():
            patch.setenv(name, value)
        patch.chdir(REPOSITORY)  # where jobs start: they import this module by its name
        yield running


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm is asked every second: nobody else uses this one."""
    monkeypatch.setattr(keeping, "POLL_SECONDS", 1.0)


def study_with(folder: Path, slurm: dict[str, Any], **workers: Any) -> Study:
    table = {
        "study": {"name": "s", "store": "store.zarr"},
        "reduce": {"rank": 1},
        "workers": {"kind": "slurm", "count": 2, "memory": "600 MiB", "slurm": {"interface": "lo", **slurm}, **workers},
        "report": {"enabled": False},
    }
    return check_study(table, folder)


def test_a_run_on_slurm(tmp_path: Path, site: Site) -> None:
    """Jobs come, the run is done over TLS with certificates of its own, the jobs are cancelled, and their logs remain."""
    add_run(tmp_path / "store.zarr", "a", {"T": np.outer(np.arange(1.0, 9.0), np.sin(np.arange(300.0)))})
    told: list[str] = []
    study = study_with(tmp_path, {})
    result = run(study, progress=lambda name, done, total: told.append(name))
    assert result.status == "done"
    assert "2 Slurm workers x 1 threads" in result.plan["workers"]
    assert told[0].startswith("queue (")
    gone_by = time.monotonic() + 30
    while site.jobs("PENDING", "RUNNING"):
        assert time.monotonic() < gone_by, site.command("squeue").stdout
        time.sleep(0.2)
    logs = [log.read_text("utf-8") for log in (study.run_folder / "jobs").glob("nwidth-s-*.err")]
    assert any(re.search(r"Registered to: +tls://", log) for log in logs), logs
    assert not list(study.run_folder.glob(".scratch-*"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"queue": "nope"}, r"Slurm refuses the job of a worker: .*invalid partition specified: nope"),
        ({"directives": ["--mem=900G"]}, r"Slurm refuses the job of a worker: .*Requested node configuration is not available"),
        (
            {"python": "/bin/false"},
            r"\d+ jobs in a row ended before their worker had joined, the last \(\d+\) with 'an empty log'",
        ),
        (
            {"prologue": ["module load nothing || { echo there is no module nothing >&2; exit 1; }"]},
            r"\d+ jobs in a row .*'there is no module nothing'; mend workers\.slurm",
        ),
        (
            {"queue": "closed", "queue_wait": 2},
            r"no worker came in 2 s; Slurm says: PartitionDown; raise workers\.slurm\.queue_wait",
        ),
    ],
)
def test_jobs_that_do_not_come_are_explained(
    tmp_path: Path, site: Site, impatient: None, options: dict[str, Any], words: str
) -> None:
    """A job that Slurm refuses, one that breaks, one that waits for ever: said in Slurm's words, and nothing stays queued."""
    told: list[str] = []
    study = study_with(tmp_path, options)
    with pytest.raises(ConfigError, match=words), slurm_cluster(study, lambda name, done, total: told.append(name)):
        pass
    assert site.jobs("PENDING", "RUNNING") == []
    if "queue_wait" in options:
        assert "queue (PartitionDown)" in told


def read_slowly(panel: Any) -> Reading:
    """A block that takes its time, so that things can happen meanwhile."""
    time.sleep(BLOCK_SECONDS)
    return Reading(FIELD.T[panel.selection[0]])


def factor_of(executor: Any, blocks: int, shelf: FolderShelf | None = None) -> Any:
    """The Gram matrix of `FIELD` by so many slow blocks, whose partials are kept on a shelf."""
    source = FieldSource("u", row_panels([len(FIELD.T) // blocks] * blocks), len(FIELD), 8, read=read_slowly, shelf=shelf)
    return executor.run(factor_graph([source], GRAM, "aa"), "gram")["gram-u"].factor


def connected(executor: Any) -> int:
    return len(executor.client.scheduler_info(n_workers=-1)["workers"])


def waits_until(condition: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.slow
def test_a_cancelled_job_costs_nothing_but_time(tmp_path: Path, site: Site, impatient: None) -> None:
    """``scancel`` of a worker's job in the middle of a pass: the result is right, and another job takes the place."""
    with slurm_cluster(study_with(tmp_path, {})) as executor:
        waits_until(lambda: connected(executor) == 2)
        before = site.jobs("RUNNING")
        cancel = threading.Timer(3, lambda: site.command("scancel", before[0]))
        cancel.start()
        np.testing.assert_allclose(factor_of(executor, 40), FIELD @ FIELD.T, atol=1e-12)
        cancel.join()
        waits_until(lambda: connected(executor) == 2)
        after = site.jobs("RUNNING")
    assert before[0] not in after
    assert max(map(int, after)) > max(map(int, before))


@pytest.mark.slow
def test_a_run_outlives_its_jobs(tmp_path: Path, site: Site, impatient: None) -> None:
    """A lifetime of 15 to 30 s under a pass of 40 s and more: workers leave in time, others go on, the result is right."""
    study = study_with(tmp_path, {"walltime": "00:01:00"}, count=1)
    (tmp_path / "shelf").mkdir()
    shelf = FolderShelf(str(tmp_path / "shelf"), always=True)
    with slurm_cluster(study) as executor:
        first = site.jobs("RUNNING", "PENDING")
        np.testing.assert_allclose(factor_of(executor, 80, shelf), FIELD @ FIELD.T, atol=1e-12)
        last = site.jobs("RUNNING", "PENDING")
    assert max(map(int, last)) > max(map(int, first))
    logs = [log.read_text("utf-8") for log in (study.run_folder / "jobs").glob("*.err")]
    assert any("worker-lifetime-reached" in log for log in logs), logs
    assert not any("DUE TO TIME LIMIT" in log for log in logs), logs


@pytest.mark.slow
def test_a_slurm_that_takes_no_more_jobs_ends_the_run(tmp_path: Path, site: Site, impatient: None) -> None:
    """All jobs cancelled and the partition closed in the middle of a pass: the run does not hang, and says what sbatch said."""
    jobs: list[str] = []

    def close_down() -> None:
        site.command("scontrol", "update", "PartitionName=debug", "State=INACTIVE")
        site.command("scancel", *jobs)

    def go_on() -> None:
        with slurm_cluster(study_with(tmp_path, {"queue": "debug"})) as executor:
            jobs.extend(site.jobs())
            threading.Timer(2, close_down).start()
            factor_of(executor, 300)

    try:
        with pytest.raises(RunError, match=r"Slurm takes no more jobs: '.*partition.*not available"):
            go_on()
    finally:
        site.command("scontrol", "update", "PartitionName=debug", "State=UP")


@pytest.mark.slow
def test_jobs_of_a_killed_driver_end_by_themselves(tmp_path: Path, site: Site) -> None:
    """SIGKILL of the process that holds the scheduler: its workers find nobody, and their jobs end within their death timeout."""
    study = study_with(tmp_path, {}, count=1)
    program = (
        "import json, sys, time; from pathlib import Path\n"
        "from nwidth.config import check_study; from nwidth.clusters.slurm import slurm_cluster\n"
        "with slurm_cluster(check_study(json.loads(sys.argv[1]), Path(sys.argv[2]))): print('up', flush=True); time.sleep(600)\n"
    )
    table = study.model_dump_json(exclude_none=True, exclude={"folder", "reduce"})
    driver = subprocess.Popen([sys.executable, "-c", program, table, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert driver.stdout is not None
        assert driver.stdout.readline() == "up\n"
        assert site.jobs("RUNNING")
    finally:
        driver.kill()
        driver.communicate()
    waits_until(lambda: site.jobs("PENDING", "RUNNING") == [], 100)


def directives_of(template: Path, marker: str) -> list[str]:
    return [line.removeprefix(marker).strip() for line in template.read_text("utf-8").splitlines() if line.startswith(marker)]


# The node of the tests has four cores and 8 GB.
SMALLER = {
    "one-node": ["--cpus-per-task=4", "--mem=7G"],
    "many-nodes": ["--ntasks-per-node=4", "--mem-per-cpu=1G"],
    "gpu": [],
}


@pytest.mark.parametrize("name", SMALLER)
def test_sbatch_takes_the_templates(site: Site, name: str) -> None:
    """sbatch parses every directive of a template and would start it where it fits; a misspelt directive in a copy is refused."""
    script = (TEMPLATES / f"{name}.sbatch").read_text("utf-8")
    small = ["--nodes=1", *SMALLER[name]]
    taken = site.command("sbatch", "--test-only", *small, text=script)
    assert taken.returncode == 0, taken.stderr
    assert "to start at" in taken.stderr
    refused = site.command("sbatch", "--test-only", *small, text=script.replace("#SBATCH --time", "#SBATCH --tyme"))
    assert refused.returncode != 0
    assert "tyme" in refused.stderr


@pytest.mark.parametrize("name", SMALLER)
def test_the_shell_takes_the_templates(name: str) -> None:
    """bash parses every template."""
    done = subprocess.run(
        ["bash", "-n", str(TEMPLATES / f"{name}.sbatch")], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_sbatch_takes_the_options_of_the_scrontab(site: Site) -> None:
    """Debian's Slurm has no scrontab: its options are those of sbatch, which takes them; its entry has five fields."""
    options = directives_of(TEMPLATES / "scrontab", "#SCRON")
    taken = site.command("sbatch", "--test-only", *options, text="#!/bin/sh\ntrue\n")
    assert taken.returncode == 0, taken.stderr
    entries = [line for line in (TEMPLATES / "scrontab").read_text("utf-8").splitlines() if not line.startswith("#")]
    assert len(entries) == 1
    assert re.fullmatch(r"(?:[\d*/,-]+ ){5}cd .* && nwidth run study\.toml", entries[0])


def test_the_example_study_is_one() -> None:
    """The study of the folder is read, and asks for jobs."""
    from nwidth.config import load_study

    assert load_study(TEMPLATES / "study.toml").workers.kind == "slurm"


# What sbatch is told for the node of the tests, and the environment and the study that go with it.
ALLOCATIONS = {
    "many-nodes": (["--nodes=1", "--ntasks-per-node=2", "--mem-per-cpu=900M"], "NWIDTH_WORKER_MEMORY=600MiB", ""),
    # The stand-in for a GPU computes with NumPy; Slurm hands out two devices, and each worker sees one.
    "gpu": ([], "NWIDTH_WORKER_MEMORY=600MiB,NWIDTH_DEVICE=strict", 'device = "cuda"\nthreads = 2\n'),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", ALLOCATIONS)
def test_a_run_in_one_allocation(tmp_path: Path, site: Site, name: str) -> None:
    """The template as it is, in a real job: scheduler, two workers and run; the model is there, and nothing else is left."""
    options, environment, workers = ALLOCATIONS[name]
    add_run(tmp_path / "store.zarr", "a", {"T": np.outer(np.arange(1.0, 9.0), np.sin(np.arange(300.0)))})
    (tmp_path / "study.toml").write_text(
        '[study]\nname = "s"\nstore = "store.zarr"\n[reduce]\nrank = 1\n[report]\nenabled = false\n'
        f'[workers]\naddress = "$DASK_SCHEDULER_ADDRESS"\nmemory = "600 MiB"\nwait = "2 min"\n{workers}'
    )
    exported = {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "NWIDTH_DEPLOY": str(REPOSITORY / "deploy"),
        "SLURM_CONF": str(site.folder / "slurm.conf"),
    }
    listed = ",".join([*(f"{key}={value}" for key, value in exported.items()), environment])
    words = ["sbatch", "--wait", f"--chdir={tmp_path}", "--output=job.log", f"--export={listed}", *options]
    done = site.command(*words, TEMPLATES / f"{name}.sbatch", seconds=200)
    log = (tmp_path / "job.log").read_text("utf-8")
    assert done.returncode == 0, log
    assert re.search(r"^model   ", log, re.MULTILINE), log
    joined = re.findall(r"Registered to:", next(tmp_path.glob("nwidth-*-cluster.log")).read_text("utf-8"))
    assert len(joined) == 2
    assert not list(tmp_path.glob(".nwidth-*"))


def test_a_job_asks_for_what_its_workers_need() -> None:
    """Memory of all workers and their nannies, cores of all threads, a lifetime below the walltime, GPUs as resources."""
    workers = WorkersSection(kind="slurm", threads=2, memory=3 * 2**30, device="cuda")
    made = job_arguments(workers, SlurmSection(per_job=4, walltime="02:00:00", directives=("--gres=gpu:4",)), "n", Path("logs"))
    assert (made["processes"], made["cores"], made["memory"]) == (4, 8, f"{12 * 2**30}B")
    assert made["job_mem"] == f"{4 * (3 * 1024 + 256)}M"
    assert made["worker_extra_args"] == [
        *("--lifetime", "5175s", "--lifetime-stagger", "1725s"),
        *("--memory-limit", str(3 * 2**30)),
        *("--resources", "GPU=2"),
    ]
    assert made["queue"] is None
    assert made["job_extra_directives"] == ["--gres=gpu:4"]


@pytest.mark.parametrize(("text", "seconds"), [("00:01:00", 60.0), ("1-12:00:00", 129600.0), ("100:00:30", 360030.0)])
def test_walltimes(text: str, seconds: float) -> None:
    """Slurm's days-hours:minutes:seconds in seconds."""
    assert walltime_seconds(text) == seconds


def test_no_slurm_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without sbatch the refusal says where to run."""
    monkeypatch.setenv("PATH", str(tmp_path))
    words = 'workers.kind = "slurm" needs sbatch, squeue, scancel, which this machine has not'
    with pytest.raises(ConfigError, match=re.escape(words)), slurm_cluster(study_with(tmp_path, {})):
        pass
