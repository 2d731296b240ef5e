"""How the reader of a file is found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nwidth.errors import ConfigError, FormatError
from nwidth.readers import find_reader, list_readers, missing_package
from nwidth.readers.protocol import Reader

NAMES = {"calculix", "pyvista", "netcdf", "hdf5", "zarr", "numpy", "modflow"}


def test_all_readers_fulfil_the_protocol() -> None:
    """Every listed reader is known by its own name and has the whole interface."""
    readers = list_readers()
    assert set(readers) >= NAMES
    for name, reader in readers.items():
        assert isinstance(reader, Reader)
        assert reader.name == name


@pytest.mark.parametrize(
    ("file", "name"),
    [("a.frd", "calculix"), ("a.vtu", "pyvista"), ("a.nc", "netcdf"), ("a.h5", "hdf5"), ("a.npz", "numpy"), ("a.hds", "modflow")],
)
def test_a_file_finds_its_reader(file: str, name: str, tmp_path: Path) -> None:
    """The suffix decides, and no two readers claim one suffix."""
    (tmp_path / file).touch()
    assert find_reader(tmp_path / file).name == name
    assert [reader.name for reader in list_readers().values() if reader.claims(tmp_path / file)] == [name]


def test_unknown_formats_list_what_is_known(tmp_path: Path) -> None:
    """An unknown suffix, an unknown reader and an absent file are each refused with what to do."""
    (tmp_path / "a.xyz").touch()
    with pytest.raises(FormatError, match=r"no reader knows.*calculix \(\.frd\)"):
        find_reader(tmp_path / "a.xyz")
    with pytest.raises(ConfigError, match="the readers are"):
        find_reader(tmp_path / "a.xyz", "ansys")
    with pytest.raises(FormatError, match="does not exist"):
        find_reader(tmp_path / "absent.frd")


def test_a_missing_package_names_its_extra() -> None:
    """The refusal says which extra to install."""
    with pytest.raises(FormatError, match=r'pip install "nwidth\[mesh\]"'):
        raise missing_package(ModuleNotFoundError("No module named 'pyvista'", name="pyvista"))


def test_listing_readers_imports_no_heavy_package() -> None:
    """Naming all readers needs none of the packages that they read with."""
    heavy = ("dask", "xarray", "zarr", "pyvista", "h5py", "vtk")
    code = f"import sys, nwidth.readers as r; r.list_readers(); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
