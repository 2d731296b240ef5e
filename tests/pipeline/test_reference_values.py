"""POD through `nwidth.pod` against tabulated values: the mini case, the Gram floor, and the elastoviscoplastic cube."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

import nwidth as nw
from nwidth.errors import CertificateError
from nwidth.models.certificate import MAX_DEFECT
from tests import cube
from tests.asserts import STEPS, assert_orthonormal
from tests.oracles.pod import matrix_with_spectrum

EPS = np.finfo(float).eps
Floats = NDArray[np.float64]


@pytest.mark.parametrize("route", ["gram", "tsqr"])
def test_the_mini_case(route: Any) -> None:
    """Snapshots of ones and of 0..5 give the published eigenvalues and coefficients, up to sign."""
    basis = nw.pod(np.array([np.ones(6), np.arange(6.0)]), rank=2, route=route)
    np.testing.assert_allclose(basis.singular_values**2, [59.22716484, 1.77283516], rtol=0, atol=5.1e-9)
    found = basis.coefficients.values.T
    np.testing.assert_allclose(np.abs(found), [[2.08748654, 1.28156153], [7.40739933, 0.36115812]], rtol=0, atol=5.1e-9)
    assert found[0, 1] * found[1, 1] < 0
    np.testing.assert_allclose(basis.reconstruct(), [np.ones(6), np.arange(6.0)], atol=1e-13)


# --- the Gram floor: s_r = 10^(-0.4 r), r = 0..39, n = 2000 -------------------------------------------------------------------

DECAY = 10.0 ** (-0.4 * np.arange(40))
GRAM_ERROR = {5: 7e-15, 10: 1e-9, 15: 2e-6, 19: 2e-3, 20: 9e-2, 22: 5.0, 30: 1e3}
GRAM_DEFECT = {5: 2e-14, 10: 4e-11, 15: 6e-6, 18: 9e-4}


@pytest.fixture(scope="module")
def decaying() -> Floats:
    return np.ascontiguousarray(matrix_with_spectrum(2000, 40, DECAY, 0).T)


def test_gram_errors_grow_as_tabulated(decaying: Floats) -> None:
    """Relative errors of the Gram route are of the table's order, garbage from r = 20 on; those of TSQR stay at rounding."""
    gram = nw.pod(decaying, rank=5, route="gram").spectrum
    tsqr = nw.pod(decaying, rank=5, route="tsqr").spectrum
    for r, order in GRAM_ERROR.items():
        error = abs(gram.singular_values[r] / DECAY[r] - 1)
        # One draw of random factors differs from another by up to an order of magnitude and a half.
        assert error <= 30 * max(order, 1e-13)
        if order >= 1e-2:
            assert error >= min(order / 30, 0.9)  # a negative eigenvalue is cut to zero, and off by one
        assert abs(tsqr.singular_values[r] / DECAY[r] - 1) <= STEPS * np.sqrt(decaying.size) * EPS / DECAY[r]
    assert abs(tsqr.singular_values[20] / DECAY[20] - 1) < 1e-6
    # What is called trustworthy is: at the worst a percent off by Gram, and rounding of s_1 by TSQR.
    trusted = gram.singular_values[: gram.trusted]
    assert gram.trusted == np.count_nonzero(gram.floor < DECAY)
    assert np.abs(trusted / DECAY[: gram.trusted] - 1).max() < 1e-2
    assert tsqr.trusted in range(34, 37)


@pytest.mark.parametrize("rank", GRAM_DEFECT)
def test_gram_bases_lose_orthogonality_as_tabulated(decaying: Floats, rank: int) -> None:
    """The measured defect grows like eps (s_1/s_N)^2; above 1e-10 the basis is repaired, and says so."""
    basis = nw.pod(decaying, rank=rank, route="gram")
    certificate = basis.certificate
    assert basis.rank == rank
    assert GRAM_DEFECT[rank] / 100 <= certificate.measured_defect <= 100 * GRAM_DEFECT[rank]
    assert certificate.repaired == (certificate.measured_defect > MAX_DEFECT)
    assert certificate.orthogonality_defect <= MAX_DEFECT
    assert_orthonormal(basis.modes.values.T, tolerance=MAX_DEFECT)
    # Repaired or not, the coefficients belong to the modes as they are.
    np.testing.assert_allclose(basis.coefficients, basis.modes.values @ decaying.T, rtol=0, atol=1e-12)


