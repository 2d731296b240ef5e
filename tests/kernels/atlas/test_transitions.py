"""Transitions and online choice against fields formed in full."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nwidth_graphs.kernels.angles import sine_between
from nwidth_graphs.kernels.distances import euclidean_between
from nwidth_graphs.kernels.transitions import nearest_centre, nearest_line, switch_loss, transitions

ROWS = 9
seeds = st.integers(0, 2**32 - 1)


def drawn(seed: int) -> tuple[np.random.Generator, list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]]:
    random = np.random.default_rng(seed)
    return random, [np.linalg.qr(random.standard_normal((ROWS, rank)))[0] for rank in (1, 3, 4)]


@settings(max_examples=25, deadline=None)
@given(seed=seeds)
def test_a_switch_is_a_projection(seed: int) -> None:
    """T_kl q are the coordinates of the projected field, and the loss is the relative distance to it."""
    random, bases = drawn(seed)
    operators = transitions(bases)
    for k, to in enumerate(bases):
        for i, source in enumerate(bases):
            q = random.standard_normal((source.shape[1], 2))
            field = source @ q
            np.testing.assert_allclose(operators[k][i] @ q, to.T @ field, atol=1e-13)
            lost = np.linalg.norm(field - to @ (to.T @ field), axis=0) / np.linalg.norm(field, axis=0)
            # A difference of squares of order one: its root is off by sqrt of a few u at worst.
            np.testing.assert_allclose(switch_loss(operators[k][i], q), lost, atol=1e-7)
    assert switch_loss(operators[0][1], np.zeros(3)) == 0.0


@settings(max_examples=25, deadline=None)
@given(seed=seeds, with_offset=st.booleans())
def test_the_nearest_centre_without_a_field(seed: int, with_offset: bool) -> None:
    """Scores are squared distances of the field less |q|^2, for every basis and centre, so the choice is that of the fields."""
    random, bases = drawn(seed)
    centres = random.standard_normal((ROWS, 5))
    offset = random.standard_normal(ROWS) if with_offset else None
    choice = nearest_centre(bases, centres, offset)
    for number, basis in enumerate(bases):
        q = random.standard_normal(basis.shape[1])
        field = basis @ q + (0.0 if offset is None else offset)
        squares = euclidean_between(centres, field[:, None])[:, 0] ** 2
        np.testing.assert_allclose(choice.scores(number, q), squares - q @ q, atol=1e-11)
        assert choice.choose(number, q) == np.argmin(squares)


@settings(max_examples=25, deadline=None)
@given(seed=seeds)
def test_the_nearest_line_without_a_field(seed: int) -> None:
    """Squared cosines are those of the fields; a zero representative is never chosen before another, and q = 0 is harmless."""
    random, bases = drawn(seed)
    lines = np.hstack([np.zeros((ROWS, 1)), random.standard_normal((ROWS, 4))])
    choice = nearest_line(bases, lines)
    for number, basis in enumerate(bases):
        q = random.standard_normal(basis.shape[1])
        sines = sine_between(lines, (basis @ q)[:, None])[:, 0]
        np.testing.assert_allclose(choice.cosine_squares(number, q), 1 - sines**2, atol=1e-13)
        assert choice.choose(number, q) == np.argmin(sines)
        assert choice.cosine_squares(number, 0 * q) == pytest.approx(np.zeros(5))
