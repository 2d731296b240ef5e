"""The dictionary ROM-net as people run it: a study, ``nwidth run``, ``nwidth predict STUDY.toml --draws``; kills, refusals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from nwidth.report import write_report
from tests.benchmarks.romnet import Settings, benchmark, full_runs, write_store, write_study
from tests.benchmarks.romnet_parts import dual_rows, family, relative
from tests.repository import REPOSITORY

pytest.importorskip("sklearn", reason="training of the classifier takes scikit-learn")

SMALL = Settings(
    cells=2,
    training=8,
    test=2,
    spread=0.1,
    clusters=2,
    atlas_rank=3,
    rtol=1e-2,
    dual_rtol=1e-2,
    sampled=6,
    tolerance=1e-2,
    draws=12,
    verify=0,
    batch=2,
)


def nwidth(*words: str) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, where this repository's modules are found."""
    return subprocess.run([sys.executable, "-m", "nwidth", *words], cwd=REPOSITORY, capture_output=True, text=True, check=False)


def study_in(folder: Path, settings: Settings) -> Path:
    """The study's file over a store of few runs."""
    store = write_store(folder, list(full_runs(folder, "train", settings.training, settings)), settings)
    return write_study(folder, store, settings)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of eight cubes with two cells per side, no report."""
    file = study_in(tmp_path_factory.mktemp("romnet"), SMALL)
    file.write_text(file.read_text() + "[report]\nenabled = false\n")
    return file


@pytest.fixture(scope="module")
def ran(study: Path) -> dict[str, Any]:
    """What ``nwidth run --json`` says."""
    done = nwidth("run", str(study), "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_run_makes_bases_clusters_classifier_and_bodies(ran: dict[str, Any]) -> None:
    """One command leaves a model that solves load cases, and says of each body what its cubature is worth."""
    assert ran["status"] == "done"
    assert len(ran["mechanics"]["bodies"]) == 2
    for body in ran["mechanics"]["bodies"]:
        assert body["cubature"]["training"] <= SMALL.tolerance
        assert set(body["duals"]) == {"p", "stress"}


def test_passes_and_mechanics_share_their_workers(ran: dict[str, Any]) -> None:
    """The scheduler that the training ran on is that of the passes: no second cluster was started."""
    lines = [json.loads(line) for line in (Path(ran["folder"]) / "ledger.jsonl").read_text().splitlines()]
    (passes,) = (line for line in lines if line["event"] == "workers")
    (training,) = (line for line in lines if line["event"] == "mechanics trained")
    assert passes["scheduler"] == training["scheduler"]


def test_inspect_tells_what_was_taught(ran: dict[str, Any], tmp_path: Path) -> None:
    """Classifier and bodies are in the words and in the document; damage to them is told, and the rest described all the same."""
    model = Path(shutil.copytree(ran["model"], tmp_path / "model.zarr"))
    found = json.loads(nwidth("inspect", str(model), "--json").stdout)
    assert found["learned"]["clusters"] == 2
    assert found["mechanics"]["bodies"] == ran["mechanics"]["bodies"]
    text = nwidth("inspect", str(model)).stdout
    assert "predicts from" in text
    assert "solves load cases of tests.benchmarks.romnet:FamilyCase with 2 reduced bodies" in text
    (model / "mechanics" / "zarr.json").write_text("{")
    damaged = nwidth("inspect", str(model))
    assert (damaged.returncode, "solves no load case" in damaged.stdout) == (0, True)
    assert "projection error" in damaged.stdout


def test_a_plan_says_what_comes_after_the_passes(study: Path) -> None:
    """Reads and draws of mechanics and uncertainty are told, and that their time is not; the passes stay the plan's."""
    found = json.loads(nwidth("plan", str(study), "--json").stdout)
    assert [one["name"] for one in found["passes"]][-1] == "lift"
    assert "2 reads of displacement, p and stress" in found["beyond"]["mechanics"]
    assert "1 read of stress" in found["beyond"]["mechanics"]
    assert "1\u202f000 draws in 500 tasks" in found["beyond"]["uncertainty"]
    assert "not in this plan" in nwidth("plan", str(study)).stdout


def test_a_second_run_finds_nothing_to_do(study: Path, ran: dict[str, Any]) -> None:
    """Bases, classifier and bodies are recognised: nothing is trained again, and a file of the training is not touched."""
    trained = Path(ran["model"]) / "mechanics" / "zarr.json"
    before = trained.stat().st_mtime_ns
    again = json.loads(nwidth("run", str(study), "--json").stdout)
    assert again["status"] == "nothing to do"
    assert again["mechanics"] == ran["mechanics"]
    assert trained.stat().st_mtime_ns == before


