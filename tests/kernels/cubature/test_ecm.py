"""The discrete empirical cubature method: published logs, the count rule, the volume, safeguards, bad days."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nwidth_graphs.kernels.ecm import discrete_ecm, orthonormal_integrands
from nwidth_graphs.kernels.rule import integration_error
from tests.asserts import assert_orthonormal, backward_error
from tests.kernels.cubature.cases import gauss, lagrange, mixtures


def test_the_published_line() -> None:
    """V2, 1-D: residuals, elements, points in their order and weights of the published log, digit by digit."""
    x, weights = gauss(200, 4)
    rule = discrete_ecm(lagrange(6, x), weights)
    np.testing.assert_allclose(
        100 * rule.history[:-1], [84.59057367, 65.56653501, 31.39284017, 15.57881187, 7.292413857], rtol=1e-9
    )
    assert rule.history[-1] < 1e-14
    assert rule.points.tolist() == [400, 658, 89, 757, 250, 7]
    assert (rule.points // 4 + 1).tolist() == [101, 165, 23, 190, 63, 2]
    np.testing.assert_allclose(
        rule.weights, [0.72583491, 0.42372842, 0.46797824, 0.19699730, 0.15616304, 0.02929809], atol=5.1e-9
    )
    assert rule.volume_ratio == pytest.approx(1.0, abs=1e-14)
    assert rule.ended == "tolerance"


def test_the_published_square() -> None:
    """V2, 2-D: the residuals of the published log to 1e-6 and 16 points, although points of equal score may change places."""
    x, weights = gauss(30, 4)
    bicubic = np.array([np.outer(first, second).ravel() for first in lagrange(4, x) for second in lagrange(4, x)])
    rule = discrete_ecm(bicubic, np.outer(weights, weights).ravel())
    published = [
        *(89.5830033, 82.19869368, 74.07799014, 65.47396365, 55.56877728, 47.69193114, 38.45339898, 27.20329279),
        *(1.410216071, 1.122989228, 0.9665878364, 0.5742295663, 0.2774116436, 0.1806101608, 0.007137863118),
    ]
    np.testing.assert_allclose(100 * rule.history[:15], published, rtol=1e-6)
    assert len(rule.points) == len(rule.history) == 16
    assert rule.error < 1e-14


@pytest.mark.parametrize("degree", [5, 6, 7, 8, 9])
def test_the_count_rule(degree: int) -> None:
    """V2: monomials up to degree d on 100 points of unit weight take exactly d + 1 points, and all are exact."""
    monomials = np.linspace(0.0, 1.0, 100) ** np.arange(degree + 1)[:, None]
    rule = discrete_ecm(monomials, np.ones(100))
    assert len(rule.points) == degree + 1
    assert (rule.weights > 0.0).all()
    assert rule.error < 1e-14


def test_the_volume_is_kept_where_no_constant_is_among_the_integrands() -> None:
    """With the constraint the weights add up to the volume for one more point at most; without it they do not."""
    x, weights = gauss(50, 3)
    G = np.exp(x)[None, :] * np.sin(np.arange(1, 6)[:, None] * x) + 0.1 * x**2
    kept, free = discrete_ecm(G, weights), discrete_ecm(G, weights, volume=False)
    assert kept.volume_ratio == pytest.approx(1.0, abs=backward_error(G.shape))
    assert abs(free.volume_ratio - 1.0) > 1e-3
    assert (len(free.points), len(kept.points)) == (5, 6)


def test_exact_for_every_combination() -> None:
    """A rule of tolerance zero is exact on combinations of its integrands that it has never seen."""
    G, weights = mixtures(40, 800, 3, rank=12)
    rule = discrete_ecm(G, weights)
    unseen = np.random.default_rng(4).standard_normal((200, 40)) @ G
    assert len(rule.points) <= 13
    # The last of 12 singular values is 0.7^11 of the first: what is rounding there is so much larger in their combinations.
    assert integration_error(unseen, weights, rule.points, rule.weights).relative < 100 * backward_error(unseen.shape)


def test_fewer_vectors_for_a_looser_rank() -> None:
    """A tolerance on the rank leaves singular values out: fewer points, and an error of that order."""
    G, weights = mixtures(40, 800, 3)
    tight, loose = discrete_ecm(G, weights), discrete_ecm(G, weights, rtol=1e-3)
    assert len(loose.points) < len(tight.points)
    assert loose.error < 1e-2


def test_candidates_are_tried_first_and_left_where_they_do_not_do() -> None:
    """Points on the whole interval suffice alone; those on a tenth of it do not, and then others join."""
    x, weights = gauss(100, 4)
    G = lagrange(5, x)
    spread, crowded = np.arange(0, 400, 7), np.arange(40)
    assert set(discrete_ecm(G, weights, candidates=spread).points.tolist()) <= set(spread.tolist())
    rule = discrete_ecm(G, weights, candidates=crowded)
    assert not set(rule.points.tolist()) <= set(crowded.tolist())
    assert rule.error < 1e-12
    assert (rule.weights > 0.0).all()


@pytest.mark.parametrize("seed", range(20))
def test_points_that_go_back_and_forth_do_not_hang_it(seed: int) -> None:
    """On rough integrands, where greedy points turn negative again and again, every rule is exact and non-negative."""
    random = np.random.default_rng(seed)
    G, weights = random.standard_normal((12, 40)), random.uniform(0.1, 1.0, 40)
    rule = discrete_ecm(G, weights)
    assert rule.error < 1e-12
    assert (rule.weights >= 0.0).all()
    assert len(rule.points) <= 13


def test_the_basis_is_orthonormal_and_holds_the_constant() -> None:
    """U has orthonormal columns of the rank of the integrands, and one more for the roots of the weights."""
    G, weights = mixtures(40, 800, 5, rank=7)
    U = orthonormal_integrands(G[:, :], np.sqrt(weights))
    assert U.shape == (800, 7)  # a constant is the first of the waves
    assert_orthonormal(U)
    V = orthonormal_integrands(G[:, :] * np.linspace(1, 2, 800) ** 3, np.sqrt(weights))
    assert V.shape == (800, 8)
    assert np.linalg.norm(np.sqrt(weights) - V @ (V.T @ np.sqrt(weights))) < 1e-12


def test_bad_days() -> None:
    """Negative weights, nothing to integrate, values that are not finite, points that do not exist: one sentence each."""
    G = np.ones((2, 5))
    with pytest.raises(ValueError, match=r"weight -1\.0 was given"):
        discrete_ecm(G, np.array([1.0, 1, 1, 1, -1]))
    with pytest.raises(ValueError, match="all integrands are zero"):
        discrete_ecm(0 * G, np.ones(5), volume=False)
    with pytest.raises(ValueError, match="all integrals are zero"):
        discrete_ecm(np.array([[1.0, -1.0, 0.0]]), np.ones(3), volume=False)
    with pytest.raises(ValueError, match="not finite"):
        discrete_ecm(G * np.nan, np.ones(5))
    with pytest.raises(ValueError, match="point 5 was given"):
        discrete_ecm(G, np.ones(5), candidates=np.array([5]))
    volume_alone = discrete_ecm(0 * G, np.ones(5))
    assert (len(volume_alone.points), volume_alone.weights.tolist()) == (1, [5.0])


KRATOS = """
import sys
import numpy as np
from KratosMultiphysics.RomApplication.empirical_cubature_method import EmpiricalCubatureMethod

