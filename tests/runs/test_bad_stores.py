"""A store that was damaged after it was written: the place is named, nothing is published, an earlier model stays."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

import nwidth as nw
from nwidth.errors import FieldError, StoreError
from nwidth.runs import run
from tests.runs.studies import add_run, left_in, snapshots_of, study_of

SPACE = 600


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Simulations alpha and beta of a vector field, four snapshots each."""
    for seed, name in enumerate(("alpha", "beta")):
        add_run(tmp_path / "store.zarr", name, {"u": snapshots_of(3 * SPACE, 4, seed, 2).reshape(4, SPACE, 3)})
    return tmp_path / "store.zarr"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("route", ["gram", "tsqr"])
def test_a_value_that_is_no_number_is_named_by_place(
    tmp_path: Path, store: Path, scheduler: str, value: float, route: str
) -> None:
    """NaN and infinity, written by somebody else, are named by field, node, component, simulation and time."""
    group = zarr.open_group(str(store), mode="r+")
    group["fields/u"][5, 17, 1] = value  # type: ignore[index]
    with pytest.raises(FieldError) as refusal:
        run(study_of(tmp_path, store, scheduler, reduce={"route": route}))
    assert f"field 'u' is {value} at node 17, component y, in snapshot 5 (simulation beta, t = 0.5)" in str(refusal.value)
    assert left_in(tmp_path / "runs" / "s") == {".lock", "ledger.jsonl"}


def test_the_other_simulations_can_still_be_reduced(tmp_path: Path, store: Path, scheduler: str) -> None:
    """As the refusal says, leaving out the bad simulation works."""
    group = zarr.open_group(str(store), mode="r+")
    group["fields/u"][5, 17, 1] = np.nan  # type: ignore[index]
    assert run(study_of(tmp_path, store, scheduler, reduce={"simulations": ["alpha"]})).status == "done"


def chunk_files(store: Path) -> list[Path]:
    """Files of the field's chunks."""
    return sorted(path for path in (store / "fields" / "u" / "c").rglob("*") if path.is_file())


def test_a_truncated_chunk_is_named_and_the_last_model_stays(tmp_path: Path, store: Path, scheduler: str) -> None:
    """Half a chunk is refused with the name of array and chunk; the model of the earlier run is still there, bit for bit."""
    study = study_of(tmp_path, store, scheduler)
    before = nw.open_model(run(study).model).basis.modes.values
    chunk = chunk_files(store)[0]
    chunk.write_bytes(chunk.read_bytes()[: chunk.stat().st_size // 2])
    with pytest.raises(StoreError, match=r"chunk c/0/0/0 of array fields/u in .*store\.zarr is truncated or damaged"):
        run(study, force=True)
    np.testing.assert_array_equal(nw.open_model(study.run_folder).basis.modes.values, before)
    assert left_in(study.run_folder) == {".lock", "ledger.jsonl", "model.zarr", "run.json"}


def test_a_chunk_that_is_missing_is_named(tmp_path: Path, store: Path, scheduler: str) -> None:
    """A chunk that was lost is not taken for zeros or NaN in the data."""
    chunk_files(store)[0].unlink()
    with pytest.raises(StoreError, match=r"c/0/0/0.*fields/u"):
        run(study_of(tmp_path, store, scheduler))


def test_a_store_that_vanishes_after_the_plan_is_one_sentence(tmp_path: Path, store: Path, scheduler: str) -> None:
    """A store that is removed between plan and pass is reported as such."""
    with pytest.raises(StoreError, match=r"store\.zarr"):
        run(study_of(tmp_path, store, scheduler), on_plan=lambda _: shutil.rmtree(store))
