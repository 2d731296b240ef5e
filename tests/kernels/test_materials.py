"""Constitutive laws: hand values, tangents against differences, points and draws on their own, bad parameters."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nwidth_graphs.kernels.materials import (
    Curve,
    HeatConduction,
    IsotropicHardening,
    J2Plasticity,
    KinematicHardening,
    Law,
    LinearElastic,
    NortonKinematic,
    Response,
    law_from_record,
    law_record,
    tangent_defect,
    von_mises,
)
from nwidth_graphs.kernels.materials.tensors import CONTRACTION, IDENTITY
from tests.cube import solver

Floats = NDArray[np.float64]

YOUNG = 2e5
ELASTIC = LinearElastic(YOUNG, 0.3, 2e-5, 20.0)
HOT = LinearElastic(
    Curve((0, 500, 1000), (2e5, 1.8e5, 1.2e5)), Curve((0, 1000), (0.28, 0.33)), Curve((0, 1000), (1e-5, 2e-5)), 20.0
)
CUBE = NortonKinematic(ELASTIC, 300.0, 30.0, IsotropicHardening(10.0), KinematicHardening(1e5, 1000.0))
LAWS: dict[str, Law] = {
    "elastic": HOT,
    "perfect": J2Plasticity(ELASTIC, IsotropicHardening(100.0)),
    "linear": J2Plasticity(ELASTIC, IsotropicHardening(100.0, linear=2e3)),
    "voce": J2Plasticity(ELASTIC, IsotropicHardening(100.0, 1e3, 80.0, 40.0)),
    "prager": J2Plasticity(ELASTIC, IsotropicHardening(100.0), KinematicHardening(5e3)),
    "combined": J2Plasticity(
        HOT, IsotropicHardening(Curve((0, 1000), (200, 50)), 1e3, 80.0, 40.0), KinematicHardening(1e4, 100.0)
    ),
    "cube": CUBE,
    "hot creep": NortonKinematic(
        HOT, Curve((0, 1000), (900, 200)), Curve((0, 1000), (20, 4)), kinematic=KinematicHardening(1e4, 50.0)
    ),
}


def strains(count: int, size: float, seed: int = 0) -> Floats:
    return size * np.random.default_rng(seed).standard_normal((count, 6))


def loaded(law: Law, strain: Floats, temperature: Floats, dt: float = 0.2) -> Response:
    """The law's answer to half of the strain from the virgin state: where histories begin."""
    return law(0.5 * strain, law.initial_state(strain, temperature), temperature, dt)


# --- hand values --------------------------------------------------------------------------------------------------------------


@dataclass
class Bar:
    """A bar under uniaxial stress: the axial strain is given, the others follow from no stress across."""

    law: Law
    state: Any = None

    def pull(self, axial: float, dt: float = 1.0) -> float:
        """Axial stress after one step to the strain `axial`."""
        strain, temperature = np.zeros((1, 6)), np.full(1, 20.0)
        strain[0, 0] = axial
        state = self.law.initial_state(strain, temperature) if self.state is None else self.state
        for _ in range(50):
            stress, tangent, new = self.law(strain, state, temperature, dt)
            if np.abs(stress[0, 1:]).max() < 1e-9:
                self.state = new
                return float(stress[0, 0])
            strain[0, 1:] -= np.linalg.solve(tangent[0, 1:, 1:], stress[0, 1:])
        raise AssertionError("the lateral strain was not found")


def test_elasticity_by_hand() -> None:
    """Young's modulus, Poisson's ratio, shear modulus and free expansion are what they are called."""
    bar = Bar(ELASTIC)
    assert bar.pull(1e-3) == pytest.approx(200.0)
    shear = np.zeros((1, 6))
    shear[0, 3] = 1e-3
    cold = np.full(1, 20.0)
    assert ELASTIC(shear, {}, cold, 1.0).flux[0, 3] == pytest.approx(1e-3 * YOUNG / 2.6)
    free = 2e-5 * 80.0 * IDENTITY[None]
    np.testing.assert_allclose(ELASTIC(free, {}, cold + 80.0, 1.0).flux, 0.0, atol=1e-10)
    lateral = np.array([[1e-3, -0.3e-3, -0.3e-3, 0, 0, 0]])
    np.testing.assert_allclose(ELASTIC(lateral, {}, cold, 1.0).flux, [[200.0, 0, 0, 0, 0, 0]], atol=1e-10)


