"""The report of an atlas: every part is there, with the atlas's numbers; what notebooks show of results; the engine's tables."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nwidth as nw
from nwidth.cli import main
from nwidth.config import Study
from nwidth.errors import LayoutError
from nwidth.report import engine, words, write_report
from nwidth.report.page import LOCAL_MODES, MOST_TILES
from nwidth.report.record import read_run
from nwidth.report.scene import point_pixels
from nwidth.report.surface import best_view
from nwidth.runs import plan, run
from tests.atlas.bumps import bumps, clusters_of
from tests.atlas.test_runs import with_atlas
from tests.report.test_browser import visit
from tests.report.test_report import Page
from tests.runs.studies import study_of

COUNT, RTOL, RANK, MODES = 4, 1e-3, 3, 3
HEADINGS = (
    "Who belongs where",
    "Representatives",
    "Why so many clusters",
    "Widths: can a dictionary pay?",
    "Errors on own, second and global basis",
    "From one local basis to another",
    "Local bases",
)


def strip() -> dict[str, Any]:
    """A plane mesh of 23 x 7 points, as arrays."""
    across, up = np.meshgrid(np.arange(23.0), np.arange(7.0))
    corner = (np.arange(6)[:, None] * 23 + np.arange(22)).ravel()
    cells = np.stack([corner, corner + 1, corner + 24, corner + 23], axis=1)
    return {"points": np.stack([across.ravel(), up.ravel()], axis=1), "cells_quad": cells}


def study_in(folder: Path, scheduler: str, clusters: Any = COUNT) -> Study:
    """The bumps on the strip as a store of twelve simulations, and a study with a tolerance globally and a rank locally."""
    snapshots, design = bumps(), ["simulation,place"]
    for number in range(12):
        own = slice(10 * number, 10 * number + 10)
        np.savez(folder / f"s{number:02d}.npz", u=snapshots.values[own], time=snapshots["time"].values[own], **strip())
        design.append(f"s{number:02d},{snapshots['place'].values[own][0]}")
    (folder / "design.csv").write_text("\n".join(design) + "\n", encoding="utf-8")
    nw.ingest(sorted(folder.glob("s*.npz")), folder / "store", parameters=folder / "design.csv")
    return with_atlas(study_of(folder, folder / "store", scheduler, reduce={"rtol": RTOL}), clusters=clusters, rank=RANK)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, scheduler: str) -> Study:
    """A study that was run."""
    made = study_in(tmp_path_factory.mktemp("atlas"), scheduler)
    run(made)
    return made


@pytest.fixture(scope="module")
def report(study: Study) -> Path:
    """Its report."""
    return write_report(study.run_folder, n_modes=MODES)


@pytest.fixture(scope="module")
def page(report: Path) -> Page:
    """The report, parsed."""
    return Page(report.read_text("utf-8"))


def test_the_page_is_whole(page: Page) -> None:
    """All parts are there; references are the page's own, ids are unique, anchors resolve, pictures and tables have words."""
    for heading in HEADINGS:
        assert f" {heading} " in page.text
    assert all(reference.startswith(("#", "data:")) for reference in page.references)
    assert len(page.ids) == len(set(page.ids))
    assert {reference[1:] for reference in page.references if reference.startswith("#")} <= set(page.ids)
    assert page.undescribed == []
    assert page.captions == page.tags.count("table")


def test_the_numbers_are_the_atlas_s(page: Page, study: Study) -> None:
    """Headline, reason and the table of clusters say the model's sizes, representatives, ranks and worst errors."""
    atlas = nw.open_model(study.run_folder).atlas
    own, one = words.error(atlas.own_errors.max()), words.error(atlas.global_errors.max())
    rank = atlas.bases["global"].rank
    assert f"4 clusters of 120 snapshots: on local bases of 3 modes no snapshot's error is above {own}, " in page.text
    assert f"on one basis of {rank} it reaches {one}." in page.text
    assert atlas.reason in page.text
    for cluster, size in enumerate(atlas.sizes):
        members = atlas.members(cluster)
        mean = words.number(float(atlas.dissimilarities[cluster, members].mean()), 3)
        worst = words.error(atlas.own_errors[members].max())
        assert f"{cluster} {size} {atlas.items[atlas.medoids[cluster]]} {mean} 3 {worst}" in page.text


def test_every_basis_says_what_was_asked_of_it(page: Page, study: Study) -> None:
    """The tolerance of the study stands beside the global basis alone; local ones were given a rank, and say so."""
    record = read_run(study.run_folder)
    assert record.asked("global") == RTOL
    assert [record.asked(name) for name in clusters_of(COUNT)] == [None] * COUNT
    rank, proof = record.bases["global"].rank, record.bases["global"].certificate
    assert f"global {rank} {words.error(proof.frobenius_error)} 1e-3 {words.error(proof.worst_error)}" in page.text
    local = record.bases["cluster-0"].certificate
    assert f"cluster-0 3 {words.error(local.frobenius_error)} – {words.error(local.worst_error)}" in page.text
    assert page.text.count("the study's local bases have a rank, and no rtol") == COUNT
    assert page.text.count("above what was asked") == 0


