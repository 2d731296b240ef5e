"""Where the real data sets lie that the project does not carry."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared_data(name: str) -> Path:
    """The folder of one shared data set; the test is skipped, with its reason, where it is absent.

    Looked for in the folder that the environment variable ``NWIDTH_SHARED_DATA`` names, else in ``shared/data`` beside the
    repository.
    """
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("NWIDTH_SHARED_DATA", beside)) / name
    if not folder.is_dir():
        pytest.skip(f"the data set {name} is not here: set NWIDTH_SHARED_DATA to the folder that holds it")
    return folder
