"""VTK files: what PyVista writes is what the reader gives back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nwidth.errors import FieldError, FormatError, MeshError
from nwidth.readers.pyvista_files import PyVistaReader
from tests.readers.gather import gather
from tests.shared_data import shared_data

pyvista = pytest.importorskip("pyvista")


def tets(seed: int = 0, shift: float = 0.0) -> Any:
    """Two tetrahedra with point and cell data, one name at both."""
    points = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1)], float) + shift
    grid = pyvista.UnstructuredGrid(np.array([4, 0, 1, 2, 3, 4, 1, 2, 3, 4]), np.array([10, 10]), points)
    rng = np.random.default_rng(seed)
    grid.point_data["velocity"] = rng.normal(size=(5, 3))
    grid.point_data["pressure"] = rng.normal(size=5).astype(np.float32)
    grid.cell_data["stress"] = rng.normal(size=(2, 6))
    grid.cell_data["pressure"] = rng.normal(size=2)
    return grid


def series(folder: Path, grids: list[Any], times: list[float]) -> Path:
    """A .pvd of one .vtu per time."""
    entries = []
    for k, (grid, time) in enumerate(zip(grids, times, strict=True)):
        grid.save(folder / f"part{k}.vtu")
        entries.append(f'<DataSet timestep="{time}" file="part{k}.vtu"/>')
    path = folder / "series.pvd"
    path.write_text(f'<?xml version="1.0"?><VTKFile type="Collection"><Collection>{"".join(entries)}</Collection></VTKFile>')
    return path


@pytest.mark.parametrize("suffix", [".vtu", ".vtk"])
def test_every_field_survives(suffix: str, tmp_path: Path) -> None:
    """Values, names, components, places, types and cells of a mesh with point and cell data come back unchanged."""
    grid = tets()
    grid.save(tmp_path / f"a{suffix}")
    run = PyVistaReader().open(tmp_path / f"a{suffix}")
    values = gather(run)
    assert run.times.tolist() == [0.0]
    np.testing.assert_array_equal(values["velocity"][0], grid.point_data["velocity"])
    np.testing.assert_array_equal(values["pressure"][0], grid.point_data["pressure"])
    np.testing.assert_array_equal(values["stress"][0], grid.cell_data["stress"])
    np.testing.assert_array_equal(values["pressure_cell"][0], grid.cell_data["pressure"])
    spec = run.fields
    assert {name: one.location for name, one in spec.items()} == {
        "velocity": "node", "pressure": "node", "stress": "cell", "pressure_cell": "cell",
    }  # fmt: skip
    assert spec["velocity"].components == ("x", "y", "z")
    assert spec["stress"].components == ("xx", "yy", "zz", "xy", "yz", "xz")
    assert spec["pressure"].dtype == np.float32
    assert run.mesh is not None
    np.testing.assert_array_equal(run.mesh.connectivity, [0, 1, 2, 3, 1, 2, 3, 4])
    np.testing.assert_array_equal(run.mesh.points, grid.points)


@pytest.mark.parametrize(
    ("suffix", "make"),
    [
        (".vti", lambda: pyvista.ImageData(dimensions=(3, 4, 2))),
        (".vtr", lambda: pyvista.RectilinearGrid(np.array([0.0, 1, 3]), np.array([0.0, 2]), np.array([0.0, 1]))),
        (".vts", lambda: pyvista.ImageData(dimensions=(3, 3, 2)).cast_to_structured_grid()),
        (".vtp", lambda: pyvista.Plane(i_resolution=2, j_resolution=2)),
    ],
)
def test_other_data_sets_survive(suffix: str, make: Any, tmp_path: Path) -> None:
    """Image, rectilinear, structured and surface data come back with their points, cells and values."""
    data = make()
    data.clear_data()
    data.point_data["u"] = np.arange(data.n_points, dtype=float)
    data.cell_data["v"] = np.arange(data.n_cells, dtype=float)
    data.save(tmp_path / f"a{suffix}")
    run = PyVistaReader().open(tmp_path / f"a{suffix}")
    values = gather(run)
    np.testing.assert_array_equal(values["u"][0], data.point_data["u"])
    np.testing.assert_array_equal(values["v"][0], data.cell_data["v"])
    assert run.mesh is not None
    np.testing.assert_array_equal(run.mesh.points, data.points)


def test_series_gives_its_times_in_order(tmp_path: Path) -> None:
    """A .pvd gives one snapshot per time, sorted by time, whatever the order of its entries."""
    grids = [tets(seed) for seed in range(3)]
    run = PyVistaReader().open(series(tmp_path, grids, [3.0, 1.0, 2.0]))
    assert run.times.tolist() == [1.0, 2.0, 3.0]
    velocity = gather(run)["velocity"]
    for k, source in enumerate([1, 2, 0]):
        np.testing.assert_array_equal(velocity[k], grids[source].point_data["velocity"])


def test_a_mesh_that_changes_is_refused_by_time(tmp_path: Path) -> None:
    """Another mesh at the second time is named with its time, and so is a field that comes or goes."""
    run = PyVistaReader().open(series(tmp_path, [tets(), tets(shift=0.5)], [0.0, 7.0]))
    with pytest.raises(MeshError, match=r"time 7 is not that of time 0: point"):
        gather(run)
    other = tets()
    other.point_data.remove("velocity")
    run = PyVistaReader().open(series(tmp_path, [tets(), other], [0.0, 7.0]))
    with pytest.raises(FieldError, match="field velocity is not there at every time"):
        gather(run)


def test_index_may_not_leave_its_folder(tmp_path: Path) -> None:
    """A .pvd that names a file above its folder, by .. or by an absolute path, is refused; so is an entity."""
    tets().save(tmp_path / "secret.vtu")
    folder = tmp_path / "run"
    folder.mkdir()
    path = folder / "a.pvd"
    for named in ("../secret.vtu", str(tmp_path / "secret.vtu")):
        path.write_text(f'<VTKFile><Collection><DataSet timestep="0" file="{named}"/></Collection></VTKFile>')
        with pytest.raises(FormatError, match="outside its own folder"):
            PyVistaReader().open(path)
    path.write_text('<!DOCTYPE a [<!ENTITY e "x">]><VTKFile>&e;</VTKFile>')
    with pytest.raises(FormatError, match="DOCTYPE"):
        PyVistaReader().open(path)
    xdmf = folder / "a.xdmf"
    xdmf.write_text('<Xdmf><Domain><Grid><DataItem Format="HDF" Dimensions="3">../secret.h5:/a</DataItem></Grid></Domain></Xdmf>')
    with pytest.raises(FormatError, match="outside its own folder"):
        PyVistaReader().open(xdmf)


def test_truncated_files_are_refused(tmp_path: Path) -> None:
    """A .vtu cut in half is refused with its name, not read as an empty mesh."""
    tets().save(tmp_path / "a.vtu")
    whole = (tmp_path / "a.vtu").read_bytes()
    for stop in (0, len(whole) // 3, len(whole) // 2, len(whole) - 40):
        (tmp_path / "cut.vtu").write_bytes(whole[:stop])
        with pytest.raises(FormatError, match=r"cut\.vtu"):
            gather(PyVistaReader().open(tmp_path / "cut.vtu"))


def test_blocks_are_joined_or_refused(tmp_path: Path) -> None:
    """Two blocks with the same arrays become one mesh; with other arrays they are refused by the field's name."""
    one, two = tets(1), tets(2, shift=5.0)
    pyvista.MultiBlock([one, two]).save(tmp_path / "a.vtm")
    run = PyVistaReader().open(tmp_path / "a.vtm")
    expected = np.concatenate([one.point_data["velocity"], two.point_data["velocity"]])
    np.testing.assert_array_equal(gather(run)["velocity"][0], expected)
    two.point_data["extra"] = np.zeros(5)
    pyvista.MultiBlock([one, two]).save(tmp_path / "b.vtm")
    with pytest.raises(FieldError, match="field extra is not on all 2 blocks"):
        PyVistaReader().open(tmp_path / "b.vtm")


