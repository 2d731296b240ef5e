"""The closed-form cube through the whole offline and online chain: store, bases, cubature, dual fields, reduced Newton."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nwidth.errors import ConfigError, InputError, LayoutError, StoreError
from nwidth.mechanics.files import read_mechanics
from nwidth.mechanics.model import open_mechanics
from nwidth.mechanics.options import MechanicsOptions
from nwidth.mechanics.train import content_key_of, train_mechanics
from nwidth.models.model import Model, open_model
from nwidth_graphs.kernels.materials import LinearElastic
from tests.cube import CubeParameters, cube_run, reference_run
from tests.cube.case import CubeCase, cube_law, inputs_of, store_of
from tests.mechanics.cubes import PLASTIC, field, inputs, plastic_options, reduced, relative
from tests.runs.studies import add_run


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tabulated run."""
    return store_of(tmp_path_factory.mktemp("cube"), [CubeParameters()])


@pytest.fixture(scope="module")
def model_to(store: Path, scheduler: str) -> Any:
    """Bases to a tolerance, reduced once."""
    return cache(lambda rtol: reduced(store.parent, store, scheduler, f"to-{rtol:g}", rtol=rtol))


@pytest.fixture
def fine(model_to: Any) -> Model:
    """Bases to 1e-6."""
    model: Model = model_to(1e-6)
    return model


# Methods, V1: tolerance of bases and cubature, modes, points, points with those of the dual field, errors, sum of the weights.
TABLE = [
    (1e-6, 1e-5, 10, 93, 97, 2.1e-5, 4.0e-6, 0.804),
    (1e-4, 1e-4, 7, 57, 62, 5.2e-4, 1.3e-3, 0.787),
    (1e-3, 1e-3, 5, 35, 39, 1.2e-2, 3.1e-2, 0.819),
]


@pytest.mark.parametrize("row", TABLE, ids=["1e-6", "1e-4", "1e-3"])
def test_the_published_reproduction(model_to: Any, row: tuple[float, ...]) -> None:
    """Modes, points (within a tenth), weights and errors (within a fifth) are those of the table."""
    rtol, tolerance, modes, points, all_points, error_u, error_p, weight = row
    model = model_to(rtol)
    (body,) = train_mechanics(model, CubeCase(), cube_law(), options=plastic_options(tolerance)).bodies
    assert body.rank == modes
    assert body.rule.points == pytest.approx(points, rel=0.1)
    assert len(body.points) == pytest.approx(all_points, rel=0.1)
    assert body.weights.sum() == pytest.approx(weight, rel=0.1)
    assert body.rule.training <= tolerance
    solved, truth = body.solve(CubeCase(), inputs([CubeParameters()])), reference_run()
    u = field(model.path, body.modes, solved.coefficients["displacement"][0])
    p = field(model.path, body.duals[0].modes, solved.coefficients["p"][0])
    assert relative(u, truth.u.reshape(u.shape)).max() <= 1.2 * error_u
    assert relative(p, truth.p, PLASTIC).max() <= 1.2 * error_p


def test_the_calibration_knows_the_true_errors(fine: Model) -> None:
    """The pairs' errors, which no field was read for, are those of the fields themselves."""
    (body,) = train_mechanics(fine, CubeCase(), cube_law(), options=plastic_options(1e-5, shares=(0.5,))).bodies
    solved, truth = body.with_modes(5).solve(CubeCase(), inputs([CubeParameters()])), reference_run()
    p = field(fine.path, body.duals[0].modes, solved.coefficients["p"][0])
    errors = np.sort(relative(p, truth.p, PLASTIC))
    assert body.calibration is not None
    np.testing.assert_allclose(np.sort(body.calibration.errors), errors, rtol=1e-6)


def test_trained_mechanics_are_read_back(fine: Model) -> None:
    """What lies in the model solves to the same bits, and the same training is not done twice."""
    options = plastic_options(1e-5)
    first = train_mechanics(fine, CubeCase(), cube_law(), options=options)
    written = (fine.path / "mechanics" / "zarr.json").stat().st_mtime_ns
    again = train_mechanics(fine, CubeCase(), cube_law(), options=options)
    assert (fine.path / "mechanics" / "zarr.json").stat().st_mtime_ns == written
    runs = inputs([CubeParameters(), CubeParameters(amplitude=400.0)])
    one, other = (found.bodies[0].solve(CubeCase(), runs) for found in (first, again))
    assert (one.history.q == other.history.q).all()
    assert (one.indicator[:, 4:] == other.indicator[:, 4:]).all()


