"""``python -m nwidth.demo [folder]``: generate the snapshots, ingest them, plan, run, and say where the report lies.

Every step is an ordinary command, printed as one would type it in the demo's folder. A step that is done already is quick: the
generator keeps a finished folder, and ingestion skips the runs that are in the store.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from nwidth.demo import DemoCase, generate, write_study
from nwidth.errors import NwidthError, RunError

RUN_COMMAND = "import sys; from nwidth.cli import main; sys.exit(main())"


def main(arguments: list[str]) -> int:
    """Run the demo in the folder that is named, ``demo`` by default; the exit status is 1 if a step fails."""
    try:
        run_demo(Path(arguments[0] if arguments else "demo"))
    except NwidthError as error:
        print(f"nwidth: {error}", file=sys.stderr)  # noqa: T201 - this is a command
        return 1
    return 0


def run_demo(folder: Path, *, quiet: bool = False) -> dict[str, Any]:
    """Run the whole demo; returns what each command said, and where the report lies.

    With `quiet` nothing is printed and every command is run with ``--json``.

    Raises
    ------
    RunError
        A command failed; it has said why.
    """
    started = time.perf_counter()
    case = generate(folder, progress=None if quiet else _print_progress)
    study = write_study(folder)
    if not quiet:
        state = "made" if case.fresh else "kept as they were"
        _say(f"{case.n_snapshots} snapshots of {case.n_unknowns} unknowns in {folder} ({state})")
    said: dict[str, Any] = {}
    for shown, command in _commands(case, folder, study.name):
        if not quiet:
            _say(f"\n$ nwidth {' '.join(shown)}")
        said[command[0]] = _nwidth(command, folder, quiet=quiet)
    report = folder / "results" / "plate" / "report.html"
    seconds = time.perf_counter() - started
    if not quiet:
        _say(f"\ndone in {seconds:.0f} s; the report: {report}")
    return {"folder": str(folder), "report": str(report), "seconds": seconds, **said}


def _commands(case: DemoCase, folder: Path, study: str) -> list[tuple[list[str], list[str]]]:
    """Each command as it is shown, and as it is run."""
    inputs = [str(run.relative_to(folder)) for run in case.runs]
    target = ["--into", "plate.icechunk", "--parameters", "design.csv"]
    return [
        (["ingest", "runs/*", *target], ["ingest", *inputs, *target]),
        (["plan", study], ["plan", study]),
        (["run", study], ["run", study]),
    ]


def _nwidth(command: list[str], folder: Path, *, quiet: bool) -> Any:
    """One command in a process of its own, as a person would run it."""
    words = [sys.executable, "-c", RUN_COMMAND, *command, *(["--json"] if quiet else [])]
    done = subprocess.run(words, cwd=folder, check=False, text=True, stdout=subprocess.PIPE if quiet else None)  # noqa: S603
    if done.returncode:
        raise RunError(
            f"`nwidth {command[0]}` failed in {folder}, and says why above; mend it, or start afresh in another folder"
        )
    return json.loads(done.stdout) if quiet else None


def _print_progress(done: int, total: int) -> None:
    _say(f"solved run {done} of {total}")


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - this is a command


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
