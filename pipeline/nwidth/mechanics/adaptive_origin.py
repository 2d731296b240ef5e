"""Where a body comes from: bases and snapshots that it was trained on, and full-order steps that have enriched it since.

model.zarr/mechanics/enriched-<k>/origin.json      {"bases": ..., "named": ..., "states": ...}      beside the enriched modes
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import ConfigError, LayoutError
from nwidth.mechanics.body import ReducedBody
from nwidth.models.basis import Basis
from nwidth.models.files import read_basis
from nwidth_graphs.kernels.enrichment import Product

if TYPE_CHECKING:
    from nwidth.stores.protocol import SnapshotStore

Floats = NDArray[np.float64]
ORIGIN = "origin.json"
STATES = "states"
"""Folder of the stress states that full-order steps have brought."""


@dataclass(frozen=True)
class Origin:
    """What a body was trained on."""

    bases: str
    """Folder of the certified bases inside of the model."""
    named: Mapping[str, str]
    """Field -> its basis."""
    states: int = 0
    """Stress states of full-order steps, beside its enriched modes."""

    def read(self, model: Path) -> dict[str, Basis]:
        """Field -> its certified basis."""
        return {field: read_basis((model / self.bases).parent, name) for field, name in self.named.items()}

    def write(self, folder: Path) -> None:
        """Put it beside enriched modes."""
        document = {"bases": self.bases, "named": dict(self.named), "states": self.states}
        (folder / ORIGIN).write_text(json.dumps(document, indent=1), encoding="utf-8")


def origin_of(model: Path, body: ReducedBody) -> Origin:
    """The origin of a body of a model.

    Raises
    ------
    LayoutError
        Its file is damaged.
    """
    folder = (model / body.modes).parent
    if (folder / ORIGIN).exists():
        return _read(folder / ORIGIN)
    fields = {body.displacement: body.modes, **{dual.name: dual.modes for dual in body.duals}}
    named = {field: (model / modes).parent.name for field, modes in fields.items()}
    return Origin(str(folder.parent.relative_to(model)), named)


def _read(path: Path) -> Origin:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return Origin(str(document["bases"]), dict(document["named"]), int(document["states"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise LayoutError(f"{path} is damaged; train the mechanics again") from None


def product_of(store: SnapshotStore, name: str, components: int) -> Product | None:
    """``M x`` of the inner product that displacement modes are orthonormal in; None for the identity.

    The mass is assembled here, unlike for a reduction: a full-order step assembles a stiffness of that size anyway.

    Raises
    ------
    ConfigError
        The store has no mesh for a mass.
    """
    matrix = _matrix(store, name, components)
    return None if matrix is None else lambda x: np.asarray(matrix @ x)


def _matrix(store: SnapshotStore, name: str, components: int) -> Any:
    from scipy.sparse import csr_array, diags_array

    from nwidth.inner_products import mass_cells
    from nwidth_graphs.kernels.mass import ElementPatch

    if name == "identity":
        return None
    if name == "mass":
        mesh = store.mesh()
        if mesh is None:
            raise ConfigError(f"the store {store.schema().url} has no mesh, in whose mass the modes are orthonormal")
        return ElementPatch(mesh.points, mass_cells(mesh), components).matrix
    kind, arrays, _ = store.read_inner_product(name)
    if kind == "sparse":
        return csr_array((arrays["data"], arrays["indices"], arrays["indptr"]))
    weights = np.asarray(arrays["weights"], np.float64)
    return diags_array(weights.ravel() if weights.ndim > 1 else np.repeat(weights, components))
