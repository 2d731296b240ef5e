"""Times that count from other dates."""

from __future__ import annotations

import pytest

from nwidth.stages.calendar import conversion

pytest.importorskip("cftime")


@pytest.mark.parametrize(
    ("units", "wanted", "calendar", "expected"),
    [
        ("days since 1870-10-01", "days since 1870-03-01", "standard", (1.0, 214.0)),
        ("hours since 2000-01-02", "days since 2000-01-01", "standard", (1 / 24, 1.0)),
        ("days since 2001-01-01", "days since 2000-01-01", "noleap", (1.0, 365.0)),
        ("days since 2001-01-01", "days since 2000-01-01", "standard", (1.0, 366.0)),
    ],
)
def test_scale_and_offset(units: str, wanted: str, calendar: str, expected: tuple[float, float]) -> None:
    """Offsets are the days between the two dates in the calendar, leap days included where it has them."""
    scale, offset = conversion(units, wanted, calendar)
    # Dates resolve microseconds: 1e-6 s of a day.
    assert abs(scale - expected[0]) < 1e-6 / 86400
    assert offset == expected[1]
