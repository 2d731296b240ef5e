"""No import points against the arrows, every arrow's rule can fire, and the front door stays light."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.import_rules import module_name, sources, violations
from tests.repository import REPOSITORY


def test_every_import_points_the_right_way() -> None:
    """No module of the two packages imports against the arrows of ARCHITECTURE.md."""
    files = sources()
    assert len(files) > 5
    found = [
        v for path in files for v in violations(module_name(path), path.read_text("utf-8"), is_package=path.name == "__init__.py")
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("module", "source", "reason"),
    [
        ("nwidth_graphs.kernels.qr", "import dask.array", "kernels are pure"),
        ("nwidth_graphs.kernels.qr", "def f():\n    import cupy", "kernels are pure"),
        ("nwidth_graphs.kernels.qr", "from ..trees import tree", "kernels are pure"),
        ("nwidth_graphs.tsqr", "from nwidth import errors", "graphs know no store"),
        ("nwidth_graphs.tsqr", "import zarr.storage", "graphs know no store"),
        ("nwidth_graphs.tsqr", "from dask.highlevelgraph import HighLevelGraph", "trees.py is the only"),
        ("nwidth.stages.reduce", "from dask import delayed", "trees.py is the only"),
        ("nwidth.stages.reduce", "import dask\nwork = dask.delayed(print)", "trees.py is the only"),
        ("nwidth.errors", "from nwidth.mesh import Mesh", "stands on nothing"),
        ("nwidth.readers.frd", "from nwidth.stores import open_store", "readers know"),
        ("nwidth.readers.frd", "from nwidth.stages.ingest import ingest", "readers know"),
        ("nwidth.stores.zarr_store", "from nwidth.readers.calculix import FrdReader", "what their protocol says"),
        ("nwidth.stores.zarr_store", "from nwidth.stages import ingest", "what their protocol says"),
        ("nwidth.stages.reduce", "from nwidth.cli.main import app", "who asked"),
        ("nwidth.models.basis", "from nwidth.stages.pod import reduce_problem", "finished model"),
        ("nwidth.config", "import nwidth.stores.protocol", "configuration is read"),
        ("nwidth.api", "from nwidth.cli import main", "what people touch"),
        ("nwidth.models.model", "import pickle", "no pickle"),
        ("nwidth.readers.foam", "def open():\n    import foamlib", "licence"),
    ],
)
def test_a_planted_violation_is_caught(module: str, source: str, reason: str) -> None:
    """Each rule fires on a module that breaks it, wherever the import stands."""
    assert any(reason in found for found in violations(module, source))


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("nwidth_graphs.kernels.qr", "import math\nimport numpy as np\nfrom scipy import linalg\nfrom . import svd"),
        ("nwidth_graphs.trees", "from dask.task_spec import Task\nfrom dask.highlevelgraph import HighLevelGraph"),
        ("nwidth_graphs.tsqr", "import dask.array as da\nfrom nwidth_graphs.kernels.qr import qr"),
        ("nwidth.stores.zarr_store", "from nwidth.readers.protocol import Run\nfrom nwidth.mesh import Mesh\nimport zarr"),
        ("nwidth.stages.ingest", "from nwidth.readers.protocol import Run\nfrom nwidth.stores import open_store"),
        ("nwidth.cli.main", "from nwidth.stages import ingest"),
    ],
)
def test_an_allowed_import_passes(module: str, source: str) -> None:
    """The rules do not refuse what the design asks for."""
    assert violations(module, source) == []


HEAVY = (
    "dask",
    "distributed",
    "xarray",
    "zarr",
    "icechunk",
    "pandas",
    "scipy",
    "matplotlib",
    "pyvista",
    "vtk",
    "h5py",
    "netCDF4",
)
"""Together these take seconds to import; `nwidth --help` must answer at once."""

IMPORT_PACKAGE = "import sys, nwidth"
SHOW_HELP = """
import sys
from nwidth.cli import main
sys.argv = ["nwidth", "--help"]
try:
    main()
except SystemExit as ending:
    assert not ending.code, ending.code
"""


@pytest.mark.parametrize("program", [IMPORT_PACKAGE, SHOW_HELP], ids=["import nwidth", "nwidth --help"])
def test_the_front_door_imports_nothing_heavy(program: str) -> None:
    """Neither importing the package nor asking for help loads Dask, xarray, Zarr or another heavy library."""
    if program == SHOW_HELP and not (REPOSITORY / "pipeline/nwidth/cli/__init__.py").exists():
        pytest.skip("the command line is not written yet")
    report = f"{program}\nprint('\\nloaded:', *sorted({set(HEAVY)!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", report], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].split() == ["loaded:"]