def test_local_tolerances_are_told_apart(study: Study, tmp_path: Path) -> None:
    """A tolerance of the local bases is theirs; where they have neither rank nor tolerance, that of the study is."""
    shutil.copytree(study.run_folder, tmp_path / "run")
    for local, expected in (({"rtol": 0.01, "rank": None}, 0.01), ({"rtol": None, "rank": None}, RTOL)):
        found = json.loads((tmp_path / "run/run.json").read_text("utf-8"))
        found["configuration"]["atlas"] |= local
        (tmp_path / "run/run.json").write_text(json.dumps(found), encoding="utf-8")
        assert read_run(tmp_path / "run").asked("cluster-1") == expected
        assert read_run(tmp_path / "run").asked("global") == RTOL


def test_only_what_is_shown_is_drawn(page: Page, tmp_path: Path, scheduler: str) -> None:
    """Six clusters have as many plots as four; a local basis adds its first modes and a representative, and nothing else."""
    assert page.tags.count("img") == MODES + COUNT * (1 + LOCAL_MODES) <= MOST_TILES
    six = study_in(tmp_path, scheduler, 6)
    run(six)
    # Without pictures on the mesh, which are not plots.
    other = Page(write_report(six.run_folder, n_modes=0).read_text("utf-8"))
    assert other.tags.count("svg") == page.tags.count("svg")
    assert other.tags.count("img") == 0


def test_what_a_model_has_learnt_is_shown(study: Study, tmp_path: Path) -> None:
    """After training, the page has the confusion matrix with accuracy and break-even; before, no word of it."""
    shutil.copytree(study.run_folder, tmp_path / "run")
    assert "Choosing the cluster" not in Page(write_report(tmp_path / "run", n_modes=0).read_text("utf-8")).text
    learned = nw.learn(tmp_path / "run", regression="rbf")
    text = Page(write_report(tmp_path / "run", n_modes=0).read_text("utf-8")).text
    assert "Choosing the cluster" in text
    assert f"{learned.evaluation.accuracy:.2f} ± {learned.evaluation.standard_error:.2f}" in text
    figure = nw.plots.confusion(learned)
    counts = np.array([int(label.get_text()) for label in figure.axes[0].texts]).reshape(COUNT, COUNT)
    np.testing.assert_array_equal(counts, learned.evaluation.confusion)
    assert f"{learned.evaluation.accuracy:.2f}" in learned._repr_html_()


def test_one_cluster_has_its_page(tmp_path: Path, scheduler: str) -> None:
    """Where a dictionary does not pay, the page says why, and leaves out what needs two clusters."""
    alone = study_in(tmp_path, scheduler, 1)
    run(alone)
    text = Page(write_report(alone.run_folder, n_modes=0).read_text("utf-8")).text
    assert "One cluster was asked for. Its basis of 3 modes" in text
    assert "No other number of clusters was tried." in text
    assert "From one local basis to another" not in text
    assert "Silhouettes" not in text


def test_a_damaged_atlas_is_refused_and_the_report_stays(study: Study, report: Path, tmp_path: Path) -> None:
    """An atlas that lacks an array is refused by name, and the page from before is not touched."""
    shutil.copytree(study.run_folder, tmp_path / "run")
    shutil.rmtree(tmp_path / "run/model.zarr/atlas/labels")
    with pytest.raises(LayoutError, match="is damaged"):
        write_report(tmp_path / "run", n_modes=0)
    assert (tmp_path / "run/report.html").read_bytes() == report.read_bytes()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_opens_the_atlas_in_peace(browser: Any, report: Path, scheme: Any) -> None:
    """Nothing is asked for or logged, pictures have sizes, the page fits 1000 pixels and a phone, in both schemes."""
    page, requests, messages = visit(browser, report, viewport={"width": 1000, "height": 800}, color_scheme=scheme)
    assert (requests, messages) == ([], [])
    sizes = page.evaluate("[...document.images].map(i => Math.min(i.naturalWidth, i.clientWidth, i.clientHeight))")
    assert min(sizes) > 30
    drawings = page.evaluate("[...document.querySelectorAll('svg')].map(s => Math.min(s.clientWidth, s.clientHeight))")
    assert min(drawings) > 60
    assert page.evaluate("document.documentElement.scrollWidth") <= 1000
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.close()


def test_compare_draws_its_table(study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """``nwidth compare --plot`` writes the picture beside the words; another suffix is refused before anything is read."""
    written = tmp_path / "study.toml"
    written.write_text(
        f'[study]\nname = "s"\nstore = "{study.store_url}"\noutput = "{study.run_folder.parent}"\n'
        f"[reduce]\nrtol = {RTOL}\n[atlas]\nclusters = [2, 4]\nrank = {RANK}\n",
        encoding="utf-8",
    )
    assert main(["compare", str(written), "--plot", str(tmp_path / "map.svg")]) == 0
    assert f"drawn in {tmp_path / 'map.svg'}" in capsys.readouterr().out
    assert "expected gain" in (tmp_path / "map.svg").read_text("utf-8")
    assert main(["compare", str(written), "--plot", str(tmp_path / "map.gif")]) == 1
    assert "give a picture one of .png, .svg, .pdf" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"study.toml", "map.svg"}


