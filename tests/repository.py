"""Where the repository lies, and which of its files are its own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
OWN_FOLDERS = (".ci", "graphs", "pipeline", "deploy", "docs", "tests")


def tracked_files() -> list[Path]:
    """Every file under version control; in an unpacked sdist, every file of the root and of our own folders."""
    if (REPOSITORY / ".git").exists() and shutil.which("git"):
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False)
        if listed.returncode == 0:
            return [path for name in listed.stdout.split("\0") if name and (path := REPOSITORY / name).is_file()]
    return list_own_files()


def list_own_files() -> list[Path]:
    """The files of the root and of our own folders, caches left out."""
    nested = (path for folder in OWN_FOLDERS for path in (REPOSITORY / folder).rglob("*"))
    files = (path for path in (*REPOSITORY.iterdir(), *nested) if path.is_file())
    return sorted(path for path in files if "__pycache__" not in path.parts and path.suffix != ".pyc")