def test_draws_that_are_killed_go_on(study: Path, ran: dict[str, Any], tmp_path: Path) -> None:
    """Killed with -9 when batches are kept, the same command takes these up and ends with the bits of a run in one go."""
    whole = _drawn(study, tmp_path / "whole.zarr")
    cut = tmp_path / "cut.zarr"
    words = [sys.executable, "-m", "nwidth", "predict", str(study), "--draws", "12", "--out", str(cut), "--json"]
    process = subprocess.Popen(
        words, cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    partials = tmp_path / ".draws-cut.zarr" / "partials"
    for _ in range(1200):
        if process.poll() is not None or any(partials.glob("*/[0-9]*.part")):
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not cut.exists(), "the run had ended before it was killed"
    document = _drawn(study, cut)
    assert document["draws_reused"] > 0
    assert document["estimates"] == whole["estimates"]


def _drawn(study: Path, out: Path) -> dict[str, Any]:
    done = nwidth("predict", str(study), "--draws", "12", "--out", str(out), "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("command", "found", "put", "words"),
    [
        ("run", "romnet:FamilyCase", "romnet:NoSuchCase", "cannot be loaded"),
        ("run", '"kind" = "NortonKinematic"', '"kind" = "Unobtainium"', "mechanics.law"),
        ("plan", '"kind" = "NortonKinematic"', '"kind" = "Unobtainium"', "mechanics.law"),
        ("run", '"smallest_norm"', '"held_out" = ["cube-999"]\n"smallest_norm"', "'cube-999' is not in"),
        ("predict", '"field" = "p"', '"field" = "q"', "the model answers no field 'q'"),
        ("predict", '"distribution" = "uniform"', '"distribution" = "cauchy"', "cauchy"),
        ("predict", '"omega" =', '"omegas" =', "lacks omega and has omegas"),
    ],
)
def test_what_is_not_known_is_refused_before_work(
    study: Path, ran: dict[str, Any], tmp_path: Path, command: str, found: str, put: str, words: str
) -> None:
    """A case, law, field, distribution or input that does not exist is named in one sentence, and nothing is changed."""
    text = study.read_text()
    assert found in text
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(text.replace(found, put))
    model = Path(ran["model"])
    before = {file: file.stat().st_mtime_ns for file in model.rglob("*")}
    done = nwidth(command, str(wrong))
    assert done.returncode != 0
    assert words in done.stderr.replace("\n", " ")
    assert "defect of nwidth" not in done.stderr
    assert {file: file.stat().st_mtime_ns for file in model.rglob("*")} == before


def test_the_report_has_mechanics_and_draws(study: Path, ran: dict[str, Any], tmp_path: Path) -> None:
    """Both have a section: rules and dual fields of each body with two pictures, estimates with histograms and the indicator."""
    folder = Path(ran["folder"])
    done = nwidth("predict", str(study), "--draws", "12", "--json")
    assert done.returncode == 0, done.stderr
    page = write_report(folder, n_modes=0, into=tmp_path / "report.html").read_text("utf-8")
    mechanics, draws = (_section(page, anchor) for anchor in ("mechanics", "draws"))
    pictures = sum(1 + (body["correlation"] is not None) for body in ran["mechanics"]["bodies"])
    assert mechanics.count("<svg") == pictures
    assert "Cubature of tests.benchmarks.romnet:FamilyCase" in mechanics
    for name, of in json.loads(done.stdout)["estimates"].items():
        assert name in draws
        assert f"{of['mean']:.4g}" in draws
    assert "<svg" in draws


def _section(page: str, anchor: str) -> str:
    return page.split(f'<section id="{anchor}">')[1].split("</section>")[0]


def test_the_parts_of_the_error(tmp_path: Path) -> None:
    """Every part shrinks with what it is said to depend on: modes, tolerance of the rule, sampled runs in the dual basis."""
    of = family(tmp_path, Settings(cells=2, training=6, test=3))
    coarse, fine = (of.march(of.modes(rank), of.test.inputs) for rank in (5, 20))
    assert relative(fine.p, of.test.p).mean() < relative(coarse.p, of.test.p).mean()
    modes = of.modes(5)
    exact, away = of.march(modes, of.test.inputs), []
    for tolerance in (1e-1, 1e-3):
        points, weights = of.rule(modes, tolerance)
        away.append(relative(of.march(modes, of.test.inputs, points, weights).q, exact.q).mean())
    assert away[1] < away[0] / 2
    plain, sampled = (float(row.split("|")[2].split("%")[0]) for row in dual_rows(of, 20, [20], [0, 12]))
    assert sampled < plain


@pytest.mark.slow
def test_the_family_of_cubes(tmp_path: Path) -> None:
    """Of 24 coarse cubes within a tenth, unseen runs are answered to a few per cent by the mean, and no draw fails."""
    small = Settings(
        cells=3, training=24, test=8, spread=0.1, rtol=1e-3, dual_rtol=1e-3, sampled=40, tolerance=1e-3, draws=63, verify=2
    )
    found = benchmark(tmp_path, small)
    assert found.errors["stress"]["mean"] < 0.02
    assert found.errors["displacement"]["mean"] < 0.02
    assert found.errors["p"]["mean"] < 0.05
    assert found.verified["errors"]["p"]["median"] < 0.1
