"""Pictures of modes and snapshots: drawn by another process, kept, and refused in words."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import nwidth as nw
from nwidth.dashboards import painter
from nwidth.dashboards.painting import Painter, Request, draw
from nwidth.report.markup import Html
from tests.dashboards.folders import finished
from tests.report.samples import line, plate


@pytest.mark.slow
def test_a_second_process_draws_and_the_picture_is_kept(tmp_path: Path) -> None:
    """Modes on a mesh come as pictures inside of the markup, one for each mode; asked for again, nothing is drawn."""
    model = finished(tmp_path / "s", plate()) / "model.zarr"
    request = Request(str(model), "temperature", "temperature", "modes", 2, 2)
    worker = Painter()
    markup = worker.paint(request)
    assert markup.count("data:image/png;base64,") == 2
    assert "mode 3," in markup
    assert "mode 4," in markup
    assert worker.paint(request) == markup
    assert worker.drawn == 1


def test_what_cannot_be_drawn_is_said_and_not_kept(tmp_path: Path) -> None:
    """A snapshot of a model that names no store is a sentence; so is a process that takes too long; both are tried again."""
    model = finished(tmp_path / "s", line()) / "model.zarr"
    request = Request(str(model), "concentration", "concentration", "snapshots")
    assert "does not say which store" in painter.answer_to(request.__dict__)["error"]
    worker = Painter(seconds=0.01)
    assert "took longer than 0.01 s" in worker.paint(request)
    assert worker.kept(request) is None
    assert draw([replace(request, model=str(tmp_path / "gone"))])[0].failure


def test_a_snapshot_is_the_stores(atlas_run: Path) -> None:
    """The line that is drawn for a snapshot is the row of the store that the model counts so; the mean is not there."""
    found = nw.open_model(atlas_run)
    store = nw.open_snapshots(found.manifest["store"]["url"])
    array, rows = painter._stored(found.path, "u", 25, 1, {})
    np.testing.assert_array_equal(np.asarray(array[rows[0][0]]), store["u"].values[25])
    assert rows[0][1] == "simulation s02, snapshot 6 of 10"
    answer = painter.answer_to(
        {"model": str(found.path), "basis": "global", "field": "u", "what": "snapshots", "first": 25, "count": 1}
    )
    assert "simulation s02, snapshot 6 of 10" in answer["html"]


def test_a_store_that_vanished_is_named(atlas_run: Path, tmp_path: Path) -> None:
    """The modes of its model are still drawn; its snapshots say what is gone."""
    model = tmp_path / "model.zarr"
    shutil.copytree(atlas_run / "model.zarr", model)
    manifest = json.loads((model / "manifest.json").read_text())
    manifest["store"]["url"] = str(tmp_path / "gone.zarr")
    (model / "manifest.json").write_text(json.dumps(manifest))
    asked = {"model": str(model), "basis": "global", "field": "u", "first": 0, "count": 1}
    assert "gone.zarr" in painter.answer_to(asked | {"what": "snapshots"})["error"]
    assert "<svg" in painter.answer_to(asked | {"what": "modes"})["html"]


def test_the_oldest_pictures_make_room() -> None:
    """Beyond its bytes, the painter forgets what was asked for longest ago, and never the last."""
    worker = Painter(most_bytes=100)
    requests = [Request("m", "b", "f", "modes", first) for first in range(3)]
    for request in requests:
        worker._keep(request, Html("x" * 60))
    assert [worker.kept(request) is not None for request in requests] == [False, False, True]


@pytest.mark.parametrize("key", ["basis", "field"])
def test_unknown_names_are_refused(tmp_path: Path, key: str) -> None:
    """A basis or field that is not there is a sentence, whatever its name is."""
    model = finished(tmp_path / "s", line()) / "model.zarr"
    asked = {"model": str(model), "basis": "concentration", "field": "concentration", "what": "modes", "first": 0, "count": 1}
    assert painter.answer_to(asked | {key: "../../etc"})["error"]
