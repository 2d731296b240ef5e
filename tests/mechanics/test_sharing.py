"""Bodies on one set of points, from the command line: trained, told by the run, by inspect and by the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nwidth.mechanics.model import open_mechanics
from nwidth.report import write_report
from tests.mechanics.test_romnet import SMALL, nwidth, study_in

pytest.importorskip("sklearn", reason="training of the classifier takes scikit-learn")


@pytest.mark.slow
def test_a_study_may_ask_for_shared_points(tmp_path: Path) -> None:
    """Both bodies read the same points, with weights of their own, and everybody who tells of them says so."""
    file = study_in(tmp_path, SMALL)
    file.write_text(file.read_text().replace('"smallest_norm"', '"points" = "shared"\n"smallest_norm"'), encoding="utf-8")
    done = nwidth("run", str(file), "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["mechanics"]["shared_points"]
    assert len({body["points"] for body in told["mechanics"]["bodies"]}) == 1
    first, second = open_mechanics(told["model"]).bodies
    np.testing.assert_array_equal(first.points, second.points)
    assert not np.array_equal(first.weights, second.weights)
    assert "all at the same points" in nwidth("inspect", told["model"]).stdout
    page = write_report(Path(told["folder"]), n_modes=0, into=tmp_path / "report.html").read_text("utf-8")
    assert "the same points for all bodies" in page
    drawn = nwidth("predict", str(file), "--draws", "6", "--json")
    assert drawn.returncode == 0, drawn.stderr
    assert not json.loads(drawn.stdout)["failures"]
