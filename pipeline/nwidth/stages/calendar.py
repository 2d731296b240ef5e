"""Times of one store count from one date: members of an ensemble whose files count from other dates are converted.

"days since 1870-10-01" -> "days since 1870-03-01":   t' = scale t + offset,   exact for whole units of one calendar
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nwidth.readers.protocol import Run
from nwidth.stores.protocol import SnapshotStore


def in_time_units_of(store: SnapshotStore, run: Run) -> Run:
    """`run` with the time units of `store`, where both count from a date in one calendar; otherwise `run` as it is.

    What cannot be converted is refused by the store, which names both units.
    """
    group: Any = store.reference().open()
    if "fields/time" not in group:
        return run
    stored: Mapping[str, Any] = group["fields/time"].attrs.asdict()
    units = str(stored.get("units", ""))
    # Of members of one ensemble, some say their calendar and some do not: what is not said is taken from what is.
    calendars = {calendar for calendar in (stored.get("calendar"), run.attributes.get("calendar")) if calendar}
    if units == run.time_units or len(calendars) > 1 or not all(" since " in text for text in (units, run.time_units)):
        return run
    scale, offset = conversion(run.time_units, units, str(calendars.pop()) if calendars else "standard")
    return replace(run, times=scale * run.times + offset, time_units=units)


def conversion(units: str, wanted: str, calendar: str) -> tuple[float, float]:
    """``(scale, offset)`` such that ``scale t + offset`` counts in `wanted` what t counts in `units`."""
    import cftime

    zero, one = cftime.num2date([0, 1], units, calendar=calendar)
    offset, later = (float(cftime.date2num(date, wanted, calendar=calendar)) for date in (zero, one))
    return later - offset, offset
