"""Ingestion into both kinds of store: what arrives, what is refused, and what stays when a run fails."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import nwidth as nw
from nwidth.errors import ConfigError, DuplicateRunError, FieldError, FormatError, MeshError
from nwidth.readers.calculix import FrdReader
from nwidth.readers.protocol import FieldSpec, Run
from nwidth.stages import ingest as stage
from nwidth.stages.ingest import IngestProgress, ingest
from nwidth.stores.protocol import StoreKind
from tests.readers.gather import gather
from tests.shared_data import shared_data

FIXTURES = Path(__file__).parents[1] / "readers" / "fixtures"
FRD = FIXTURES / "elements-binary.frd"
KINDS = pytest.mark.parametrize("kind", ["icechunk", "zarr"])
POINTS = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], float)
CELLS = np.array([(0, 1, 2), (0, 2, 3)])


def save_run(path: Path, seed: int, m: int = 5, **changes: Any) -> Path:
    """An .npz run of two fields on two triangles."""
    rng = np.random.default_rng(seed)
    arrays = {
        "u": rng.normal(size=(m, 4, 2)),
        "p": rng.normal(size=(m, 2)),
        "points": POINTS,
        "cells_triangle": CELLS,
        "time": np.arange(m),
    }
    np.savez(path, **(arrays | changes))
    return path


def values_of(path: Path, name: str) -> Any:
    """One array of an .npz."""
    with np.load(path, allow_pickle=False) as archive:
        return archive[name]


@KINDS
def test_every_value_name_and_place_arrives(kind: StoreKind, tmp_path: Path) -> None:
    """File -> run -> store -> xarray: values, components, locations, times, mesh and integration points are the reader's."""
    report = ingest([FRD], tmp_path / "s", kind=kind)
    run = FrdReader().open(FRD)
    expected = gather(run)
    dataset = nw.open_snapshots(tmp_path / "s")
    for name, values in expected.items():
        np.testing.assert_array_equal(dataset[name].values, values)
        assert dataset[name].dtype == values.dtype
    assert dataset["time"].values.tolist() == run.times.tolist()
    assert set(dataset["simulation"].values.tolist()) == {"elements-binary"}
    schema = nw.open_store(tmp_path / "s").schema()
    for name, spec in run.fields.items():
        assert (schema.fields[name].location, schema.fields[name].components) == (spec.location, spec.components)
    store = nw.open_store(tmp_path / "s")
    assert run.mesh is not None
    assert run.integration_points is not None
    mesh, points = store.mesh(), store.integration_points()
    assert mesh is not None
    assert points is not None
    assert mesh.difference(run.mesh) is None
    np.testing.assert_array_equal(points.cell, run.integration_points.cell)
    np.testing.assert_array_equal(points.local, run.integration_points.local)
    assert (report.added, report.skipped, report.snapshots) == (("elements-binary",), (), 2)
    assert report.field_bytes == sum(values.nbytes for values in expected.values())
    assert report.read_bytes == FRD.stat().st_size + FRD.with_suffix(".dat.gz").stat().st_size
    assert report.layout["DISP"].startswith("2 x 63 x 3 float32, chunks ")


@KINDS
def test_a_store_grows_run_by_run(kind: StoreKind, tmp_path: Path) -> None:
    """Runs ingested together or one after the other give the same snapshots, each under its own name."""
    files = [save_run(tmp_path / f"run-{k}.npz", k, m=3 + k) for k in range(3)]
    ingest(files, tmp_path / "together", kind=kind)
    for file in files:
        ingest([file], tmp_path / "apart", kind=kind)
    one, two = nw.open_snapshots(tmp_path / "together").load(), nw.open_snapshots(tmp_path / "apart").load()
    xr.testing.assert_equal(one, two)
    np.testing.assert_array_equal(one["u"].values, np.concatenate([values_of(file, "u") for file in files]))
    assert one["simulation"].values.tolist() == ["run-0"] * 3 + ["run-1"] * 4 + ["run-2"] * 5