def test_linear_hardening_by_hand() -> None:
    """In tension, stress grows with ``E H / (E + H)`` beyond yield: isotropic or kinematic hardening alike."""
    H, strain = 2e3, 4e-3
    expected = 100.0 + (strain - 100.0 / YOUNG) * YOUNG * H / (YOUNG + H)
    assert Bar(LAWS["linear"]).pull(strain) == pytest.approx(expected, rel=1e-12)
    prager = J2Plasticity(ELASTIC, IsotropicHardening(100.0), KinematicHardening(H))
    assert Bar(prager).pull(strain) == pytest.approx(expected, rel=1e-12)


def test_reversal_by_hand() -> None:
    """Pressed back, isotropic hardening yields at the stress reached, kinematic hardening ``2 R0`` below it (Bauschinger)."""
    H = 2e3
    for law, span in (
        (LAWS["linear"], lambda top: 2 * top),
        (J2Plasticity(ELASTIC, IsotropicHardening(100.0), KinematicHardening(H)), lambda _: 200.0),
    ):
        bar = Bar(law)
        top = bar.pull(4e-3)
        elastic = span(top) / YOUNG
        assert bar.pull(4e-3 - 0.999 * elastic) == pytest.approx(top - 0.999 * span(top), rel=1e-10)
        slope = (bar.pull(4e-3 - 1.5 * elastic) - (top - span(top))) / (-0.5 * elastic)
        assert slope == pytest.approx(YOUNG * H / (YOUNG + H), rel=1e-9)


def test_voce_hardening_by_hand() -> None:
    """In tension, ``sigma = R0 + H p + S (1 - exp(-b p))`` with p the plastic strain that is left of the strain."""
    sigma = Bar(LAWS["voce"]).pull(2e-2)
    p = 2e-2 - sigma / YOUNG
    assert sigma == pytest.approx(100.0 + 1e3 * p + 80.0 * (1 - np.exp(-40.0 * p)), rel=1e-11)


def test_nonlinear_kinematic_hardening_saturates() -> None:
    """Under monotonic tension the back stress tends to ``C / D``, and never leaves it behind."""
    bar = Bar(J2Plasticity(ELASTIC, IsotropicHardening(100.0), KinematicHardening(1e4, 200.0)))
    stresses = [bar.pull(strain) for strain in np.linspace(0.0, 0.2, 41)]
    assert stresses[-1] == pytest.approx(100.0 + 1e4 / 200.0, rel=1e-9)
    assert max(stresses) <= 150.0 * (1 + 1e-9)


def test_norton_flow_by_hand() -> None:
    """The rate over the step is ``((sigma - R0) / K)^m`` at its end, for slow and for fast steps."""
    law = NortonKinematic(ELASTIC, 300.0, 5.0, IsotropicHardening(10.0))
    for dt in (1e-3, 1.0, 1e6):
        bar = Bar(law)
        sigma = bar.pull(2e-3, dt)
        assert bar.state["p"][0] / dt == pytest.approx(((sigma - 10.0) / 300.0) ** 5, rel=1e-9)
        assert bar.state["p"][0] == pytest.approx(2e-3 - sigma / YOUNG, rel=1e-9)
    assert sigma == pytest.approx(10.0, abs=7.0)  # after a million seconds little but the threshold is left