def test_exodus_series(tmp_path: Path) -> None:
    """An Exodus file of two times, written with netCDF4 by the format's own names, gives its nodal variable at each time."""
    netcdf = pytest.importorskip("netCDF4")
    values = np.random.default_rng(0).normal(size=(2, 4))
    with netcdf.Dataset(tmp_path / "a.exo", "w", format="NETCDF3_64BIT_OFFSET") as file:
        file.setncatts(
            {
                "api_version": np.float32(5),
                "version": np.float32(5),
                "floating_point_word_size": np.int32(8),
                "file_size": np.int32(1),
            }
        )
        sizes = {"len_string": 33, "len_line": 81, "four": 4, "time_step": None, "num_dim": 3, "num_nodes": 4, "num_elem": 1,
                 "num_el_blk": 1, "num_el_in_blk1": 1, "num_nod_per_el1": 4, "num_nod_var": 1, "len_name": 33}  # fmt: skip
        for name, size in sizes.items():
            file.createDimension(name, size)
        file.createVariable("time_whole", "f8", ("time_step",))[:] = [0.5, 1.5]
        file.createVariable("eb_status", "i4", ("num_el_blk",))[:] = 1
        prop = file.createVariable("eb_prop1", "i4", ("num_el_blk",))
        prop[:] = 1
        prop.setncattr("name", "ID")
        for axis, x in zip("xyz", ([0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]), strict=True):
            file.createVariable(f"coord{axis}", "f8", ("num_nodes",))[:] = x
        connect = file.createVariable("connect1", "i4", ("num_el_in_blk1", "num_nod_per_el1"))
        connect[:] = [[1, 2, 3, 4]]
        connect.setncattr("elem_type", "TETRA")
        names = file.createVariable("name_nod_var", "S1", ("num_nod_var", "len_name"))
        names[0, :11] = np.array(list("temperature"), "S1")
        file.createVariable("vals_nod_var1", "f8", ("time_step", "num_nodes"))[:] = values
    run = PyVistaReader().open(tmp_path / "a.exo")
    assert run.times.tolist() == [0.5, 1.5]
    np.testing.assert_allclose(gather(run)["temperature"], values, rtol=1e-15)


