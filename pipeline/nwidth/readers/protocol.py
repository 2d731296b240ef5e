"""What a reader gives: one `Run` per file (or series), snapshots one at a time, so that ingestion holds one snapshot, not a file.

A reader is one small class, named in the entry-point group ``nwidth.readers``:

    class MyReader:
        name = "my-solver"
        suffixes = (".out",)                                   # shown to people, and tried first
        def claims(self, path: Path) -> bool: ...              # cheap: looks at the name, or at the first bytes
        def open(self, path: Path) -> Run: ...                 # reads the header; heavy imports happen here

Optional: further arguments of `open` are the reader's options (`fields` gets the selection), and a method
``companions(path) -> tuple[Path, ...]`` names further files of the same run.

    readers/  ->  Run(mesh, fields, times, snapshots)  ->  stages/ingest.py  ->  stores/
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from nwidth.mesh import Mesh

Location = Literal["node", "cell", "point", "grid"]
"""Where values live: mesh points, mesh cells, integration points, or the points of a structured grid."""

Fields = Mapping[str, NDArray[Any]]
"""One snapshot: field name -> values of shape `FieldSpec.shape`."""


@dataclass(frozen=True)
class FieldSpec:
    """One field of a run, without its values.

    `dims` names the space dimensions, and the last one is ``component`` where `components` is not empty:
    ``("node",)``, ``("node", "component")``, ``("point", "component")``, ``("lat", "lon")``, ...
    """

    location: Location
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    components: tuple[str, ...] = ()
    units: str = ""
    long_name: str = ""


@dataclass(frozen=True)
class IntegrationPoints:
    """Where the ``point`` fields live: the owning cell and the local number of each integration point."""

    cell: NDArray[np.int64]
    local: NDArray[np.int64]


@dataclass(frozen=True)
class Run:
    """One simulation (or one file of many snapshots) as a reader presents it.

    `times` has one entry per snapshot, and `snapshots()` yields exactly that many `Fields`, in the same order.
    `coordinates` holds the 1-D coordinates of grid dimensions (``lat``, ``lon``, ...).
    `parameters` holds arrays of one value per snapshot, for files in which every snapshot is a design point of its own.
    `weights` holds inner-product weights that the reader knows (name -> array over space dims), such as ``cos_latitude``.
    `gaps` says that values may be NaN in some snapshots and not in others; ingestion sets it where it was asked to keep them.
    """

    fields: Mapping[str, FieldSpec]
    times: NDArray[np.float64]
    snapshots: Callable[[], Iterator[Fields]]
    mesh: Mesh | None = None
    coordinates: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    integration_points: IntegrationPoints | None = None
    parameters: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    weights: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    time_units: str = "s"
    attributes: Mapping[str, str] = field(default_factory=dict)
    gaps: bool = False


@runtime_checkable
class Reader(Protocol):
    """The whole interface of a reader plug-in."""

    # Properties, so that a class attribute such as `suffixes = (".out",)` fits by its own, narrower type.
    @property
    def name(self) -> str:
        """What `find_reader` knows it by."""
        ...

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Shown to people."""
        ...

    def claims(self, path: Path) -> bool:
        """Whether this reader can open `path`; must be cheap and must not raise."""
        ...

    def open(self, path: Path) -> Run:
        """Open `path`; raises `nwidth.errors.FormatError` where the file is truncated or malformed."""
        ...
