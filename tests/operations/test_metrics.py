"""Numbers of ours beside Dask's, scraped from real endpoints; without the extra nothing breaks."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from distributed import Client

from nwidth.config import ReduceSection, Study
from nwidth.errors import ConfigError, FieldError, RunError
from nwidth.operations import metrics
from nwidth.operations.context import working
from nwidth.operations.declared import METRICS
from nwidth.operations.observing import observed
from nwidth.problems import Memory, problem_from_store
from nwidth.runs import run
from nwidth.stages.pod import reduce_problem
from nwidth.stages.sinks import FolderSink
from nwidth.stores import open_store
from nwidth.workers import executor_of
from nwidth_graphs.layout import Panel
from nwidth_graphs.source import Reading
from tests.chaos.slow import BLOCKS, make_store, run_slowly, small_blocks
from tests.clusters import WORKER_BYTES, real_cluster
from tests.deploy.servers import free_port
from tests.dying import DyingOnce
from tests.operations.scraping import Samples, endpoints, scraped, total
from tests.runs.studies import add_run, snapshots_of, study_of

pytest.importorskip("prometheus_client")


@pytest.fixture(autouse=True)
def _blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small fields are cut as finely as large ones."""
    from nwidth_graphs import budget

    monkeypatch.setattr(budget, "MIN_BLOCK_BYTES", budget.MIN_BLOCK_BYTES)
    monkeypatch.setattr(budget, "BLOCKS_OF_A_SMALL_FIELD", budget.BLOCKS_OF_A_SMALL_FIELD)
    small_blocks()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A field in 24 blocks."""
    return make_store(tmp_path_factory.mktemp("store") / "store.zarr")


def study_named(name: str, folder: Path, store: Path, address: str, **operations: Any) -> Study:
    """A study whose series nobody else has."""
    found = study_of(folder, store, address, study={"name": name}, reduce={"rank": 5, "route": "gram"})
    return found.model_copy(update={"operations": found.operations.model_copy(update=operations)})


def test_workers_serve_what_a_run_reads_and_does_while_it_does_it(tmp_path: Path, store: Path, scheduler: str) -> None:
    """Scraped from the workers' own ports during a run and after it: blocks grow to all, bytes are those of the record."""
    seen: list[list[Samples]] = []
    with Client(scheduler) as client:
        _, workers = endpoints(client)
        result = run_slowly(
            study_named("metered", tmp_path, store, scheduler),
            tmp_path / "reads",
            progress=lambda *_: seen.append([scraped(url) for url in workers]),
        )
        after = [scraped(url) for url in workers]
    done = [total(found, "nwidth_blocks_done_total", run="metered") for found in seen]
    assert any(0 < blocks < 2 * BLOCKS for blocks in done)
    assert done == sorted(done)
    for measure in result.measured["passes"]:
        labels = {"run": "metered", "stage": measure["name"]}
        assert total(after, "nwidth_blocks_done_total", **labels) == BLOCKS
        assert total(after, "nwidth_read_bytes_total", **labels) == measure["bytes_read"]
        assert total(after, "nwidth_read_seconds_total", **labels) == pytest.approx(measure["read_seconds"], rel=1e-9)
        assert total(after, "nwidth_blocks_failed_total", **labels) == 0
    assert all(any(name.startswith("dask_worker_") for name, _ in found) for found in after)


@pytest.mark.slow
def test_the_scheduler_serves_the_blocks_that_were_given_out_again(tmp_path: Path, store: Path) -> None:
    """A worker that is killed on a block shows as a retry on the scheduler's own port, and a pass without trouble as none."""
    request = ReduceSection(rank=5, route="gram")
    problem = problem_from_store(open_store(store), request, Memory(WORKER_BYTES), tmp_path)[0]
    dying = DyingOnce(problem.sources["T"].read, str(tmp_path / "died"))
    with real_cluster() as cluster, Client(cluster) as client:
        for name, source in (("calm", problem.sources["T"]), ("killed", replace(problem.sources["T"], read=dying))):
            with working(name):
                reduce_problem(
                    replace(problem, sources={"T": source}), request, executor_of(client), FolderSink(tmp_path / f"{name}.zarr")
                )
        found = [scraped(endpoints(client)[0])]
    assert total(found, "nwidth_block_retries_total", run="killed", stage="gram") >= 1
    assert total(found, "nwidth_block_retries_total", run="killed", stage="lift") == 0
    assert total(found, "nwidth_block_retries_total", run="calm") == 0
    assert any(name.startswith("dask_scheduler_") for name, _ in found[0])


