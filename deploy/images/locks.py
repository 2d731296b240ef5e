"""Lock files of the images: what each has beyond ``requirements.lock``, at the versions of the development lock, with hashes.

python deploy/images/locks.py        writes them anew, after `make lock`; needs uv

cuda12.lock   CuPy, and the CUDA toolkit from wheels
extras.lock   the dashboard, learning, metrics, telemetry, stores by reference
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
IN_THE_RUN_LOCK = ("mesh", "demo", "netcdf")
LOCKS = {"cuda12.lock": ("cuda12",), "extras.lock": ("virtual", "learn", "dashboard", "metrics", "telemetry")}
OPTIONS = "--quiet --universal --python-version 3.12 --generate-hashes --no-emit-index-url --no-header --no-annotate"


def packages(text: str) -> dict[str, str]:
    """Name -> the lines of every package of a lock file."""
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE | re.IGNORECASE)
    return {re.split(r"[=\[ ]", entry, maxsplit=1)[0].lower(): entry for entry in entries if entry.strip() and entry[0] != "#"}


def resolved(extras: tuple[str, ...]) -> str:
    """A lock file of the project with these extras, beside those of the run lock."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "all.lock"
        chosen = [word for extra in (*IN_THE_RUN_LOCK, *extras) for word in ("--extra", extra)]
        command = ["uv", "--no-config", "pip", "compile", "pyproject.toml", *OPTIONS.split(), *chosen, "--group", "build"]
        command += ["--constraints", "requirements-dev.lock", "--output-file", str(output)]
        subprocess.run(command, cwd=REPOSITORY, check=True)  # noqa: S603 - our own words
        return output.read_text("utf-8")


def main() -> None:
    """Write all of them."""
    there = packages((REPOSITORY / "requirements.lock").read_text("utf-8"))
    for name, extras in LOCKS.items():
        more = {package: lines for package, lines in packages(resolved(extras)).items() if package not in there}
        (HERE / name).write_text("".join(more.values()), encoding="utf-8")


if __name__ == "__main__":
    main()