class Reads:
    """A progress callback that notes the passes over the data; a repair visits the modes only."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, name: str, done: int, total: int) -> None:
        if done == total and not name.startswith("repair"):
            self.names.append(name)


def test_a_tight_tolerance_takes_tsqr(decaying: Floats) -> None:
    """`auto` with rtol = 1e-10 reads twice, by TSQR, says why, and keeps the promise; one mode less would not."""
    reads = Reads()
    basis = nw.pod(decaying, rtol=1e-10, progress=reads)
    assert reads.names == ["tsqr", "lift"]
    assert basis.spectrum.route == "tsqr"
    assert "below 1e-07" in basis.spectrum.reason
    assert basis.certificate.frobenius_error <= 1e-10 * (1 + 1e-4)
    assert basis.certificate.frobenius_error == pytest.approx(basis.certificate.expected_error, rel=1e-4)
    assert basis.spectrum.projection_error[basis.rank - 1] > 1e-10


def test_auto_falls_back_where_the_floor_bites(decaying: Floats) -> None:
    """A rank beyond the Gram floor costs a third read, by TSQR, and the reason names floor and numbers."""
    reads = Reads()
    basis = nw.pod(decaying, rank=25, progress=reads)
    assert reads.names == ["gram", "tsqr", "lift"]
    assert basis.rank == 25
    assert basis.spectrum.route == "tsqr"
    assert "left 19 trustworthy modes where 25 were asked for" in basis.spectrum.reason
    np.testing.assert_allclose(basis.singular_values, DECAY[:25], rtol=1e-3)
    assert nw.pod(decaying, rank=12).spectrum.route == "gram"


def test_gram_alone_withholds_what_it_cannot_see(decaying: Floats) -> None:
    """Without a fallback the modes below the floor are withheld in words, or returned on demand, repaired and certified."""
    held = nw.pod(decaying, rank=25, route="gram")
    assert held.rank == held.spectrum.trusted == 19
    assert "asks for more modes than the 19 that lie above the trustworthy floor" in held.truncation
    beyond = nw.pod(decaying, rank=20, route="gram", beyond_floor=True)
    assert beyond.rank == 20
    assert beyond.certificate.measured_defect > 1e-4
    assert_orthonormal(beyond.modes.values.T, tolerance=MAX_DEFECT)


def test_dependent_modes_are_refused() -> None:
    """Modes of pure rounding that cannot be made orthonormal are an error with the way out, not a basis."""
    with pytest.raises(CertificateError, match=r'cannot be made orthonormal .*route = "tsqr"'):
        nw.pod(np.ones((6, 300)), rank=6, route="gram", beyond_floor=True)


# --- the cube -----------------------------------------------------------------------------------------------------------------

CUBE_LAMBDA = [
    5.34485668e-5, 3.33726012e-6, 5.81571544e-9, 4.24680148e-10, 8.45995e-11,
    1.97424e-11, 2.79550e-12, 4.13896e-13, 7.6272e-14, 3.596e-15,
]  # fmt: skip
CUBE_LAMBDA_DIGITS = [9, 9, 9, 9, 6, 6, 6, 6, 5, 4]
# rtol, N1 (pointwise rule), N2 (energy rule as it was coded: one less than the smallest rank), Frobenius error, worst snapshot
CUBE = [
    (1e-1, 2, 1, 1.0572e-2, 1.000e-1),
    (1e-2, 3, 2, 3.0615e-3, 1.433e-2),
    (1e-3, 5, 4, 6.3682e-4, 2.950e-3),
    (1e-4, 7, 6, 9.3243e-5, 1.923e-4),
    (1e-5, 9, 8, 7.957e-6, 1.606e-5),
]


@pytest.fixture(scope="module")
def displacement() -> xr.DataArray:
    run = cube.reference_run()
    return xr.DataArray(
        run.u.reshape(11, -1, 3), dims=("snapshot", "node", "component"), coords={"time": ("snapshot", run.times)}
    )


@pytest.mark.parametrize("row", CUBE, ids=lambda row: f"{row[0]:.0e}")
def test_cube_errors(displacement: xr.DataArray, row: tuple[float, int, int, float, float]) -> None:
    """In the mesh's own mass, each tolerance gives the table's rank, N = max(N1, N2 + 1), and its two projection errors."""
    rtol, n1, n2, frobenius, worst = row
    basis = nw.pod(displacement, rtol=rtol, inner_product="mass", mesh=cube.reference_run().mesh)
    assert basis.rank == max(n1, n2 + 1)
    assert basis.certificate.frobenius_error == pytest.approx(frobenius, rel=1e-3)
    assert basis.certificate.worst_error == pytest.approx(worst, rel=1e-3)
    assert basis.certificate.frobenius_error <= rtol
    assert basis.certificate.orthogonality_defect <= MAX_DEFECT
    assert_orthonormal(basis.modes.values.reshape(basis.rank, -1).T, cube.reference_run().mass, tolerance=MAX_DEFECT)
    assert basis.inner_products == {"field": "mass"}


def test_cube_at_the_end_of_its_spectrum(displacement: xr.DataArray) -> None:
    """At 1e-6 all ten directions are kept, and the error left is the rounding of the Gram route's modes."""
    basis = nw.pod(displacement, rtol=1e-6, inner_product="mass", mesh=cube.reference_run().mesh)
    assert basis.rank == 10
    assert basis.certificate.frobenius_error < 1e-9
    assert basis.certificate.repaired
    assert basis.certificate.orthogonality_defect <= MAX_DEFECT
    assert basis.certificate.relative_errors[0] == 0.0  # the first snapshot is zero


@pytest.mark.parametrize("route", ["gram", "tsqr"])
def test_cube_spectrum(displacement: xr.DataArray, route: Any) -> None:
    """Squared singular values are the tabulated eigenvalues, to their printed digits."""
    basis = nw.pod(displacement, rank=10, route=route, inner_product="mass", mesh=cube.reference_run().mesh)
    for value, expected, digits in zip(basis.spectrum.singular_values**2, CUBE_LAMBDA, CUBE_LAMBDA_DIGITS, strict=False):
        half = 0.51 * 10.0 ** (np.floor(np.log10(expected)) - digits + 1)
        assert value == pytest.approx(expected, rel=0, abs=half + EPS * CUBE_LAMBDA[0])