def test_the_cubes_law_is_that_of_its_own_solver() -> None:
    """Stress, tangent and internal variables agree with the solver of the cube, which shares no code, over two steps."""
    strain, temperature = strains(200, 1e-3), 20.0 + 50.0 * np.random.default_rng(1).random(200)
    thermal = 2e-5 * (temperature - 20.0)[:, None] * IDENTITY
    ours = loaded(CUBE, strain, temperature)
    _, _, theirs = solver.constitutive_update(0.5 * strain - thermal, solver.Material.virgin(200), 0.2)
    ours = CUBE(strain, ours.state, temperature, 0.2)
    sigma, tangent, theirs = solver.constitutive_update(strain - thermal, theirs, 0.2)
    np.testing.assert_allclose(ours.flux, sigma, rtol=0, atol=1e-12 * YOUNG)
    np.testing.assert_allclose(ours.tangent, tangent, rtol=0, atol=1e-12 * YOUNG)
    for name in ("plastic_strain", "alpha", "p"):
        np.testing.assert_allclose(ours.state[name], getattr(theirs, name), rtol=1e-10, atol=1e-16)


# --- properties ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LAWS)
def test_tangents_are_derivatives(name: str) -> None:
    """The tangent agrees with central differences of the stress, for points that flow, unload and stay elastic."""
    law, temperature = LAWS[name], 200.0 + 300.0 * np.random.default_rng(2).random(60)
    strain = strains(60, 5e-3)
    strain[:10] *= 1e-3
    state = loaded(law, strain, temperature).state
    strain[10:20] *= 0.4  # unload
    assert tangent_defect(law, strain, state, temperature, 0.2).max() < 1e-7


def test_a_wrong_tangent_is_seen() -> None:
    """A law whose tangent is elastic although it flows has a defect of order one."""

    class Lazy(J2Plasticity):
        def __call__(self, strain: Floats, state: Any, temperature: Floats, dt: Any) -> Response:
            answer = super().__call__(strain, state, temperature, dt)
            return answer._replace(tangent=self.elastic(strain, {}, temperature, dt).tangent)

    law, cold = Lazy(ELASTIC, IsotropicHardening(100.0)), np.full(5, 20.0)
    strain = strains(5, 1e-2)
    assert tangent_defect(law, strain, law.initial_state(strain, cold), cold, 1.0).min() > 0.1


@pytest.mark.parametrize("name", ["voce", "prager", "combined", "cube", "hot creep"])
def test_the_yield_condition_holds(name: str) -> None:
    """After a step, ``J(s - X) = R(p) + K (dp/dt)^(1/m)`` where it flows, at most ``R(p)`` where not; flow keeps the volume."""
    law: Any = LAWS[name]
    temperature = np.full(300, 300.0)
    strain = strains(300, 3e-3) * np.logspace(-3, 0, 300)[:, None]
    before = loaded(law, strain, temperature).state
    stress, _, after = law(strain, before, temperature, 0.2)
    at = {part: {k: v.at(temperature[:1])[0] if isinstance(v, Curve) else v for k, v in vars(getattr(law, part)).items()}
          for part in ("isotropic", "kinematic")}  # fmt: skip
    iso, kin = at["isotropic"], at["kinematic"]
    radius = iso["yield_stress"] + iso["linear"] * after["p"] + iso["saturation"] * (1 - np.exp(-iso["rate"] * after["p"]))
    reached = von_mises(stress - 2 / 3 * kin["modulus"] * after["alpha"])
    dp = after["p"] - before["p"]
    if isinstance(law, NortonKinematic):
        drag, exponent = (v.at(temperature[:1])[0] if isinstance(v, Curve) else v for v in (law.drag, law.exponent))
        radius = radius + drag * (dp / 0.2) ** (1 / exponent)
    flows = dp > 0
    assert 0.1 < flows.mean() <= 1.0
    # Rounding of stresses that are differences of trial stresses of size E |strain|, and of dp within p.
    np.testing.assert_allclose(reached[flows], radius[flows], rtol=1e-6, atol=1e-11 * YOUNG)
    assert (reached[~flows] <= radius[~flows] * (1 + 1e-12)).all()
    np.testing.assert_allclose(after["plastic_strain"][:, :3].sum(axis=1), 0.0, atol=1e-16)
    increments = after["plastic_strain"] - before["plastic_strain"]
    np.testing.assert_allclose(np.sqrt(2 / 3 * (increments**2 @ CONTRACTION)), dp, rtol=1e-10, atol=1e-17)


