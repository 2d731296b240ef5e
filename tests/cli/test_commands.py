"""The command line: words for people, one JSON document for programs, one line for errors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nwidth as nw
from nwidth.cli import main
from tests.runs.studies import snapshots_of

SPACE = 400
Capture = pytest.CaptureFixture[str]


def study_file(folder: Path, store: Path, address: str, **reduce: Any) -> Path:
    """A study file as a person writes it."""
    lines = ["[study]", 'name = "s"', f'store = "{store}"', "[reduce]"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in reduce.items()]
    lines += ["[workers]", f'address = "{address}"', "[report]", "enabled = false"]
    (folder / "study.toml").write_text("\n".join(lines) + "\n")
    return folder / "study.toml"


def said(capture: Capture, *words: str | Path, status: int = 0) -> tuple[str, str]:
    """Run one command in this process: what it wrote to stdout and to stderr."""
    assert main([str(word) for word in words]) == status, capture.readouterr().err
    captured = capture.readouterr()
    return captured.out, captured.err


def document(capture: Capture, *words: str | Path) -> Any:
    """Run one command with ``--json``: its document; stderr stays empty."""
    out, err = said(capture, *words, "--json")
    assert err == ""
    return json.loads(out, parse_constant=pytest.fail)


def complaint(capture: Capture, *words: str | Path) -> str:
    """Run one command that is refused: nothing on stdout, exactly one line on stderr, exit status 1."""
    out, err = said(capture, *words, status=1)
    assert out == ""
    assert err.startswith("nwidth: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err.removeprefix("nwidth: ").rstrip("\n")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of result files of two formats, two runs each."""
    import xarray as xr

    folder = tmp_path_factory.mktemp("files")
    for seed in (1, 2):
        values = snapshots_of(SPACE, 5, seed, 2)
        np.savez(folder / f"run-{seed}.npz", T=values, time=np.arange(5.0))
        grid = (("time", "lat", "lon"), values.reshape(5, 20, 20))
        coords = {"time": np.arange(5.0), "lat": np.linspace(-80, 80, 20), "lon": np.arange(20.0)}
        dataset = xr.Dataset({"T": grid}, coords)
        dataset["lat"].attrs["units"] = "degrees_north"
        dataset.to_netcdf(folder / f"year-{seed}.nc", engine="netcdf4", format="NETCDF4")
    (folder / "design.csv").write_text("run,speed [rad/s]\n1,100\n2,120.5\n")
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, files: Path) -> Path:
    """The store of the two .npz runs."""
    path = tmp_path_factory.mktemp("cli") / "store"
    nw.ingest([files / "run-1.npz", files / "run-2.npz"], path, parameters=files / "design.csv")
    return path


def test_ingest_in_words_and_in_json(tmp_path: Path, files: Path, capsys: Capture) -> None:
    """Runs are added with their parameters, then recognised; both answers say so."""
    out, err = said(capsys, "ingest", files / "run-1.npz", "--into", tmp_path / "s", "--parameters", files / "design.csv")
    assert "1 run added, 0 there already" in out
    assert "T: 5 x 400 float64, chunks" in out
    assert err == "run-1: 5 of 5\n"
    command = ("ingest", files / "run-1.npz", files / "run-2.npz", "--into", tmp_path / "s", "--parameters", files / "design.csv")
    result = document(capsys, *command)
    assert (result["added"], result["skipped"], result["snapshots"]) == (["run-2"], ["run-1"], 5)
    dataset = nw.open_snapshots(tmp_path / "s")
    assert sorted(set(dataset["speed"].values)) == [100.0, 120.5]


@pytest.mark.parametrize("kind", ["icechunk", "zarr"])
def test_ingest_makes_the_kind_of_store_asked_for(tmp_path: Path, files: Path, kind: str, capsys: Capture) -> None:
    """``--kind`` decides for a new store."""
    said(capsys, "ingest", files / "run-1.npz", "--into", tmp_path / "s", "--kind", kind)
    assert nw.open_store(tmp_path / "s").kind == kind


