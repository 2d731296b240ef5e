"""What the ledger of a run tells."""

from __future__ import annotations

import json
from pathlib import Path


def events(folder: Path) -> list[str]:
    """Names of the events, in order; where the workers are is told by every run, and left out."""
    lines = (folder / "ledger.jsonl").read_text().splitlines()
    return [name for name in (json.loads(line)["event"] for line in lines) if name != "workers"]
