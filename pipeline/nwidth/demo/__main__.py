"""``python -m nwidth.demo [folder]``: generate the snapshots, ingest them, plan, run, and say where the report lies.

Every step is an ordinary command, printed as one would type it in the demo's folder. A step that is done already is quick: the
generator keeps a finished folder, and ingestion skips the runs that are in the store.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from nwidth.demo import generate, write_study
from nwidth.errors import NwidthError

RUN_COMMAND = "import sys; from nwidth.cli import main; sys.exit(main())"


def main(arguments: list[str]) -> int:
    """Run the demo in the folder that is named, ``demo`` by default; the exit status is that of the first step that fails."""
    folder = Path(arguments[0] if arguments else "demo")
    started = time.perf_counter()
    try:
        case = generate(folder, progress=_print_progress)
    except NwidthError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201 - this is a command
        return 1
    study = write_study(folder)
    state = "made" if case.fresh else "kept as they were"
    _say(f"{case.n_snapshots} snapshots of {case.n_unknowns} unknowns in {folder} ({state})")
    inputs = [str(run.relative_to(folder)) for run in case.runs]
    target = ["--into", "plate.icechunk", "--parameters", "design.csv"]
    for shown, command in (
        (["ingest", "runs/*", *target], ["ingest", *inputs, *target]),
        (["plan", study.name], ["plan", study.name]),
        (["run", study.name], ["run", study.name]),
    ):
        _say(f"\n$ nwidth {' '.join(shown)}")
        if status := _nwidth(command, folder):
            return status
    _say(f"\ndone in {time.perf_counter() - started:.0f} s; the report: {folder / 'results' / 'plate' / 'report.html'}")
    return 0


def _nwidth(command: list[str], folder: Path) -> int:
    """One command in a process of its own, as a person would run it; its exit status."""
    return subprocess.run([sys.executable, "-c", RUN_COMMAND, *command], cwd=folder, check=False).returncode  # noqa: S603


def _print_progress(done: int, total: int) -> None:
    _say(f"solved run {done} of {total}")


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - this is a command


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