HELD_OUT = [
    CubeParameters(),
    CubeParameters(amplitude=300.0),
    CubeParameters(amplitude=340.0),
    CubeParameters(centre=(0.9, 0.1, 0.1), width=12.0, amplitude=500.0),
]
"""Two to learn from, one between them, and one with its heat elsewhere."""


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory, scheduler: str) -> Model:
    """A model whose own bases have seen all four."""
    folder = tmp_path_factory.mktemp("four")
    return reduced(folder, store_of(folder, HELD_OUT, 3), scheduler, "held", rtol=1e-4)


def test_held_out_simulations_measure_the_body(four: Model) -> None:
    """The rule's error on what it has not seen is larger; a run between those learnt errs little, and one unlike them much."""
    options = plastic_options(1e-4, held_out=("cube-2", "cube-3"))
    (body,) = train_mechanics(four, CubeCase(3), cube_law(), options=options).bodies
    assert body.rule.training <= 1e-4
    assert body.rule.held_out is not None
    assert body.rule.held_out > 10 * body.rule.training
    assert body.unseen is not None
    assert (body.unseen.simulations, body.unseen.fields) == (("cube-2", "cube-3"), ("displacement", "p"))
    like, unlike = body.unseen.errors
    assert (like < 0.05).all()
    assert (unlike > 10 * like).all()
    assert unlike[1] > 0.5


def test_held_out_errors_are_those_of_the_fields(four: Model) -> None:
    """They are the differences of the fields that the trained model predicts, formed without the model's own reader."""
    options = plastic_options(1e-4, held_out=("cube-2", "cube-3"))
    (body,) = train_mechanics(four, CubeCase(3), cube_law(), options=options).bodies
    assert body.modes == "mechanics/learnt/bases/displacement/displacement"
    predicted = open_mechanics(four, CubeCase(3)).predict(**inputs_of(HELD_OUT[2]))["p"].values
    truth = cube_run(HELD_OUT[2], 3).p
    assert body.unseen is not None
    assert body.unseen.errors[0, 1] == pytest.approx(np.linalg.norm(predicted - truth) / np.linalg.norm(truth), rel=1e-9)


def test_bases_have_not_seen_what_is_held_out(four: Model, tmp_path: Path, scheduler: str) -> None:
    """The body is that of a model of the other simulations alone, although the model's own bases know all of them."""
    options = plastic_options(1e-4, held_out=("cube-2", "cube-3"))
    (body,) = train_mechanics(four, CubeCase(3), cube_law(), options=options).bodies
    alone = reduced(tmp_path, Path(four.manifest["store"]["url"]), scheduler, "two", rtol=1e-4, simulations=("cube-0", "cube-1"))
    (other,) = train_mechanics(alone, CubeCase(3), cube_law(), options=options).bodies
    assert other.modes == "bases/displacement/displacement"
    assert body.rank == other.rank < four.bases["displacement"].rank
    np.testing.assert_array_equal(body.points, other.points)
    np.testing.assert_allclose(body.strains, other.strains, rtol=0, atol=1e-10 * np.abs(other.strains).max())


def test_unknown_held_out_simulations_are_refused(four: Model) -> None:
    """A name that the store does not have is no name to be passed over in silence."""
    with pytest.raises(ConfigError, match=r"held_out: 'cube-9' is not in .* it has cube-0"):
        train_mechanics(four, CubeCase(3), cube_law(), options=plastic_options(1e-4, held_out=("cube-9",)))


