"""MODFLOW 6 heads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nwidth.errors import FormatError
from nwidth.readers.modflow import HEADER, ModflowReader
from tests.readers.gather import gather
from tests.shared_data import shared_data


def write_heads(path: Path, heads: np.ndarray) -> Path:
    """Heads (times, layers, rows, columns) as records, one per layer."""
    with path.open("wb") as file:
        for step, layers in enumerate(heads, start=1):
            for layer, values in enumerate(layers, start=1):
                record = (step, 1, 0.5 * step, 0.5 * step, b"            HEAD", values.shape[1], values.shape[0], layer)
                file.write(np.array(record, HEADER).tobytes() + values.astype("<f8").tobytes())
    return path


def test_every_head_survives(tmp_path: Path) -> None:
    """Values, times and layers come back; what MODFLOW marks as inactive or dry is no head."""
    heads = np.random.default_rng(0).normal(size=(4, 3, 2, 5))
    run = ModflowReader().open(write_heads(tmp_path / "a.hds", heads))
    np.testing.assert_array_equal(gather(run)["head"], heads)
    assert run.times.tolist() == [0.5, 1, 1.5, 2]
    assert run.fields["head"].dims == ("layer", "row", "column")
    heads[1, 0, 1, 2] = 1e30
    assert np.isnan(gather(ModflowReader().open(write_heads(tmp_path / "a.hds", heads)))["head"][1, 0, 1, 2])


def test_truncated_and_foreign_files_are_refused(tmp_path: Path) -> None:
    """A file cut within a record or between layers, an empty one, and one of another kind are refused by name."""
    whole = write_heads(tmp_path / "a.hds", np.zeros((4, 3, 2, 5))).read_bytes()
    for damaged in (whole[:-1], whole[: -(HEADER.itemsize + 80)], b"", whole[:30], b"x" * len(whole)):
        (tmp_path / "cut.hds").write_bytes(damaged)
        with pytest.raises(FormatError, match=r"cut\.hds"):
            ModflowReader().open(tmp_path / "cut.hds")


def test_groundwater_shape() -> None:
    """groundwater-heads: 361 times of 3 x 15 x 10 finite heads."""
    path = shared_data("groundwater-heads") / "examples/data/mf6/test005_advgw_tidal/expected_output/AdvGW_tidal.hds"
    heads = gather(ModflowReader().open(path))["head"]
    assert heads.shape == (361, 3, 15, 10)
    assert np.isfinite(heads).all()
