"""The study file of the demo."""

from __future__ import annotations

from pathlib import Path

from nwidth.demo.case import FIELD

STUDY = f"""\
# Reduce the snapshots of the heated plate. `nwidth plan study.toml` says what it will cost, `nwidth run study.toml` does it.

[study]
name = "plate"
store = "plate.icechunk"      # made by: nwidth ingest runs/* --into plate.icechunk --parameters design.csv
output = "results"

[reduce]
fields = ["{FIELD}"]
rtol = 1e-3                   # relative projection error over all snapshots
inner_product = "mass"        # the L2 product on the plate, by its own finite elements
centre = false

[workers]
count = 2
memory = "1 GiB"
"""


def write_study(folder: str | Path) -> Path:
    """Write ``study.toml`` into the demo's folder and return its path; a study that is there already, perhaps edited, is kept."""
    path = Path(folder) / "study.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text(STUDY, encoding="utf-8")
    return path
