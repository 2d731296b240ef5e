"""The hand-written reference pages say what the code says."""

from __future__ import annotations

import dataclasses
import inspect
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


def test_the_table_of_formats_is_complete() -> None:
    """The ingest page names every reader, each of its suffixes and options, and no suffix that no reader has."""
    from nwidth.readers import list_readers

    page = (REPOSITORY / "docs" / "how-to" / "ingest.md").read_text("utf-8")
    table = "\n".join(line for line in page.split("\n## ")[0].splitlines() if line.startswith("|"))
    shown = set(re.findall(r"(?<![\w.])\.\w+", table))
    readers = list_readers()
    assert shown == {suffix for reader in readers.values() for suffix in reader.suffixes} | {".dat"}
    for name, reader in readers.items():
        options = set(inspect.signature(reader.open).parameters) - {"path", "fields"}
        row = next(line for line in table.splitlines() if f"| `{name}` |" in line)
        assert all(f"`{option}`" in row for option in options), row


def test_every_store_option_is_described() -> None:
    """The page of the store's format has a row for each option, and no other."""
    from nwidth.stores import StoreOptions

    rows = tables_of("store.md")["Options"]
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row.split("|")[1])} == {
        entry.name for entry in dataclasses.fields(StoreOptions)
    }


def test_every_public_name_is_in_the_index() -> None:
    """The reference's front page leads to everything that `import nwidth` offers."""
    import nwidth

    page = (REFERENCE / "index.md").read_text("utf-8")
    assert set(re.findall(r"`nw\.(\w+)`", page)) == set(nwidth.__all__) - {"__version__"}