def test_ensight_series(tmp_path: Path) -> None:
    """An ascii EnSight Gold case of two times gives its scalar at each time."""
    geometry = ["geometry", "tet", "node id off", "element id off", "part", f"{1:10d}", "solid", "coordinates", f"{4:10d}"]
    geometry += [f"{x:12.5e}" for x in (0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1)] + [
        "tetra4",
        f"{1:10d}",
        "".join(f"{k:10d}" for k in (1, 2, 3, 4)),
    ]
    (tmp_path / "a.geo").write_text("\n".join([*geometry, ""]))
    for k in range(2):
        lines = ["p", "part", f"{1:10d}", "coordinates", *[f"{10 * k + j:12.5e}" for j in range(4)], ""]
        (tmp_path / f"a.p.{k:04d}").write_text("\n".join(lines))
    case = ["FORMAT", "type: ensight gold", "GEOMETRY", "model: a.geo", "VARIABLE", "scalar per node: 1 p a.p.****", "TIME",
            "time set: 1", "number of steps: 2", "filename start number: 0", "filename increment: 1",
            "time values: 0.25 0.75", ""]  # fmt: skip
    (tmp_path / "a.case").write_text("\n".join(case))
    run = PyVistaReader().open(tmp_path / "a.case")
    assert run.times.tolist() == [0.25, 0.75]
    assert gather(run)["p"].tolist() == [[0, 1, 2, 3], [10, 11, 12, 13]]


