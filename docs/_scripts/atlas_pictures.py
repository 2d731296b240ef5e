"""Draw the pictures of the tutorial on atlases from the code of its own blocks:  python docs/_scripts/atlas_pictures.py"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from nwidth import plots
from nwidth.report.saving import save_picture

DOCS = Path(__file__).resolve().parents[1]
PICTURES = {
    "atlas-map": plots.partition,
    "atlas-gain": plots.comparison,
    "atlas-widths": plots.widths,
    "atlas-errors": plots.errors,
}


def main() -> None:
    """Run the blocks that make the snapshots and the atlas, and draw."""
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "tutorials" / "atlas.md").read_text("utf-8"), flags=re.DOTALL)
    names: dict[str, Any] = {}
    for block in blocks[:2]:
        exec(block, names)  # noqa: S102  our own documentation, which the tests run as well
    for name, draw in PICTURES.items():
        save_picture(draw(names["atlas"]), DOCS / "images" / f"{name}.png")


if __name__ == "__main__":
    main()
