""".npz, .npy and folders of .npy: documented keys, streaming, and what is refused."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from nwidth.errors import ConfigError, FormatError
from nwidth.readers.numpy_files import NumpyReader
from tests.readers.gather import gather
from tests.shared_data import shared_data

RNG = np.random.default_rng(0)
POINTS = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], float)
CELLS = np.array([(0, 1, 2), (0, 2, 3)])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_every_documented_key_survives(save: object, tmp_path: Path) -> None:
    """Fields at nodes and cells, mesh, times, parameters and scalars come back as they were saved."""
    u, p = RNG.normal(size=(3, 4, 2)), RNG.normal(size=(3, 2)).astype(np.float32)
    path = tmp_path / "run.npz"
    save(path, u=u, p=p, points=POINTS, cells_triangle=CELLS, time=[0.5, 1, 2], parameter_mach=[1.0, 2, 3], dt=0.1)  # type: ignore[operator]
    run = NumpyReader().open(path)
    values = gather(run)
    np.testing.assert_array_equal(values["u"], u)
    np.testing.assert_array_equal(values["p"], p)
    assert (run.fields["u"].location, run.fields["u"].components, run.fields["p"].location) == ("node", ("x", "y"), "cell")
    assert run.times.tolist() == [0.5, 1, 2]
    assert run.parameters["mach"].tolist() == [1, 2, 3]
    assert run.attributes["dt"] == "0.1"
    assert run.mesh is not None
    np.testing.assert_array_equal(run.mesh.points[:, :2], POINTS)
    assert run.mesh.cell_types.tolist() == [5, 5]


def test_connectivity_and_offsets(tmp_path: Path) -> None:
    """Cells may come as connectivity, offsets and cell types; one of them alone is refused."""
    path = tmp_path / "run.npz"
    np.savez(path, u=np.zeros((1, 4)), points=POINTS, connectivity=CELLS.ravel(), offsets=[0, 3, 6], cell_types=[5, 5])
    mesh = NumpyReader().open(path).mesh
    assert mesh is not None
    assert mesh.n_cells == 2
    np.savez(path, u=np.zeros((1, 4)), points=POINTS, connectivity=CELLS.ravel())
    with pytest.raises(FormatError, match="no offsets"):
        NumpyReader().open(path)


def test_fortran_order_and_integers_keep_their_values(tmp_path: Path) -> None:
    """A column-major array and an integer array give the same snapshots as plain ones."""
    u = RNG.normal(size=(3, 4))
    path = tmp_path / "run.npz"
    np.savez(path, u=np.asfortranarray(u), k=np.arange(12).reshape(3, 4), half=u.astype(np.float16))
    run = NumpyReader().open(path)
    values = gather(run)
    assert [run.fields[name].dtype.name for name in ("u", "k", "half")] == ["float64", "float64", "float32"]
    np.testing.assert_array_equal(values["u"], u)
    np.testing.assert_array_equal(values["k"], np.arange(12.0).reshape(3, 4))
    np.testing.assert_array_equal(values["half"], u.astype(np.float16).astype(np.float32))


def test_fields_of_other_lengths_need_a_choice(tmp_path: Path) -> None:
    """Arrays that disagree on the number of snapshots are refused, and read when they are chosen."""
    path = tmp_path / "run.npz"
    np.savez(path, u=np.zeros((3, 4)), force=np.zeros((9, 2)))
    with pytest.raises(FormatError, match="u 3, force 9"):
        NumpyReader().open(path)
    assert list(NumpyReader().open(path, fields=["u"]).fields) == ["u"]
    with pytest.raises(ConfigError, match="no field 'v'"):
        NumpyReader().open(path, fields=["v"])


def test_pickles_are_refused_and_never_run(tmp_path: Path) -> None:
    """Object arrays, in .npy and .npz alike, are refused without being unpickled."""
    np.save(tmp_path / "a.npy", np.array([{}], dtype=object))
    np.savez(tmp_path / "a.npz", u=np.array([[{}]], dtype=object))
    for name in ("a.npy", "a.npz"):
        with pytest.raises(FormatError, match="never loaded"):
            NumpyReader().open(tmp_path / name)


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    """A .npy and a .npz cut anywhere are refused by name."""
    np.save(tmp_path / "a.npy", np.zeros((30, 40)))
    np.savez(tmp_path / "a.npz", u=np.zeros((30, 40)))
    for name in ("a.npy", "a.npz"):
        whole = (tmp_path / name).read_bytes()
        cut = tmp_path / f"cut{name[1:]}"
        for stop in np.linspace(0, len(whole) - 1, 20).astype(int):
            cut.write_bytes(whole[:stop])
            with pytest.raises(FormatError, match="cut"):
                NumpyReader().open(cut)


def test_a_header_that_promises_too_much_allocates_nothing(tmp_path: Path) -> None:
    """A .npz member whose header names 10^12 rows is refused by its size in the archive."""
    np.save(tmp_path / "u.npy", np.zeros((2, 3)))
    header = (tmp_path / "u.npy").read_bytes().replace(b"(2, 3), }            ", b"(1000000000000, 3), }")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("u.npy", header)
    with pytest.raises(FormatError, match="its header promises"):
        NumpyReader().open(tmp_path / "a.npz")


def test_npy_axis_and_companions(tmp_path: Path) -> None:
    """A .npy may count snapshots along its second axis, and takes mesh and times from files beside it."""
    u = RNG.normal(size=(4, 3))
    np.save(tmp_path / "u.npy", u)
    np.save(tmp_path / "p.npy", POINTS)
    np.save(tmp_path / "c.npy", CELLS)
    np.save(tmp_path / "t.npy", np.array([[1], [2], [3]]))
    run = NumpyReader().open(
        tmp_path / "u.npy", axis=1, points=tmp_path / "p.npy", cells=tmp_path / "c.npy", time=tmp_path / "t.npy"
    )
    np.testing.assert_array_equal(gather(run)["u"], u.T)
    assert run.times.tolist() == [1, 2, 3]
    assert run.mesh is not None
    assert run.mesh.n_cells == 2


def test_ezyrb_folder() -> None:
    """ezyrb-flow's folder of .npy is one run: four fields of 59 times on 3067 nodes and 5768 triangles."""
    folder = shared_data("ezyrb-flow") / "ezyrb/parallel/examples/data_2d"
    assert NumpyReader().claims(folder)
    run = NumpyReader().open(folder)
    assert run.mesh is not None
    assert (run.mesh.n_points, run.mesh.n_cells, len(run.times)) == (3067, 5768, 59)
    values = gather(run)
    assert sorted(values) == ["pressure", "vx", "vy", "vz"]
    np.testing.assert_array_equal(values["vx"], np.load(folder / "snapshots_vx.npy"))


@pytest.mark.slow
def test_wake_archive() -> None:
    """wake-dfg2d2's .npz gives 500 snapshots of two velocity components on 9162 points, streamed from the archive."""
    run = NumpyReader().open(shared_data("wake-dfg2d2") / "dfg2d2_re100.npz", fields=["u"])
    assert (len(run.times), run.fields["u"].shape, run.fields["u"].dtype) == (500, (9162, 2), np.dtype(np.float32))
    assert run.mesh is not None
    assert run.mesh.n_points == 9162
    with np.load(shared_data("wake-dfg2d2") / "dfg2d2_re100.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(gather(run)["u"], archive["u"])