@KINDS
def test_the_same_run_twice_is_skipped_or_refused(kind: StoreKind, tmp_path: Path) -> None:
    """A run is known by its contents, whatever the file is called; it is never doubled."""
    first = save_run(tmp_path / "a.npz", 1)
    again = tmp_path / "renamed.npz"
    again.write_bytes(first.read_bytes())
    store = tmp_path / "s"
    ingest([first], store, kind=kind)
    assert ingest([first, again], store).skipped == ("a", "renamed")
    assert nw.open_snapshots(store).sizes["snapshot"] == 5
    with pytest.raises(DuplicateRunError, match="already, as 'a'"):
        ingest([save_run(tmp_path / "b.npz", 2), again], store, on_duplicate="refuse")
    assert nw.open_snapshots(store).sizes["snapshot"] == 5
    with pytest.raises(DuplicateRunError, match="a run 'a' with other contents"):
        ingest([save_run(first, 3)], store)


def test_the_files_that_an_index_names_belong_to_the_run(tmp_path: Path) -> None:
    """Two .pvd of the same text are two runs where the files that they name differ, in a folder each."""
    pyvista = pytest.importorskip("pyvista")
    for k in range(2):
        (tmp_path / f"run-{k}").mkdir()
        grid = pyvista.ImageData(dimensions=(2, 2, 2))
        grid.point_data["u"] = np.full(8, float(k))
        grid.save(tmp_path / f"run-{k}" / "part.vti")
        index = '<VTKFile type="Collection"><Collection><DataSet timestep="0" file="part.vti"/></Collection></VTKFile>'
        (tmp_path / f"run-{k}" / "all.pvd").write_text(index)
    report = ingest([tmp_path / "run-0", tmp_path / "run-1" / "all.pvd"], tmp_path / "s")
    assert (report.added, report.skipped) == (("run-0", "all"), ())
    assert nw.open_snapshots(tmp_path / "s")["u"][:, 0].values.tolist() == [0.0, 1.0]


@KINDS
def test_nan_is_named_and_the_run_stays_invisible(kind: StoreKind, tmp_path: Path) -> None:
    """A NaN is refused with field, time, node and component; runs before it stay, and nothing of its run is seen."""
    u = np.zeros((5, 4, 2))
    u[3, 2, 1] = np.nan
    files = [save_run(tmp_path / "a.npz", 1), save_run(tmp_path / "b.npz", 2, u=u), save_run(tmp_path / "c.npz", 3)]
    with pytest.raises(
        FieldError, match=r"run b: .*field u is nan at node 2, component y of snapshot 3 \(time 3\).*the 1 runs before"
    ):
        ingest(files, tmp_path / "s", kind=kind)
    assert nw.open_store(tmp_path / "s").schema().n_snapshots == 5
    save_run(files[1], 2)
    assert ingest(files, tmp_path / "s").added == ("b", "c")


@KINDS
def test_another_mesh_is_refused(kind: StoreKind, tmp_path: Path) -> None:
    """A run on another mesh is refused, and the store keeps what it had."""
    files = [save_run(tmp_path / "a.npz", 1), save_run(tmp_path / "b.npz", 2, points=POINTS * 2)]
    with pytest.raises(MeshError, match="run b"):
        ingest(files, tmp_path / "s", kind=kind)
    assert nw.open_store(tmp_path / "s").schema().n_snapshots == 5


@KINDS
def test_a_truncated_run_is_refused(kind: StoreKind, tmp_path: Path) -> None:
    """A truncated solver file is refused by name, and nothing of it is visible."""
    cut = tmp_path / "cut.frd"
    cut.write_bytes(FRD.read_bytes()[:-300])
    with pytest.raises(FormatError, match=r"run cut: .*cut\.frd.*truncated"):
        ingest([cut], tmp_path / "s", kind=kind)
    assert nw.open_store(tmp_path / "s").schema().n_snapshots == 0


def test_parameters_come_from_the_csv_with_their_units(tmp_path: Path) -> None:
    """Row 7 belongs to point-07; values become coordinates of the snapshots and keep the unit of the header."""
    for k in (7, 12):
        (tmp_path / f"point-{k:02d}").mkdir()
        save_run(tmp_path / f"point-{k:02d}" / "run.npz", k)
    table = tmp_path / "design.csv"
    table.write_text("point,speed [rad/s],alloy\n12,3.5,b\n7,2.5,a\n")
    ingest([tmp_path / "point-07", tmp_path / "point-12" / "run.npz"], tmp_path / "s", parameters=table)
    dataset = nw.open_snapshots(tmp_path / "s")
    assert dataset["simulation"].values.tolist() == ["point-07"] * 5 + ["point-12"] * 5
    assert dataset["speed"].values.tolist() == [2.5] * 5 + [3.5] * 5
    assert dataset["alloy"].values.tolist() == ["a"] * 5 + ["b"] * 5
    assert dataset["speed"].attrs["units"] == "rad/s"