def test_a_run_is_never_doubled(tmp_path: Path, files: Path, capsys: Capture) -> None:
    """The same contents are skipped, or refused where asked; the same name with other contents is always refused."""
    store = tmp_path / "s"
    said(capsys, "ingest", files / "run-1.npz", "--into", store)
    sentence = complaint(capsys, "ingest", files / "run-1.npz", "--into", store, "--on-duplicate", "refuse")
    assert "is in the store already, as 'run-1'" in sentence
    sentence = complaint(capsys, "ingest", files / "run-2.npz", "--into", store, "--simulation", "run-1")
    assert "has a run 'run-1' with other contents" in sentence
    assert nw.open_store(store).schema().n_snapshots == 5


def test_ingest_by_reference_copies_nothing(tmp_path: Path, files: Path, capsys: Capture) -> None:
    """A store of references is small, and holds the values of the files."""
    import xarray as xr

    names = [files / "year-1.nc", files / "year-2.nc"]
    result = document(capsys, "ingest", *names, "--into", tmp_path / "s", "--by-reference")
    assert (len(result["added"]), result["snapshots"]) == (2, 10)
    opened = nw.open_snapshots(tmp_path / "s", {"references": str(files)})
    with xr.open_dataset(names[1]) as second:
        np.testing.assert_array_equal(opened["T"].values[5:], second["T"].values)
    assert sum(path.stat().st_size for path in (tmp_path / "s").rglob("chunks/*")) < 10 * SPACE * 8


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["missing.npz"], "does not exist"),
        (["design.csv"], "design.csv"),
        (["run-1.npz", "--field", "w"], "has no field 'w'; its fields are T"),
        (["run-1.npz", "--kind", "hdf"], "--kind 'hdf' is not known; choose icechunk or zarr"),
        (["run-1.npz", "--on-duplicate", "double"], "--on-duplicate 'double' is not known; choose skip or refuse"),
        (["run-1.npz", "--option", "axis"], "--option 'axis' is not NAME=VALUE"),
        (["run-1.npz", "--reader", "abaqus"], "abaqus"),
        (["run-1.npz", "run-2.npz", "--simulation", "x"], "names one run, but there are 2 inputs"),
    ],
)
def test_ingest_refuses_before_it_writes(tmp_path: Path, files: Path, words: list[str], sentence: str, capsys: Capture) -> None:
    """Each bad argument is one line that names it."""
    given = [files / word if word.endswith((".npz", ".csv")) else word for word in words]
    assert sentence in complaint(capsys, "ingest", *given, "--into", tmp_path / "s")


def test_plan_in_words_and_in_json(tmp_path: Path, store: Path, scheduler: str, capsys: Capture) -> None:
    """Both tell the same numbers, and nothing is computed."""
    file = study_file(tmp_path, store, scheduler, rank=3)
    out, err = said(capsys, "plan", file)
    assert err == ""
    for word in ("plan of study 's': 10 snapshots", "route       gram: 3 modes were asked for", "peak per worker"):
        assert word in out
    made = document(capsys, "plan", file)
    assert made["fields"]["T"]["unknowns"] == SPACE
    assert made["bytes_to_read"] == sum(cost["bytes_to_read"] for cost in made["passes"])
    assert not (tmp_path / "runs").exists()


def test_run_in_words_and_in_json(tmp_path: Path, store: Path, scheduler: str, capsys: Capture) -> None:
    """Plan, certificate, measurements and the model's place in words; with --json one document, without progress."""
    file = study_file(tmp_path, store, scheduler, rank=3)
    out, err = said(capsys, "run", file)
    for word in ("plan of study 's'", "basis 'T': 3 modes of T", "relative, all snapshots (measured)", "peak per worker (plan)"):
        assert word in out
    assert f"model   {tmp_path / 'runs' / 's' / 'model.zarr'}" in out
    assert "gram: 1 of 1" in err.splitlines()
    assert "lift: 1 of 1" in err.splitlines()
    assert len(set(err.splitlines())) == len(err.splitlines())
    result = document(capsys, "run", file)
    assert result["status"] == "nothing to do"
    assert document(capsys, "run", file, "--force")["bases"]["T"]["rank"] == 3
    out, err = said(capsys, "run", file)
    assert out.startswith("nothing to do: this study was run on this version of the store; --force runs it again\n")
    assert err == ""


