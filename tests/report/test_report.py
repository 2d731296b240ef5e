"""The report is one file with everything in it, says what the model says, and nothing that a stranger's name smuggles in."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nwidth.errors import FormatError, StoreError
from nwidth.models.files import read_basis
from nwidth.report import words, write_report
from tests.report.samples import RTOL, SAMPLES, Sample, earth, line, plate, write_run


class Page(HTMLParser):
    """What a page refers to, its headings, ids, text, pictures without words, and scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.undescribed: list[str] = []
        self.captions = 0
        self.words: list[str] = []
        self._hidden = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.references += [value for name, value in attrs if name in ("src", "href", "xlink:href", "action", "data") and value]
        self.references += [value for name, value in attrs if name.startswith("on")]  # type: ignore[misc]
        if (tag == "img" and not found.get("alt")) or (tag == "svg" and not found.get("aria-label")):
            self.undescribed.append(tag)
        self.captions += tag == "caption"
        self._hidden += tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("style", "script")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report of every sample; those on a mesh are drawn by whatever this machine has."""
    made = {}
    for name, sample in SAMPLES.items():
        folder = tmp_path_factory.mktemp(name)
        made[name] = write_report(write_run(folder, sample()), n_modes=2)
    return made


@pytest.mark.parametrize("name", SAMPLES)
def test_the_file_refers_to_nothing_outside_itself(pages: dict[str, Path], name: str) -> None:
    """Every reference is an anchor of the page or data in it, ids are unique, anchors resolve, and the file is below 5 MB."""
    text = pages[name].read_text("utf-8")
    page = Page(text)
    assert all(reference.startswith(("#", "data:")) for reference in page.references), page.references
    assert len(page.ids) == len(set(page.ids))
    assert {reference[1:] for reference in page.references if reference.startswith("#")} <= set(page.ids)
    assert "script" not in page.tags
    assert "@import" not in text
    assert "url(http" not in text
    assert len(text.encode()) < 5_000_000


@pytest.mark.parametrize("name", SAMPLES)
def test_pictures_and_tables_have_words(pages: dict[str, Path], name: str) -> None:
    """Every picture has an alternative text, every table a caption, and there is one top heading."""
    page = Page(pages[name].read_text("utf-8"))
    assert page.undescribed == []
    assert page.captions == page.tags.count("table") > 3
    assert page.tags.count("h1") == 1
    assert page.tags.count("svg") + page.tags.count("img") > 4


@pytest.mark.parametrize("name", SAMPLES)
def test_the_numbers_are_the_models(pages: dict[str, Path], name: str) -> None:
    """Headline, certificate and worst snapshots show the model's own rank, errors, defect, floor and coordinates."""
    page = Page(pages[name].read_text("utf-8"))
    (basis_name,) = json.loads((pages[name].parent / "model.zarr/manifest.json").read_text("utf-8"))["bases"]
    basis = read_basis(pages[name].parent / "model.zarr", basis_name)
    proof = basis.certificate
    time = float(basis.coefficients.time[proof.worst_snapshot])
    simulation = str(basis.coefficients.simulation[proof.worst_snapshot].item())
    headline = (
        f"{basis.rank} modes reproduce 120 snapshots of {basis_name} to {words.error(proof.frobenius_error)} (asked 1e-3); "
        f"worst single snapshot {words.error(proof.worst_error)}: simulation {simulation}, t = {words.number(time)} s"
    )
    assert headline in page.text
    for shown in (
        words.error(proof.frobenius_error, 3),
        words.error(proof.worst_error, 3),
        words.number(proof.orthogonality_defect),
        words.number(basis.spectrum.floor),
        f"{basis.spectrum.trusted} of {len(basis.spectrum.singular_values)}",
    ):
        assert shown in page.text
    for index in np.argsort(proof.relative_errors)[::-1][:8]:
        assert words.error(proof.relative_errors[index], 3) in page.text


def test_all_sections_are_there(pages: dict[str, Path]) -> None:
    """A complete run shows spectrum, errors, modes, coefficients, plan, provenance and how to load the model."""
    text = Page(pages["plate"].read_text("utf-8")).text
    for heading in (
        "Spectrum",
        "Errors, snapshot by snapshot",
        "Modes",
        "Coefficients",
        "Plan and measurement",
        "Provenance",
        "Use this model",
    ):
        assert f" {heading} " in text
    assert "nw.open_model(" in text


def test_planned_and_measured_stand_side_by_side(tmp_path: Path) -> None:
    """The factor pass of the plan is compared with the Gram pass that was measured, with the ratio of the two."""
    run = {
        "plan": {
            "passes": [{"name": "factor", "bytes_to_read": 2_000_000, "tasks": 10}, {"name": "lift", "bytes_to_read": 4_000_000}]
        },
        "measured": {
            "passes": [{"name": "gram", "bytes_read": 3_000_000, "tasks": 10}, {"name": "lift", "bytes_read": 4_000_000}]
        },
    }
    text = Page(write_report(write_run(tmp_path, line(), run=run)).read_text("utf-8")).text
    assert "gram bytes read 2 MB 3 MB 1.5" in text
    assert "gram tasks 10 10 1 " in text
    assert "lift bytes read 4 MB 4 MB 1 " in text


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&$x_1$ ]]> --> \x07"