def test_files_of_one_stem_are_named_by_their_folders(tmp_path: Path) -> None:
    """point-0/run.npz and point-1/run.npz become point-0 and point-1."""
    for k in range(2):
        (tmp_path / f"point-{k}").mkdir()
        save_run(tmp_path / f"point-{k}" / "run.npz", k)
    assert ingest(sorted(tmp_path.glob("point-*/run.npz")), tmp_path / "s").added == ("point-0", "point-1")


def test_refusals_before_anything_is_written(tmp_path: Path) -> None:
    """No input, an absent one, an unknown option, a missing row, two runs of one name: refused, and no store is made."""
    file = save_run(tmp_path / "a.npz", 1)
    table = tmp_path / "design.csv"
    table.write_text("run,speed\nb,1\n")
    (tmp_path / "x").mkdir()
    twin = save_run(tmp_path / "x" / "a.npz", 2)
    (tmp_path / "two").mkdir()
    for name in ("c.npz", "d.npz"):
        save_run(tmp_path / "two" / name, 3)
    into = tmp_path / "s"
    refusals: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (ConfigError, "list of files is empty", {"files": []}),
        (FormatError, "does not exist", {"files": [tmp_path / "absent.npz"]}),
        (FormatError, "no reader knows", {"files": [table]}),
        (FormatError, r"should hold one run, found 2 \(c\.npz, d\.npz\)", {"files": [tmp_path / "two"]}),
        (ConfigError, "has no option 'wrong'", {"files": [file], "options": {"wrong": 1}}),
        (ConfigError, "has no row for", {"files": [file], "parameters": table}),
        (ConfigError, "names one run, but there are 2", {"files": [file, twin], "simulation": "x"}),
        (ConfigError, "are both called 'x'", {"files": [twin, tmp_path / "x" / "a.npz"]}),
        (ConfigError, "no reader is called", {"files": [file], "reader": "ansys"}),
    ]
    for error, text, arguments in refusals:
        with pytest.raises(error, match=text):
            ingest(into=into, **arguments)
    assert not into.exists()


def test_a_choice_of_fields(tmp_path: Path) -> None:
    """Only the chosen fields are stored; an unknown one and an empty choice are refused."""
    ingest([FRD], tmp_path / "s", fields=["DISP", "NDTEMP"])
    assert set(nw.open_store(tmp_path / "s").schema().fields) == {"DISP", "NDTEMP"}
    with pytest.raises(FormatError, match="no results named WRONG"):
        ingest([FRD], tmp_path / "t", fields=["WRONG"])
    with pytest.raises(ConfigError, match="no field 'w'"):
        ingest([save_run(tmp_path / "a.npz", 1)], tmp_path / "t", fields=["w"])


class Generated:
    """A reader whose run is made up as it goes."""

    name = "generated"
    suffixes = (".made",)

    def __init__(self, run: Run) -> None:
        self.run = run

    def claims(self, path: Path) -> bool:
        return path.suffix == ".made"

    def open(self, path: Path) -> Run:
        return self.run


def generated(n: int, m: int, give: int | None = None) -> Run:
    """m announced snapshots of n values, of which `give` come."""

    def snapshots() -> Iterator[Mapping[str, Any]]:
        for k in range(m if give is None else give):
            yield {"u": np.full(n, float(k))}

    return Run({"u": FieldSpec("node", ("node",), (n,), np.dtype(float))}, np.arange(m, dtype=float), snapshots)


@pytest.mark.parametrize(("give", "text"), [(3, "gives 3 snapshots for 4 times"), (5, "more snapshots than its 4 times")])
def test_a_reader_that_miscounts_is_refused(give: int, text: str, tmp_path: Path) -> None:
    """Fewer or more snapshots than times: refused, nothing visible."""
    (tmp_path / "a.made").touch()
    with pytest.raises(FormatError, match=text):
        ingest([tmp_path / "a.made"], tmp_path / "s", reader=Generated(generated(8, 4, give)))
    assert nw.open_store(tmp_path / "s").schema().n_snapshots == 0