def test_chunks_of_points_change_little(tmp_path: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store whose stress is chunked along the points gives a rule by two levels, of about as many points."""
    # 3 x 3 x 3 cells of 8 points: chunks of some dozens of points, and blocks of one chunk.
    monkeypatch.setattr("nwidth.stores.layout.CHUNK_TARGET", 48 * 48 * 32)
    monkeypatch.setattr("nwidth.mechanics.training.BLOCK_BYTES", 1)
    store = store_of(tmp_path, [CubeParameters()], 3)
    model = reduced(tmp_path, store, scheduler, "chunks", rtol=1e-4)
    (two,) = train_mechanics(model, CubeCase(3), cube_law(), options=plastic_options(1e-4)).bodies
    (one,) = train_mechanics(model, CubeCase(3), cube_law(), options=plastic_options(1e-4, search="one-level")).bodies
    assert two.rule.proposed > two.rule.points
    assert two.rule.cancellation > 1.0
    assert two.rule.training <= 1e-4
    assert two.rule.points == pytest.approx(one.rule.points, rel=0.25)


def test_a_failed_draw_leaves_the_others(fine: Model) -> None:
    """A draw with a load that is no number has a reason; its neighbour's answer is that of a batch of its own."""
    (body,) = train_mechanics(fine, CubeCase(), cube_law(), options=plastic_options(1e-5)).bodies
    runs = [CubeParameters(), CubeParameters(pressure=np.nan)]
    both, alone = body.solve(CubeCase(), inputs(runs)), body.solve(CubeCase(), inputs(runs[:1]))
    assert set(both.failures) == {1}
    assert "draw 1 ended before t" in both.failures[1]
    np.testing.assert_allclose(both.history.q[0], alone.history.q[0], rtol=1e-9, atol=1e-15)


class _FinerTimes(CubeCase):
    """Two steps for each of the cube's."""

    @property
    def times(self) -> Any:
        return between(super().times)

    def load_factors(self, inputs: Any) -> Any:
        return {name: np.apply_along_axis(between, 1, values) for name, values in super().load_factors(inputs).items()}

    def temperature(self, inputs: Any, nodes: Any) -> Any:
        return np.apply_along_axis(between, 1, super().temperature(inputs, nodes))


def between(values: Any) -> Any:
    """Values (T,) and the means of neighbours."""
    return np.insert(values, np.arange(1, len(values)), (values[1:] + values[:-1]) / 2)


def test_smaller_steps_than_were_stored(fine: Model) -> None:
    """A case that marches in half steps is calibrated at the stored times alone, and plastic strain errs by the finer march."""
    (body,) = train_mechanics(fine, _FinerTimes(), cube_law(), options=plastic_options(1e-5, shares=(1.0,))).bodies
    solved, truth = body.solve(_FinerTimes(), inputs([CubeParameters()])), reference_run()
    p = field(fine.path, body.duals[0].modes, solved.coefficients["p"][0, ::2])
    assert body.calibration is not None
    np.testing.assert_allclose(np.sort(body.calibration.errors), np.sort(relative(p, truth.p, PLASTIC)), rtol=1e-6)


class _OtherTimes(CubeCase):
    @property
    def times(self) -> Any:
        return super().times * 2.0


class _NanLoads(CubeCase):
    def load_vectors(self, nodes: Any) -> Any:
        return {name: vector * np.nan for name, vector in super().load_vectors(nodes).items()}


@pytest.mark.parametrize(
    ("case", "law", "change", "error", "words"),
    [
        (CubeCase(), cube_law(), {"stress": "sigma"}, ConfigError, "'sigma' is not in the store"),
        (CubeCase(), cube_law(), {"stress": "displacement"}, ConfigError, "lies at nodes"),
        (CubeCase(), cube_law(), {"duals": {"p": "damage"}}, ConfigError, "the law has no 'damage'"),
        (CubeCase(), cube_law(), {"duals": {"stress": "flux"}}, ConfigError, "no basis of 'stress' alone"),
        (CubeCase(), LinearElastic(2e5, 0.3), {}, ConfigError, "the law has no 'p'"),
        (CubeCase(), cube_law(), {"held_out": ("cube-0",)}, ConfigError, "all training simulations are held out"),
        (_NanLoads(), cube_law(), {}, InputError, "values that are not finite"),
        (_OtherTimes(), cube_law(), {}, InputError, "give the case the times of the training simulations"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(fine: Model, case: Any, law: Any, change: dict[str, Any], error: Any, words: str) -> None:
    """Fields, law, case and options that do not fit are named, and nothing is left beside the model."""
    options = MechanicsOptions(**{"duals": {"p": "p"}, **change})
    with pytest.raises(error, match=words):
        train_mechanics(fine, case, law, options=options)
    assert not (fine.path / "mechanics.partial").exists()


def test_snapshots_without_integration_points_are_refused(fine: Model, tmp_path: Path) -> None:
    """A store of nodal fields alone, as many solvers write them, can carry no cubature, and the way out is named."""
    nodal = add_run(tmp_path / "nodal", "a", {"displacement": np.zeros((2, 4, 3)), "stress": np.zeros((2, 4))})
    with pytest.raises(ConfigError, match=r"no mesh with integration points.*ingest the solver's own files"):
        train_mechanics(fine, CubeCase(), cube_law(), options=plastic_options(1e-5), store=nodal)


def test_bad_options_are_refused() -> None:
    """Tolerances and shares out of range, and an indicator that is no dual field."""
    changes: tuple[dict[str, Any], ...] = ({"tolerance": 1.5}, {"newton_tolerance": 0.0}, {"shares": (1.2,)}, {"indicating": "q"})
    for change in changes:
        with pytest.raises(ConfigError, match="mechanics"):
            plastic_options(**{"tolerance": 1e-3, **change})


def test_a_model_without_mechanics_says_so(fine: Model, tmp_path: Path) -> None:
    """Reading what was never trained names the way to train it; mechanics of other bases are refused."""
    with pytest.raises(StoreError, match=r"train them with nw\.train_mechanics"):
        read_mechanics(tmp_path, "")
    train_mechanics(fine, CubeCase(), cube_law(), options=plastic_options(1e-5))
    assert read_mechanics(fine.path, content_key_of(open_model(fine.path))).bodies[0].rank == 10
    with pytest.raises(LayoutError, match="trained on other bases"):
        read_mechanics(fine.path, "another")