def hostile() -> Sample:
    """A run whose names are all chosen by an enemy."""
    sample = earth()
    names = tuple(f"{HOSTILE}{number}" for number in range(6))
    return Sample(
        "field", sample.values, ("lat", "lon"), "grid", HOSTILE, basis="basis", study=HOSTILE, simulations=names,
        parameters={HOSTILE: np.repeat(np.arange(6.0), 20), "material": np.repeat(np.array(names, object), 20)},
    )  # fmt: skip


def test_names_from_a_store_stay_text(tmp_path: Path) -> None:
    """Study, simulation, parameter and unit names that hold markup, mathematics or control characters appear as text only."""
    sample = hostile()
    folder = write_run(tmp_path, sample, run={"study": HOSTILE, "store": {"url": HOSTILE}, "configuration": {"x": HOSTILE}})
    text = write_report(folder).read_text("utf-8")
    page = Page(text)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert not [reference for reference in page.references if "alert" in reference or reference == "x"]
    assert "<script>alert(1)</script>" in page.text
    assert "\x07" not in text


def test_a_bare_model_has_a_report(tmp_path: Path) -> None:
    """Without run.json the report still shows the bases, and says that no plan was recorded."""
    folder = write_run(tmp_path, line())
    (folder / "run.json").unlink()
    text = Page(write_report(folder).read_text("utf-8")).text
    assert "This run has no record of its plan." in text
    assert "the study gave no rtol" in text


@pytest.mark.parametrize("value", [7, "text", None, [1], {"a": None}, True])
def test_odd_records_do_no_harm(tmp_path: Path, value: Any) -> None:
    """Every section of run.json may be missing or of another kind than expected."""
    keys = ("study", "configuration", "store", "plan", "measured", "provenance")
    run: dict[str, Any] = dict.fromkeys(keys, value) | {"measured": {"passes": value}}
    assert write_report(write_run(tmp_path, line(), run=run), n_modes=0).stat().st_size > 10_000


def test_a_missed_tolerance_is_said(tmp_path: Path) -> None:
    """A basis of lower rank than the tolerance needs is reported as one that misses it."""
    text = Page(write_report(write_run(tmp_path, line(), n_modes=2), n_modes=1).read_text("utf-8")).text
    assert f"which misses the {words.error(RTOL)} that was asked" in text
    assert "above what was asked" in text


def test_damage_is_refused_by_name_and_the_old_report_stays(tmp_path: Path) -> None:
    """A folder without a model, or with a torn run.json, is refused in one sentence, and a report from before is not touched."""
    with pytest.raises(StoreError, match="is not a model"):
        write_report(tmp_path)
    folder = write_run(tmp_path, line())
    before = write_report(folder, n_modes=0).read_bytes()
    (folder / "run.json").write_text('{"study": "x', encoding="utf-8")
    with pytest.raises(FormatError, match=r"run\.json is not JSON"):
        write_report(folder)
    (folder / "run.json").write_text("[]", encoding="utf-8")
    with pytest.raises(FormatError, match="expected a JSON object"):
        write_report(folder)
    assert (folder / "report.html").read_bytes() == before


def test_the_report_goes_where_it_is_asked(tmp_path: Path) -> None:
    """`into` is honoured, nothing else is left there, and a folder that does not exist is refused."""
    for name in ("run", "out"):
        (tmp_path / name).mkdir()
    folder = write_run(tmp_path / "run", line())
    path = write_report(folder, n_modes=0, into=tmp_path / "out" / "page.html")
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == [path.name]
    with pytest.raises(StoreError, match="cannot be written"):
        write_report(folder, n_modes=0, into=tmp_path / "missing" / "page.html")


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    """No clock, counter or random id enters the page."""
    folder = write_run(tmp_path, line())
    assert write_report(folder).read_bytes() == write_report(folder).read_bytes()


def test_a_mean_and_units_are_shown(pages: dict[str, Path]) -> None:
    """A centred basis shows its mean, and colour bars and plots carry the field's unit."""
    text = Page(pages["plate"].read_text("utf-8")).text
    assert plate().centred
    assert " mean " in text
    assert "352 K" in text
    assert "time in s" in Page(pages["line"].read_text("utf-8")).text
    assert "lat in degrees_north" in Page(pages["earth"].read_text("utf-8")).text


def test_several_bases_have_an_overview(tmp_path: Path) -> None:
    """A model of two bases opens with a table of both, and shows every section for each."""
    for name in ("both", "line"):
        (tmp_path / name).mkdir()
    folder = write_run(tmp_path / "both", plate())
    other = write_run(tmp_path / "line", line())
    shutil.copytree(other / "model.zarr/bases/concentration", folder / "model.zarr/bases/concentration")
    manifest = json.loads((folder / "model.zarr/manifest.json").read_text("utf-8"))
    manifest["bases"] |= json.loads((other / "model.zarr/manifest.json").read_text("utf-8"))["bases"]
    (folder / "model.zarr/manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    page = Page(write_report(folder, n_modes=1).read_text("utf-8"))
    assert "2 bases, each with its own certificate" in page.text
    assert page.text.count("Errors, snapshot by snapshot") == 2
    assert len(page.ids) == len(set(page.ids))
    assert {reference[1:] for reference in page.references if reference.startswith("#")} <= set(page.ids)
