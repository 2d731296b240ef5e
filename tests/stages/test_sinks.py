"""Where modes are made: in memory where they stay, for files in memory of a thread, whatever the shapes of field and panels."""

from __future__ import annotations

import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nwidth as nw
from nwidth.models import modes
from nwidth.models.files import FieldShape
from nwidth.stages.sinks import FolderSink, MemorySink
from nwidth_graphs.layout import Panel, panels
from nwidth_graphs.sequence import behind, in_sequence


def writer_for(space: tuple[int, ...], box: tuple[int, ...]) -> tuple[MemorySink, Any, tuple[Panel, ...]]:
    """A sink that takes three modes of a field, and its panels."""
    sink, dims = MemorySink(), tuple("xyz"[: len(space)])
    shape = FieldShape("u", dims, space, box, "node", (), "m")
    return sink, sink.begin("u", shape, 3, centred=False), panels(space, box)


@pytest.mark.parametrize(("space", "box", "placed"), [((50,), (20,), True), ((6, 5), (2, 5), True), ((6, 4), (6, 2), False)])
def test_a_panel_has_a_place_where_it_is_a_matrix(space: tuple[int, ...], box: tuple[int, ...], placed: bool) -> None:
    """What was made in place is not copied; a panel that is no matrix in memory is written as before."""
    sink, write, cut = writer_for(space, box)
    expected = np.random.default_rng(0).standard_normal((3, *space))
    for panel in cut:
        rows = expected[(slice(None), *panel.selection)].reshape(3, -1)
        place = write.place(panel)
        assert (place is not None) == placed
        if place is not None:
            assert np.shares_memory(place, sink.modes["u"])
            place[...] = rows
            rows = place
        write(panel, rows, None)
    np.testing.assert_array_equal(sink.modes["u"], expected)


@pytest.mark.parametrize("small", [True, False])
def test_modes_for_files_are_made_in_a_threads_own_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: bool) -> None:
    """Of which nothing is being written any more, however slow that is: two pieces in turn, or one that is waited for."""
    monkeypatch.setattr(modes, "SMALL_PANEL_BYTES", 2**20 if small else 0)
    shape = FieldShape("u", ("x",), (90,), (20,), "node", (), "m")
    sink = FolderSink(tmp_path / "model")
    write, cut = sink.begin("b", shape, 3, centred=False), panels((90,), (20,))
    expected = np.random.default_rng(0).standard_normal((3, 90))
    places: list[Any] = []

    def slowly(panel: Panel, made: Any) -> None:
        time.sleep(0.05)
        write(panel, made, None)

    def leaf(panel: Panel) -> None:
        place = write.place(panel)  # type: ignore[attr-defined]
        places.append(place)
        place[...] = expected[:, panel.selection[0]]
        behind(partial(slowly, panel, place))

    list(in_sequence(leaf, cut))
    assert [place.shape for place in places] == [(3, 20)] * 4 + [(3, 10)]
    assert [np.shares_memory(one, other) for one, other in pairwise(places)] == [not small] * 4
    assert all(np.shares_memory(one, other) for one, other in zip(places, places[2:], strict=False))
    np.testing.assert_array_equal(sink.collect("b", shape)[0], expected)
    alone = [write.place(panel) for panel in cut[:2]]  # type: ignore[attr-defined]
    assert not any(np.shares_memory(place, other) for place in alone for other in places)
    assert not np.shares_memory(*alone)


def test_a_basis_in_memory_is_right_in_every_layout() -> None:
    """One dimension of space and two: the modes span what the snapshots do."""
    values = np.random.default_rng(1).standard_normal((8, 300, 40))
    for field in (values, values.reshape(8, -1)):
        basis = nw.pod(field, rank=8, route="gram")
        modes = basis.modes.values.reshape(8, -1)
        np.testing.assert_allclose(modes @ modes.T, np.eye(8), atol=1e-12)
        rest = values.reshape(8, -1) - values.reshape(8, -1) @ modes.T @ modes
        assert np.abs(rest).max() < 1e-12
