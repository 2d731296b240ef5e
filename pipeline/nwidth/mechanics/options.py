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
        if not self.shares or not all(0.0 < share <= 1.0 for share in self.shares):
            raise ConfigError(f"mechanics: shares of the modes are {self.shares}, expected numbers in (0, 1]")
        if self.indicating and self.indicating not in self.duals:
            raise ConfigError(
                f"mechanics: the indicating field {self.indicating!r} is not among the dual fields, which are "
                f"{', '.join(self.duals) or 'none'}"
            )

    @property
    def indicator(self) -> str:
        """The dual field of the indicator; empty where there is none."""
        return self.indicating or next(iter(self.duals), "")