method = EmpiricalCubatureMethod()
method.SetUp(np.load(sys.argv[1]), constrain_sum_of_weights=False)
method.Run()
np.savez(sys.argv[2], points=np.atleast_1d(np.squeeze(method.z)), weights=np.squeeze(method.w))
"""


def test_kratos_finds_the_same_rule(tmp_path: Path) -> None:
    """Where Kratos is installed: its cubature, which scores without norms, has our points and weights on an orthonormal basis."""
    if importlib.util.find_spec("KratosMultiphysics") is None:
        pytest.skip("KratosMultiphysics with its RomApplication is not installed; it is only compared with")
    G, _ = mixtures(40, 500, 7, rank=14)
    ones = np.ones(500)
    # With a constant in their span the first scores are all one, and rounding chooses.
    U = orthonormal_integrands(G * np.linspace(1.0, 2.0, 500) ** 3, ones, volume=False)
    np.save(tmp_path / "U.npy", U)
    files = [str(tmp_path / name) for name in ("U.npy", "rule.npz")]
    subprocess.run([sys.executable, "-c", KRATOS, *files], capture_output=True, check=True)
    with np.load(tmp_path / "rule.npz") as theirs:
        points, weights = theirs["points"], theirs["weights"]
    ours = discrete_ecm(U.T, ones, volume=False, normalised=False)
    order, other = np.argsort(ours.points), np.argsort(points)
    assert ours.points[order].tolist() == points[other].tolist()
    np.testing.assert_allclose(ours.weights[order], weights[other], rtol=1e-6)
