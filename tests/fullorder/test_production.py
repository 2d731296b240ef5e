"""Productions with a solver that works: order, repeats, growth, what is kept, and where it runs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nwidth as nw
from nwidth.errors import ConfigError, RunError, StoreError
from nwidth.fullorder.folder import ProductionFolder
from nwidth.runs.producing import produce
from nwidth.stages.production import settle
from tests.clusters import scheduler  # noqa: F401 - a fixture
from tests.fullorder.cases import ledger, stored_runs, study_of, told, write_case

ROWS = "0,1.5,well\n1,2.5,well\n2,4.0,well\n"


def test_runs_are_stored_with_their_parameters(tmp_path: Path) -> None:
    """Every point is a run of the store, with the solver's values and the design's parameters and units."""
    study = write_case(tmp_path, ROWS)
    assert told(produce(study)) == (3, 3, 0)
    stored = nw.open_snapshots(study.store_url)["temperature"]
    expected = np.arange(40.0) + 100.0 * np.arange(3.0)[:, None]
    assert (stored.values == np.concatenate([load * expected for load in (1.5, 2.5, 4.0)])).all()
    assert (stored["load"].values == np.repeat([1.5, 2.5, 4.0], 3)).all()
    assert stored["load"].attrs["units"] == "N"


def test_the_store_has_the_order_of_the_design(tmp_path: Path) -> None:
    """A point that takes longer than all others is stored in its place, and not where it finished."""
    study = write_case(tmp_path, "0,1,slow\n1,2,well\n2,3,well\n3,4,well\n")
    produce(study)
    assert stored_runs(study) == ["point-0000", "point-0001", "point-0002", "point-0003"]


def test_a_second_production_does_nothing(tmp_path: Path) -> None:
    """What is stored is neither produced nor added again, and no solver is needed to find that out."""
    study = write_case(tmp_path, ROWS)
    produce(study)
    version = nw.open_store(study.store_url).reference().version
    assert study.full_order is not None
    nobody = study.full_order.model_copy(update={"executable": "no-such-program"})
    report = produce(study.model_copy(update={"full_order": nobody}))
    assert told(report) == (0, 0, 0)
    assert report.there == 3
    assert nw.open_store(study.store_url).reference().version == version


def test_a_design_grows(tmp_path: Path) -> None:
    """New rows are run and appended; those that were there are not touched."""
    produce(write_case(tmp_path, ROWS))
    study = write_case(tmp_path, ROWS + "hot,9.0,well\n")
    assert produce(study).produced == ("hot",)
    assert stored_runs(study)[-1] == "hot"


def test_results_that_a_lost_store_needs_are_still_there(tmp_path: Path) -> None:
    """With keep = "all" the store is made again from the folder, without running anything."""
    import shutil

    study = write_case(tmp_path, ROWS)
    produce(study)
    shutil.rmtree(study.store_url)
    assert told(produce(study)) == (0, 3, 0)


def test_results_are_removed_where_that_is_asked_for(tmp_path: Path) -> None:
    """With keep = "inputs" only inputs and words stay, and the points still count as done."""
    study = write_case(tmp_path, ROWS, keep="inputs")
    produce(study)
    left = {path.name for path in (tmp_path / "production/points/point-0001/attempt-1").iterdir()}
    assert left == {"input.json", "solve.py", "stdout.txt", "stderr.txt", "outcome.json", "parameters.json"}
    assert told(produce(study)) == (0, 0, 0)


@pytest.mark.parametrize("changed", ["deck", "file", "row"])
def test_other_inputs_are_another_production(tmp_path: Path, changed: str) -> None:
    """A deck, a file beside it or a row that changed after points were done is refused: one store, one model."""
    produce(write_case(tmp_path, ROWS))
    study = write_case(tmp_path, ROWS.replace("2.5", "2.6") if changed == "row" else ROWS)
    name = {"deck": "input.json", "file": "solve.py", "row": "design.csv"}[changed]
    if changed != "row":
        (tmp_path / name).write_text((tmp_path / name).read_text("utf-8") + "\n", "utf-8")
    with pytest.raises(ConfigError, match=r"attempt-1 was produced from other inputs than the study has now"):
        produce(study)
    assert len(stored_runs(study)) == 3


def test_a_store_with_runs_from_elsewhere_is_refused(tmp_path: Path) -> None:
    """A run of the name of a point that this folder did not produce is neither skipped nor replaced."""
    produce(write_case(tmp_path, ROWS))
    with pytest.raises(StoreError, match="has a run 'point-0000' already"):
        produce(write_case(tmp_path, ROWS, folder="another"))


def test_two_productions_do_not_share_a_folder(tmp_path: Path) -> None:
    """The second one is refused while the first is at work, and takes over nothing."""
    study = write_case(tmp_path, ROWS)
    with ProductionFolder(tmp_path / "production").held(), pytest.raises(RunError, match="another production is at work"):
        produce(study)


def test_a_design_is_drawn_once(tmp_path: Path) -> None:
    """A drawn design lies in the folder, and its points are those of the store."""
    study = write_case(tmp_path, ROWS)
    (tmp_path / "input.json").write_text('{"load": ${load}, "how": "well"}', "utf-8")
    assert study.full_order is not None
    table = study.full_order.model_dump() | {"design": "", "draw": {"points": 4, "ranges": {"load": (1.0, 2.0)}}}
    study = study_of(tmp_path, table)
    assert told(produce(study)) == (4, 4, 0)
    loads = [point.parameters["load"] for point in settle(study).points]
    assert (nw.open_snapshots(study.store_url)["temperature"]["load"].values == np.repeat(loads, 3)).all()


def test_the_ledger_tells_every_point(tmp_path: Path) -> None:
    """One line per point with its time and place, between the start and the end."""
    study = write_case(tmp_path, ROWS)
    produce(study)
    events = ledger(study)
    assert [event["event"] for event in events] == ["production started", *["point done"] * 3, "production ended"]
    assert all(event["seconds"] > 0 and event["host"] for event in events[1:-1])


def test_points_run_on_the_workers_of_a_cluster(tmp_path: Path, scheduler: str) -> None:  # noqa: F811
    """With workers.address the same production gives the same store, and no more solvers run than there are threads."""
    study = write_case(tmp_path, ROWS)
    assert study.full_order is not None
    table = study.full_order.model_dump() | {"slots": "auto"}
    study = study_of(tmp_path, table, address=scheduler)
    assert told(produce(study)) == (3, 3, 0)
    assert stored_runs(study) == ["point-0000", "point-0001", "point-0002"]


def test_the_command_says_what_it_does(tmp_path: Path) -> None:
    """``nwidth produce --dry-run`` starts nothing and names what is missing; without it, the store is made."""
    write_case(tmp_path, ROWS)
    study = f"""
[study]
name = "case"
store = "case.zarr"

[full_order]
solver = "command"
deck = "input.json"
files = ["solve.py"]
design = "design.csv"
executable = '{sys.executable}'
options = {{ command = "python solve.py", output = "result.npz", reader = "numpy" }}
"""
    (tmp_path / "study.toml").write_text(study, "utf-8")
    program = str(Path(sys.executable).with_name("nwidth"))

    def call(*options: str) -> dict[str, object]:
        done = subprocess.run(
            [program, "produce", "study.toml", "--json", *options], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    assert call("--dry-run")["missing"] == ["point-0000", "point-0001", "point-0002"]
    assert not (tmp_path / "production").exists()
    assert call()["added"] == ["point-0000", "point-0001", "point-0002"]
