"""Pictures of modes and snapshots, drawn by a process of their own and kept: the server never holds a field.

    request ──> kept? ──no──> python -m nwidth.dashboards.painter      reads one mode or snapshot after the other, draws, ends
                                          │
                              markup <────┘        PNG and SVG inside: nothing is fetched

One picture at a time: a mesh may be large, and who turns pages quickly wants only the last.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from nwidth.report import words
from nwidth.report.markup import Html, tag

PAINT_SECONDS = 240.0
KEPT_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Request:
    """What is to be drawn: `count` modes, or snapshots, from `first` on, of one field of one basis."""

    model: str
    basis: str
    field: str
    what: str
    """``modes`` or ``snapshots``."""
    first: int = 0
    count: int = 1
    key: str = ""
    """Of the model: a picture of an older one is not this one."""
    options: tuple[tuple[str, str], ...] = ()
    """How the store is reached, for snapshots."""


class Painter:
    """Draws, and remembers what it drew, up to `KEPT_BYTES`; shared by all sessions of a server."""

    def __init__(self, most_bytes: int = KEPT_BYTES, seconds: float = PAINT_SECONDS) -> None:
        self.most_bytes, self.seconds = most_bytes, seconds
        self.drawn = 0
        """Pictures that were drawn, and not found."""
        self._kept: OrderedDict[Request, Html] = OrderedDict()
        self._busy = threading.Lock()

    def kept(self, request: Request) -> Html | None:
        """The picture where it was drawn before, else None; never waits for one that is being drawn."""
        found = self._kept.get(request)
        if found is not None:
            self._kept.move_to_end(request)
        return found

    def paint(self, request: Request) -> Html:
        """The markup of the picture; where it cannot be drawn, a note that says why, and the next call tries again."""
        return self.paint_all([request])[0]

    def paint_all(self, requests: Sequence[Request]) -> list[Html]:
        """The markup of several pictures; what is missing is drawn by one process."""
        with self._busy:
            found = {request: self.kept(request) for request in requests}
            missing = [request for request, markup in found.items() if markup is None]
            for request, answer in zip(missing, draw(missing, self.seconds) if missing else [], strict=True):
                self.drawn += 1
                found[request] = note(answer.failure) if answer.failure else answer.markup
                if not answer.failure:
                    self._keep(request, answer.markup)
        return [found[request] or Html("") for request in requests]

    def _keep(self, request: Request, markup: Html) -> None:
        self._kept[request] = markup
        while len(self._kept) > 1 and sum(len(kept) for kept in self._kept.values()) > self.most_bytes:
            self._kept.popitem(last=False)


@dataclass(frozen=True)
class Answer:
    """What came of one request."""

    markup: Html
    failure: str = ""
    """Why there is no picture; empty where there is."""


def draw(requests: Sequence[Request], seconds: float = PAINT_SECONDS) -> list[Answer]:
    """Answers to the requests, by a process of its own."""
    # -P: a stray module in somebody's working folder is not imported.
    command = [sys.executable, "-P", "-m", "nwidth.dashboards.painter"]
    try:
        # Our own interpreter and module; what a user chose goes through standard input, as JSON.
        done = subprocess.run(  # noqa: S603
            command,
            input=json.dumps([asdict(request) for request in requests]),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        answers = [Answer(Html(answer["html"]), answer["error"]) for answer in json.loads(done.stdout)]
        if len(answers) == len(requests):
            return answers
        failure = "the process that draws left pictures out"
    except subprocess.TimeoutExpired:
        failure = f"drawing took longer than {seconds:g} s; the field is too large, or the disk too slow"
    except ValueError:  # it ended before it answered: killed for its memory, or a library that crashed
        lines = done.stderr.strip().splitlines()
        failure = f"the process that draws ended with code {done.returncode}{': ' + lines[-1][:200] if lines else ''}"
    return [Answer(Html(""), failure)] * len(requests)


def note(text: str) -> Html:
    """A sentence in the place of a picture."""
    return tag("p", words.printable(text), class_="note")
