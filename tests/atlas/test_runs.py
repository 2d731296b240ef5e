"""A study with ``[atlas]``: planned, run in the same two reads, kept on disk, opened, compared; and what is refused."""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nwidth as nw
from nwidth.cli import main
from nwidth.config import Study, check_study
from nwidth.errors import ConfigError, LayoutError, PlanError, StoreError
from nwidth.models.atlas_files import ARRAYS
from nwidth.runs import plan, run
from tests.atlas.bumps import bumps, clusters_of, dense_errors, flat
from tests.oracles.mass import small_mesh
from tests.runs.studies import add_run, snapshots_of, study_of

SNAPSHOTS = bumps()
PYTHAGORAS = 1e-7


def stored(folder: Path, **more: Any) -> Path:
    """The bumps as a store of twelve simulations."""
    for number in range(12):
        values = SNAPSHOTS.values[10 * number : 10 * number + 10]
        add_run(folder / "store", f"s{number:02d}", {"u": values, **{name: factor * values for name, factor in more.items()}})
    return folder / "store"


def with_atlas(study: Study, **atlas: Any) -> Study:
    """The study with a table ``[atlas]``."""
    table = study.model_dump(exclude={"folder"}) | {"atlas": atlas}
    return check_study(table, folder=study.folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, scheduler: str) -> Path:
    """A folder with the store, and the results of a study with six clusters."""
    place = tmp_path_factory.mktemp("atlas")
    study = with_atlas(study_of(place, stored(place), scheduler, reduce={"rank": 4}), clusters=6)
    made = plan(study)
    result = run(study)
    assert [measure["name"] for measure in result.measured["passes"]] == ["gram", "lift"]
    assert result.measured["bytes_read"] == made.bytes_to_read
    assert "atlas: clusters = 6, rank = 4, up to 24 modes in all" in made.truncation
    return place


def test_the_measured_peak_is_within_the_plan(tmp_path: Path) -> None:
    """A worker of its own, which has done nothing else, stays below what the plan says of a study with clusters."""
    study = with_atlas(study_of(tmp_path, stored(tmp_path), reduce={"rank": 4}), clusters=6)
    assert run(study).measured["peak_bytes_per_worker"] <= plan(study).peak_bytes_per_worker


def test_the_model_holds_the_atlas_of_the_arrays(folder: Path) -> None:
    """Read back from disk: the partition, errors and bases of `nwidth.partition` on the same snapshots."""
    model = nw.open_model(folder / "runs/s")
    atlas, alone = model.atlas, nw.partition(SNAPSHOTS, clusters=6, rank=4)
    for name in ("labels", "medoids", "second", "item_labels", "ranks"):
        np.testing.assert_array_equal(getattr(atlas, name), getattr(alone, name))
    np.testing.assert_allclose(atlas.errors, alone.errors, atol=PYTHAGORAS)
    np.testing.assert_allclose(atlas.gain.own_error, alone.gain.own_error, rtol=1e-6)
    assert list(model.bases) == ["global", *clusters_of(6)]
    for cluster, name in enumerate(clusters_of(6)):
        basis = model.bases[name]
        np.testing.assert_allclose(atlas.errors[cluster], dense_errors(SNAPSHOTS.values, flat(basis, "u")), atol=PYTHAGORAS)
        assert list(basis.coefficients["simulation"].values) == list(SNAPSHOTS["simulation"].values[atlas.members(cluster)])
        worst = model.manifest["bases"][name]["certificate"]["worst_snapshot"]
        assert atlas.errors[cluster, worst] == pytest.approx(atlas.errors[cluster, atlas.members(cluster)].max())
    assert model.manifest["atlas"]["sizes"] == [int(size) for size in atlas.sizes]


def test_every_array_is_plain_zarr(folder: Path) -> None:
    """All of it opens with xarray and names its dimensions; the manifest has the words."""
    import xarray as xr

    data = xr.open_zarr(folder / "runs/s/model.zarr/atlas", consolidated=False)
    assert {name: data[name].dims for name in ARRAYS} == ARRAYS
    manifest = json.loads((folder / "runs/s/model.zarr/manifest.json").read_text())
    assert manifest["atlas"]["reason"].startswith("6 clusters were asked for")