@pytest.mark.parametrize("name", LAWS)
def test_draws_are_points_like_any_other(name: str) -> None:
    """Draws as a leading dimension, and each point alone, give what all points at once give; arguments are not written into."""
    law, temperature = LAWS[name], 100.0 + np.arange(12.0)
    strain = strains(12, 4e-3)
    state = dict(loaded(law, strain, temperature).state)
    arrays = [strain, temperature, *state.values()]
    for array in arrays:
        array.flags.writeable = False
    whole = law(strain, state, temperature, 0.2)
    drawn = law(
        strain.reshape(3, 4, 6), {k: v.reshape(3, 4, *v.shape[1:]) for k, v in state.items()}, temperature.reshape(3, 4), 0.2
    )
    assert drawn.flux.shape == (3, 4, 6)
    assert drawn.tangent.shape == (3, 4, 6, 6)
    single = [law(strain[k : k + 1], {n: v[k : k + 1] for n, v in state.items()}, temperature[k : k + 1], 0.2) for k in range(12)]
    for other in (drawn.flux.reshape(12, 6), np.concatenate([one.flux for one in single])):
        np.testing.assert_allclose(other, whole.flux, rtol=0, atol=1e-12 * YOUNG)
    for key, shape in law.state_shapes.items():
        assert drawn.state[key].shape == (3, 4, *shape)
        np.testing.assert_allclose(drawn.state[key].reshape(12, *shape), whole.state[key], rtol=1e-9, atol=1e-17)


@pytest.mark.parametrize("name", LAWS)
def test_nan_stays_where_it_is(name: str) -> None:
    """A strain that is not a number spoils its own point and no other, without a warning."""
    law, temperature = LAWS[name], np.full(6, 300.0)
    strain = strains(6, 4e-3)
    state = law.initial_state(strain, temperature)
    clean = law(strain, state, temperature, 0.2).flux
    strain[2, 4] = np.nan
    found = law(strain, state, temperature, 0.2).flux
    assert np.isnan(found[2]).any()
    np.testing.assert_allclose(np.delete(found, 2, axis=0), np.delete(clean, 2, axis=0), rtol=0, atol=1e-12 * YOUNG)


def test_outside_of_its_curves_a_law_says_nothing() -> None:
    """At a temperature that no curve covers, stress is NaN, and the range of a law is the one that all of its curves cover."""
    law: Any = LAWS["hot creep"]
    assert law.temperature_range == (0.0, 1000.0)
    assert CUBE.temperature_range == (-np.inf, np.inf)
    narrow = NortonKinematic(HOT, Curve((100, 700), (900, 200)), 5.0)
    assert narrow.temperature_range == (100.0, 700.0)
    temperature = np.array([500.0, 1001.0])
    strain = strains(2, 1e-3)
    flux = law(strain, law.initial_state(strain, temperature), temperature, 1.0).flux
    assert np.isfinite(flux[0]).all()
    assert np.isnan(flux[1, :3]).all()


def test_flow_over_hundreds_of_decades() -> None:
    """With exponent 30, increments from below 1e-300 to 1e-1 solve their equation, and the tangent stays finite."""
    axial = np.logspace(-4.2, -1, 40)
    strain = np.zeros((40, 6))
    strain[:, 3] = axial
    cold = np.full(40, 20.0)
    law = NortonKinematic(ELASTIC, 300.0, 30.0)
    stress, tangent, state = law(strain, law.initial_state(strain, cold), cold, 1.0)
    assert state["p"][0] < 1e-30
    assert state["p"][-1] > 1e-2
    assert np.isfinite(tangent).all()
    flowing = state["p"] > 1e-300
    np.testing.assert_allclose(von_mises(stress)[flowing], 300.0 * state["p"][flowing] ** (1 / 30), rtol=1e-10)


# --- heat conduction ----------------------------------------------------------------------------------------------------------


