"""Bad days of reduced mechanics as their user meets them, from store to draw; kernels and solvers have tests of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nwidth.errors import InputError
from nwidth.mechanics.surrogate import MechanicsSurrogate
from nwidth.mechanics.train import train_mechanics
from nwidth.models.model import Model
from tests.cube import CubeParameters, case
from tests.cube.case import CubeCase, cube_law, store_of
from tests.mechanics.cubes import inputs, plastic_options, reduced

CELLS = 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, scheduler: str) -> Model:
    """One run, twice under two names: every row of the integrands has its double."""
    folder = tmp_path_factory.mktemp("bad-days")
    return reduced(folder, store_of(folder, [CubeParameters(), CubeParameters()], CELLS), scheduler, "twice", rtol=1e-4)


def test_rank_deficient_rows_are_no_trouble(model: Model) -> None:
    """The same states twice give a rule of no more points than integrands have rank, within the tolerance."""
    (body,) = train_mechanics(model, CubeCase(CELLS), cube_law(), options=plastic_options(1e-4)).bodies
    assert body.rule.training <= 1e-4
    assert body.rule.points <= body.rank * 11


def test_zero_integrals_are_refused_or_keep_the_volume(tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stress of zeros needs no point at all, which is told with the way out; with the volume kept there is a rule."""
    plain = case.snapshots_of
    monkeypatch.setattr(
        case, "snapshots_of", lambda records: ({**snapshot, "stress": 0 * snapshot["stress"]} for snapshot in plain(records))
    )
    silent = reduced(tmp_path, store_of(tmp_path, [CubeParameters()], CELLS), scheduler, "silent", rtol=1e-4)
    with pytest.raises(InputError, match=r"mechanics: no cubature rule was found: all integrals are zero.*volume to be kept"):
        train_mechanics(silent, CubeCase(CELLS), cube_law(), options=plastic_options(1e-4))
    assert not (silent.path / "mechanics").exists()
    (body,) = train_mechanics(silent, CubeCase(CELLS), cube_law(), options=plastic_options(1e-4, volume=True)).bodies
    assert body.rule.volume_ratio == pytest.approx(1.0)


def test_no_rule_at_the_tolerance_is_told(model: Model) -> None:
    """A tolerance below rounding ends with the best rule that there is, and a note says what was asked and what was found."""
    trained = train_mechanics(model, CubeCase(CELLS), cube_law(), options=plastic_options(1e-17))
    (body,) = trained.bodies
    assert body.rule.ended != "tolerance"
    assert f"ended by {body.rule.ended} at {body.rule.training:.1e}, and 1.0e-17 was asked" in trained.notes[0]


def test_a_mask_without_spare_points_is_told(model: Model) -> None:
    """Where the rule adds nothing to the interpolation points, the note says that the residual warns of nothing."""
    trained = train_mechanics(model, CubeCase(CELLS), cube_law(), options=plastic_options(0.99))
    (dual,) = trained.bodies[0].duals
    assert dual.masked.blind == any(
        "p has as many points as modes: its residual warns of nothing" in note for note in trained.notes
    )
    assert len(dual.places) >= dual.masked.modes


@pytest.mark.parametrize(("pressure", "words"), [(1e300, "ended before t"), (np.nan, "not finite")])
def test_a_draw_that_diverges_fails_alone(model: Model, pressure: float, words: str) -> None:
    """A load that no step however small can bear, or that is no number: that draw has a reason, the other its answer."""
    trained = train_mechanics(model, CubeCase(CELLS), cube_law(), options=plastic_options(1e-4))
    surrogate = MechanicsSurrogate(CubeCase(CELLS), trained.bodies)
    runs = inputs([CubeParameters(), CubeParameters(pressure=pressure)])
    both = surrogate.ask(runs)
    alone: Any = surrogate.ask({name: values[:1] for name, values in runs.items()})
    assert both.failed.tolist() == [False, True]
    assert words in both.words[1], both.words[1]
    np.testing.assert_allclose(both.coefficients["p"][0], alone.coefficients["p"][0], rtol=1e-9, atol=1e-15)


def test_a_draw_outside_of_training_is_told(model: Model) -> None:
    """A hotter cube than any of training: the indicator is larger than all that training saw, and a remark says so."""
    trained = train_mechanics(model, CubeCase(CELLS), cube_law(), options=plastic_options(1e-4))
    surrogate = MechanicsSurrogate(CubeCase(CELLS), trained.bodies)
    answers = surrogate.ask(inputs([CubeParameters(), CubeParameters(amplitude=900.0)]))
    assert answers.words[0] == ""
    assert "outside of those that the indicator was calibrated with" in answers.words[1]
    assert np.nanmax(answers.indicator[1]) > 3 * np.nanmax(answers.indicator[0])
