"""The tutorial notebooks run, and what is stored in them is what they give."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.repository import REPOSITORY

FOLDER = REPOSITORY / "docs" / "tutorials"
PICTURES = {"notebook": 5, "flow": 3, "structure": 3, "climate": 4}
"""Notebook -> pictures that it shows."""
# Rounding of another BLAS may change the last digits that are printed; everything else is the same.
NUMBER = re.compile(r"\d+\.\d+e-?\d+")


def stored_notebook(name: str) -> Any:
    """The notebook as it lies in the repository, valid."""
    import nbformat

    untyped: Any = nbformat
    notebook = untyped.read(FOLDER / f"{name}.ipynb", as_version=4)
    untyped.validate(notebook)
    return notebook


def executed(name: str, folder: Path) -> Any:
    """The notebook, run from top to bottom in an empty folder by a kernel of this environment."""
    from nbclient import NotebookClient

    notebook = stored_notebook(name)
    client = NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(folder)}}, record_timing=False)
    # The kernel may say on our stderr that it listens on loopback; its warnings are its own.
    client.execute(env={**os.environ, "PYTHONWARNINGS": "default"})
    return notebook


def printed(notebook: Any) -> list[str]:
    """What each cell prints on standard output, however it came in pieces; numbers in scientific notation left out."""
    texts = (
        "".join(output["text"] for output in cell.get("outputs", []) if output.get("name") == "stdout") for cell in notebook.cells
    )
    return [NUMBER.sub("#", text) for text in texts]


def pictures(notebook: Any) -> list[int]:
    """Number of pictures that each cell shows."""
    return [
        sum("image/svg+xml" in o.get("data", {}) or "image/png" in o.get("data", {}) for o in cell.get("outputs", []))
        for cell in notebook.cells
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", PICTURES)
def test_the_stored_outputs_are_those_of_the_notebook(name: str, tmp_path: Path) -> None:
    """Every cell runs, prints what is stored, and shows its pictures."""
    stored, run = stored_notebook(name), executed(name, tmp_path)
    assert printed(run) == printed(stored)
    assert pictures(run) == pictures(stored)
    assert sum(pictures(stored)) == PICTURES[name]


@pytest.mark.parametrize("name", PICTURES)
def test_the_notebook_is_stored_with_its_outputs(name: str) -> None:
    """A reader sees results without running anything: each cell was run, none failed, and no path of a machine is in it."""
    notebook = stored_notebook(name)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [
        output for cell in cells for output in cell.outputs if output.output_type == "error" or output.get("name") == "stderr"
    ]
    assert str(Path.home()) not in (FOLDER / f"{name}.ipynb").read_text("utf-8")


def test_every_notebook_is_tested() -> None:
    """No notebook lies beside the tutorials that is not run here."""
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(PICTURES)
