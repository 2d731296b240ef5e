"""Small productions: a solver that does what its design tells it to, and a bar for CalculiX."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from nwidth.config import Study, check_study
from nwidth.stages.production import ProductionReport, produce

SOLVER = r"""import json, math, os, signal, struct, subprocess, sys, time, zipfile

order = json.load(open("input.json"))
how, load = order["how"], order["load"]
print("solving for", load, flush=True)
if how == "crash":
    print("the stiffness is singular", file=sys.stderr)
    sys.exit(3)
if how == "licence":
    print("solver: no licence is free, server 27000@lic does not answer", file=sys.stderr)
    sys.exit(1)
if how == "segfault":
    os.kill(os.getpid(), signal.SIGSEGV)
if how == "hang":
    child = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
    open("../hanging", "w").write(f"{os.getpid()} {child.pid}\n")
    time.sleep(600)
if how == "hang-once" and not os.path.exists("../hanging"):
    open("../hanging", "w").write(f"{os.getpid()}\n")
    time.sleep(600)
if how == "flaky" and not os.path.exists("../seen"):
    open("../seen", "w").close()
    print("no licence is free")
    sys.exit(1)
if how == "flood":
    with open("flood", "wb") as file:
        while True:
            file.write(bytes(1 << 20))
if how == "trickle":
    for number in range(1000):
        open(f"piece-{number}", "wb").write(os.urandom(1 << 20))
        time.sleep(0.02)
if how == "full":
    print("write failed: No space left on device", file=sys.stderr)
    sys.exit(1)
if how == "slow":
    time.sleep(order.get("seconds", 1.0))
if how == "mute":
    sys.exit(0)

def npy(values, shape):  # without NumPy, whose import takes longer than everything else here
    header = ("{'descr': '<f8', 'fortran_order': False, 'shape': %s, }" % (shape,)).ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + header.encode() + struct.pack(f"<{len(values)}d", *values)

values = [load * (place + 100.0 * time) for time in range(3) for place in range(40)]
if how == "nan":
    values[47] = math.nan
with zipfile.ZipFile("result.npz", "w") as file:
    file.writestr(zipfile.ZipInfo("time.npy"), npy([0.0, 1.0, 2.0], "(3,)"))
    file.writestr(zipfile.ZipInfo("temperature.npy"), npy(values, "(3, 40)"))
size = os.path.getsize("result.npz")
if how == "truncated":
    os.truncate("result.npz", size // 2)
if how == "garbage":
    open("result.npz", "wb").write(os.urandom(size))
if how == "empty":
    os.truncate("result.npz", 0)
print("done")
"""


def write_case(tmp_path: Path, rows: str, **full_order: Any) -> Study:
    """A study in `tmp_path` whose solver is the script above; `rows` are lines ``name,load,how`` of the design."""
    (tmp_path / "solve.py").write_text(SOLVER, "utf-8")
    (tmp_path / "input.json").write_text('{"load": ${load}, "how": "${how}"}', "utf-8")
    (tmp_path / "design.csv").write_text("point,load [N],how\n" + rows, "utf-8")
    table: dict[str, Any] = {
        "solver": "command",
        "deck": "input.json",
        "files": ["solve.py"],
        "design": "design.csv",
        "executable": sys.executable,
        "slots": 2,
        "timeout": 60.0,
        "attempts": 1,
        "options": {"command": "python -I -S solve.py", "output": "result.npz", "reader": "numpy", "finished": "done"},
    }
    return study_of(tmp_path, table | full_order)


def study_of(folder: Path, full_order: dict[str, Any], **workers: Any) -> Study:
    """A study whose store and production lie in `folder`."""
    table = {"study": {"name": "case", "store": "case.zarr"}, "full_order": full_order, "workers": workers}
    return check_study(table, folder=folder)


def stored_runs(study: Study) -> list[str]:
    """Names of the runs in the study's store, in its order."""
    import nwidth as nw

    return [run.simulation for run in nw.open_store(study.store_url).schema().runs]


def failures(study: Study) -> dict[str, str]:
    """Produce, and give the words of the points that failed."""
    return dict(produce(study).failed)


def ledger(study: Study) -> list[dict[str, Any]]:
    """The events of a production."""
    assert study.full_order is not None
    file = study.folder / study.full_order.folder / "ledger.jsonl"
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def told(report: ProductionReport) -> tuple[int, int, int]:
    """(produced, added, failed) of a report."""
    return len(report.produced), len(report.added), len(report.failed)


# ----------------------------------------------------------------------------------------------------------- CalculiX


def need_ccx() -> None:
    """Skip, with the reason, where CalculiX is not installed."""
    if shutil.which("ccx") is None:
        pytest.skip("ccx is not installed: the Debian package calculix-ccx has it")


BAR_CELLS = 2


def bar_deck(load: str = "${load}", *, hardening: str = "200.,0.\n250.,0.1", increments: str = "0.25,1.", extra: str = "") -> str:
    """A bar of two unit cubes (C3D8), clamped below, pulled at its four upper nodes; elastic-plastic, 200 GPa."""
    number = {(i, j, k): 1 + i + 2 * j + 4 * k for k in range(BAR_CELLS + 1) for j in range(2) for i in range(2)}
    nodes = "\n".join(f"{n},{i}.,{j}.,{k}." for (i, j, k), n in number.items())
    ring = ((0, 0), (1, 0), (1, 1), (0, 1))
    cells = "\n".join(
        ",".join(map(str, [cell + 1, *(number[i, j, k] for k in (cell, cell + 1) for i, j in ring)])) for cell in range(BAR_CELLS)
    )
    ends = {k: ",".join(str(number[i, j, k]) for i, j in ring) for k in (0, BAR_CELLS)}
    return f"""*NODE,NSET=Nall
{nodes}
*ELEMENT,TYPE=C3D8,ELSET=Eall
{cells}
*NSET,NSET=BOTTOM
{ends[0]}
*NSET,NSET=TOP
{ends[BAR_CELLS]}
*MATERIAL,NAME=STEEL
*ELASTIC
200000.,0.3
*PLASTIC
{hardening}
*SOLID SECTION,ELSET=Eall,MATERIAL=STEEL
*BOUNDARY
BOTTOM,1,3
*STEP,INC=100
*STATIC
{increments}
*CLOAD
TOP,3,{load}
*NODE FILE
U
*EL PRINT,ELSET=Eall
S,PEEQ
{extra}*END STEP
"""


def write_bar(folder: Path, loads: str = "10\n20\n55", deck: str | None = None, **full_order: Any) -> Study:
    """A study of the bar, one load per row."""
    (folder / "bar.inp").write_text(bar_deck() if deck is None else deck, "utf-8")
    rows = "".join(f"{number},{load}\n" for number, load in enumerate(loads.split()))
    (folder / "design.csv").write_text("point,load [N]\n" + rows, "utf-8")
    return study_of(folder, {"deck": "bar.inp", "design": "design.csv", "slots": 2, "attempts": 1, "timeout": 60.0} | full_order)
