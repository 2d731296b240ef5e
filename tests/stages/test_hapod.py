"""The route ``hapod``: what its tree promises holds, is measured, and is the same whichever way its nodes are computed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import nwidth as nw
from nwidth.config import ReduceSection
from nwidth.errors import FieldError, PlanError
from nwidth.models.basis import Basis
from nwidth.problems import Memory, problem_from_arrays
from nwidth.runs import run
from nwidth.stages.pod import reduce_problem
from nwidth.stages.problem import BasisParts, Grouping, PodResult
from nwidth.stages.sinks import MemorySink
from nwidth.stores import layout
from nwidth.workers import ThreadExecutor
from nwidth_graphs.layout import groups
from tests.asserts import assert_orthonormal
from tests.contracts.store_examples import small_layouts
from tests.oracles.mass import skfem_mass, small_mesh
from tests.oracles.pod import matrix_with_spectrum, projection_errors, smallest_rank
from tests.runs.studies import add_run, snapshots_of, study_of

TREES = pytest.mark.parametrize("tree", ["distributed", "incremental"])
WAYS = pytest.mark.parametrize("whole", [True, False], ids=["one task per node", "panels"])


def hapod(
    fields: dict[str, Any],
    size: int,
    *,
    whole: bool,
    weights: Any = None,
    mesh: Any = None,
    folder: Path = Path(),
    **options: Any,
) -> tuple[PodResult, BasisParts, Any]:
    """Reduce fields {name: (n, m)} in groups of `size` snapshots; the first basis and its modes (n of all fields, N)."""
    request = ReduceSection(route="hapod", **options)
    arrays = {name: xr.DataArray(np.ascontiguousarray(np.asarray(S).T), dims=("snapshot", "node")) for name, S in fields.items()}
    problem = problem_from_arrays(arrays, request, Memory(2**31), weights=weights, mesh=mesh, scratch=folder)
    snapshots = next(iter(problem.sources.values())).snapshots
    problem = replace(problem, grouping=Grouping(groups(snapshots, size), whole, 10_000))
    sink = MemorySink()
    result = reduce_problem(problem, request, ThreadExecutor(2), sink)
    parts = result.bases[0]
    modes = np.concatenate([sink.collect(parts.name, problem.shapes[name])[0] for name in parts.fields], axis=1).T
    return result, parts, modes


def decaying(n: int = 400, m: int = 120, decades: float = 8.0, seed: int = 5) -> Any:
    """(n, m) snapshots of known spectrum."""
    return matrix_with_spectrum(n, m, np.logspace(0, -decades, min(n, m)), seed)


@TREES
@WAYS
@pytest.mark.parametrize("rtol", [1e-2, 1e-6])
def test_the_tolerance_is_kept_and_the_error_measured(tree: str, whole: bool, rtol: float) -> None:
    """Error below rtol, at most the modes of a POD with omega rtol, and a certificate that agrees with the modes themselves."""
    S = decaying()
    _, parts, modes = hapod({"u": S}, 16, whole=whole, tree=tree, rtol=rtol)
    error, each = projection_errors(S, modes)
    assert error <= parts.certificate.expected_error * (1 + 1e-6) <= rtol * (1 + 1e-5)
    assert len(parts.coefficients) <= smallest_rank(np.logspace(0, -8, 120), 0.75 * rtol)
    assert parts.certificate.frobenius_error == pytest.approx(error, rel=1e-6)
    assert np.allclose(parts.certificate.relative_errors, each, rtol=1e-6, atol=1e-14)
    assert np.allclose(parts.coefficients, np.linalg.lstsq(modes, S)[0], atol=1e-13)
    assert_orthonormal(modes, tolerance=1e-10)


@TREES
def test_both_ways_are_one_method(tree: str) -> None:
    """A node in one task and a node in panels keep the same modes: equal ranks, singular values and spaces."""
    S = decaying()
    (_, one, in_task), (_, other, in_panels) = (hapod({"u": S}, 24, whole=way, tree=tree, rtol=1e-4) for way in (True, False))
    assert len(one.coefficients) == len(other.coefficients)
    rank = len(one.coefficients)
    assert np.allclose(one.spectrum.singular_values[:rank], other.spectrum.singular_values[:rank], rtol=1e-6)
    assert np.linalg.norm(in_task - in_panels @ (in_panels.T @ in_task)) < 1e-6


def test_the_published_case() -> None:
    """256 snapshots in 16 groups, sigma = logspace(0, -16), mean error 1.49e-8: 116 modes by a star, 114 by a chain."""
    random = np.random.default_rng(1009)
    left, right = (np.linalg.qr(random.standard_normal((256, 256)))[0] for _ in range(2))
    S = left * np.logspace(0, -16, 256) @ right.T
    rtol = float(2.0**-26 * 16 / np.linalg.norm(S))
    for tree, count in (("distributed", 116), ("incremental", 114)):
        _, parts, modes = hapod({"u": S}, 16, whole=True, tree=tree, rtol=rtol, omega=0.5)
        assert len(parts.coefficients) == count
        assert np.linalg.norm(S - modes @ (modes.T @ S)) / 16 <= 2.0**-26


@WAYS
def test_weights(whole: bool) -> None:
    """Diagonal weights in every node: orthonormal in them, errors measured in them."""
    S, weights = decaying(), np.linspace(0.5, 2.0, 400)
    _, parts, modes = hapod({"u": S}, 32, whole=whole, rtol=1e-3, weights=weights)
    error, _ = projection_errors(S, modes, weights=weights)
    assert_orthonormal(modes, weights=weights, tolerance=1e-10)
    assert parts.certificate.frobenius_error == pytest.approx(error, rel=1e-6)
    assert error <= 1e-3


def test_mass_of_a_mesh(tmp_path: Path) -> None:
    """A mass matrix couples rows of different panels; its nodes work in panels, interface rows and all."""
    mesh = small_mesh(10, 1)
    M = skfem_mass(mesh)
    S = matrix_with_spectrum(mesh.n_points, 60, np.logspace(0, -6, min(60, mesh.n_points)), 1)
    _, parts, modes = hapod({"u": S}, 16, whole=False, rtol=1e-3, inner_product="mass", mesh=mesh, folder=tmp_path)
    error, _ = projection_errors(S, modes, M=M)
    assert np.abs(modes.T @ (M @ modes) - np.eye(modes.shape[1])).max() < 1e-10
    assert parts.certificate.frobenius_error == pytest.approx(error, rel=1e-6)
    assert error <= 1e-3


def test_fields_together() -> None:
    """Unit scaling of a joint basis is known before the first node is cut: the scalings are those of the other routes."""
    u, p = decaying(seed=1), 1e3 * decaying(n=150, seed=2)
    _, parts, modes = hapod({"u": u, "p": p}, 30, whole=True, rtol=1e-3, basis="joint")
    for name, S in (("u", u), ("p", p)):
        assert parts.field_scaling[name] == pytest.approx(1 / np.linalg.norm(S), rel=1e-12)
    stack = np.concatenate([u / np.linalg.norm(u), p / np.linalg.norm(p)])
    scaled = np.concatenate([modes[:400] / np.linalg.norm(u), modes[400:] / np.linalg.norm(p)])
    error, _ = projection_errors(stack, scaled)
    assert parts.certificate.frobenius_error == pytest.approx(error, rel=1e-6)
    assert error <= 1e-3


@WAYS
@TREES
def test_masks_and_bad_values(whole: bool, tree: str) -> None:
    """Rows without values are NaN in the modes; a NaN elsewhere is named with its own snapshot, in whichever group it lies."""
    S = decaying(n=50, m=60)
    holed = np.insert(S, 11, np.nan, axis=0)
    _, parts, modes = hapod({"u": holed}, 16, whole=whole, tree=tree, rtol=1e-3)
    assert np.isnan(modes[11]).all()
    assert np.isfinite(np.delete(modes, 11, axis=0)).all()
    assert parts.certificate.masked_unknowns == {"u": 1}
    S[7, 41] = np.nan
    with pytest.raises(FieldError, match="node 7, in snapshot 41"):
        hapod({"u": S}, 16, whole=whole, tree=tree, rtol=1e-3)
    half = np.insert(decaying(n=50, m=60), 11, np.nan, axis=0)
    half[11, 32:] = 1.0
    with pytest.raises(FieldError, match="in every snapshot of one group"):
        hapod({"u": half}, 16, whole=whole, tree=tree, rtol=1e-3)


def test_what_it_cannot_do_is_refused() -> None:
    """Without a tolerance, or centred: one sentence that says what to set."""
    field = np.ascontiguousarray(decaying().T)
    for options, words in (({"rank": 3}, "set rtol"), ({"rtol": 1e-2, "centre": True}, "set centre = false")):
        with pytest.raises(PlanError, match=words):
            nw.pod(field, route="hapod", **options)


def test_a_rank_limits_the_root() -> None:
    """With a rank, too, the nodes keep to the tolerance and the root to the rank."""
    basis: Basis = nw.pod(np.ascontiguousarray(decaying().T), route="hapod", rtol=1e-6, rank=5)
    assert basis.rank == 5
    assert "rank = 5" in basis.truncation


@TREES
def test_a_run_of_a_store(tmp_path: Path, scheduler: str, tree: str) -> None:
    """Through store, plan and workers, from snapshot-major chunks: the data are read once by the nodes and once to measure."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in small_layouts().items():
            patch.setattr(layout, name, value)
        add_run(tmp_path / "store.zarr", "alpha", {"T": snapshots_of(300, 64, decades=5)})
    result = run(study_of(tmp_path, tmp_path / "store.zarr", scheduler, reduce={"rtol": 1e-3, "route": "hapod", "tree": tree}))
    model = nw.open_model(result.model)
    error, _ = projection_errors(snapshots_of(300, 64, decades=5).T, model.basis.modes.values.T)
    assert model.basis.certificate.frobenius_error == pytest.approx(error, rel=1e-6)
    assert error <= 1e-3
    planned, measured = (
        {cost["name"]: cost["bytes_read" if ours else "bytes_to_read"] for cost in passes}
        for ours, passes in ((False, result.plan["passes"]), (True, result.measured["passes"]))
    )
    assert measured["measure"] == pytest.approx(planned["measure"], rel=0.05)
    assert result.plan["route"] == "hapod"
    assert not list(tmp_path.glob("**/*.scratch"))
