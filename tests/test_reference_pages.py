"""The hand-written reference pages say what the code says."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from tests.reference_tables import command_tables, study_tables
from tests.repository import REPOSITORY

REFERENCE = REPOSITORY / "docs" / "reference"


def tables_of(page: str) -> dict[str, list[str]]:
    """Heading -> rows of the table below it, without its first two lines."""
    found: dict[str, list[str]] = {}
    for section in re.split(r"^##+ ", (REFERENCE / page).read_text("utf-8"), flags=re.MULTILINE)[1:]:
        heading = section.splitlines()[0].strip("` ")
        rows = [line for line in section.splitlines() if line.startswith("|")]
        if rows:
            found[heading] = rows[2:]
    return found


@pytest.mark.parametrize(("page", "tables"), [("study.md", study_tables), ("cli.md", command_tables)])
def test_the_tables_follow_from_the_code(page: str, tables: Callable[[], Iterator[tuple[str, list[str]]]]) -> None:
    """Every key and option stands in its table with its type, default and meaning, and nothing else does."""
    expected = dict(tables())
    assert tables_of(page) == expected, "python -m tests.reference_tables prints the tables as they should be"