@dataclass(frozen=True)
class Refusing:
    """Ends every block with an error."""

    def __call__(self, panel: Panel) -> Reading:
        raise RunError(f"block {panel.index} is not to be had")


def test_failed_blocks_are_counted(tmp_path: Path, store: Path, scheduler: str) -> None:
    """A block whose task raises counts as failed, and not as done."""
    request = ReduceSection(rank=5, route="gram")
    problem = problem_from_store(open_store(store), request, Memory(WORKER_BYTES), tmp_path)[0]
    failing = replace(problem, sources={"T": replace(problem.sources["T"], read=Refusing())})
    with Client(scheduler) as client:
        with working("failing"), pytest.raises(RunError, match="is not to be had"):
            reduce_problem(failing, request, executor_of(client), FolderSink(tmp_path / "model.zarr"))
        found = [scraped(url) for url in endpoints(client)[1]]
    assert total(found, "nwidth_blocks_failed_total", run="failing", stage="gram") >= 1
    assert total(found, "nwidth_blocks_done_total", run="failing") == 0


def test_the_driver_serves_on_loopback_while_it_runs(tmp_path: Path, store: Path, scheduler: str) -> None:
    """The driver's port answers during the run with what its passes cost, and is closed after it."""
    port, seen = free_port(), list[Samples]()
    study = study_named("served", tmp_path, store, scheduler, metrics_port=port)
    result = run(study, progress=lambda name, *_: seen.append(scraped(f"http://127.0.0.1:{port}/metrics")))
    gram = result.measured["passes"][0]
    assert total([seen[-1]], "nwidth_pass_seconds", run="served", stage="gram") == gram["seconds"]
    assert total([seen[-1]], "nwidth_pass_read_bytes", run="served", stage="gram") == gram["bytes_read"]
    with pytest.raises(urllib.error.URLError):
        scraped(f"http://127.0.0.1:{port}/metrics")


def test_a_port_that_is_taken_is_refused_before_work(tmp_path: Path, store: Path, scheduler: str) -> None:
    """The sentence names the key and the port; nothing is written."""
    with metrics.served(0) as port, pytest.raises(ConfigError, match=rf"operations\.metrics_port = {port} cannot be used"):
        run(study_named("refused", tmp_path, store, scheduler, metrics_port=port))
    assert not (tmp_path / "runs").exists()


def test_a_run_that_ends_leaves_its_numbers_in_a_file(tmp_path: Path, store: Path, scheduler: str) -> None:
    """After a good run the file holds ranks, errors, passes and the outcome, as Prometheus's text, and nothing else."""
    from prometheus_client.parser import text_string_to_metric_families

    from tests.operations.scraping import samples_of

    (tmp_path / "collected").mkdir()
    result = run(study_named("batch", tmp_path, store, scheduler, metrics_folder="collected"))
    (file,) = (tmp_path / "collected").iterdir()
    assert file.name == "nwidth-batch.prom"
    found = [samples_of(text_string_to_metric_families(file.read_text()))]
    error = result.bases["T"]["certificate"]["frobenius_error"]
    assert total(found, "nwidth_basis_rank", run="batch", basis="T") == 5
    assert total(found, "nwidth_basis_relative_error", run="batch", basis="T") == error
    assert total(found, "nwidth_pass_blocks", run="batch", stage="lift") == BLOCKS
    assert total(found, "nwidth_runs_total", run="batch", outcome="done") == 1
    assert total(found, "nwidth_run_seconds", run="batch") >= result.measured["seconds"]
    declared = {metric.name for metric in METRICS if metric.where == "driver"}
    assert {name for name, _ in found[0]} <= declared