# --- what notebooks show ----------------------------------------------------------------------------------------------


def test_results_show_themselves(study: Study) -> None:
    """Basis, certificate, atlas, plan and result have HTML with their numbers, in which names stay text."""
    model = nw.open_model(study.run_folder)
    basis = model.bases["global"]
    assert words.error(basis.certificate.worst_error, 3) in basis._repr_html_()
    assert words.error(basis.certificate.frobenius_error, 3) in basis.certificate._repr_html_()
    shown = Page(model.atlas._repr_html_())
    assert shown.tags.count("tr") == 1 + COUNT
    assert model.atlas.reason in shown.text
    made = plan(study)
    assert words.amount(made.passes[0].bytes_to_read) in made._repr_html_()
    result = run(study)
    assert result.status == "nothing to do"
    assert Page(result._repr_html_()).tags.count("tr") == 2 + COUNT
    evil = nw.pod(np.eye(3), rank=1)
    object.__setattr__(evil, "name", "<script>")
    assert "<script>" not in evil._repr_html_()


# --- what the engine added --------------------------------------------------------------------------------------------


def test_compared_routes_are_shown(page: Page, study: Study) -> None:
    """Every route of the plan has a line: its price, or why it was not open; the chosen one is marked."""
    made = plan(study).as_dict()
    text = Page(engine.routes(made)).text
    assert text in page.text
    assert f"{made['route']}, chosen" in text
    for route in made["comparison"]:
        assert route["route"] in text
        assert route["feasible"] or f"not open: {route['why_not']}" in text
    assert str(engine.routes({})) == ""


def test_blocks_taken_up_and_moved_are_shown() -> None:
    """Blocks from a run that was cut off, blocks without room, and the split of a pool stand pass by pass; else nothing does."""
    plain = {"name": "gram", "blocks": 8, "blocks_reused": 0, "blocks_unkept": 0, "blocks_on_device": 0, "split": None}
    assert str(engine.blocks([plain])) == ""
    text = Page(engine.blocks([plain, plain | {"name": "lift", "blocks_reused": 5, "blocks_unkept": 1}])).text
    assert text.endswith("where lift 8 5 1 0")
    split = {"device_share": 0.75, "seconds_cpu": 1.5}
    text = Page(engine.blocks([plain | {"blocks_on_device": 6, "blocks_shipped": 2, "split": split}])).text
    assert text.endswith("gram 8 0 0 6 2 blocks read by CPU workers for the device. device share 0.75; seconds cpu 1.5")


def test_a_merged_model_says_so(tmp_path: Path) -> None:
    """The page of a merged model names its parents, says that errors are bounds, and what the merge left out."""
    random = np.random.default_rng(0)
    for name in ("a", "b"):
        nw.pod(random.standard_normal((6, 40)), rank=3).save(tmp_path / name)
    merged = nw.merge(tmp_path / "a", tmp_path / "b", into=tmp_path / "both", rank=4)
    entry = next(iter(merged.manifest["bases"].values()))
    text = Page(write_report(tmp_path / "both", n_modes=0, into=tmp_path / "page.html").read_text("utf-8")).text
    assert "Models that this one was made of: " in text
    assert f"This step left out {words.error(entry['truncation_error'], 3)} of the snapshots' norm." in text
    assert ("bounded from above" in text) == bool(entry["certificate"]["bound"])
    steps = [{"snapshots": 2, "truncation_error": 1e-4, "accumulated_error": 2e-4}]
    assert Page(engine.remainder({"updates": steps})).text.endswith("1 2 1e-4 2e-4")


def test_what_a_sample_missed_is_in_the_certificate(tmp_path: Path) -> None:
    """A basis from random samples says which share of the norm its sample did not span, measured."""
    snapshots = np.random.default_rng(0).standard_normal((60, 80))
    basis = nw.pod(snapshots, rank=5, route="sketch")
    basis.save(tmp_path / "model")
    total = float(np.sum(snapshots**2))
    share = words.error(np.sqrt(basis.spectrum.missed_energy / total), 3)
    assert f"beyond the sample {share} " in Page(write_report(tmp_path / "model", n_modes=0).read_text("utf-8")).text


def test_points_of_a_cloud_leave_no_gaps() -> None:
    """Squares of the points of a regular cloud are wider than their distance in the picture, and never tiny or huge."""
    across, up = np.meshgrid(np.linspace(0, 2, 80), np.linspace(0, 1, 40))
    points = np.stack([across.ravel(), up.ravel(), np.zeros(3200)], axis=1)
    view = best_view(points)
    distance = view.pixels(720)[0] / (2 * view.half_width) * 2 / 79
    assert distance < point_pixels(view, 3200) < 2 * distance
    assert point_pixels(view, 1) == 12.0
    assert point_pixels(view, 10**8) == 2.0