def test_new_fields_are_assigned(folder: Path) -> None:
    """Fields between those of training go to the cluster of their neighbours; what is like none of them is labelled -1."""
    model = nw.open_model(folder / "runs/s")
    between = np.exp(-(((np.linspace(0, 1, 161) - 0.335) / 0.06) ** 2))
    found = model.assign(between)
    nearest = int(np.argmax(np.abs(SNAPSHOTS.values @ between) / np.linalg.norm(SNAPSHOTS.values, axis=1)))
    assert found.labels.tolist() == [model.atlas.labels[nearest]]
    assert found.errors[found.labels[0], 0] == found.errors.min()
    noise = np.random.default_rng(0).standard_normal((2, 161))
    assert model.assign(noise).labels.tolist() == [-1, -1]
    assert (model.assign(noise).nearest >= 0).all()
    assert (model.assign(noise, tolerance=1.0).labels >= 0).all()


def test_project_and_reconstruct(folder: Path) -> None:
    """Coefficients on one basis give the field back, up to the error that the projection states."""
    model = nw.open_model(folder / "runs/s")
    found = model.project(SNAPSHOTS.values[:5], cluster=int(model.atlas.labels[0]))
    q, errors = found.of(f"cluster-{model.atlas.labels[0]}")
    again = model.reconstruct(coefficients=q, cluster=int(model.atlas.labels[0])).values
    norms = np.linalg.norm(SNAPSHOTS.values[:5], axis=1)
    again = again.T if again.shape[0] != 5 else again
    np.testing.assert_allclose(
        np.linalg.norm(again.reshape(5, -1) - SNAPSHOTS.values[:5], axis=1) / norms, errors, atol=PYTHAGORAS
    )
    with pytest.raises(ConfigError, match=r"has the shape \(7,\) in space, and the bases have \(161,\)"):
        model.project(np.ones((2, 7)))


def test_nothing_is_done_twice(folder: Path, scheduler: str) -> None:
    """The same study again finds its results; another number of clusters is another run."""
    study = study_of(folder, folder / "store", scheduler, reduce={"rank": 4})
    assert run(with_atlas(study, clusters=6)).status == "nothing to do"


def test_compare_reads_nothing_after_a_run(folder: Path, scheduler: str, capsys: pytest.CaptureFixture[str]) -> None:
    """From the last run's factor no field is read; from none, one pass; the table is the same to rounding."""
    lines = ["[study]", 'name = "{}"', f'store = "{folder / "store"}"', "[reduce]", "rank = 4", "[atlas]", "clusters = [2, 4]"]
    lines += ["[workers]", f'address = "{scheduler}"']
    tables = []
    for name, read in (("s", 0), ("fresh", SNAPSHOTS.nbytes)):
        (folder / f"{name}.toml").write_text("\n".join(lines).format(name))
        words = ["compare", str(folder / f"{name}.toml"), "--dissimilarity", "sine", "--dissimilarity", "euclidean"]
        assert main([*words, "--json"]) == 0
        document = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
        assert (document["bytes_read"] > read / 2) == bool(read)
        assert {row["dissimilarity"] for row in document["rows"]} == {"sine", "euclidean"}
        assert {row["clusters"] for row in document["rows"]} == {2, 4}
        tables.append([row["own_error"] for row in document["rows"]])
        assert main([*words, "--modes", "4"]) == 0
        assert "expected gain" in capsys.readouterr().out
    np.testing.assert_allclose(tables[0], tables[1], rtol=1e-6)


