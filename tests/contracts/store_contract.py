"""What every kind of snapshot store keeps, whatever it lies on; subclassed once per kind in ``test_store_contract.py``."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
import threading
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nwidth.errors import DuplicateRunError, FieldError, LayoutError, MeshError, StoreError
from nwidth.stores import check, create_store, describe, layout, open_or_create_store, open_snapshots, open_store
from nwidth.stores.base import BaseStore
from nwidth.stores.objectstore import location, objects
from nwidth.stores.options import parse_options
from nwidth.stores.protocol import RunWriter
from tests.contracts.store_examples import (
    N_CELLS,
    N_POINTS,
    Place,
    append,
    assert_holds,
    batch,
    example_mesh,
    example_run,
    expected,
    other_mesh,
    parameters,
    small_layouts,
)
from tests.repository import REPOSITORY

NO_WAIT = {"lock_wait_seconds": 0.0}


def write_process(place: Place, moment: str, simulation: int, n_snapshots: int) -> subprocess.CompletedProcess[str]:
    """Append one run in a process of its own, which dies at `moment`."""
    order = {"url": place.url, "options": place.options, "moment": moment, "simulation": simulation, "n_snapshots": n_snapshots}
    command = [sys.executable, "-W", "error", "-m", "tests.contracts.store_writer_process", json.dumps(order)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120)


def appending(store: BaseStore) -> AbstractContextManager[RunWriter]:
    """A run of 6 snapshots, admitted and not yet written."""
    return store.append(example_run(1, 6), simulation="run-1", source_key="key-1", parameters=parameters(1))


def raw_objects(place: Place) -> Any:
    return objects(location(place.url), parse_options(place.options))


class StoreContract:
    """Subclasses give the fixture `place`, and say how xarray alone opens what lies there."""

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Small chunks and shards, so that small fields are cut along both axes."""
        for name, value in small_layouts().items():
            monkeypatch.setattr(layout, name, value)

    def fields_alone(self, place: Place) -> Any:
        """The group ``fields`` opened by xarray without nwidth."""
        raise NotImplementedError

    def chunk_keys(self, place: Place) -> list[str]:
        """Keys of objects that hold values of the displacement (and perhaps of other arrays)."""
        raise NotImplementedError

    def store(self, place: Place, *counts: int) -> BaseStore:
        """A store with runs 0, 1, ... of `counts` snapshots."""
        store = create_store(place.url, place.kind, place.options)  # type: ignore[arg-type]
        for simulation, count in enumerate(counts):
            append(store, simulation, count)
        return store

    # ---------------------------------------------------------------------------------------------- append and read

    def test_what_is_appended_is_read_back(self, place: Place) -> None:
        """Runs of lengths that fit no shard come back bit for bit, with ledger, mesh, weights and integration points."""
        store = self.store(place, 5, 7, 23)
        assert_holds(store, [(0, 5), (1, 7), (2, 23)])
        reopened = open_store(place.url, "r", place.options)
        assert_holds(reopened, [(0, 5), (1, 7), (2, 23)])
        schema, mesh, points = reopened.schema(), reopened.mesh(), reopened.integration_points()
        assert schema.kind == place.kind
        assert schema.parameters == ("material", "speed") or schema.parameters == ("speed", "material")
        assert schema.runs[1].files == ("a.frd",)
        assert schema.runs[1].reader == "frd"
        info = schema.fields["displacement"]
        assert (info.location, info.dims, info.units) == ("node", ("snapshot", "node", "component"), "m")
        assert info.shards is not None
        assert info.shape == (35, N_POINTS, 3)
        assert info.shape[1] > info.shards[1] > info.chunks[1]  # the point of the small layouts
        assert info.codec == "blosc(zstd-3, shuffle, 4)"
        assert mesh is not None
        assert mesh.difference(example_mesh()) is None
        assert mesh.length_unit == "m"
        assert points is not None
        np.testing.assert_array_equal(points.cell, np.repeat(np.arange(N_CELLS), 2))
        kind, arrays, attributes = reopened.read_inner_product("volume")
        assert (kind, attributes) == ("diagonal", {"dims": ["point"]})
        np.testing.assert_array_equal(arrays["weights"], np.linspace(1.0, 2.0, N_CELLS * 2))

    def test_version_changes_with_every_commit(self, place: Place) -> None:
        """Each commit has a version of its own, and looking at a store does not make one."""
        store = self.store(place)
        versions = [store.schema().version]
        for simulation in range(2):
            append(store, simulation, 2)
            versions.append(store.schema().version)
        assert len(set(versions)) == 3
        assert open_store(place.url, "r", place.options).schema().version == versions[-1]

    @pytest.mark.parametrize("budget", [1, 5, 1000])
    def test_order_and_size_of_batches_do_not_matter(self, place: Place, budget: int) -> None:
        """Batches out of order, and a writer that may hold 1 or 5 snapshots or all, give the same values."""
        snapshot_bytes = N_POINTS * 3 * 4 + N_CELLS * 2 * 8
        place = replace(place, options={**place.options, "memory_budget": budget * snapshot_bytes + 64})
        store = self.store(place, 3)
        with store.append(example_run(1, 20), simulation="run-1", source_key="key-1", parameters=parameters(1)) as writer:
            for first, count in [(12, 8), (0, 1), (1, 6), (7, 5)]:
                writer.write(first, batch(1, first, count))
        assert_holds(store, [(0, 3), (1, 20)])

    def test_open_or_create(self, place: Place) -> None:
        """The first call creates, the second opens what the first made, and creating twice is refused."""
        first = open_or_create_store(place.url, place.kind, place.options)  # type: ignore[arg-type]
        append(first, 0, 3)
        assert_holds(open_or_create_store(place.url, place.kind, place.options), [(0, 3)])  # type: ignore[arg-type]
        with pytest.raises(StoreError, match="exists already"):
            create_store(place.url, place.kind, place.options)  # type: ignore[arg-type]

    def test_xarray_alone_opens_it(self, place: Place) -> None:
        """xarray without nwidth gives fields with simulation, time and parameters, CF units, float32 as float32."""
        self.store(place, 4, 3)
        dataset = self.fields_alone(place)
        assert {"simulation", "time", "speed", "material", "component"} <= set(dataset.coords)
        assert dataset["displacement"].dims == ("snapshot", "node", "component")
        assert dataset["displacement"].dtype == np.float32
        assert dataset["displacement"].attrs["units"] == "m"
        assert dataset["speed"].attrs["units"] == "rad/s"
        assert dataset["simulation"].values.tolist() == ["run-0"] * 4 + ["run-1"] * 3
        assert dataset["material"].values.tolist() == ["alloy 0"] * 4 + ["alloy 1"] * 3
        np.testing.assert_array_equal(dataset["strain"].values, expected([(0, 4), (1, 3)])["strain"])

    def test_snapshots_open_lazily_in_whole_shards(self, place: Place) -> None:
        """`open_snapshots` reads no field, its Dask blocks are whole shards, and it stays at its version."""
        store = self.store(place, 18)
        dataset = open_snapshots(place.url, place.options)
        info = store.schema().fields["displacement"]
        assert info.shards is not None
        field = dataset["displacement"]
        assert field.data.chunksize == tuple(np.minimum(info.shards, info.shape))
        assert field.dtype == np.float32
        assert {"simulation", "time", "speed", "material"} <= set(dataset.coords)
        assert dataset.attrs["version"] == store.schema().version
        assert not any(key.startswith("nwidth") for key in field.attrs)
        append(store, 1, 3)
        assert field.sizes["snapshot"] == 18
        wanted = expected([(0, 18)])["displacement"]
        np.testing.assert_array_equal(field.sel(component="y").values, wanted[..., 1])
        assert open_snapshots(place.url, place.options).sizes["snapshot"] == 21

    # -------------------------------------------------------------------------------------------------- references

    def test_reference_travels_and_counts(self, place: Place) -> None:
        """A reference is small, survives pickling, stays at its version, fills a buffer, and counts every stored byte once."""
        store = self.store(place, 16)  # whole shards: the array's bytes are then exactly what one pass fetches
        text = pickle.dumps(store.reference())
        assert len(text) < 1000
        reference = pickle.loads(text)  # noqa: S301 (our own bytes)
        stored = describe(store)["fields"]["displacement"]["stored_bytes"]
        append(store, 1, 3)
        out = np.zeros((16, N_POINTS, 3), np.float32)
        before = reference.bytes_read
        assert reference.read_block("fields/displacement", (slice(None),), out) is out
        assert reference.bytes_read - before == stored
        np.testing.assert_array_equal(out, expected([(0, 16)])["displacement"])
        assert reference.open()["fields/displacement"].shape[0] == 16
        with pytest.raises(StoreError, match="must fit the selection"):
            reference.read_block("fields/displacement", (slice(0, 2),), out)

    def test_reader_beside_a_writer(self, place: Place) -> None:
        """While runs are appended, the old version reads the same, and the newest is always a whole number of runs."""
        store = self.store(place, 3)
        old, wanted = store.reference(), expected([(0, 3), *((k, 2) for k in range(1, 6))])["displacement"]
        failures: list[BaseException] = []
        done = threading.Event()
        looks: list[int] = []

        def look() -> None:
            try:
                while not done.is_set():
                    block = old.read_block("fields/displacement", (slice(None), slice(100, 1900)))
                    np.testing.assert_array_equal(block, wanted[:3, 100:1900])
                    newest = open_store(place.url, "r", place.options).reference()
                    block = newest.read_block("fields/displacement", (slice(None), slice(100, 1900)))
                    assert len(block) % 2 == 1
                    np.testing.assert_array_equal(block, wanted[: len(block), 100:1900])
                    looks.append(len(block))
            except BaseException as error:
                failures.append(error)

        reader = threading.Thread(target=look)
        reader.start()
        for simulation in range(1, 6):
            append(store, simulation, 2, batch_size=1)
        while not failures and (not looks or looks[-1] < 13):
            done.wait(0.01)
        done.set()
        reader.join()
        assert not failures, failures[0]

    # ------------------------------------------------------------------------------------------- interruptions

    def test_exception_in_mid_write_leaves_nothing(self, place: Place) -> None:
        """A failing reader aborts its run with its own exception; the store is as before and takes the next run."""
        store = self.store(place, 5)
        version = store.schema().version
        with (  # noqa: PT012 (the block is what is tested)
            pytest.raises(OSError, match="the solver's file"),
            store.append(example_run(1, 20), simulation="run-1", source_key="key-1", parameters=parameters(1)) as writer,
        ):
            writer.write(0, {name: -values for name, values in batch(1, 0, 18).items()})
            raise OSError("cannot read the solver's file")
        assert store.schema().version == version
        assert_holds(store, [(0, 5)])
        append(store, 2, 4)
        assert_holds(store, [(0, 5), (2, 4)])
        assert check(store, full=True).ok

    @pytest.mark.parametrize("moment", ["begin", "half", "written", "journal", "document", "committed"])
    def test_reopen_after_sigkill(self, place: Place, moment: str) -> None:
        """A writer killed at any moment leaves the old runs or the old and the new run, and the store takes the next run."""
        self.store(place, 5)
        process = write_process(place, moment, 1, 20)
        committed = moment in ("journal", "document", "committed")
        if place.kind == "icechunk" and moment in ("journal", "document"):
            assert process.returncode == 0, process.stderr  # there is no journal to die at: it simply ends
        else:
            assert process.returncode == -signal.SIGKILL, process.stderr
        runs = [(0, 5), (1, 20)] if committed else [(0, 5)]
        assert_holds(open_store(place.url, "r", place.options), runs)
        store = open_store(place.url, "a", {**place.options, **NO_WAIT})
        append(store, 2, 4)
        assert_holds(store, [*runs, (2, 4)])
        assert check(store, full=True).ok

    def test_first_run_killed(self, place: Place) -> None:
        """A writer killed in the very first run leaves an empty store, also where the next first run has another layout."""
        store = self.store(place)
        assert write_process(place, "written", 0, 20).returncode == -signal.SIGKILL
        assert store.schema().n_snapshots == 0
        layout.SHARD_TARGET *= 2
        one = replace(place, options={**place.options, "memory_budget": 40_000})
        again = open_store(one.url, "a", one.options)
        append(again, 1, 7)
        assert_holds(again, [(1, 7)])

    def test_another_process_appends_quietly(self, place: Place) -> None:
        """An append in another process succeeds, is seen here, and writes nothing to stderr (nor do its libraries)."""
        store = self.store(place, 2)
        process = write_process(place, "never", 1, 3)
        assert (process.returncode, process.stderr) == (0, "")
        assert_holds(store, [(0, 2), (1, 3)])

    def test_second_writer_is_refused(self, place: Place) -> None:
        """Of two writers at once one is refused in words, and the other's run stands."""
        store = self.store(place, 2)
        other = open_store(place.url, "a", {**place.options, **NO_WAIT})

        def both() -> None:
            with store.append(example_run(1, 2), simulation="run-1", source_key="key-1", parameters=parameters(1)) as writer:
                append(other, 2, 3)
                writer.write(0, batch(1, 0, 2))

        with pytest.raises(
            StoreError, match=r"is appending to .*; wait for it|another writer committed .*; append this run again"
        ):
            both()
        held = store.schema().runs
        assert [run.simulation for run in held] in (["run-0"], ["run-0", "run-2"])
        append(store, 3, 2)
        assert store.schema().runs[-1].simulation == "run-3"
        assert check(store, full=True).ok

    # ------------------------------------------------------------------------------------------------ refusals

    @pytest.mark.parametrize(
        ("change", "error", "words"),
        [
            (other_mesh, MeshError, "point 17 lies 0.1 away"),
            (lambda run: replace(run, mesh=None, integration_points=None), MeshError, "no mesh"),
            (lambda run: replace(run, time_units="h"), FieldError, "counts time in 'h'"),
            (lambda run: replace(run, fields={"strain": run.fields["strain"]}), FieldError, "lacks field 'displacement'"),
            (
                lambda run: replace(run, fields={**run.fields, "strain": replace(run.fields["strain"], units="%")}),
                FieldError,
                "field 'strain' has units %, and the store has 1",
            ),
            (
                lambda run: replace(run, fields={**run.fields, "strain": replace(run.fields["strain"], dtype=np.dtype("f4"))}),
                FieldError,
                "type float32, and the store has float64",
            ),
            (lambda run: replace(run, weights={"volume": np.ones(N_CELLS * 2)}), FieldError, "weights 'volume' differ"),
            (lambda run: replace(run, parameters={"wind": np.zeros(3)}), FieldError, "adds parameter 'wind'"),
            (
                lambda run: replace(run, integration_points=replace(run.integration_points, local=np.zeros(N_CELLS * 2, int))),
                MeshError,
                "integration points differ",
            ),
        ],
    )
    def test_a_run_that_does_not_fit_is_refused(self, place: Place, change: Any, error: type[Exception], words: str) -> None:
        """What differs from the store is named, before anything is written."""
        store = self.store(place, 2)
        before = {entry["path"] for batch in raw_objects(place).list() for entry in batch}
        with (
            pytest.raises(error, match=words),
            store.append(change(example_run(1, 3)), simulation="run-1", source_key="key-1", parameters=parameters(1)),
        ):
            raise AssertionError("the run was admitted")
        after = {entry["path"] for batch in raw_objects(place).list() for entry in batch}
        assert after - before <= {"nwidth-writer.lock"}
        assert_holds(store, [(0, 2)])

    def test_duplicates_are_refused(self, place: Place) -> None:
        """The same source is never added twice, nor another one under the same name."""
        store = self.store(place, 2)
        run, given = example_run(1, 2), parameters(1)
        with (
            pytest.raises(DuplicateRunError, match="as simulation 'run-0'"),
            store.append(run, simulation="new", source_key="key-0", parameters=given),
        ):
            pass
        with (
            pytest.raises(DuplicateRunError, match="another run named 'run-0'"),
            store.append(run, simulation="run-0", source_key="new", parameters=given),
        ):
            pass
        assert_holds(store, [(0, 2)])

    def test_lost_parameter_is_refused(self, place: Place) -> None:
        """A run without a parameter that the others have is refused by the parameter's name."""
        store = self.store(place, 2)
        with (
            pytest.raises(FieldError, match="lacks parameter 'material'"),
            store.append(example_run(1, 2), simulation="run-1", source_key="key-1", parameters={"speed": 1.0}),
        ):
            pass

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_values_that_are_not_finite_are_refused(self, place: Place, bad: float) -> None:
        """NaN or infinity is named with its snapshot and place, and the run is dropped."""
        store = self.store(place, 2)
        values = batch(1, 2, 3)
        values["strain"][1, 11] = bad
        named = r"field 'strain' is (nan|inf) at snapshot 3, place \(11,\)"
        with pytest.raises(FieldError, match=named), appending(store) as writer:  # noqa: PT012 (the block is what is tested)
            writer.write(0, batch(1, 0, 2))
            writer.write(2, values)
        assert_holds(store, [(0, 2)])

    def test_incomplete_run_is_refused(self, place: Place) -> None:
        """A run of which a snapshot was not written is dropped, and the snapshot named."""
        store = self.store(place, 2)
        with pytest.raises(FieldError, match="snapshot 2 of 6 was never written"), appending(store) as writer:  # noqa: PT012
            writer.write(0, batch(1, 0, 2))
            writer.write(3, batch(1, 3, 3))
        assert_holds(store, [(0, 2)])

    def test_reading_only_does_not_append(self, place: Place) -> None:
        """A store opened with 'r' refuses to append, and says how to open it."""
        self.store(place, 2)
        with pytest.raises(StoreError, match="open it with mode='a'"):
            append(open_store(place.url, "r", place.options), 1, 2)

    def test_newer_schema_is_refused(self, place: Place) -> None:
        """A store of schema version 99 is refused for reading and for appending."""
        store = self.store(place, 2)
        with store._transaction() as transaction:
            transaction.group.attrs["nwidth_schema"] = 99
            transaction.commit("from the future", {})
        for mode in ("r", "a"):
            with pytest.raises(LayoutError, match="schema version 99 and this nwidth knows 1; update"):
                open_store(place.url, mode, place.options)

    # -------------------------------------------------------------------------------------- inner products, damage

    def test_inner_products_are_kept(self, place: Place) -> None:
        """An inner product is read back; the same again is no change; another one under its name is refused."""
        store = self.store(place, 2)
        arrays = {"weights": np.linspace(0.0, 1.0, N_POINTS), "cells": np.arange(12).reshape(4, 3)}
        store.write_inner_product("mass", "element", arrays, {"rule": "gauss-4"})
        version = store.schema().version
        kind, read, attributes = store.read_inner_product("mass")
        assert (kind, attributes) == ("element", {"rule": "gauss-4"})
        for name, array in arrays.items():
            np.testing.assert_array_equal(read[name], array, strict=True)
        store.write_inner_product("mass", "element", arrays, {"rule": "gauss-4"})
        assert store.schema().version == version
        assert store.schema().inner_products == {"mass": "element", "volume": "diagonal"}
        with pytest.raises(StoreError, match="another inner product 'mass', which is kept"):
            store.write_inner_product("mass", "element", {"weights": np.ones(3)}, {})
        with pytest.raises(StoreError, match="no inner product 'energy'; it has mass, volume"):
            store.read_inner_product("energy")

    def test_truncated_chunk_is_named(self, place: Place) -> None:
        """A chunk cut short is an error that names array and chunk, by reference and through xarray; `check` finds it."""
        store = self.store(place, 5)
        raw = raw_objects(place)
        for key in self.chunk_keys(place):
            raw.put(key, bytes(raw.get(key).bytes())[:-40])
        named = r"chunk c/\d/\d/0 of array fields/displacement .*is truncated or damaged"
        with pytest.raises(StoreError, match=named):
            store.reference().read_block("fields/displacement", (slice(None),))
        with pytest.raises(StoreError, match=named):
            open_snapshots(place.url, place.options)["displacement"].compute(scheduler="sync")
        report = check(store, full=True)
        assert not report.ok
        assert any("fields/displacement" in problem for problem in report.problems)

    def test_missing_chunk_is_named(self, place: Place) -> None:
        """A chunk that is gone is an error that names it, never a silent NaN."""
        store = self.store(place, 5)
        raw_objects(place).delete(self.chunk_keys(place))
        with pytest.raises(StoreError, match=r"fields/displacement"):
            store.reference().read_block("fields/displacement", (slice(None),))
        assert not check(store, full=True).ok

    def test_description(self, place: Place) -> None:
        """`describe` tells runs, sizes, stored bytes, mesh and parameter ranges as values that JSON can hold."""
        told = describe(self.store(place, 4, 3))
        json.dumps(told)
        field = told["fields"]["displacement"]
        assert told["snapshots"] == 7
        assert field["logical_bytes"] == 7 * N_POINTS * 3 * 4
        assert 0 < field["stored_bytes"] < 2 * field["logical_bytes"]
        assert told["parameters"]["speed"] == {"min": 100.0, "max": 101.0}
        assert told["parameters"]["material"] == {"values": ["alloy 0", "alloy 1"]}
        assert told["mesh"] == {"points": N_POINTS, "cells": N_CELLS, "length_unit": "m"}
        assert check(self_store := open_store(place.url, "r", place.options), full=True).ok
        assert check(self_store).version == told["version"]
