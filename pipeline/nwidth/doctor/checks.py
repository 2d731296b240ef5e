"""What the doctor finds: one record per thing that was tried, and the guard around each try."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from nwidth.errors import NwidthError

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """One thing that was tried."""

    name: str
    status: Status
    found: str
    advice: str = ""
    """What to do; empty where nothing is to be done."""


def guarded(name: str, attempt: Callable[[], list[Check]]) -> list[Check]:
    """What an attempt finds; a refusal of ours is a finding with its own way out, any other exception one to mend first."""
    try:
        return attempt()
    except NwidthError as error:
        found, _, advice = str(error).rpartition("; ")
        return [Check(name, "fail", found or advice, advice)]
    except Exception as error:
        # The doctor must not die of the illness: any other failure of a check is its finding.
        return [Check(name, "fail", f"{type(error).__name__}: {error}", "mend this first; other checks may follow from it")]
