"""The modes of one field as they are drawn: loaded one at a time, in the field's unit, split into scalar parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nwidth.report import words
from nwidth.report.record import FieldPlace

if TYPE_CHECKING:
    from nwidth.models.basis import Basis

SIGNED, SIZE = "RdBu_r", "cividis"


@dataclass(frozen=True)
class Part:
    """One scalar view of a mode: a component, or the size of a vector."""

    name: str
    values: NDArray[np.float64]
    signed: bool

    @property
    def limits(self) -> tuple[float, float]:
        """Colour limits: about zero for signed values, from zero for sizes, as they are for a mean."""
        finite = self.values[np.isfinite(self.values)]
        top = float(np.abs(finite).max()) if finite.size else 1.0
        top = top if top > 0 else 1.0
        if self.signed:
            return -top, top
        low = float(finite.min()) if finite.size else 0.0
        return (low, top) if low < top else (top - 1, top)

    @property
    def colours(self) -> str:
        """Colour map of this part."""
        return SIGNED if self.signed else SIZE


@dataclass(frozen=True)
class FieldModes:
    """The first modes of one field in the field's unit, loaded one at a time."""

    basis: Basis
    name: str
    place: FieldPlace
    n_modes: int
    with_mean: bool = True
    """Whether the mean is drawn too, where there is one."""
    dims: tuple[str, ...] = field(init=False)
    """Space dimensions without the component."""

    def __post_init__(self) -> None:
        dims = tuple(str(dim) for dim in self.basis.modes_by_field[self.name].dims[1:])
        object.__setattr__(self, "dims", dims[:-1] if dims and dims[-1] == "component" else dims)

    @property
    def has_components(self) -> bool:
        """Whether the last dimension is ``component``."""
        return "component" in self.basis.modes_by_field[self.name].dims

    @property
    def what(self) -> str:
        """What is drawn, in words."""
        return f"First modes of {self.name}"

    @property
    def note(self) -> str:
        """How the pictures are scaled, in words."""
        unit = self.place.units or "the field's own unit"
        return (
            f"Each mode is scaled to what it typically contributes to a snapshot (its coefficient's root mean square), in {unit}."
        )

    def items(self) -> Iterator[tuple[str, NDArray[np.float64], bool]]:
        """(title, values (*space[, component]), signed?) of the mean, if any, and of the first modes."""
        if self.with_mean and self.name in self.basis.mean_by_field:
            yield "mean", np.asarray(self.basis.mean_by_field[self.name], float), False
        modes, shares = self.basis.modes_by_field[self.name], np.diff(self.basis.spectrum.energy, prepend=0.0)
        coefficients = np.asarray(self.basis.coefficients)
        for mode in range(min(self.n_modes, self.basis.rank)):
            typical = float(np.sqrt(np.mean(coefficients[mode] ** 2)))
            yield f"mode {mode + 1}, {words.share(shares[mode])} of the energy", typical * np.asarray(modes[mode], float), True

    def parts(self, values: NDArray[np.float64], *, signed: bool) -> list[Part]:
        """Scalar views of one mode: itself, or its size and its strongest component."""
        if not self.has_components:
            return [Part("", values, signed)]
        size = Part("size" if values.shape[-1] > 1 else self.component(0), np.sqrt(np.sum(values**2, axis=-1)), signed=False)
        if not signed:
            return [size]
        strongest = int(np.argmax(np.nan_to_num(values.reshape(-1, values.shape[-1]) ** 2).sum(axis=0)))
        component = Part(self.component(strongest), values[..., strongest], signed=True)
        return [size, component] if values.shape[-1] > 1 else [component]

    def component(self, index: int) -> str:
        """Name of a component."""
        return self.place.components[index] if index < len(self.place.components) else f"component {index + 1}"

    def axis(self, dim: str) -> NDArray[Any]:
        """Coordinate values of a space dimension, or its indices."""
        modes = self.basis.modes_by_field[self.name]
        if dim in modes.coords and modes.coords[dim].dtype.kind in "iuf":
            return np.asarray(modes.coords[dim], float)
        return np.arange(modes.sizes[dim], dtype=float)
