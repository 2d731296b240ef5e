"""Orthogonal matching pursuit with non-negative weights: the toy, the cube, options, bad days."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
from numpy.typing import NDArray

from nwidth_graphs.kernels.cubature import nnomp, nonnegative_exact
from nwidth_graphs.kernels.rule import integration_error
from tests.kernels.cubature.cases import cube_integrands, mixtures, slabs, toy

Floats = NDArray[np.float64]


def textbook(G: Floats, weights: Floats, tolerance: float) -> NDArray[np.int64]:
    """The method as it is written down: argmax, SciPy's solver from scratch on the candidates, drop exact zeros."""
    b = G @ weights
    chosen, r = np.zeros(0, np.int64), b
    while np.linalg.norm(r) > tolerance * np.linalg.norm(b):
        scores = r @ G
        scores[chosen] = -np.inf
        chosen = np.append(chosen, np.argmax(scores))
        values = scipy.optimize.nnls(G[:, chosen], b)[0]
        chosen, r = chosen[values > 0.0], b - G[:, chosen] @ values
    return chosen


def test_the_toy() -> None:
    """Points 19 and 0 with weights 130 and 60, as total weight 190 and first moment 2470 want it."""
    G, weights = toy()
    rule = nnomp(G, weights, 1e-6)
    assert rule.points.tolist() == [19, 0]
    np.testing.assert_allclose(rule.weights, [130.0, 60.0], rtol=1e-12)
    assert float(rule.weights.sum()) == pytest.approx(190.0)
    assert float(rule.weights @ rule.points) == pytest.approx(2470.0)
    assert rule.volume_ratio == pytest.approx(1.0)


def test_the_toy_has_several_rules() -> None:
    """From points 3 and 4 another rule is as exact, and it says that it is not the only one."""
    G, weights = toy()
    rule = nnomp(G, weights, 1e-6, initial=(3, 4))
    assert rule.error < 1e-12
    assert rule.points.tolist() != [19, 0]
    assert not rule.unique


@pytest.mark.parametrize(
    ("modes", "tolerance", "points", "ratio"),
    [(10, 1e-5, 93, 0.804), (7, 1e-4, 57, 0.787), (7, 1e-3, 46, 0.804), (5, 1e-3, 35, 0.819), (3, 1e-2, 12, 0.696)],
)
def test_the_cube(modes: int, tolerance: float, points: int, ratio: float) -> None:
    """V1: counts within the stated 10 % (and 2 points), sums of the weights within 5 %, the tolerance met as recomputed."""
    G, weights = cube_integrands(modes)
    rule = nnomp(G, weights, tolerance)
    assert len(rule.points) == pytest.approx(points, rel=0.1)
    assert rule.volume_ratio == pytest.approx(ratio, rel=0.05)
    assert rule.ended == "tolerance"
    found = integration_error(G, weights, rule.points, rule.weights)
    assert found.relative <= 1.001 * tolerance
    assert found.relative == pytest.approx(rule.error, rel=1e-6)


@pytest.mark.parametrize(
    ("modes", "normalised", "counts"),
    [
        (10, False, (50, 65, 85, 90)),
        (10, True, (41, 63, 84, 93)),
        (7, False, (30, 46, 57, 65)),
        (5, False, (22, 35, 41, 46)),
    ],
)
def test_the_cube_over_tolerances(modes: int, normalised: bool, counts: tuple[int, ...]) -> None:
    """V1: counts at 1e-2 to 1e-5 within 10 % of those of the published single-precision fields, for both scores."""
    G, weights = cube_integrands(modes)
    for tolerance, expected in zip((1e-2, 1e-3, 1e-4, 1e-5), counts, strict=True):
        assert len(nnomp(G, weights, tolerance, normalised=normalised).points) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("modes", [10, 7, 5])
def test_the_exact_solver_takes_a_point_per_row(modes: int) -> None:
    """V1: SciPy's solver ends with ten points per mode, which is the number of rows, and an error of rounding."""
    rule = nonnegative_exact(*cube_integrands(modes))
    assert len(rule.points) == 10 * modes
    assert rule.error < 1e-10