def test_conduction_by_hand() -> None:
    """``k grad T`` and ``c (T - T_old) / dt`` with curves of both, and their exact tangent."""
    law = HeatConduction(Curve((0, 100), (10, 20)), Curve((0, 100), (2, 4)))
    strain, none = np.array([[1.0, 2.0, 3.0, 50.0]]), np.zeros(1)
    start = np.array([[0.0, 0.0, 0.0, 40.0]])
    state = law.initial_state(start, none)
    flux, _, new = law(strain, state, none, 0.5)
    np.testing.assert_allclose(flux, [[15.0, 30.0, 45.0, 3.0 * 10.0 / 0.5]])
    assert new["temperature"] == [50.0]
    assert tangent_defect(law, strain + 1.0, state, none, 0.5).max() < 1e-9
    assert law.known_range == (0.0, 100.0)
    assert np.isnan(law(strain + 100.0, state, none, 0.5).flux).any()


# --- parameters and records ---------------------------------------------------------------------------------------------------

BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: LinearElastic(0.0, 0.3), r"Young's modulus is 0; it has to be > 0"),
    (lambda: LinearElastic(1.0, 0.5), r"Poisson's ratio is 0.5; it has to be > -1 and < 0.5"),
    (lambda: LinearElastic(1.0, Curve((0, 1), (0.3, 0.6))), r"Poisson's ratio is between 0.3 and 0.6"),
    (lambda: LinearElastic(1.0, 0.3, float("nan")), r"expansion is nan"),
    (lambda: IsotropicHardening(-1.0), r"yield_stress of isotropic hardening is -1; it has to be >= 0"),
    (lambda: KinematicHardening(1.0, -2.0), r"recall of kinematic hardening is -2"),
    (lambda: J2Plasticity(ELASTIC, IsotropicHardening(0.0)), r"the yield stress is 0; it has to be > 0"),
    (lambda: NortonKinematic(ELASTIC, 0.0, 5.0), r"the drag stress is 0"),
    (lambda: NortonKinematic(ELASTIC, 1.0, 0.5), r"Norton's exponent is 0.5; it has to be >= 1"),
    (lambda: HeatConduction(-1.0), r"the conductivity is -1"),
    (lambda: Curve((0.0,), (1.0,)), r"a curve has 1 temperatures and 1 values"),
    (lambda: Curve((0.0, 0.0), (1.0, 2.0)), r"temperatures \(0.0, 0.0\) of a curve are to increase"),
]


@pytest.mark.parametrize(("make", "words"), BAD, ids=[words for _, words in BAD])
def test_bad_parameters_are_refused(make: Callable[[], Any], words: str) -> None:
    """A parameter without physical sense is named, with its value and its bounds."""
    with pytest.raises(ValueError, match=words):
        make()


def test_a_step_without_length_is_refused() -> None:
    """A law that flows cannot divide by a step of zero."""
    strain, cold = strains(2, 1e-3), np.full(2, 20.0)
    with pytest.raises(ValueError, match=r"a time step of 0 was asked of a law that flows"):
        CUBE(strain, CUBE.initial_state(strain, cold), cold, 0.0)


@pytest.mark.parametrize("law", [*LAWS.values(), HeatConduction(Curve((0, 1), (1, 2)), 3.0)], ids=[*LAWS, "heat"])
def test_laws_travel_as_json(law: Law) -> None:
    """A law is the same after JSON, and is nothing but names and numbers in it."""
    assert law_from_record(json.loads(json.dumps(law_record(law)))) == law


def test_bad_records_are_refused() -> None:
    """An unknown kind, an unknown parameter, a part that is no law, and a law from elsewhere are named."""
    with pytest.raises(ValueError, match=r"a law of kind 'os\.system' was found; expected one of LinearElastic"):
        law_from_record({"kind": "os.system"})
    with pytest.raises(ValueError, match="the record of a LinearElastic has colour; expected expansion"):
        law_from_record({**law_record(ELASTIC), "colour": 1})
    with pytest.raises(ValueError, match="a record of kind 'Curve' is a part of a law"):
        law_from_record({"kind": "Curve", "temperatures": [0, 1], "values": [1, 2]})

    class Own(LinearElastic):
        pass

    with pytest.raises(ValueError, match="a law of type Own has no record"):
        law_record(Own(1.0, 0.3))
