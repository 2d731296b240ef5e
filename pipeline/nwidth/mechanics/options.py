"""What training of reduced mechanics is told; checked before anything is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from nwidth.errors import ConfigError

Search = Literal["two-level", "one-level"]
Points = Literal["own", "shared"]
Reconstruction = Literal["gappy", "lasso", "gaussian-process"]


@dataclass(frozen=True)
class MechanicsOptions:
    """Settings of `nwidth.train_mechanics`."""

    displacement: str = "displacement"
    """Field at the nodes, of which the model has a basis."""
    stress: str = "stress"
    """Field at the integration points, six components."""
    duals: Mapping[str, str] = field(default_factory=dict)
    """Field at the integration points, of which the model has a basis -> the law's name of it (``flux`` for the stress)."""
    indicating: str = ""
    """Dual field whose residual is the error indicator; the first by default."""
    search: Search = "two-level"
    """Of cubature points: one read of the stress, or a read for every pool of points; see `nwidth_graphs.cubature`."""
    points: Points = "own"
    """Of the bodies of a dictionary: each its own, or one set for all of them, with weights of each body's own."""
    tolerance: float = 1e-5
    """Of the cubature, on ``||G omega - b|| / ||b||``."""
    normalised: bool = False
    """Choose points by the angle of their column, as textbooks do."""
    volume: bool = False
    """Integrate a constant, too."""
    rtol: float | Mapping[str, float] | None = None
    """Of the bases of bodies that have bases of their own, or by field; None: as the model was reduced."""
    rank: int | Mapping[str, int] | None = None
    """Largest number of their modes, or by field."""
    sampled_runs: int = 0
    """Reduced runs between those of training, whose fields join the snapshots of these bases; see `nwidth.mechanics.sampling`."""
    held_out: tuple[str, ...] = ()
    """Simulations that bases, rule and calibration do not see, and on which the body is measured."""
    reconstruction: Reconstruction = "gappy"
    """Of dual fields: from their values at the points, or by a regression on these, trained on the reduced model's own runs."""
    newton_tolerance: float = 1e-8
    smallest_norm: float = 0.0
    """Norm of the indicating field, over all points, below which it has no relative error."""
    shares: tuple[float, ...] = (1.0, 0.75, 0.5)
    """Of the displacement modes, with which the training runs are repeated to calibrate the indicator."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.tolerance < 1.0:
            raise ConfigError(f"mechanics: the cubature's tolerance is {self.tolerance:g}, expected a number in [0, 1)")
        if not self.newton_tolerance > 0.0 or self.smallest_norm < 0.0:
            raise ConfigError("mechanics: newton_tolerance must be positive, and smallest_norm not negative")
        if self.sampled_runs < 0:
            raise ConfigError(f"mechanics: {self.sampled_runs} sampled runs were asked for, expected none or some")
        self._check_tables()
        if not self.shares or not all(0.0 < share <= 1.0 for share in self.shares):
            raise ConfigError(f"mechanics: shares of the modes are {self.shares}, expected numbers in (0, 1]")
        if self.indicating and self.indicating not in self.duals:
            raise ConfigError(
                f"mechanics: the indicating field {self.indicating!r} is not among the dual fields, which are "
                f"{', '.join(self.duals) or 'none'}"
            )

    def _check_tables(self) -> None:
        fields = (self.displacement, *self.duals)
        for key, given in (("rtol", self.rtol), ("rank", self.rank)):
            table: Mapping[str, float] = given if isinstance(given, Mapping) else {} if given is None else {"": given}
            for name, value in table.items():
                if name not in (*fields, ""):
                    raise ConfigError(f"mechanics.{key}: {name!r} is no field of the bodies; they have {', '.join(fields)}")
                if not (0.0 < value < 1.0 if key == "rtol" else value >= 1):
                    expected = "a number in (0, 1)" if key == "rtol" else "a positive number of modes"
                    raise ConfigError(f"mechanics.{key}: {value:g} was found, expected {expected}")

    def truncation(self, name: str) -> tuple[float | None, int | None]:
        """Tolerance and rank that the bodies' basis of a field is asked for; both None: as the model was reduced."""
        rtol = self.rtol.get(name) if isinstance(self.rtol, Mapping) else self.rtol
        return rtol, self.rank.get(name) if isinstance(self.rank, Mapping) else self.rank

    @property
    def indicator(self) -> str:
        """The dual field of the indicator; empty where there is none."""
        return self.indicating or next(iter(self.duals), "")
