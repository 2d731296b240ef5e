"""What cannot be done is refused before any work, in one sentence, and what lies there stays."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nwidth.config import check_study, load_study
from nwidth.errors import ConfigError, FieldError, LayoutError, NwidthError, PlanError, StoreError
from nwidth.runs import plan, run
from tests.runs.studies import add_run, snapshots_of, study_of

SPACE = 500


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two simulations of a scalar and a vector field, with weights; one weight of ``bad`` is negative."""
    url = tmp_path_factory.mktemp("refusals") / "store.zarr"
    bad = np.ones(SPACE)
    bad[7] = -2.0
    weights = {"volume": np.linspace(1, 2, SPACE)}
    for seed, simulation in enumerate(("alpha", "beta")):
        vector = snapshots_of(3 * SPACE, 6, seed).reshape(6, SPACE, 3)
        made = add_run(url, simulation, {"u": vector, "T": snapshots_of(SPACE, 6, seed)}, weights=weights)
    # Ingestion refuses such weights: they come from whoever writes into a store without nwidth.
    made.write_inner_product("bad", "diagonal", {"weights": bad}, {"dims": ["node"]})
    return url


def refused(folder: Path, store: Path, reduce: Mapping[str, Any]) -> str:
    """The sentence with which a plan and a run of this study are refused; the run leaves nothing but its lock."""
    study = study_of(folder, store, reduce=reduce)
    with pytest.raises(NwidthError) as planned:
        plan(study)
    with pytest.raises(type(planned.value), match=re.escape(str(planned.value))):
        run(study)
    assert {path.name for path in study.run_folder.iterdir()} <= {".lock"}
    return f"{type(planned.value).__name__}: {planned.value}"


@pytest.mark.parametrize(
    ("reduce", "sentence"),
    [
        ({"fields": ["w"]}, "ConfigError: reduce.fields: 'w' is not in the store; it has T, u"),
        ({"simulations": ["gamma"]}, "ConfigError: reduce.simulations: 'gamma' is not in the store; it has alpha, beta"),
        (
            {"inner_product": "volumes"},
            "ConfigError: reduce.inner_product: 'volumes' is not in the store; known: identity, mass, bad, volume",
        ),
        (
            {"inner_product": {"w": "identity"}},
            "ConfigError: reduce.inner_product: 'w' is not among the fields that are reduced: T, u",
        ),
        (
            {"inner_product": "bad"},
            "ConfigError: weight -2.0 of 'bad' at (7,) is not allowed; weights are finite and not negative",
        ),
        (
            {"inner_product": "mass", "fields": ["T"]},
            "ConfigError: inner_product = \"mass\" needs a field at the nodes of a mesh, and 'T' lies at nodes of a store "
            'without a mesh; use "identity" or one of bad, volume',
        ),
    ],
    ids=["field", "simulation", "inner product", "table", "negative weight", "mass without mesh"],
)
def test_what_the_store_does_not_have_is_refused_with_what_it_has(
    tmp_path: Path, store: Path, reduce: dict[str, Any], sentence: str
) -> None:
    """A study that names what is not there is refused by plan and run alike, with the names that would do."""
    assert refused(tmp_path, store, reduce) == sentence


def test_weights_of_another_length_are_refused(tmp_path: Path) -> None:
    """Weights that do not fit the space of the field are refused with both shapes."""
    url = tmp_path / "store.zarr"
    store = add_run(url, "alpha", {"T": snapshots_of(SPACE, 4)})
    store.write_inner_product("short", "diagonal", {"weights": np.ones(SPACE - 1)}, {"dims": ["place"]})
    sentence = refused(tmp_path, url, {"inner_product": "short"})
    assert (
        sentence == "ConfigError: weights 'short' have shape (499,), and the field's space has (500,); give one weight per place"
    )


@pytest.mark.parametrize("threads", [1, 3])
def test_too_little_memory_names_an_amount_that_then_works(tmp_path: Path, threads: int) -> None:
    """Whoever sets workers.memory to the amount in the refusal gets a plan that fits, for one thread and for several."""
    url = tmp_path / "store.zarr"
    add_run(url, "alpha", {"T": snapshots_of(40_000, 40, decades=3)})
    workers: dict[str, Any] = {"memory": "140 MiB", "threads": threads}
    with pytest.raises(PlanError) as refusal:
        plan(study_of(tmp_path, url, workers=workers))
    advice = re.search(r"set workers\.memory to at least (\d+) MiB", str(refusal.value))
    assert advice is not None, refusal.value
    workers["memory"] = f"{advice[1]} MiB"
    assert plan(study_of(tmp_path, url, workers=workers)).peak_bytes_per_worker <= int(advice[1]) * 2**20