def test_a_damaged_atlas_is_named(folder: Path, tmp_path: Path) -> None:
    """A missing array is refused in words; a model without an atlas says how to get one."""
    shutil.copytree(folder / "runs/s/model.zarr", tmp_path / "model.zarr")
    shutil.rmtree(tmp_path / "model.zarr/atlas/errors")
    with pytest.raises(LayoutError, match=r"the atlas of .* is damaged"):
        _ = nw.open_model(tmp_path).atlas
    plain = nw.pod(SNAPSHOTS, rank=2).save(tmp_path / "plain")
    with pytest.raises(StoreError, match=r"holds no atlas; run its study with a table \[atlas\]"):
        _ = nw.open_model(plain).atlas


@pytest.mark.slow
def test_automatic_clusters_with_a_report(tmp_path: Path, scheduler: str) -> None:
    """clusters = "auto": the run chooses, says why, and its report is written with the bases of all clusters."""
    study = with_atlas(study_of(tmp_path, stored(tmp_path), scheduler, reduce={"rank": 3}), clusters="auto")
    study = study.model_copy(update={"report": study.report.model_copy(update={"enabled": True, "modes": 0})})
    result = run(study)
    assert nw.open_model(result.model).atlas.pays
    assert result.report is not None
    assert "cluster-1" in result.report.read_text()


