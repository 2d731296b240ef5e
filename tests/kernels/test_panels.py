"""Panels of a block: what every reduction sees of the data."""

from __future__ import annotations

import numpy as np
import pytest

from nwidth_graphs.kernels.panels import prepared_panels
from tests.kernels.conftest import Namespace

BLOCK = np.random.default_rng(0).standard_normal((23, 5)) + 3.0
SCALE = np.linspace(0.0, 2.0, 23)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_panels_are_the_centred_weighted_block(xp: Namespace, dtype: str, order: str) -> None:
    """Stacked, the panels are ``diag(scale) (X - row means)`` in float64, whatever the dtype and the strides."""
    block = np.asarray(BLOCK, dtype, order=order)  # type: ignore[call-overload]
    found = [xp.numpy(panel).copy() for panel in prepared_panels(xp.array(block), centre=True, row_scale=xp.array(SCALE), rows=7)]
    assert [len(panel) for panel in found] == [7, 7, 7, 2]
    assert {panel.dtype for panel in found} == {np.dtype("float64")}
    wide = block.astype(np.float64)
    expected = SCALE[:, None] * (wide - wide.mean(axis=1, keepdims=True))
    np.testing.assert_allclose(np.concatenate(found), expected, rtol=0, atol=8 * np.finfo(float).eps * np.abs(wide).max())


@pytest.mark.parametrize("centre", [False, True])
def test_panels_never_change_the_block(centre: bool) -> None:
    """Writable input is left bit for bit as it was."""
    block, before = BLOCK.copy(), BLOCK.copy()
    for _ in prepared_panels(block, centre=centre, row_scale=SCALE, rows=4):
        pass
    assert np.array_equal(block, before)


def test_plain_float64_panels_are_views() -> None:
    """A block that needs no preparation is not copied."""
    assert all(np.shares_memory(panel, BLOCK) for panel in prepared_panels(BLOCK, rows=6))


def test_copied_panels_lie_in_one_place() -> None:
    """In the order of the block, whatever that is."""
    for block in (BLOCK, np.asfortranarray(BLOCK), BLOCK[:, ::2]):
        for dtype in ("f4", "f8"):
            panels = prepared_panels(block.astype(dtype, order="K"), centre=True, rows=6)
            first = next(panels)
            assert all(np.shares_memory(panel, first) for panel in panels)
            assert (first.strides[0] < first.strides[1]) == (block.strides[0] < block.strides[1])
