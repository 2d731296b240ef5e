"""The option ``--log-json`` of the commands that run a study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from nwidth.config import Study

LogJson = Annotated[
    str | None, typer.Option("--log-json", metavar="FILE", help="Append a JSON log to FILE, or write it to stderr where it is -.")
]


def with_log(study: Study, target: str | None) -> Study:
    """The study with its log where the option says; its path starts where the command was given."""
    if target is None:
        return study
    place = target if target == "-" else str(Path(target).resolve())
    return study.model_copy(update={"operations": study.operations.model_copy(update={"log": place})})


def logs_to_stderr(study: Study) -> bool:
    """Whether stderr belongs to a log, so that progress has no place there.

    Raises
    ------
    ConfigError
        As `nwidth.operations.logging.wanted`.
    """
    from nwidth.operations.logging import STDERR, wanted

    return wanted(study.operations.log) == STDERR