def test_a_run_that_is_cut_off_goes_on(tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after its passes, a run finds the partials of both, reads nothing again, and writes the same bits."""
    module: Any = import_module("nwidth.runs.run")
    study = study_of(tmp_path, stored(tmp_path), scheduler, reduce={"rank": 3}, study={"keep": "always"})
    study = with_atlas(study, clusters=4)
    write = module.write_atlas

    def killed(*_: Any) -> None:
        raise RuntimeError("the machine was switched off")

    monkeypatch.setattr(module, "write_atlas", killed)
    with pytest.raises(RuntimeError, match="switched off"):
        run(study)
    monkeypatch.setattr(module, "write_atlas", write)
    result = run(study)
    assert result.measured["bytes_read"] == 0
    values = flat(nw.open_model(result.model).bases["cluster-2"], "u")
    whole = run(study, force=True)
    np.testing.assert_array_equal(flat(nw.open_model(whole.model).bases["cluster-2"], "u"), values)


def test_two_fields_need_one_basis(tmp_path: Path, scheduler: str) -> None:
    """basis = "each" of two fields is refused before any work; jointly they make one atlas."""
    store = stored(tmp_path, v=2.0)
    with pytest.raises(ConfigError, match=r'an atlas needs one basis over the 2 fields u, v; set reduce.basis to "joint"'):
        run(with_atlas(study_of(tmp_path, store, scheduler, reduce={"rank": 3}), clusters=3))
    study = with_atlas(study_of(tmp_path, store, scheduler, reduce={"rank": 3, "basis": "joint"}), clusters=3)
    assert nw.open_model(run(study).model).bases["cluster-0"].fields == ("u", "v")


@pytest.mark.parametrize(
    ("reduce", "words"),
    [
        ({"rtol": 1e-3, "route": "hapod"}, 'route = "hapod" does not keep'),
        ({"rank": 3, "route": "sketch"}, 'route = "sketch" does not keep'),
    ],
)
def test_routes_without_a_factor_are_refused(tmp_path: Path, reduce: dict[str, Any], words: str) -> None:
    """A plan is not even made."""
    with pytest.raises(ConfigError, match=words):
        plan(with_atlas(study_of(tmp_path, stored(tmp_path), reduce=reduce), clusters=3))


def test_models_of_an_atlas_are_not_merged_nor_cut(folder: Path, tmp_path: Path) -> None:
    """Other snapshots would be parted otherwise: merge, drop and updates say so and write nothing."""
    with pytest.raises(ConfigError, match="holds an atlas, and other snapshots would be parted otherwise"):
        nw.merge(folder / "runs/s", folder / "runs/s", into=tmp_path / "m")
    with pytest.raises(ConfigError, match="holds an atlas"):
        nw.drop(folder / "runs/s", into=tmp_path / "m", simulations=["s00"])
    assert not (tmp_path / "m").exists()
    study = with_atlas(study_of(folder, folder / "store", reduce={"rank": 4}), clusters=6)
    with pytest.raises(ConfigError, match=r'update = "fast" and \[atlas\] exclude each other'):
        nw.update(study, how="fast")


def test_new_fields_in_the_mass_of_a_mesh(tmp_path: Path, scheduler: str) -> None:
    """Bases that are orthonormal in a mass matrix: new fields are projected in it, with the mesh that the model keeps."""
    mesh = small_mesh(10, seed=3)
    values = snapshots_of(3 * mesh.n_points, 12, decades=2).reshape(12, mesh.n_points, 3)
    for name, part in (("a", values[:6]), ("b", values[6:])):
        add_run(tmp_path / "store", name, {"u": part}, mesh=mesh)
    study = study_of(tmp_path, tmp_path / "store", scheduler, reduce={"rank": 3, "inner_product": "mass"})
    model = nw.open_model(run(with_atlas(study, clusters=2)).model)
    assert [basis.certificate.orthogonality_defect <= 1e-10 for basis in model.bases.values()] == [True] * 3
    np.testing.assert_allclose(model.assign(values).errors, model.atlas.errors, atol=PYTHAGORAS)


def test_new_fields_by_weights_of_the_store(tmp_path: Path, scheduler: str) -> None:
    """Bases that are orthonormal by weights of the store: these are found there again."""
    store = stored(tmp_path)
    nw.add_inner_product(store, "w", np.random.default_rng(2).uniform(0.5, 2.0, 161))
    study = study_of(tmp_path, store, scheduler, reduce={"rank": 3, "inner_product": "w"})
    model = nw.open_model(run(with_atlas(study, clusters=4)).model)
    np.testing.assert_allclose(model.assign(SNAPSHOTS.values).errors, model.atlas.errors, atol=PYTHAGORAS)


def test_updates_are_refused() -> None:
    """New snapshots change who belongs together."""
    table: dict[str, Any] = {"study": {"name": "a", "store": "b"}, "reduce": {"rank": 2, "update": "fast"}, "atlas": {}}
    with pytest.raises(ConfigError, match=r'reduce.update = "fast" and \[atlas\] exclude each other'):
        check_study(table)


def test_a_dictionary_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """So little memory that all local modes cannot lie beside a block: refused with what to change."""
    study = study_of(tmp_path, stored(tmp_path), reduce={"rank": 4}, workers={"memory": "151 MiB"})
    with pytest.raises(PlanError):
        plan(with_atlas(study, clusters=40, rank=100))


def test_errors_below_the_floor_are_marked(tmp_path: Path, scheduler: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Snapshots of two planes: with two modes each nothing but rounding is left, and the table of a Gram factor says so."""
    rng = np.random.default_rng(1)
    planes = np.linalg.qr(rng.standard_normal((161, 4)))[0]
    for number in range(12):
        half = planes[:, :2] if number < 6 else planes[:, 2:]
        add_run(tmp_path / "store", f"s{number:02d}", {"u": (half @ rng.standard_normal((2, 10))).T.copy()})
    lines = ["[study]", 'name = "s"', 'store = "store"', "[reduce]", "rank = 3", 'route = "gram"', "[atlas]", "clusters = 2"]
    (tmp_path / "s.toml").write_text("\n".join([*lines, "max_rank = 3", "[workers]", f'address = "{scheduler}"']))
    assert main(["compare", str(tmp_path / "s.toml"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    below = {row["modes"]: row["below_floor"] for row in document["rows"]}
    assert below == {1: False, 2: True, 3: True}
    assert 1e-9 < document["floor"] < 1e-7
    assert main(["compare", str(tmp_path / "s.toml")]) == 0
    told = capsys.readouterr().out
    assert f"< {document['floor']:.1e}" in told
    assert "this factor is rounding, and gains by such errors say nothing" in told
    assert main(["compare", str(tmp_path / "s.toml"), "--modes", "1"]) == 0
    assert "is rounding" not in capsys.readouterr().out