def test_openfoam_case(tmp_path: Path) -> None:
    """A one-cell OpenFOAM case gives its cell field at each time; patches are left out."""
    head = "FoamFile {{ version 2.0; format ascii; class {0}; object {1}; }}\n"
    points = "8\n((0 0 0)(1 0 0)(1 1 0)(0 1 0)(0 0 1)(1 0 1)(1 1 1)(0 1 1))\n"
    faces = "6\n(4(0 3 2 1) 4(4 5 6 7) 4(0 1 5 4) 4(1 2 6 5) 4(2 3 7 6) 4(3 0 4 7))\n"
    boundary = "1\n(\nwalls { type wall; nFaces 6; startFace 0; }\n)\n"
    controls = "application a; startFrom startTime; startTime 0; stopAt endTime; endTime 2; deltaT 1;\n"
    files = {"system/controlDict": ("dictionary", controls), "constant/polyMesh/points": ("vectorField", points),
             "constant/polyMesh/faces": ("faceList", faces), "constant/polyMesh/owner": ("labelList", "6\n(0 0 0 0 0 0)\n"),
             "constant/polyMesh/neighbour": ("labelList", "0\n()\n"),
             "constant/polyMesh/boundary": ("polyBoundaryMesh", boundary)}  # fmt: skip
    for time in (1, 2):
        patches = "boundaryField { walls { type zeroGradient; } }"
        text = f"dimensions [0 0 0 1 0 0 0]; internalField uniform {300 + time}; {patches}\n"
        files[f"{time}/T"] = ("volScalarField", text)
    for name, (kind, text) in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(head.format(kind, path.name) + text)
    assert PyVistaReader().claims(tmp_path)
    run = PyVistaReader().open(tmp_path)
    assert run.times.tolist() == [1.0, 2.0]
    assert run.fields["T"].location == "cell"
    assert gather(run)["T"].tolist() == [[301.0], [302.0]]


def test_xdmf_series(tmp_path: Path) -> None:
    """An XDMF file with heavy data in HDF5 gives its nodal field at each time."""
    h5py = pytest.importorskip("h5py")
    values = np.random.default_rng(0).normal(size=(2, 4))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["points"] = np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)], float)
        file["cells"] = np.array([[0, 1, 2, 3]])
        file["u0"], file["u1"] = values

    def item(name: str, shape: str, kind: str) -> str:
        return f'<DataItem Format="HDF" Dimensions="{shape}" NumberType="{kind}" Precision="8">a.h5:/{name}</DataItem>'

    grids = "".join(
        f'<Grid Name="g" GridType="Uniform"><Time Value="{0.5 * k}"/>'
        f'<Topology TopologyType="Tetrahedron" NumberOfElements="1">{item("cells", "1 4", "Int")}</Topology>'
        f'<Geometry GeometryType="XYZ">{item("points", "4 3", "Float")}</Geometry>'
        f'<Attribute Name="u" Center="Node">{item(f"u{k}", "4", "Float")}</Attribute></Grid>'
        for k in range(2)
    )
    path = tmp_path / "a.xdmf"
    path.write_text(
        '<?xml version="1.0"?><Xdmf Version="2.0"><Domain><Grid GridType="Collection" CollectionType="Temporal">'
        f"{grids}</Grid></Domain></Xdmf>"
    )
    run = PyVistaReader().open(path)
    assert run.times.tolist() == [0.0, 0.5]
    np.testing.assert_array_equal(gather(run)["u"], values)


def test_xdmf_without_its_heavy_data_is_refused() -> None:
    """The XDMF of ezyrb-flow names an HDF5 file that is not there, and the refusal says so."""
    path = shared_data("ezyrb-flow") / "ezyrb/parallel/examples/data_2d/result.xdmf"
    with pytest.raises(FormatError, match=re.escape("'result.h5', which is not there")):
        PyVistaReader().open(path)


def test_real_vtk_files_of_other_programs() -> None:
    """OpenFOAM's and Matlab's legacy VTK fixtures of ezyrb-flow are read, ascii and binary alike."""
    folder = shared_data("ezyrb-flow") / "tests/test_datasets"
    one = gather(PyVistaReader().open(folder / "matlab_field_test_ascii.vtk"))
    two = gather(PyVistaReader().open(folder / "matlab_field_test_bin.vtk"))
    assert set(one) == set(two)
    for name in one:
        assert np.abs(one[name] - two[name]).max() <= 1e-5 * np.abs(one[name]).max()
    assert "p" in PyVistaReader().open(folder / "openfoam_output_test.vtk").fields
