"""Exit statuses: what a timer, a shell or a batch system is told without reading a word."""

from __future__ import annotations

FAILED = 1
"""Refused or failed; standard error says why."""
NOTHING_TO_DO = 3
"""The store has nothing new: ``nwidth watch --once``, and ``nwidth run --exit-status``. 2 is wrong usage, which Typer gives."""
BUSY = 75
"""Another run of the study is at work; ``EX_TEMPFAIL`` of sysexits.h, which systemd and mailers know as "try later"."""
INTERRUPTED = 130
"""128 + SIGINT, as shells count."""
