"""The doctor with a study and with workers: real stores, schedulers, workers of other versions, and disks that are full."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nwidth import doctor
from nwidth.cli import main
from nwidth.config import Study
from nwidth.doctor import machine
from nwidth.doctor.checks import Check
from nwidth.doctor.cluster import check_workers
from nwidth.doctor.store import check_room, check_store, some_chunks
from nwidth.runs import run
from nwidth.stores import open_store
from tests.deploy.servers import scheduler_process, worker_process
from tests.deploy.test_addresses import other_image
from tests.runs.studies import add_run, snapshots_of, study_of


@pytest.fixture
def store(tmp_path: Path) -> Path:
    add_run(tmp_path / "store.zarr", "a", {"T": snapshots_of(60_000, 12, decades=2)})
    return tmp_path / "store.zarr"


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[Path, str], None]]:
    """Mounts a file system of a given size on a folder, where this process may."""

    def mount_on(folder: Path, size: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True).returncode:
            pytest.skip("mounting a small file system needs privileges that are not here")

    yield mount_on
    for line in Path("/proc/self/mounts").read_text().splitlines():
        if line.split()[1].startswith(str(tmp_path)):
            subprocess.run(["umount", "-l", line.split()[1]], check=True)


def by_name(checks: list[Check]) -> dict[str, Check]:
    assert len({check.name for check in checks}) == len(checks)
    return {check.name: check for check in checks}


def test_rates_of_a_core_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both rates are numbers of the machine, and far below what plans count on is a warning."""
    assert 1e7 < machine.decoding_rate(2**20) < 1e12
    assert 1e7 < machine.multiplying_rate(512, 64) < 1e13
    assert "plans count on 1 GB/s and 20 Gflop/s" in machine.check_rates().found
    monkeypatch.setattr(machine, "multiplying_rate", lambda: 1e9)
    assert machine.check_rates().status == "warn"
    assert "longer runs than predicted" in machine.check_rates().advice


def test_a_disk_is_read_back(tmp_path: Path) -> None:
    """The check says what it wrote and what it read, and leaves nothing."""
    check = machine.check_disk(tmp_path)
    assert check.status in ("ok", "warn")
    assert "MB/s, reads " in check.found
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_or_nearly_so_is_named(tmp_path: Path, mount: Any) -> None:
    """No room for the file that is tried is a failure, little room a warning."""
    mount(tmp_path / "full", "1m")
    mount(tmp_path / "small", "64m")
    full, small = machine.check_disk(tmp_path / "full"), machine.check_disk(tmp_path / "small")
    assert (full.status, full.found) == ("fail", f"{tmp_path / 'full'} is full: 32 MiB find no room")
    assert small.status == "warn"
    assert "make room" in small.advice


def test_a_store_is_read_as_a_run_reads_it(tmp_path: Path, store: Path) -> None:
    """Latency of small reads, rate of whole chunks; every selected chunk is whole, and they are spread over the field."""
    (check,) = check_store(study_of(tmp_path, store))
    assert check.status == "ok"
    assert "12 snapshots; small reads take" in check.found
    field = open_store(store).schema().fields["T"]
    chosen = list(some_chunks(field))
    assert len({tuple((part.start, part.stop) for part in selection) for selection in chosen}) == len(chosen) > 0
    for selection in chosen:
        assert all(part.start % size == 0 for part, size in zip(selection, field.chunks, strict=True))


def test_a_store_that_is_not_there_fails_with_its_own_words(tmp_path: Path) -> None:
    """The store's refusal is the finding, its way out the advice; the other checks go on."""
    from nwidth.doctor.checks import guarded

    (check,) = guarded("store", lambda: check_store(study_of(tmp_path, tmp_path / "nowhere.zarr")))
    assert check.status == "fail"
    assert "nowhere.zarr" in check.found
    assert check.advice


def test_results_that_find_no_room_fail_before_the_run_does(tmp_path: Path, store: Path, mount: Any) -> None:
    """A folder with room for fewer modes than the study asks for is a failure with the setting to change."""
    mount(tmp_path / "runs", "1m")
    asked = study_of(tmp_path, store, reduce={"rank": 8})
    check = check_room(asked, tmp_path / "runs")
    assert check.status == "fail"
    assert "room for 2 modes of 0.48 MB; the study may make 8" in check.found
    assert check.advice == "set study.output to a folder with more room"
    assert check_room(asked, tmp_path).status == "ok"


def test_healthy_workers_pass_every_check(tmp_path: Path, store: Path, scheduler: str) -> None:
    """Versions, clocks, memory, threads and disks of real workers, and their own reads of the store."""
    checks = by_name(check_workers(None, study_of(tmp_path, store, scheduler)))
    assert {check.status for check in checks.values()} <= {"ok", "warn"}
    assert checks["workers"].found.startswith("2 at tcp://127.0.0.1")
    assert "client, scheduler and workers agree: nwidth" in checks["versions"].found
    assert checks["clocks"].status == "ok"
    assert "limits of 2 GiB" in checks["worker memory"].found
    assert "MB/s in all; the slowest worker" in checks["worker reads"].found