@pytest.mark.parametrize(("modes", "tolerance"), [(5, 1e-3), (3, 1e-2)])
def test_the_steps_are_those_of_the_textbook(modes: int, tolerance: float) -> None:
    """Factors that are updated choose what SciPy's solver from scratch does, within a few of greedy's last bits."""
    G, weights = cube_integrands(modes)
    assert len(nnomp(G, weights, tolerance).points) == pytest.approx(len(textbook(G, weights, tolerance)), rel=0.1)


@pytest.mark.parametrize(
    ("count", "local", "total", "ratio"),
    [
        (2, (93, 92), 7.1e-6, 1.2),
        (4, (84, 78, 85, 80), 3.3e-5, 6.0),
        (8, (73, 79, 79, 63, 77, 78, 78, 67), 2.6e-5, 7.2),
    ],
)
def test_slabs_of_the_cube(count: int, local: tuple[int, ...], total: float, ratio: float) -> None:
    """V10: local counts, the residual of all local rules together, and a second stage back at about the serial 93 points."""
    G, weights = cube_integrands(10)
    b, size = G @ weights, np.linalg.norm(G @ weights)
    rules = [nnomp(G[:, slab], weights[slab], 1e-5) for slab in slabs(count)]
    for rule, expected in zip(rules, local, strict=True):
        assert len(rule.points) == pytest.approx(expected, rel=0.1)
    together = sum(G[:, slab[rule.points]] @ rule.weights for slab, rule in zip(slabs(count), rules, strict=True))
    own = sum(np.linalg.norm(G[:, slab] @ weights[slab]) for slab in slabs(count))
    assert own / size == pytest.approx(ratio, abs=0.05)
    # Each local residual ends anywhere below its tolerance: their sum is bounded, and of the order of the table.
    assert total / 2 <= np.linalg.norm(together - b) / size <= min(2 * total, 1e-5 * own / size)
    union = np.concatenate([slab[rule.points] for slab, rule in zip(slabs(count), rules, strict=True)])
    second = nnomp(G, weights, 1e-5, candidates=union)
    assert len(second.points) == pytest.approx(93, rel=0.1)
    assert second.error <= 1e-5
    assert set(second.points.tolist()) <= set(union.tolist())


@pytest.mark.parametrize("pool", [1, 200])
@pytest.mark.parametrize("modes", [10, 7, 5, 3])
def test_trimming_takes_fewer_points(modes: int, pool: int) -> None:
    """A rule that is searched for beyond its tolerance and trimmed meets it with fewer points, none of which could be spared."""
    G, weights = cube_integrands(modes)
    for tolerance in (1e-2, 1e-3, 1e-4):
        plain, trimmed = nnomp(G, weights, tolerance), nnomp(G, weights, tolerance, trim=True, pool=pool)
        assert len(trimmed.points) <= len(plain.points)
        assert trimmed.ended == "tolerance"
        assert (trimmed.weights > 0.0).all()
        assert integration_error(G, weights, trimmed.points, trimmed.weights).relative <= 1.001 * tolerance


def test_what_trimming_leaves_is_needed() -> None:
    """Without any one of the points of a trimmed rule, no positive weights on the others are within the tolerance."""
    G, weights = cube_integrands(3)
    points = nnomp(G, weights, 1e-3, trim=True).points
    for one in points:
        values = np.linalg.lstsq(G[:, points[points != one]], G @ weights)[0]
        missed = np.linalg.norm(G[:, points[points != one]] @ values - G @ weights)
        assert missed > 1e-3 * np.linalg.norm(G @ weights) or values.min() <= 0.0


def test_the_volume_can_be_kept() -> None:
    """With the volume among the integrands the weights of the cube add up to it, within the tolerance and a few points more."""
    G, weights = cube_integrands(7)
    free, kept = nnomp(G, weights, 1e-4), nnomp(G, weights, 1e-4, volume=True)
    assert abs(free.volume_ratio - 1.0) > 0.1
    # The residual of all rows is below 1e-4 of sqrt(2) ||b||, and the volume's share of b is one of the two.
    assert kept.volume_ratio == pytest.approx(1.0, abs=2e-4)
    assert integration_error(G, weights, kept.points, kept.weights).relative <= 2e-4
    assert len(kept.points) <= 1.1 * len(free.points) + 5


