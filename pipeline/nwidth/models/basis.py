"""A reduced basis with everything that makes it trustworthy: spectrum, floor, coefficients, certificate.

    field_f  ~  mean_f + Phi_f q          Phi_f (space, N),  q (N,)
    q = sum_f a_f^2 Phi_f^T W_f (field_f - mean_f)

`a_f` is the scaling of field f in a joint basis (1 for a single field) and `W_f` its inner product.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nwidth.models.certificate import Certificate

if TYPE_CHECKING:
    import xarray as xr


@dataclass(frozen=True)
class Spectrum:
    """All singular values of the reduced matrix, and down to which of them they mean something."""

    singular_values: NDArray[np.float64]
    """(min(n, m),), or as many as a sketch has found, descending; unscaled snapshots unless the basis scales them."""
    floor: float
    """Values below are rounding of the route, and their modes are not returned unless asked for."""
    route: str
    """``gram``, ``tsqr``, ``sketch``, ...: see `nwidth.config.RouteName`."""
    reason: str
    """Why this route, in one sentence."""
    missed_energy: float = 0.0
    """Sum of the squares of the values that a sketch did not compute; 0 for the routes that compute all of them."""

    @property
    def trusted(self) -> int:
        """Number of singular values above the floor."""
        return int(np.sum(self.singular_values > self.floor))

    @property
    def energy(self) -> NDArray[np.float64]:
        """``E(k) = sum_{i<=k} s_i^2 / sum_i s_i^2`` for k = 1..m."""
        squares = self.singular_values**2
        total = squares.sum() + self.missed_energy
        return np.cumsum(squares) / total if total > 0 else np.ones_like(squares)

    @property
    def projection_error(self) -> NDArray[np.float64]:
        """``sqrt(sum_{i>k} s_i^2 / sum_i s_i^2)`` for k = 0..m: relative error of the first k modes."""
        squares = self.singular_values[::-1] ** 2
        tails = np.cumsum(np.concatenate([[self.missed_energy], squares]))[::-1]
        return np.sqrt(tails / tails[0]) if tails[0] > 0 else np.zeros_like(tails)


@dataclass(frozen=True)
class Basis:
    """One reduced basis over one field, or over several jointly."""

    name: str
    spectrum: Spectrum
    certificate: Certificate
    modes_by_field: Mapping[str, xr.DataArray]
    """Field -> (mode, *space[, component]) float64; lazy where the model lies on disk."""
    mean_by_field: Mapping[str, xr.DataArray]
    """Field -> (*space[, component]); empty where the basis is not centred."""
    coefficients: xr.DataArray
    """(mode, snapshot), with the snapshots' simulation, time and parameters as coordinates."""
    inner_products: Mapping[str, str]
    """Field -> name of its inner product."""
    field_scaling: Mapping[str, float]
    """Field -> a_f."""
    snapshot_scaling: str = "none"
    truncation: str = ""
    """What decided the rank, in words."""

    @property
    def rank(self) -> int:
        """N, the number of modes."""
        return int(self.coefficients.sizes["mode"])

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields that the basis spans."""
        return tuple(self.modes_by_field)

    @property
    def centred(self) -> bool:
        """Whether a mean was removed."""
        return bool(self.mean_by_field)

    @property
    def singular_values(self) -> xr.DataArray:
        """The N singular values of the modes that are kept."""
        import xarray as xr

        return xr.DataArray(self.spectrum.singular_values[: self.rank], dims="mode", name="singular_values")

    @property
    def modes(self) -> Any:
        """The modes: a DataArray for one field, a Dataset for several."""
        import xarray as xr

        if len(self.modes_by_field) == 1:
            return next(iter(self.modes_by_field.values()))
        return xr.Dataset(dict(self.modes_by_field))

    @property
    def mean(self) -> Any:
        """The mean that was removed: DataArray, Dataset, or None."""
        import xarray as xr

        if not self.mean_by_field:
            return None
        return next(iter(self.mean_by_field.values())) if len(self.mean_by_field) == 1 else xr.Dataset(dict(self.mean_by_field))

    def _repr_html_(self) -> str:
        """For a notebook."""
        from nwidth.showing import basis_html

        return basis_html(self)

    def save(self, path: str | Path) -> Path:
        """Write this basis as a model of its own; see `nwidth.models.model.save_basis`."""
        from nwidth.models.model import save_basis

        return save_basis(self, path)

    def reconstruct(self, coefficients: Any = None) -> Any:
        """``mean + Phi q`` for coefficients (mode[, ...]), the training ones by default; DataArray or Dataset."""
        import xarray as xr

        q = self.coefficients if coefficients is None else coefficients
        if not isinstance(q, xr.DataArray):
            q = xr.DataArray(np.asarray(q, float), dims=("mode", "snapshot")[: np.ndim(q)])
        parts = {name: self._reconstruct_field(name, q) for name in self.fields}
        return next(iter(parts.values())) if len(parts) == 1 else xr.Dataset(parts)

    def _reconstruct_field(self, name: str, coefficients: Any) -> Any:
        import xarray as xr

        values = xr.dot(coefficients, self.modes_by_field[name], dim="mode")
        return values + self.mean_by_field[name] if self.centred else values
