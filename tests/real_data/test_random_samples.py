"""Random samples of the climate ensemble against its exact spectrum: a slow decay, centred, weighted by area."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nwidth as nw
from tests.real_data.references import ingested
from tests.shared_data import shared_data

RANK = 50
OPTIONS: dict[str, Any] = {"centre": True, "inner_product": "cos_latitude"}


@pytest.fixture(scope="module")
def field(tmp_path_factory: pytest.TempPathFactory) -> Any:
    members = sorted((shared_data("climate-trefht") / "netcdf_files").glob("TREFHT*.nc"))
    folder: Path = tmp_path_factory.mktemp("climate")
    return ingested(folder, members)["TREFHT"]


@pytest.fixture(scope="module")
def exact(field: Any) -> nw.Basis:
    return nw.pod(field, rank=RANK, route="gram", **OPTIONS)


def test_one_read_keeps_the_theory(field: Any, exact: nw.Basis) -> None:
    """With p = 10 samples beyond k, the error of all samples is at most ``sqrt(1 + k / (p - 1))`` times that of the best k."""
    basis = nw.pod(field, rank=RANK + 10, oversampling=0, route="nystrom", **OPTIONS)
    assert basis.certificate.frobenius_error <= np.sqrt(1 + RANK / 9) * exact.certificate.frobenius_error


def test_every_read_comes_nearer_to_the_best(field: Any, exact: nw.Basis) -> None:
    """Rank 50, measured: two reads leave less than 5 % more error than the best basis has, four reads less than 0.5 %."""
    best = exact.certificate.frobenius_error
    for iterations, excess in ((0, 0.05), (2, 0.005)):
        basis = nw.pod(field, rank=RANK, route="sketch", power_iterations=iterations, **OPTIONS)
        assert 1.0 <= basis.certificate.frobenius_error / best < 1.0 + excess
        np.testing.assert_allclose(basis.singular_values[:10], exact.singular_values[:10], rtol=excess)
