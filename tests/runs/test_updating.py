"""A store that only grew: exact updates equal full runs, fast ones keep their bounds; what cannot be updated is run in full."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import nwidth as nw
from nwidth.errors import ConfigError
from nwidth.models.model import Model
from nwidth.runs import RunResult, run
from nwidth.runs.updating import offer_of, prepared
from nwidth.stages.appending import bordered_gram
from nwidth.stores import open_store
from nwidth.updating import with_update
from tests.runs.studies import add_run, snapshots_of, study_of

Floats = NDArray[np.float64]
EPS = np.finfo(float).eps
FIELDS = {"T": snapshots_of(400, 20), "u": 1e3 * snapshots_of(400, 20, seed=3)}


def grow(folder: Path, simulation: str, start: int, stop: int, fields: str = "Tu") -> None:
    """Append snapshots ``start:stop`` as one simulation."""
    add_run(folder / "store.zarr", simulation, {name: FIELDS[name][start:stop] for name in fields})


def stack_of(model: Model, basis: str, count: int) -> tuple[Floats, Floats]:
    """(snapshots (n, count), modes (n, N)) of a basis, scaled as its fields are, about its mean."""
    found = model.bases[basis]
    parts, modes = [], []
    for name, scale in found.field_scaling.items():
        mean = found.mean_by_field[name].values if found.centred else 0.0
        parts.append(scale * (FIELDS[name][:count] - mean))
        modes.append(scale * found.modes_by_field[name].values)
    return np.hstack(parts).T, np.hstack(modes).T


def passes(result: RunResult) -> list[str]:
    """Names of the passes of a run."""
    return [measure["name"] for measure in result.measured["passes"]]


def events(result: RunResult) -> list[dict[str, Any]]:
    """The lines of the ledger."""
    return [json.loads(line) for line in (result.folder / "ledger.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("centred", [False, True])
def test_a_bordered_gram_matrix_is_that_of_all(centred: bool) -> None:
    """From the old Gram matrix and the border alone, about the mean that has moved where snapshots are centred."""
    snapshots = FIELDS["T"].T + 0.3
    old, whole = snapshots[:, :14], snapshots
    if centred:
        old, whole = old - old.mean(axis=1, keepdims=True), whole - whole.mean(axis=1, keepdims=True)
    found = bordered_gram(old.T @ old, whole[:, 14:].T @ whole, centred=centred)
    np.testing.assert_allclose(found, whole.T @ whole, rtol=0, atol=100 * EPS * np.sum(snapshots**2))


@pytest.mark.parametrize("reduce", [{"basis": "joint"}, {"centre": True}])
def test_an_exact_update_equals_a_full_run(tmp_path: Path, scheduler: str, reduce: dict[str, Any]) -> None:
    """Same rank, spectrum and measured errors as a run in full, from a border pass instead of a Gram pass."""
    grow(tmp_path, "a", 0, 14)
    options = {"rtol": 1e-2, **reduce}
    study = study_of(tmp_path, tmp_path / "store.zarr", scheduler, reduce={**options, "update": "exact"})
    run(study)
    grow(tmp_path, "b", 14, 20)
    updated = run(study)
    assert passes(updated) == ["border", "lift"]
    assert "the last model is updated (exact)" in updated.words
    full = run(study_of(tmp_path, tmp_path / "store.zarr", scheduler, reduce=options, study={"name": "full"}))
    assert passes(full)[0] == "gram"
    one, other = nw.open_model(updated.model), nw.open_model(full.model)
    for name in other.bases:
        ours, theirs = one.bases[name], other.bases[name]
        assert ours.rank == theirs.rank
        largest = theirs.spectrum.singular_values[0]
        # A Gram matrix knows s_1^2 to rounding, and smaller values with the square root of it.
        np.testing.assert_allclose(
            ours.spectrum.singular_values**2, theirs.spectrum.singular_values**2, atol=1e3 * EPS * largest**2
        )
        np.testing.assert_allclose(ours.certificate.relative_errors, theirs.certificate.relative_errors, rtol=1e-6)
        assert not ours.certificate.bound
    assert run(study).status == "nothing to do"
    assert one.manifest["provenance"]["parents"][0]["snapshots"] == 14


def test_fast_updates_keep_their_bounds(tmp_path: Path, scheduler: str) -> None:
    """Twice in a row: new snapshots are certified exactly, old ones by bounds that hold; the manifest tells the chain."""
    grow(tmp_path, "a", 0, 8)
    study = study_of(tmp_path, tmp_path / "store.zarr", scheduler, reduce={"rtol": 1e-3, "basis": "joint", "update": "fast"})
    run(study)
    for name, start in (("b", 8), ("c", 14)):
        grow(tmp_path, name, start, start + 6)
        result = run(study)
        model = nw.open_model(result.model)
        snapshots, modes = stack_of(model, "joint", start + 6)
        basis, norms = model.bases["joint"], np.linalg.norm(snapshots, axis=0)
        rest = snapshots - modes @ basis.coefficients.values
        errors, certified = np.linalg.norm(rest, axis=0) / norms, basis.certificate.relative_errors
        slack = 1e-9
        assert (errors <= certified * (1 + slack) + 1e-13).all()
        np.testing.assert_allclose(certified[start:], errors[start:], rtol=1e-6, atol=1e-13)
        assert np.linalg.norm(rest) / np.linalg.norm(snapshots) <= basis.certificate.frobenius_error * (1 + slack)
        np.testing.assert_allclose(basis.certificate.snapshot_norms, norms, rtol=1e-12)
        assert basis.certificate.bound
    updates = model.manifest["bases"]["joint"]["updates"]
    assert [update["snapshots"] for update in updates] == [6, 6]
    assert updates[1]["accumulated_error"] == basis.certificate.frobenius_error
    assert run(study).status == "nothing to do"


def test_a_fast_update_reads_what_is_new(tmp_path: Path, scheduler: str) -> None:
    """Its columns are the modes and the new snapshots; no old one is among them, and the plan counts on that."""
    grow(tmp_path, "a", 0, 14, "T")
    study = study_of(tmp_path, tmp_path / "store.zarr", scheduler, reduce={"rank": 3, "update": "fast"})
    result = run(study)
    grow(tmp_path, "b", 14, 20, "T")
    store = open_store(study.store_url)
    ready = prepared(study, store, offer_of(study, store.schema(), result.model), tmp_path / "patches")
    reader: Any = ready.problem.sources["T"].read
    modes, new = reader.parts
    assert (modes.count, new.count, new.read.ranges) == (3, 6, ((14, 20),))
    assert ready.plan.snapshots == 20
    assert all(cost.peak_bytes <= study.workers.memory for cost in ready.plan.passes)


def test_a_full_run_says_that_it_could_have_been_an_update(tmp_path: Path, scheduler: str) -> None:
    """With update = "full" nothing changes but a sentence, which is in the ledger, too."""
    grow(tmp_path, "a", 0, 14, "T")
    study = study_of(tmp_path, tmp_path / "store.zarr", scheduler, reduce={"rank": 3})
    assert run(study).words == ""
    grow(tmp_path, "b", 14, 18, "T")
    result = run(study)
    assert passes(result)[0] == "gram"
    assert 'the store has gained 4 snapshots (b) since the last run; reduce.update = "fast"' in result.words
    assert [line["words"] for line in events(result) if line["event"] == "grown"] == [result.words]


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ({"rank": 3}, {"rank": 2, "update": "fast"}, "the settings of [reduce] changed"),
        ({"rank": 3, "simulations": ["a"]}, {"rank": 3, "simulations": ["a"], "update": "fast"}, "simulations were named"),
        ({"rank": 3, "centre": True}, {"rank": 3, "centre": True, "update": "fast"}, "a centred basis is updated with"),
        (
            {"rank": 3, "route": "tsqr"},
            {"rank": 3, "route": "tsqr", "update": "exact"},
            "the factor R of the last run has no border",
        ),
    ],
)
def test_what_cannot_be_updated_is_run_in_full(
    tmp_path: Path, scheduler: str, before: dict[str, Any], after: dict[str, Any], words: str
) -> None:
    """Where more changed than snapshots that were added, or the last model does not serve, the reason is said."""
    grow(tmp_path, "a", 0, 14, "T")
    run(study_of(tmp_path, tmp_path / "store.zarr", scheduler, reduce=before))
    grow(tmp_path, "b", 14, 18, "T")
    result = run(study_of(tmp_path, tmp_path / "store.zarr", scheduler, reduce=after))
    assert words in result.words
    assert result.words.endswith("a full run is done") or "so a full run is done" in result.words
    assert "parents" not in nw.open_model(result.model).manifest["provenance"]


def test_another_store_in_the_same_place_is_no_growth(tmp_path: Path, scheduler: str) -> None:
    """A store that was made anew with other contents is reduced in full, whatever the names of its simulations."""
    import shutil

    grow(tmp_path, "a", 0, 8, "T")
    study = study_of(tmp_path, tmp_path / "store.zarr", scheduler, reduce={"rank": 3, "update": "fast"})
    run(study)
    shutil.rmtree(tmp_path / "store.zarr")
    grow(tmp_path, "z", 0, 8, "T")
    grow(tmp_path, "b", 8, 12, "T")
    result = run(study)
    assert "the store is not the one of the last run" in result.words
    assert passes(result)[0] == "gram"


def test_an_unknown_way_to_update_is_refused(tmp_path: Path) -> None:
    """`nw.update` and ``--update`` take full, exact and fast."""
    study = study_of(tmp_path, tmp_path / "store.zarr")
    assert with_update(study, "fast").reduce.update == "fast"
    with pytest.raises(ConfigError, match="use full, exact or fast"):
        with_update(study, "quick")