def test_workers_smaller_than_the_study_counts_on_are_named(tmp_path: Path, store: Path, scheduler: str) -> None:
    """The memory that a study counts on is compared with every worker's limit."""
    study = study_of(tmp_path, store, scheduler, workers={"memory": "3 GiB"})
    check = by_name(check_workers(None, study))["worker memory"]
    assert check.status == "fail"
    assert "has 2 GiB" in check.found
    assert "lower workers.memory, which counts on 3 GiB" in check.advice


def test_a_clock_that_is_wrong_is_named(scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker an hour ahead is told with its address and the difference; the way there and back is not taken for skew."""
    from distributed import Client

    from nwidth.doctor import cluster

    with Client(scheduler) as client:
        workers = list(client.scheduler_info(n_workers=-1)["workers"])
        assert cluster.check_clocks(client, workers).status == "ok"
        real = cluster._skew
        ahead = {workers[0]: 3600.0}
        monkeypatch.setattr(
            cluster, "_skew", lambda of, address: (real(of, address)[0] + ahead.get(address, 0), real(of, address)[1])
        )
        check = cluster.check_clocks(client, workers)
    assert check.status == "warn"
    assert workers[0] in check.found
    assert "+3600." in check.found or "+3599.9" in check.found


@pytest.mark.slow
def test_a_worker_image_with_other_versions_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`nwidth doctor --address` names the worker, the packages and both versions, asks what it still can, and exits with 1."""
    image = other_image(tmp_path / "image", numpy="1.26.4", nwidth="0.0.7")
    with scheduler_process(tmp_path) as address, worker_process(tmp_path, address, env=image):
        assert main(["doctor", "--address", address, "--json"]) == 1
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)}
    assert checks["versions"]["status"] == "fail"
    assert "has nwidth 0.0.7 (here " in checks["versions"]["found"]
    assert "numpy 1.26.4 (here " in checks["versions"]["found"]
    assert checks["versions"]["advice"] == "install the same lock file, or use the same image, on both sides"
    assert checks["clocks"]["status"] == "ok"
    assert "worker disks" not in checks


def test_an_address_where_nobody_answers_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor tells it with the way out, and does not die of it."""
    monkeypatch.setattr("nwidth.workers.CONNECT_SECONDS", 1)
    for name in ("check_cluster", "check_rendering"):
        monkeypatch.setattr(doctor, name, lambda: Check("not tried", "ok", "here"))
    (check,) = [check for check in doctor.diagnose(address="tcp://127.0.0.1:9") if check.name == "workers"]
    assert check.status == "fail"
    assert "no Dask scheduler answers at 'tcp://127.0.0.1:9'" in check.found


def spilling(folder: Path) -> dict[str, str]:
    """A worker that puts every result on its disk at once."""
    return {"DASK_DISTRIBUTED__WORKER__MEMORY__TARGET": "0.0001", "DASK_DISTRIBUTED__WORKER__MEMORY__SPILL": "0.0001"}


def on(address: str, study: Study) -> Study:
    return study.model_copy(update={"workers": study.workers.model_copy(update={"address": address, "memory": 2**30})})


@pytest.mark.slow
def test_a_full_disk_on_one_node_is_named_and_stops_no_run(tmp_path: Path, store: Path, mount: Any) -> None:
    """One of two workers has a local folder without room, and spills: the doctor names it, the run ends with the same bits."""
    import numpy as np

    study = study_of(tmp_path, store, reduce={"rank": 4, "route": "gram"})
    expected = run(study)
    modes = np.asarray(_modes(expected.model))
    for name in ("full", "roomy"):
        (tmp_path / name).mkdir()
    mount(tmp_path / "full", "1m")
    with (
        scheduler_process(tmp_path) as address,
        worker_process(tmp_path / "roomy", address),
        worker_process(tmp_path / "full", address, env=spilling(tmp_path)),
    ):
        (tmp_path / "full" / "filling").write_bytes(bytes(_free(tmp_path / "full")))
        disks = by_name(check_workers(address, None))["worker disks"]
        result = run(on(address, study), force=True)
    assert disks.status == "fail"
    assert f"cannot write {tmp_path / 'full'}" in disks.found
    assert ": No space left on device" in disks.found
    assert "another --local-directory" in disks.advice
    np.testing.assert_array_equal(np.asarray(_modes(result.model)), modes)


def _modes(model: Path) -> Any:
    import nwidth as nw

    return nw.open_model(model).basis.modes


def _free(folder: Path) -> int:
    import shutil

    return shutil.disk_usage(folder).free
