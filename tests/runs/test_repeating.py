"""The same study is not run twice, a changed one is, and the same input gives the same bits wherever it is computed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nwidth as nw
from nwidth.errors import RunError
from nwidth.runs import RunResult, run
from nwidth.runs.folder import RunFolder
from tests.runs.ledgers import events
from tests.runs.studies import add_run, left_in, snapshots_of, study_of

LARGE = 300_000
"""Nodes of a field that is cut into more than 8 blocks: enough for a tree of two levels."""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """One simulation of a scalar field."""
    add_run(tmp_path / "store.zarr", "alpha", {"T": snapshots_of(500, 6)})
    return tmp_path / "store.zarr"


def test_the_same_study_is_not_run_twice_unless_forced(tmp_path: Path, store: Path, scheduler: str) -> None:
    """The second run says "nothing to do" and touches nothing; force runs it; the ledger tells all three."""
    study = study_of(tmp_path, store, scheduler)
    first = run(study)
    modified = (first.model / "manifest.json").stat().st_mtime_ns
    second = run(study)
    assert (first.status, second.status) == ("done", "nothing to do")
    assert (second.bases, second.plan) == (first.bases, json.loads(json.dumps(first.plan)))
    assert (first.model / "manifest.json").stat().st_mtime_ns == modified
    assert run(study, force=True).status == "done"
    assert events(first.folder) == ["started", "finished", "nothing to do", "started", "finished"]


def test_a_plan_is_shown_only_when_there_is_work(tmp_path: Path, store: Path, scheduler: str) -> None:
    """`on_plan` is called once, before the work, and not for a study that needs none."""
    shown: list[Any] = []
    for _ in range(2):
        run(study_of(tmp_path, store, scheduler), on_plan=shown.append)
    assert len(shown) == 1


def test_a_store_that_grew_is_reduced_again(tmp_path: Path, store: Path, scheduler: str) -> None:
    """A new simulation is a new version of the store, and the next run takes it in."""
    study = study_of(tmp_path, store, scheduler, reduce={"rank": 3})
    run(study)
    add_run(store, "beta", {"T": snapshots_of(500, 4, seed=9)})
    result = run(study)
    assert (result.status, result.plan["snapshots"]) == ("done", 10)
    assert nw.open_model(result.model).basis.coefficients.shape == (3, 10)


def test_another_setting_is_another_run(tmp_path: Path, store: Path, scheduler: str) -> None:
    """Changing what is asked for runs again; going back runs again, too, since the model is of the other setting."""
    ranks = [run(study_of(tmp_path, store, scheduler, reduce={"rank": rank})).bases["T"]["rank"] for rank in (2, 3, 2)]
    assert ranks == [2, 3, 2]


def test_a_record_of_another_model_is_not_believed(tmp_path: Path, store: Path, scheduler: str) -> None:
    """A crash between publishing the model and its record leaves them unequal, and the study is run, not taken as done."""
    old, new = (study_of(tmp_path, store, scheduler, reduce={"rank": rank}) for rank in (2, 3))
    run(old)
    record = (old.run_folder / "run.json").read_bytes()
    run(new)
    (old.run_folder / "run.json").write_bytes(record)
    assert run(old).status == "done"
    assert nw.open_model(old.run_folder).basis.rank == 2


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}"])
def test_a_damaged_record_only_costs_a_run(tmp_path: Path, store: Path, scheduler: str, damage: str) -> None:
    """An empty or torn run.json is not an error: the study is run again."""
    study = study_of(tmp_path, store, scheduler)
    run(study)
    (study.run_folder / "run.json").write_text(damage)
    assert run(study).status == "done"


def test_two_runs_at_once_are_refused(tmp_path: Path, store: Path, scheduler: str) -> None:
    """While one run is at work in a folder, a second is refused and harms nothing."""
    study = study_of(tmp_path, store, scheduler)
    folder = RunFolder(study.run_folder)
    with folder.held(), folder.attempt("0123") as attempt:
        with pytest.raises(RunError, match=r"another run is at work in .*; wait for it, or give the study another name"):
            run(study)
        assert attempt.is_dir()
    assert run(study).status == "done"


def test_what_a_killed_run_left_is_swept(tmp_path: Path, store: Path, scheduler: str) -> None:
    """A stale attempt goes, and a model that was being replaced when the power failed comes back."""
    study = study_of(tmp_path, store, scheduler)
    run(study)
    (study.run_folder / "model.zarr").rename(study.run_folder / ".replaced-model.zarr")
    (study.run_folder / ".attempt-0123" / "model.zarr").mkdir(parents=True)
    assert run(study).status == "nothing to do"
    assert left_in(study.run_folder) == {".lock", "ledger.jsonl", "model.zarr", "run.json"}


def contents(result: RunResult) -> dict[str, bytes]:
    """All arrays of a model: path -> bytes of each file, but for the manifest and its dates."""
    files = (path for path in result.model.rglob("*") if path.is_file() and path.name != "manifest.json")
    return {str(path.relative_to(result.model)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of ten blocks."""
    from nwidth.stores import layout

    url = tmp_path_factory.mktemp("large") / "store.zarr"
    place = np.linspace(0, 1, LARGE)
    times = np.arange(1, 41)[:, None]
    with pytest.MonkeyPatch.context() as patch:
        # Chunks as small beside this field as those of a field of gigabytes are.
        patch.setattr(layout, "CHUNK_TARGET", 2**18)
        add_run(url, "alpha", {"T": np.sin(times * place + 0.3 * times).astype(np.float32)})
    return url


@pytest.mark.parametrize("route", ["gram", "tsqr"])
def test_threads_and_processes_give_the_same_bits(tmp_path: Path, large: Path, scheduler: str, route: Any) -> None:
    """`nwidth.pod` on threads and a run on worker processes, and the same run again, agree in every bit."""
    study = study_of(tmp_path, large, scheduler, reduce={"rank": 12, "route": route})
    first = run(study)
    assert first.plan["fields"]["T"]["blocks"] > 8
    again = run(study, force=True)
    assert contents(first) == contents(again)
    threads = nw.pod(nw.open_snapshots(large)["T"], rank=12, route=route)
    basis = nw.open_model(first.model).basis
    np.testing.assert_array_equal(basis.modes.values, threads.modes.values)
    np.testing.assert_array_equal(basis.coefficients.values, threads.coefficients.values)
    np.testing.assert_array_equal(basis.spectrum.singular_values, threads.spectrum.singular_values)
    assert basis.certificate.summary() == threads.certificate.summary()


@pytest.mark.slow
def test_one_two_and_four_workers_give_the_same_bits(tmp_path: Path, large: Path) -> None:
    """The number of worker processes changes who computes, not a bit of the model."""
    models = [
        contents(run(study_of(tmp_path / str(count), large, reduce={"rank": 12}, workers={"count": count})))
        for count in (1, 2, 4)
    ]
    assert models[0] == models[1] == models[2]
