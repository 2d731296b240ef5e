"""What a finished model brings into a new one, basis by basis: coefficients, norms, and what its truncation left out.

s_j = mean + Phi q_j + e_j        Phi, q_j, ||e_j|| of the model       e_j itself is gone, and is not needed
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nwidth.errors import ConfigError
from nwidth.models.basis import Basis
from nwidth.models.derived import FIELD_NORMS
from nwidth.models.model import Model
from nwidth.problems.options import content_token
from nwidth.stages.problem import Floats
from nwidth_graphs.recombination import Remainder
from nwidth_graphs.reduction import reduction_named

PROJECTIONS = ("gram", "tsqr", "wide", "hapod")
"""Routes whose coefficients are measured projections, by a lifting pass over the snapshots: ``Phi^T W E = 0``."""
PASSES_OF_PODS = ("gram", "tsqr")
"""Routes whose coefficients have orthogonal rows to rounding: ``E Q^T = 0``."""


@dataclass(frozen=True)
class Parent:
    """One basis of one model."""

    model: Model
    name: str

    @property
    def basis(self) -> Basis:
        """The basis itself."""
        return self.model.bases[self.name]

    @property
    def entry(self) -> Mapping[str, Any]:
        """What the manifest says of it."""
        found: Mapping[str, Any] = self.model.manifest["bases"][self.name]
        return found

    @property
    def rank(self) -> int:
        """N."""
        return self.basis.rank

    @property
    def coefficients(self) -> Floats:
        """Q (N, m)."""
        return np.asarray(self.basis.coefficients.values, np.float64)

    @property
    def snapshots(self) -> int:
        """m."""
        return int(self.basis.coefficients.shape[1])

    @property
    def norms(self) -> Floats:
        """Norms (m,) of the snapshots, about the mean where the basis is centred."""
        return np.asarray(self.basis.certificate.snapshot_norms)

    @property
    def scale(self) -> Floats:
        """d (m,)."""
        return snapshot_scale(self.norms, self.basis.snapshot_scaling)

    @property
    def remainder(self) -> Remainder:
        """E."""
        certificate, flags = self.basis.certificate, self.entry.get("remainder")
        if flags is None:  # made by a pass over the snapshots themselves
            route = self.entry["route"]
            flags = {"orthogonal": route in PROJECTIONS, "uncorrelated": route in PASSES_OF_PODS}
        total = float(np.sum((self.scale * self.norms) ** 2))
        return Remainder(
            norms=certificate.relative_errors * self.norms,
            total_square=certificate.frobenius_error**2 * total,
            orthogonal=bool(flags["orthogonal"]),
            uncorrelated=bool(flags["uncorrelated"]),
        )

    @property
    def field_norms(self) -> dict[str, Floats]:
        """Field -> norms (m,) of its unscaled snapshots.

        Raises
        ------
        ConfigError
            The model keeps neither factors nor norms, and its basis has several fields.
        """
        found = {}
        for field in self.basis.fields:
            norms = stored_norms(self.model, field)
            if norms is None and len(self.basis.fields) > 1:
                raise ConfigError(
                    f"{self.model.path} keeps no factor of field {field!r}, so how much it weighs in basis {self.name!r} is not "
                    "known; give a model that `nwidth run` wrote"
                )
            found[field] = self.norms / self.basis.field_scaling[field] if norms is None else norms
        return found

    @property
    def field_remainders(self) -> dict[str, float]:
        """Field -> Frobenius norm of what was left out of it."""
        errors = self.basis.certificate.field_errors
        return {name: errors[name] * float(np.linalg.norm(norms)) for name, norms in self.field_norms.items()}

    def folder(self, field: str) -> str:
        """Where the arrays of one field lie."""
        return str(self.model.path / "bases" / self.name / field)


def snapshot_scale(norms: Floats, scaling: str) -> Floats:
    """d (m,): 1, or 1 / norm."""
    if scaling == "none":
        return np.ones_like(norms)
    return np.where(norms > 0.0, 1.0 / np.where(norms > 0.0, norms, 1.0), 1.0)


def stored_factor(model: Model, field: str) -> tuple[str, Floats] | None:
    """(reduction, factor) of the unscaled snapshots of a field, where the model keeps it."""
    import zarr

    kind = model.manifest.get("factor")
    if kind not in PASSES_OF_PODS or not (model.path / "factors" / field).is_dir():
        return None
    return kind, np.asarray(zarr.open_array(str(model.path / "factors" / field), mode="r")[...])


def stored_norms(model: Model, field: str) -> Floats | None:
    """Norms (m,) of the unscaled snapshots of a field, from a factor or as they are kept; None where neither is."""
    import zarr

    if (model.path / FIELD_NORMS / field).is_dir():
        return np.asarray(zarr.open_array(str(model.path / FIELD_NORMS / field), mode="r")[...])
    factor = stored_factor(model, field)
    return None if factor is None else np.asarray(reduction_named(factor[0]).column_norms(factor[1]))


def content_key(model: Model) -> str:
    """The key of what a model is made of: its own, or one of its contents where it has none."""
    key = model.manifest.get("provenance", {}).get("content_key")
    if key is not None:
        return str(key)
    coefficients = [np.asarray(basis.coefficients.values) for basis in model.bases.values()]
    return content_token(json.dumps(model.manifest, sort_keys=True), *coefficients)


def lineage(model: Model) -> dict[str, Any]:
    """What a new model tells of one that it is made of."""
    store = model.manifest.get("store") or {}
    return {
        "content_key": content_key(model),
        "study": model.manifest.get("study"),
        "store": store.get("url"),
        "version": store.get("version"),
        "snapshots": int(next(iter(model.bases.values())).coefficients.shape[1]),
        "ranks": {name: basis.rank for name, basis in model.bases.items()},
        "path": str(Path(model.path)),
    }
