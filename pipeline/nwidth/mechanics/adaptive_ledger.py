"""What an adaptive march decided, line by line: kept in memory, and in a file of JSON lines that only grows.

    {"time": ..., "event": "adaptive step", "step": 3, "at": 0.6, "action": "enrich", "residual": ..., "indicator": ..., ...}
    {"time": ..., "event": "adaptive update", "step": 3, "missed": ..., "error": ..., "modes": ..., ...}

The form is that of a run's ledger, so that the file may be one.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nwidth.mechanics.adaptive_update import Update
from nwidth_graphs.kernels.enrichment import Decision


@dataclass
class AdaptiveLedger:
    """Decisions and updates in their order."""

    path: Path | None = None
    decisions: list[Decision] = field(default_factory=list)
    updates: list[Update] = field(default_factory=list)

    def begin(self, inputs: Mapping[str, float], tolerance: float, most_updates: int) -> None:
        """The first line: what was asked."""
        self._line("adaptive march", {"inputs": dict(inputs), "tolerance": tolerance, "most_updates": most_updates})

    def decide(self, decision: Decision, at: float) -> Decision:
        """One decision, at the time `at` of the case."""
        self.decisions.append(decision)
        self._line("adaptive step", {"at": at, **asdict(decision)})
        return decision

    def update(self, update: Update) -> None:
        """One full-order step and what it changed."""
        self.updates.append(update)
        self._line("adaptive update", {("at" if name == "time" else name): value for name, value in asdict(update).items()})

    def _line(self, event: str, details: Mapping[str, Any]) -> None:
        if self.path is None:
            return
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        # JSON has no NaN: what is not known is null.
        unknown = {name for name, value in details.items() if isinstance(value, float) and not math.isfinite(value)}
        known = {name: None if name in unknown else value for name, value in details.items()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": stamp, "event": event, **known}) + "\n")
