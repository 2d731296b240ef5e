"""``nwidth watch --json`` as a process of its own, and its events as they come."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# A run on a busy machine; a test that waits longer has failed.
PATIENCE_SECONDS = 120.0


@dataclass(frozen=True)
class Watcher:
    """A watch at work."""

    process: subprocess.Popen[str]
    lines: queue.Queue[str]

    def event(self) -> dict[str, Any]:
        """The next event."""
        found: dict[str, Any] = json.loads(self.lines.get(timeout=PATIENCE_SECONDS))
        return found

    def stop(self, number: int) -> int:
        """Send a signal; returns the exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout=PATIENCE_SECONDS)


@contextmanager
def watching(study: Path, *options: str) -> Iterator[Watcher]:
    """Start a watch on a study file, and end it whatever happens."""
    command = [sys.executable, "-m", "nwidth", "watch", str(study), "--json", *options]
    lines: queue.Queue[str] = queue.Queue()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        stream = process.stdout

        def follow() -> None:
            for line in stream:
                lines.put(line)

        reader = threading.Thread(target=follow, daemon=True)
        reader.start()
        try:
            yield Watcher(process, lines)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(timeout=PATIENCE_SECONDS)
            reader.join(timeout=PATIENCE_SECONDS)