def test_inspect_in_words_and_in_json(tmp_path: Path, store: Path, scheduler: str, capsys: Capture) -> None:
    """A store, a study, a run's folder and a model are each said in words, and given as a document."""
    file = study_file(tmp_path, store, scheduler, rank=3)
    said(capsys, "run", file)
    folder = tmp_path / "runs" / "s"
    for path, word in (
        (store, "10 snapshots of 2 simulations"),
        (file, "rank"),
        (folder, "3 modes of T"),
        (folder / "model.zarr", "3 modes of T"),
    ):
        out, err = said(capsys, "inspect", path)
        assert word in out
        assert err == ""
        assert document(capsys, "inspect", path)
    assert "nowhere" in complaint(capsys, "inspect", tmp_path / "nowhere")


def test_report_in_words_and_in_json(tmp_path: Path, store: Path, scheduler: str, capsys: Capture) -> None:
    """The report of a finished run is written and its place told; without a run there is none to write."""
    file = study_file(tmp_path, store, scheduler, rank=2)
    said(capsys, "run", file)
    folder = tmp_path / "runs" / "s"
    out, _ = said(capsys, "report", folder, "--modes", "0")
    assert out == f"report  {folder / 'report.html'}\n"
    assert document(capsys, "report", folder, "--modes", "0") == {"report": str(folder / "report.html")}
    assert (folder / "report.html").read_text().startswith("<!")
    complaint(capsys, "report", tmp_path)


def test_errors_show_a_traceback_only_with_debug(tmp_path: Path, capsys: Capture) -> None:
    """One line by default; the exception itself, to be traced, with --debug anywhere among the words."""
    assert "there is no study file" in complaint(capsys, "run", tmp_path / "no.toml")
    for words in (["--debug", "run"], ["run", "--debug"]):
        done = subprocess.run([sys.executable, "-m", "nwidth", *words, "no.toml"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 1
        assert "Traceback (most recent call last)" in done.stderr
        assert "nwidth.errors.ConfigError: there is no study file no.toml" in done.stderr


@pytest.mark.parametrize(
    "words", [["rum"], ["run"], ["run", "a.toml", "--fast"], ["ingest", "a.npz"], ["report", ".", "--modes", "many"]]
)
def test_wrong_usage_exits_with_2(words: list[str], capsys: Capture) -> None:
    """A word that is no command, a missing argument, an unknown option, a value of the wrong type."""
    out, err = said(capsys, *words, status=2)
    assert out == ""
    assert "Error: " in err
    assert "Traceback" not in err


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["--version"]])
def test_help_imports_no_heavy_library(words: list[str]) -> None:
    """Help and version come without dask, xarray, zarr and the like: they must answer at once."""
    script = (
        "import sys\nfrom nwidth.cli import main\nstatus = main(sys.argv[1:])\n"
        "heavy = {'dask', 'distributed', 'xarray', 'zarr', 'icechunk', 'pyvista', 'h5py', 'scipy', 'matplotlib'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy\nassert status == 0, status"
    )
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_the_installed_command_is_this_one() -> None:
    """The console script of the package starts the same program."""
    script = Path(sys.executable).with_name("nwidth")
    if not script.exists():
        pytest.skip("the package is not installed with its scripts")
    done = subprocess.run([script, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"nwidth {nw.__version__}\n")


@pytest.mark.slow
def test_doctor_in_words_and_in_json(capsys: Capture) -> None:
    """Every check says what it found; a healthy installation exits with 0."""
    checks = document(capsys, "doctor")
    assert {"python", "packages", "readers", "cluster"} <= {check["name"] for check in checks}
    assert all(check["status"] in ("ok", "warn") for check in checks)
    out, _ = said(capsys, "doctor")
    assert "cluster" in out
