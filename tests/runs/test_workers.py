"""Workers that die, that are not what the study counts on, or that go away: a right result, or one sentence."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nwidth.config import ReduceSection
from nwidth.errors import ConfigError, RunError
from nwidth.problems import Memory, problem_from_store
from nwidth.runs import run
from nwidth.stages.pod import reduce_problem
from nwidth.stages.problem import PodResult, Problem
from nwidth.stages.sinks import FolderSink
from nwidth.stores import open_store
from nwidth.workers import executor_of
from nwidth_graphs.layout import Panel
from nwidth_graphs.source import Reading
from tests.clusters import WORKER_BYTES, real_cluster
from tests.dying import DyingOnce
from tests.runs.studies import add_run, left_in, snapshots_of, study_of

RANK = 6


@dataclass(frozen=True)
class EatingMemory:
    """Takes more memory than its worker has, and keeps it until it is killed."""

    n_bytes: int

    def __call__(self, panel: Panel) -> Reading:
        eaten = np.ones(self.n_bytes, np.uint8)
        time.sleep(60)
        return Reading(eaten)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of one field in several blocks."""
    add_run(tmp_path / "store.zarr", "alpha", {"T": snapshots_of(120_000, 20, decades=2)})
    return tmp_path / "store.zarr"


def problem_of(store: Path, scratch: Path) -> tuple[Problem, ReduceSection]:
    """What a run of this store reduces."""
    request = ReduceSection(rank=RANK)
    return problem_from_store(open_store(store), request, Memory(WORKER_BYTES), scratch)[0], request


def reading_by(problem: Problem, reader: Any) -> Problem:
    """The problem with another reader of its field."""
    return replace(problem, sources={"T": replace(problem.sources["T"], read=reader)})


def reduced(problem: Problem, request: ReduceSection, cluster: Any, folder: Path) -> PodResult:
    """Reduce as `run` does, on the cluster given."""
    from distributed import Client

    with Client(cluster) as client:
        return reduce_problem(problem, request, executor_of(client), FolderSink(folder))


def test_a_worker_that_dies_costs_time_only(tmp_path: Path, store: Path) -> None:
    """A worker that is killed in the middle of a pass is replaced, and the result is the same, bit for bit."""
    problem, request = problem_of(store, tmp_path)
    marker = tmp_path / "died"
    with real_cluster() as cluster:
        undisturbed = reduced(problem, request, cluster, tmp_path / "one.zarr")
        dying = reading_by(problem, DyingOnce(problem.sources["T"].read, str(marker)))
        disturbed = reduced(dying, request, cluster, tmp_path / "two.zarr")
    assert marker.exists()
    np.testing.assert_array_equal(disturbed.factors["T"], undisturbed.factors["T"])
    one, two = (FolderSink(tmp_path / name).collect("T", problem.shapes["T"])[0] for name in ("one.zarr", "two.zarr"))
    np.testing.assert_array_equal(one, two)
    assert disturbed.bases[0].certificate.summary() == undisturbed.bases[0].certificate.summary()


@pytest.mark.slow
def test_workers_that_always_die_are_one_sentence(tmp_path: Path, store: Path) -> None:
    """When every worker dies on a block because memory is short, the run ends with the setting to change, and not never."""
    problem, request = problem_of(store, tmp_path)
    with (
        real_cluster(1, memory=400 * 2**20) as cluster,
        pytest.raises(
            RunError, match=r"pass 'gram': \d workers died .* raise workers\.memory, or lower workers\.threads"
        ) as refusal,
    ):
        reduced(reading_by(problem, EatingMemory(500 * 2**20)), request, cluster, tmp_path / "model.zarr")
    assert "\n" not in str(refusal.value)


def test_a_gpu_that_no_worker_has_is_refused(tmp_path: Path, store: Path, scheduler: str) -> None:
    """A study that asks for GPUs is refused by a cluster without any, instead of waiting for one for ever."""
    study = study_of(tmp_path, store, scheduler, workers={"device": "cuda"})
    with pytest.raises(ConfigError, match=r"none of the 2 workers .* has a GPU; start workers with --resources \"GPU=1\""):
        run(study)
    assert left_in(study.run_folder) == {".lock", "ledger.jsonl"}


def test_a_gpu_that_this_machine_lacks_is_refused(tmp_path: Path, store: Path) -> None:
    """The same for local workers, before any is started."""
    if find_spec("cupy") is not None:
        pytest.skip("CuPy is installed here, and there may be a GPU")
    with pytest.raises(ConfigError, match=r'workers\.device = "cuda" needs CuPy, which is not installed; install it, or set'):
        run(study_of(tmp_path, store, workers={"device": "cuda"}))


def test_workers_smaller_than_the_plan_are_refused(tmp_path: Path, store: Path, scheduler: str) -> None:
    """A cluster whose workers have less memory than the plan counts on is refused with both amounts."""
    study = study_of(tmp_path, store, scheduler, workers={"memory": "3 GiB"})
    with pytest.raises(ConfigError, match=r"has 2048 MiB, and workers\.memory counts on 3072 MiB; lower workers\.memory"):
        run(study)


def test_workers_with_more_threads_than_the_plan_are_refused(tmp_path: Path, store: Path) -> None:
    """Threads share the memory of their worker: more of them than the plan counts on are refused."""
    with (
        real_cluster(1, threads=2) as cluster,
        pytest.raises(ConfigError, match=r"has 2 threads, and workers\.threads counts on 1"),
    ):
        run(study_of(tmp_path, store, cluster.scheduler_address))


def test_an_address_where_nobody_answers_is_refused(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scheduler that is not there is refused with its address; the wait is shortened here."""
    monkeypatch.setattr("nwidth.workers.CONNECT_SECONDS", 1)
    with pytest.raises(ConfigError, match=r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:9'"):
        run(study_of(tmp_path, store, "tcp://127.0.0.1:9"))


def test_an_address_that_is_none_is_refused(tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A word that is no address is refused in the same way."""
    monkeypatch.setattr("nwidth.workers.CONNECT_SECONDS", 1)
    with pytest.raises(ConfigError, match="no Dask scheduler answers at 'nonsense'"):
        run(study_of(tmp_path, store, "nonsense"))


def test_a_cluster_that_goes_away_is_one_sentence(tmp_path: Path, store: Path) -> None:
    """A cluster that is shut down in the middle of a run ends it with a sentence, and nothing is published."""
    with real_cluster(1) as cluster:
        study = study_of(tmp_path, store, cluster.scheduler_address)

        def shut(name: str, done: int, total: int) -> None:
            cluster.close(timeout=5)

        with pytest.raises(RunError, match=r"the cluster .* went away before it was done; start it again, then run again"):
            run(study, progress=shut)
    assert left_in(study.run_folder) == {".lock", "ledger.jsonl"}