def test_a_run_that_fails_says_so_in_its_file(tmp_path: Path, scheduler: str) -> None:
    """A failed run leaves the outcome, and a run of the same study that goes well afterwards takes it back."""
    from prometheus_client.parser import text_string_to_metric_families

    from tests.operations.scraping import samples_of

    values = snapshots_of(300, 8)
    values[3, 5] = np.nan
    url = tmp_path / "store.zarr"
    add_run(url, "a", {"T": np.where(np.isnan(values), 0, values)})
    import zarr

    stored: Any = zarr.open_array(str(url / "fields" / "T"), mode="r+")
    stored[3, 5] = np.nan
    (tmp_path / "collected").mkdir()
    study = study_named("broken", tmp_path, url, scheduler, metrics_folder="collected")
    with pytest.raises(FieldError):
        run(study)
    found = [samples_of(text_string_to_metric_families((tmp_path / "collected" / "nwidth-broken.prom").read_text()))]
    assert total(found, "nwidth_runs_total", run="broken", outcome="failed") == 1
    assert total(found, "nwidth_run_failed", run="broken") == 1
    stored[3, 5] = 0
    run(study, force=True)
    found = [samples_of(text_string_to_metric_families((tmp_path / "collected" / "nwidth-broken.prom").read_text()))]
    assert total(found, "nwidth_run_failed", run="broken") == 0
    assert total(found, "nwidth_runs_total", run="broken", outcome="failed") == 1


def test_a_folder_that_is_not_there_is_refused_before_work(tmp_path: Path, store: Path, scheduler: str) -> None:
    """The sentence names the key, the folder and node_exporter's option."""
    with pytest.raises(ConfigError, match=r"operations\.metrics_folder = .*nowhere' is no folder; make it, or give the one"):
        run(study_named("refused", tmp_path, store, scheduler, metrics_folder="nowhere"))


def test_the_indicator_of_a_prediction_is_a_metric(tmp_path: Path) -> None:
    """Median, quantile and largest value of the indicator are told by name; a model without one tells nothing."""
    import prometheus_client

    study = study_named("predicted", tmp_path, tmp_path, "tcp://nowhere")
    with observed(study) as seen:
        seen.indicated({"median": 0.01, "q95": 0.03, "largest": 0.2})
        seen.indicated(None)
    found = {
        statistic: prometheus_client.REGISTRY.get_sample_value("nwidth_indicator", {"run": "predicted", "statistic": statistic})
        for statistic in ("median", "q95", "largest", "mean")
    }
    assert found == {"median": 0.01, "q95": 0.03, "largest": 0.2, "mean": None}


def test_names_follow_prometheus() -> None:
    """Counters end in _total, gauges never; seconds and bytes are the only units; no name stands twice."""
    names = [metric.name for metric in METRICS]
    assert len(set(names)) == len(names)
    for metric in METRICS:
        assert metric.name.startswith("nwidth_")
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert not any(unit in metric.name for unit in ("_ms", "milli", "_mb", "_kb", "percent"))
        assert metric.labels[0] == "run"


WITHOUT = 'raise ModuleNotFoundError("No module named {0!r}", name={0!r})\n'


@pytest.mark.slow
def test_without_the_extras_nothing_breaks(tmp_path: Path, store: Path) -> None:
    """Driver and workers without prometheus-client and OpenTelemetry run a study; what needs them is refused by name."""
    for package in ("prometheus_client", "opentelemetry"):
        (tmp_path / "without" / package).mkdir(parents=True)
        (tmp_path / "without" / package / "__init__.py").write_text(WITHOUT.format(package))
    table = f'[study]\nname = "bare"\nstore = "{store}"\n[reduce]\nrank = 3\n[workers]\ncount = 1\n[report]\nenabled = false\n'
    asked = {"bare": "", "metered": "[operations]\nmetrics_port = 1\n", "traced": '[operations]\ntraces = "file"\n'}
    said = {}
    for name, section in asked.items():
        (tmp_path / f"{name}.toml").write_text(table + section)
        done = subprocess.run(
            [sys.executable, "-m", "nwidth", "run", f"{name}.toml"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path / "without")},
            capture_output=True,
            text=True,
            timeout=120,
        )
        said[name] = (done.returncode, done.stderr.strip().splitlines()[-1] if done.returncode else "")
    assert said["bare"] == (0, "")
    assert said["metered"] == (
        1,
        'nwidth: operations.metrics_port needs prometheus-client; pip install "nwidth[metrics]", or remove it',
    )
    assert 'operations.traces = "file" needs OpenTelemetry; pip install "nwidth[telemetry]"' in said["traced"][1]