def test_an_empty_store_is_refused(tmp_path: Path) -> None:
    """A store without a run has nothing to reduce, and the refusal says to ingest one."""
    from nwidth.stores import create_store

    create_store(tmp_path / "store.zarr")
    sentence = refused(tmp_path, tmp_path / "store.zarr", {})
    assert sentence.endswith("is empty: nothing to reduce; ingest a run first")


def test_a_store_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Neither plan nor run makes anything where the store is missing."""
    study = study_of(tmp_path, tmp_path / "nowhere.zarr")
    for work in (plan, run):
        with pytest.raises(StoreError, match=r"nowhere\.zarr"):
            work(study)
    assert not study.run_folder.exists()


def test_a_store_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """A store that a newer nwidth wrote is not read as if it were understood."""
    url = tmp_path / "store.zarr"
    add_run(url, "alpha", {"T": snapshots_of(SPACE, 4)})
    metadata = url / "zarr.json"
    content = json.loads(metadata.read_text())
    key = next(name for name, value in content["attributes"].items() if "schema" in name and isinstance(value, int))
    content["attributes"][key] += 1
    metadata.write_text(json.dumps(content))
    with pytest.raises(LayoutError, match="newer"):
        run(study_of(tmp_path, url))


def test_complex_values_are_no_field(tmp_path: Path) -> None:
    """A complex field, which a store may hold, is refused by name, with the way out."""
    url = tmp_path / "store.zarr"
    add_run(url, "alpha", {"wave": np.ones((4, SPACE), np.complex128)})
    assert "FieldError: field 'wave' has dtype complex128" in refused(tmp_path, url, {})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[reduce]\nrtoll = 1e-3", "unknown key 'reduce.rtoll'; did you mean 'rtol'?"),
        ("[reduce]\nrtol = 2.0", "reduce.rtol = 2.0: Input should be less than 1"),
        ("[workers]\nmemory = '2 parsecs'", "workers.memory = '2 parsecs': '2 parsecs' is not an amount of memory"),
        ("[wurkers]\ncount = 2", "unknown key 'wurkers'; did you mean 'workers'?"),
        ("[reduce]\nbasis = 'both'", "reduce.basis = 'both': Input should be 'joint' or 'each'"),
        ("[reduce]\nfield_scaling = { u = -1.0 }", "reduce.field_scaling.u = -1.0: Input should be greater than 0"),
        ("reduce = 3", "reduce = 3: "),
        ("[study", "is not TOML"),
    ],
)
def test_a_study_file_is_refused_by_key(tmp_path: Path, text: str, sentence: str) -> None:
    """A misspelt key, a bad value or broken TOML is one sentence with the file and the key."""
    file = tmp_path / "study.toml"
    file.write_text(f"{text}\n" if text.startswith("[study") else f'{text}\n[study]\nname = "s"\nstore = "s.zarr"\n')
    with pytest.raises(ConfigError) as refusal:
        load_study(file)
    assert sentence in str(refusal.value)
    assert str(file) in str(refusal.value)


@pytest.mark.parametrize("name", ["../elsewhere", "a/b", "", ".hidden"])
def test_a_study_name_stays_below_its_output(name: str) -> None:
    """The name of a study cannot lead its results out of their folder."""
    with pytest.raises(ConfigError, match=r"study\.name"):
        check_study({"study": {"name": name, "store": "s.zarr"}})


def test_all_snapshots_zero_are_refused(tmp_path: Path, scheduler: str) -> None:
    """A field that is zero everywhere spans nothing: refused by name, nothing is published."""
    url = tmp_path / "store.zarr"
    add_run(url, "alpha", {"T": np.zeros((5, SPACE))})
    with pytest.raises(FieldError, match="every snapshot of field 'T' is zero"):
        run(study_of(tmp_path, url, scheduler))
    assert not (tmp_path / "runs" / "s" / "model.zarr").exists()


def test_centring_a_single_snapshot_is_refused(tmp_path: Path, scheduler: str) -> None:
    """One snapshot minus its own mean is nothing, and the refusal says so."""
    url = tmp_path / "store.zarr"
    add_run(url, "alpha", {"T": snapshots_of(SPACE, 1)})
    with pytest.raises(FieldError, match=r"one snapshot, which is zero once its mean is removed; set centre = false"):
        run(study_of(tmp_path, url, scheduler, reduce={"centre": True}))
