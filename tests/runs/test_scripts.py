"""Studies that are run by a script of a person's own, as Python starts it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nwidth.workers import UNGUARDED
from tests.runs.studies import add_run, snapshots_of

SCRIPT = """
from pathlib import Path

from nwidth.config import check_study
from nwidth.runs import run

study = check_study(
    {{
        "study": {{"name": "s", "store": {store!r}}},
        "reduce": {{"rank": 3}},
        "workers": {{"count": 1, "kind": {kind!r}}},
        "report": {{"enabled": False}},
    }},
    folder=Path({folder!r}),
)
{guard}print(run(study).model)
"""


@pytest.mark.parametrize(("kind", "guard", "sentence"), [
    ("local", "", UNGUARDED),
    ("local", 'if __name__ == "__main__":\n    ', ""),
    ("threads", "", ""),
])  # fmt: skip
def test_a_script_without_a_guard_is_told_so(tmp_path: Path, kind: str, guard: str, sentence: str) -> None:
    """Workers are processes that import the script; threads are not."""
    add_run(tmp_path / "store.zarr", "alpha", {"T": snapshots_of(500, 10)})
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(store=str(tmp_path / "store.zarr"), folder=str(tmp_path), kind=kind, guard=guard))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120, check=False)
    if sentence:
        assert done.returncode == 1
        assert done.stderr.strip().splitlines()[-1].endswith(sentence)
    else:
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "runs" / "s" / "model.zarr").exists()