def test_times_of_nan_are_refused(tmp_path: Path) -> None:
    """A time that is not finite is refused by its number."""
    (tmp_path / "a.made").touch()
    run = replace(generated(8, 4), times=np.array([0, 1, np.nan, 3]))
    with pytest.raises(FieldError, match="time 2 is nan"):
        ingest([tmp_path / "a.made"], tmp_path / "s", reader=Generated(run))


def test_progress_counts_to_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress is told after every batch, and ends at the last snapshot of the last run."""
    monkeypatch.setattr(stage, "BATCH_BYTES", 100)
    told: list[IngestProgress] = []
    ingest([save_run(tmp_path / f"{k}.npz", k) for k in range(2)], tmp_path / "s", progress=told.append)
    assert told[-1] == IngestProgress("1", 2, 2, 5, 5)
    assert [one.snapshot for one in told] == [1, 2, 3, 4, 5] * 2


@pytest.mark.slow
def test_memory_is_bounded_by_the_writers_budget(tmp_path: Path) -> None:
    """160 MB of snapshots go through a writer that may hold 32 MB: the peak stays below half of the data."""
    (tmp_path / "a.made").touch()
    n, m = 100_000, 200
    tracemalloc.start()
    try:
        ingest(
            [tmp_path / "a.made"], tmp_path / "s", reader=Generated(generated(n, m)), store_options={"memory_budget": 32 << 20}
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The writer's 32 MiB, its compressed copy, one batch of 16 MiB.
    assert peak < n * m * 8 / 2
    assert nw.open_snapshots(tmp_path / "s")["u"][:, -1].values.tolist() == list(range(m))


@KINDS
def test_climate_members(kind: StoreKind, tmp_path: Path) -> None:
    """Two members of climate-trefht: 220 snapshots, cos(lat) stored as diagonal inner product, times with their units."""
    files = sorted(shared_data("climate-trefht").glob("netcdf_files/TREFHT*.nc"))[:2]
    ingest(files, tmp_path / "s", kind=kind)
    dataset = nw.open_snapshots(tmp_path / "s")
    assert dataset["TREFHT"].shape == (220, 64, 128)
    for k, file in enumerate(files):
        with xr.open_dataset(file, engine="scipy", decode_times=False) as source:
            np.testing.assert_array_equal(dataset["TREFHT"][110 * k : 110 * (k + 1)].values, source["TREFHT"].values)
            latitude = source["lat"].values.astype(float)
    # The members count days from 1870-03-01 and 1870-10-01, 214 days apart; the store counts from the first one's date.
    stored: Any = nw.open_store(tmp_path / "s").reference().open()
    with xr.open_dataset(files[1], engine="scipy", decode_times=False) as source:
        assert source["time"].attrs["units"] != stored["fields/time"].attrs["units"]
        np.testing.assert_array_equal(stored["fields/time"][110:], source["time"].values + 214)
    weights_kind, arrays, _ = nw.open_store(tmp_path / "s").read_inner_product("cos_latitude")
    assert weights_kind == "diagonal"
    np.testing.assert_allclose(arrays["weights"], np.tile(np.cos(np.deg2rad(latitude))[:, None], 128), rtol=1e-14)


@pytest.mark.slow
@KINDS
def test_blade_ensemble(kind: StoreKind, tmp_path: Path) -> None:
    """The whole blade ensemble with its design: 240 snapshots, largest PEEQ 0.0381 at point 1 and 0.0542 at point 17."""
    folder = shared_data("blade-ensemble")
    report = ingest(sorted(folder.glob("point-*")), tmp_path / "s", kind=kind, parameters=folder / "design.csv")
    assert (len(report.added), report.snapshots) == (20, 240)
    dataset = nw.open_snapshots(tmp_path / "s")
    largest = dataset["PEEQ"].values.reshape(20, 12, -1).max(axis=2)
    assert (np.diff(largest, axis=1) >= 0).all()
    assert (int(largest[:, -1].argmin()), int(largest[:, -1].argmax())) == (1, 17)
    # The references are rounded to four decimals.
    assert abs(largest[1, -1] - 0.0381) < 5e-5
    assert abs(largest[17, -1] - 0.0542) < 5e-5
    assert dataset["peak_temperature"].values[12 * 7] == 1128.12
    assert dataset["peak_temperature"].attrs["units"] == "K"
