"""What is published is what lies in the folders: the sdist and the wheel made from it hold every module, and nothing foreign."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.repository import REPOSITORY, list_own_files, tracked_files

PACKAGES = {"graphs": "nwidth_graphs", "pipeline": "nwidth"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist of this checkout, and the wheel made from that sdist, as an installer would make it."""
    dist = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "--target", "sdist", "--directory", str(dist), folder=REPOSITORY)
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(dist / "unpacked", filter="data")
    (unpacked,) = (dist / "unpacked").iterdir()
    run(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(dist), folder=unpacked)
    (wheel,) = dist.glob("*.whl")
    return sdist, wheel


def run(*command: str, folder: Path) -> None:
    """Run a command in a folder; its output is the failure's text."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def modules() -> set[str]:
    """Every file of the two packages, by its path inside `graphs/` or `pipeline/`: what a wheel must hold."""
    roots = [REPOSITORY / root / package for root, package in PACKAGES.items()]
    # As they lie on the disk, not as git lists them: a module that .gitignore swallows is missing from the wheel in silence.
    files = [path for path in list_own_files() if any(path.is_relative_to(root) for root in roots)]
    return {path.relative_to(REPOSITORY).as_posix().partition("/")[2] for path in files}


def test_the_wheel_holds_every_module_and_nothing_else(built: tuple[Path, Path]) -> None:
    """The wheel made from the sdist has all files of the two packages, and beside them only its metadata."""
    names = {name for name in zipfile.ZipFile(built[1]).namelist() if ".dist-info/" not in name}
    assert {"nwidth/py.typed", "nwidth_graphs/py.typed"} <= names
    assert modules() - names == set(), "not in the wheel"
    strangers = {name for name in names if not name.startswith(("nwidth/", "nwidth_graphs/")) or "__pycache__" in name}
    assert strangers == set(), "in the wheel, but not ours"


def test_the_sdist_holds_every_tracked_file_that_a_builder_needs(built: tuple[Path, Path]) -> None:
    """The sdist has the packages, the tests, the docs, the lock files and the Makefile, so that it can be tested as it is."""
    with tarfile.open(built[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    unpublished = (".ci/", ".gitignore")
    tracked = {path.relative_to(REPOSITORY).as_posix() for path in tracked_files()}
    missing = {name for name in tracked - names if not name.startswith(unpublished)}
    assert missing == set()


def test_the_wheel_declares_what_the_project_declares(built: tuple[Path, Path]) -> None:
    """Name, Python floor and the command are carried into the wheel's metadata."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]
    with zipfile.ZipFile(built[1]) as archive:
        by_suffix = {name.rpartition("/")[2]: archive.read(name).decode() for name in archive.namelist() if ".dist-info/" in name}
    assert f"Name: {project['name']}\n" in by_suffix["METADATA"]
    assert f"Requires-Python: {project['requires-python']}\n" in by_suffix["METADATA"]
    assert "nwidth = nwidth.cli:main" in by_suffix["entry_points.txt"]


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_the_lock_pins_every_package_by_hash(lock: str) -> None:
    """Every requirement of a lock file is one exact version with at least one SHA-256, so that pip fetches nothing else."""
    entries = pinned(lock)
    assert len(entries) > 50
    assert {name for name, (_, hashes) in entries.items() if not hashes} == set()


def test_the_two_locks_agree() -> None:
    """What the run lock installs is in the development lock at the same version, so that tests run what people run."""
    run_set, dev_set = pinned("requirements.lock"), pinned("requirements-dev.lock")
    differing = {name: version for name, (version, _) in run_set.items() if dev_set.get(name, ("absent", 0))[0] != version}
    assert differing == {}


def test_the_locks_hold_every_declared_dependency() -> None:
    """No dependency was added to pyproject.toml without the locks being made again."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    extras = project["project"]["optional-dependencies"]
    needed = project["project"]["dependencies"] + extras["mesh"] + extras["demo"] + extras["netcdf"]
    developed = needed + extras["virtual"] + [entry for entry in project["dependency-groups"]["dev"] if isinstance(entry, str)]
    assert {bare(entry) for entry in needed} - set(pinned("requirements.lock")) == set()
    assert {bare(entry) for entry in developed} - set(pinned("requirements-dev.lock")) == set()


def bare(requirement: str) -> str:
    """The normalized name of a requirement such as ``moto[server]>=5.1``."""
    name = requirement
    for mark in "[<>=!~; ":
        name = name.partition(mark)[0]
    return name.lower().replace("_", "-").replace(".", "-")


def pinned(lock: str) -> dict[str, tuple[str, int]]:
    """Name -> (version, number of hashes) of a lock file."""
    entries: dict[str, tuple[str, int]] = {}
    name = ""
    for line in (REPOSITORY / lock).read_text("utf-8").splitlines():
        if "==" in line and not line.startswith((" ", "#")):
            name, _, rest = line.partition("==")
            entries[name] = (rest.split()[0], 0)
        elif line.strip().startswith("--hash=sha256:"):
            version, hashes = entries[name]
            entries[name] = (version, hashes + 1)
    return entries