def test_small_integrals_have_only_the_trivial_rule_without_the_volume() -> None:
    """Zero integrals are refused, and with the volume they are integrated by points that keep it."""
    G, weights = np.array([[1.0, -1.0, 2.0, -2.0]]), np.ones(4)
    with pytest.raises(ValueError, match="all integrals are zero"):
        nnomp(G, weights, 1e-6)
    rule = nnomp(G, weights, 1e-6, volume=True)
    assert rule.volume_ratio == pytest.approx(1.0)
    assert rule.error <= 1e-6


def test_initial_points_are_kept_where_they_serve() -> None:
    """A rule that is enriched with a little more to integrate keeps most of its points."""
    G, weights = cube_integrands(10)
    before = nnomp(G[:70], weights, 1e-4)
    after = nnomp(G, weights, 1e-4, initial=before.points)
    fresh = nnomp(G, weights, 1e-4)
    shared = [len(set(before.points.tolist()) & set(rule.points.tolist())) for rule in (after, fresh)]
    assert after.ended == "tolerance"
    assert shared[0] > shared[1]


def test_imposed_points_have_no_weight() -> None:
    """Points that fields need are there, once each, at the end, with weight 0, and change nothing else."""
    G, weights = cube_integrands(3)
    plain = nnomp(G, weights, 1e-2)
    taken = int(plain.points[0])
    rule = nnomp(G, weights, 1e-2, imposed=[5, taken, 5, 6])
    assert rule.points.tolist() == [*plain.points.tolist(), 5, 6]
    assert rule.weights.tolist() == [*plain.weights.tolist(), 0.0, 0.0]


def test_random_points_are_repeatable_and_meet_the_tolerance() -> None:
    """With random points beside the best one, equal seeds give equal rules, other seeds others, all within the tolerance."""
    G, weights = mixtures(60, 2000, 0)
    first, again, other = (nnomp(G, weights, 1e-6, random_points=1, seed=seed) for seed in (1, 1, 2))
    assert first.points.tolist() == again.points.tolist() != other.points.tolist()
    assert max(first.error, other.error) <= 1e-6


def test_no_rule_at_the_tolerance_is_an_optimum() -> None:
    """Candidates that cannot do it end at their best, with the reason and the error that is left."""
    G, weights = np.eye(3), np.ones(3)
    rule = nnomp(G, weights, 1e-6, candidates=np.array([0, 1]))
    assert (rule.ended, sorted(rule.points.tolist())) == ("optimum", [0, 1])
    assert rule.error == pytest.approx(1 / np.sqrt(3))
    assert not rule.stalled
    nothing = nnomp(G, weights, 1e-6, candidates=np.zeros(0, np.int64))
    assert (nothing.ended, len(nothing.points), nothing.error) == ("optimum", 0, 1.0)


def test_one_point_is_its_own_rule() -> None:
    """One integration point keeps its weight."""
    rule = nnomp(np.array([[2.0], [3.0]]), np.array([0.25]), 1e-12)
    assert (rule.points.tolist(), rule.weights.tolist()) == ([0], [pytest.approx(0.25)])


def test_rank_deficient_rows_are_no_trouble() -> None:
    """Ten copies of the same integrands need the points of one copy."""
    G, weights = mixtures(20, 500, 1)
    once, tenfold = nnomp(G, weights, 1e-8), nnomp(np.tile(G, (10, 1)), weights, 1e-8)
    assert tenfold.error <= 1e-8
    assert len(tenfold.points) == pytest.approx(len(once.points), abs=2)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"G": np.full((2, 3), np.nan)}, "the integral of row 0 is not finite"),
        ({"weights": np.array([1.0, np.inf, 1.0])}, "a quadrature weight is not finite"),
        ({"weights": np.ones(4)}, r"weights of shape \(4,\) were given"),
        ({"G": np.zeros((0, 3))}, r"integrands of shape \(0, 3\)"),
        ({"initial": [3]}, "point 3 was given, and there are 3 points"),
        ({"imposed": [-1]}, "point -1 was given"),
        ({"weights": np.array([1.0, -1.0, 0.0]), "volume": True}, "the quadrature weights add up to zero"),
    ],
)
def test_bad_days(change: dict[str, object], sentence: str) -> None:
    """What no rule can be made of is refused in one sentence."""
    given: dict[str, object] = {"G": np.ones((2, 3)), "weights": np.ones(3), **change}
    with pytest.raises(ValueError, match=sentence):
        nnomp(tolerance=1e-6, **given)  # type: ignore[arg-type]
