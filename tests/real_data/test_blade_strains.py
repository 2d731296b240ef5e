"""Strains and a law on a foreign solver's blade: where nothing flowed, displacement gives the stress that it printed."""

from __future__ import annotations

import numpy as np

from nwidth.readers.calculix import FrdReader
from nwidth_graphs.kernels.materials import Curve, LinearElastic
from nwidth_graphs.kernels.strains import point_groups, rules_by_count, strain_operator, values_at, voigt_order
from tests.shared_data import shared_data

# From the deck: *ELASTIC and *EXPANSION,ZERO=293, both over temperature.
NICKEL = LinearElastic(Curve((293.0, 1173.0), (210e3, 160e3)), 0.3, Curve((293.0, 1173.0), (1.2e-5, 1.6e-5)), 293.0)


def test_elastic_stress_of_the_blade_is_calculixs() -> None:
    """At the integration points without plastic strain, stress from nodal displacement and temperature is the printed one.

    Displacement is written in float32, so that strains are off by at most ``eps/2 max|u| sum_a |dN_a/dx|``.
    """
    run = FrdReader().open(shared_data("blade-ensemble") / "point-00" / "blade.frd")
    assert run.mesh is not None
    assert run.integration_points is not None
    points = run.integration_points
    groups = point_groups(run.mesh, points.cell, points.local, rules_by_count(run.mesh.cell_types, points.cell))
    fields = next(iter(run.snapshots()))
    displacement = np.asarray(fields["DISP"], np.float64)
    strain = strain_operator(groups, displacement[:, :, None])[..., 0]
    temperature = values_at(groups, np.asarray(fields["NDTEMP"], np.float64))
    stress = fields["S"][:, voigt_order(run.fields["S"].components)]
    elastic = fields["PEEQ"] == 0.0
    assert elastic.sum() > 5000
    (group,) = groups
    steepest = np.abs(group.gradient).sum(axis=1).max()
    strain_error = np.finfo(np.float32).eps / 2 * np.abs(displacement).max() * steepest
    found = NICKEL(strain, {}, temperature, 1.0).flux
    # The stiffest row of the elasticity matrix, and seven printed digits.
    stiffness = np.abs(NICKEL(strain[:1], {}, temperature[:1], 1.0).tangent[0]).sum(axis=1).max()
    tolerance = 2 * stiffness * strain_error + 1e-6 * np.abs(stress).max()
    assert tolerance < 1e-3 * np.abs(stress[elastic]).max()
    assert np.abs(found - stress)[elastic].max() <= tolerance
