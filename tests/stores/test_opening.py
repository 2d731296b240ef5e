"""What is refused at the door, and in which words."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import zarr

from nwidth.errors import ConfigError, FieldError, LayoutError, StoreError
from nwidth.readers.protocol import FieldSpec, Run
from nwidth.stores import create_store, open_or_create_store, open_snapshots, open_store
from nwidth.stores.commit import JOURNAL, parse_journal
from nwidth.stores.objectstore import location
from tests.repository import REPOSITORY


def make_foreign_zarr(path: Path) -> None:
    zarr.create_group(path).create_array("a", shape=(3,), dtype="f8")


def make_zarr_v2(path: Path) -> None:
    zarr.create_group(path, zarr_format=2)


def make_model(path: Path) -> None:
    zarr.create_group(path, attributes={"nwidth_schema": 1, "nwidth_content": "model"})


def make_files(path: Path) -> None:
    path.mkdir()
    (path / "notes.txt").write_text("not a store")


def make_file(path: Path) -> None:
    path.write_text("not a store")


def make_broken(path: Path) -> None:
    path.mkdir()
    (path / "zarr.json").write_text("{")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_foreign_zarr, "not a snapshot store of nwidth: it has no attribute 'nwidth_schema'"),
        (make_zarr_v2, "is a Zarr v2 group"),
        (make_model, "it holds 'model'"),
        (make_files, "a folder with other things in it"),
        (make_file, "is a file, not a snapshot store"),
        (make_broken, r"zarr\.json in .* is not JSON"),
    ],
)
def test_foreign_layouts_are_refused(tmp_path: Path, make: object, words: str) -> None:
    """What is not our store is named for what it is, and is neither opened nor written into."""
    path = tmp_path / "thing.zarr"
    make(path)  # type: ignore[operator]
    before = sorted(path.rglob("*"))
    openings: list[Callable[[], Any]] = [
        lambda: open_store(path),
        lambda: open_store(path, "a"),
        lambda: open_or_create_store(path),
    ]
    for opening in openings:
        with pytest.raises(LayoutError, match=words):
            opening()
    assert sorted(path.rglob("*")) == before


@pytest.mark.parametrize("kind", ["zarr", "icechunk"])
def test_no_permission_is_said(tmp_path: Path, kind: str) -> None:
    """A place below a regular file cannot be read or made, whoever asks, and the sentence says so."""
    (tmp_path / "file").write_text("")
    place = tmp_path / "file" / "store"
    openings: list[Callable[[], Any]] = [lambda: create_store(place, cast("Any", kind)), lambda: open_store(place)]
    for opening in openings:
        with pytest.raises(StoreError, match="no permission, or a part of the path is a file"):
            opening()


def test_nothing_there_is_said(tmp_path: Path) -> None:
    """Opening what is not there says how to make it, and makes nothing."""
    with pytest.raises(StoreError, match=r"nothing is at .*; check the path, or create the store"):
        open_store(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()


def test_an_empty_store_has_no_snapshots(tmp_path: Path) -> None:
    """A store without a run opens, and says so when its snapshots are asked for."""
    create_store(tmp_path / "empty.zarr")
    with pytest.raises(StoreError, match="has no snapshots yet"):
        open_snapshots(tmp_path / "empty.zarr")


def test_kind_follows_the_name(tmp_path: Path) -> None:
    """Icechunk is the default, ``.zarr`` asks for plain Zarr, and the kind is recognised again."""
    assert create_store(tmp_path / "a.zarr").kind == open_store(tmp_path / "a.zarr").kind == "zarr"
    assert create_store(tmp_path / "b").kind == open_store(tmp_path / "b").kind == "icechunk"
    with pytest.raises(ConfigError, match="choose 'icechunk' or 'zarr'"):
        create_store(tmp_path / "c", "hdf5")  # type: ignore[arg-type]


def test_settings_are_checked(tmp_path: Path) -> None:
    """Unknown options, codecs, schemes and modes are refused with what would be right."""
    with pytest.raises(ConfigError, match="'code' is unknown; did you mean 'codec'"):
        create_store(tmp_path / "a", options={"code": "lz4"})
    with pytest.raises(ConfigError, match="choose one of blosc, lz4, none"):
        create_store(tmp_path / "a", options={"codec": "gzip"})
    with pytest.raises(ConfigError, match="scheme 'ftp' is unknown"):
        open_store("ftp://host/store")
    with pytest.raises(ConfigError, match="s3://bucket/path"):
        open_store("s3://bucket")
    create_store(tmp_path / "a")
    with pytest.raises(ConfigError, match="mode 'w' is unknown"):
        open_store(tmp_path / "a", "w")  # type: ignore[arg-type]
    assert location((tmp_path / "a b").as_uri()).path == tmp_path / "a b"


def test_secrets_do_not_show() -> None:
    """Credentials are not printed with the options."""
    from nwidth.stores.options import parse_options

    assert "hush" not in repr(parse_options({"secret_access_key": "hush", "session_token": "hush"}))


@pytest.mark.parametrize("codec", ["blosc", "lz4", "none"])
def test_codecs_are_stored_as_asked(tmp_path: Path, codec: str) -> None:
    """Each codec is set explicitly, with the size of a number for the shuffle, and gives the values back."""
    store = create_store(tmp_path / "a.zarr", options={"codec": codec})
    values = np.random.default_rng(0).random((4, 1000))
    with store.append(one_field(4, 1000), simulation="a", source_key="a") as writer:
        writer.write(0, {"u": values})
    expected = {"blosc": "blosc(zstd-3, shuffle, 8)", "lz4": "blosc(lz4-5, shuffle, 8)", "none": "none"}[codec]
    assert store.schema().fields["u"].codec == expected
    np.testing.assert_array_equal(store.reference().read_block("fields/u", (slice(None),)), values)


def one_field(n_snapshots: int, nodes: int, name: str = "u", components: tuple[str, ...] = ()) -> Run:
    shape = (nodes, len(components)) if components else (nodes,)
    dims = ("node", "component") if components else ("node",)
    spec = FieldSpec("node", dims, shape, np.dtype("f8"), components)
    return Run({name: spec}, np.arange(float(n_snapshots)), lambda: iter(()))


@pytest.mark.parametrize("name", ["time", "a/b", "", ".hidden", "simulation"])
def test_names_that_cannot_be_stored_are_refused(tmp_path: Path, name: str) -> None:
    """A field that would shadow a coordinate, or leave its folder, is refused by name."""
    store = create_store(tmp_path / "a.zarr")
    with (
        pytest.raises(FieldError, match="cannot name a field"),
        store.append(one_field(1, 5, name), simulation="a", source_key="a"),
    ):
        pass


def test_different_components_live_side_by_side(tmp_path: Path) -> None:
    """Fields with other components get component axes of their own, so that one dataset holds both."""
    both = {**one_field(2, 5, "u", ("x", "y")).fields, **one_field(2, 5, "s", ("xx", "yy", "xy")).fields}
    run = Run(both, np.arange(2.0), lambda: iter(()))
    store = create_store(tmp_path / "a.zarr")
    with store.append(run, simulation="a", source_key="a") as writer:
        writer.write(0, {"u": np.ones((2, 5, 2)), "s": np.ones((2, 5, 3))})
    dataset = open_snapshots(tmp_path / "a.zarr")
    assert dataset["u"].dims == ("snapshot", "node", "u_component")
    assert dataset["s_component"].values.tolist() == ["xx", "yy", "xy"]
    assert store.schema().fields["s"].dims == ("snapshot", "node", "component")


@pytest.mark.parametrize("key", ["../zarr.json", "/zarr.json", "fields/u/c/0", "a/../../zarr.json"])
def test_a_journal_cannot_leave_its_store(tmp_path: Path, key: str) -> None:
    """A forged journal that names anything but metadata within the store is refused, and nothing is written."""
    store = create_store(tmp_path / "a.zarr")
    forged = json.dumps({"nwidth_journal": 1, "documents": {key: "{}"}})
    with pytest.raises(LayoutError, match="no metadata document of the store"):
        parse_journal(forged.encode(), store.url)
    (tmp_path / "a.zarr" / JOURNAL).write_text(forged)
    with pytest.raises(LayoutError, match="no metadata document of the store"):
        open_store(tmp_path / "a.zarr", "a")
    assert not (tmp_path / "zarr.json").exists()


def test_the_door_is_light() -> None:
    """Importing `nwidth.stores` imports neither zarr, dask, xarray, icechunk nor obstore."""
    code = "import sys, nwidth.stores; print([m for m in ('zarr', 'dask', 'xarray', 'icechunk', 'obstore') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


FULL_DISK = """
import resource, sys
import numpy as np
from nwidth.errors import StoreError
from nwidth.stores import open_store
from nwidth.readers.protocol import FieldSpec, Run
run = Run({"u": FieldSpec("node", ("node",), (20000,), np.dtype("f8"))}, np.arange(40.0), lambda: iter(()))
store = open_store(sys.argv[1], "a", {"codec": "none"})
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
try:
    with store.append(run, simulation="b", source_key="b") as writer:
        writer.write(0, {"u": np.random.default_rng(1).random((40, 20000))})
except StoreError as error:
    print(error)
"""


@pytest.mark.parametrize("kind", ["zarr", "icechunk"])
def test_no_room_is_said_and_nothing_is_lost(tmp_path: Path, kind: str) -> None:
    """A disk that takes no more (a limit on the size of files) ends the run in one sentence; the runs before it are intact."""
    store = create_store(tmp_path / "store", kind, {"codec": "none"})  # type: ignore[arg-type]
    values = np.random.default_rng(0).random((3, 20000))
    with store.append(one_field(3, 20000), simulation="a", source_key="a") as writer:
        writer.write(0, {"u": values})
    ran = subprocess.run(
        [sys.executable, "-c", FULL_DISK, store.url], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "no room on disk; free some or choose another place" in ran.stdout
    again = open_store(store.url, "a")
    assert [run.simulation for run in again.schema().runs] == ["a"]
    np.testing.assert_array_equal(again.reference().read_block("fields/u", (slice(None),)), values)
    with again.append(one_field(1, 20000), simulation="c", source_key="c") as writer:
        writer.write(0, {"u": values[:1]})
    assert again.schema().n_snapshots == 4
