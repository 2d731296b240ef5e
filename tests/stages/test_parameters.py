"""The parameter CSV: units, which row belongs to which run, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from nwidth.errors import ConfigError
from nwidth.stages.parameters import read_parameters
from tests.shared_data import shared_data


def table(folder: Path, text: str) -> Path:
    """A CSV of this text."""
    path = folder / "design.csv"
    path.write_text(text)
    return path


def test_units_and_types(tmp_path: Path) -> None:
    """Units come from the header's brackets; a column of numbers is numeric, one with a word is text."""
    found = read_parameters(table(tmp_path, "run, speed [rad/s] ,alloy,load []\n1,2.5,IN718,1e3\n2,3,5,4\n"))
    assert found.id_column == "run"
    assert found.units == {"speed": "rad/s", "alloy": "", "load": ""}
    assert found.rows == {"1": {"speed": 2.5, "alloy": "IN718", "load": 1e3}, "2": {"speed": 3.0, "alloy": "5", "load": 4.0}}


@pytest.mark.parametrize(
    ("names", "row"),
    [
        (["point-07"], "7"),
        (["7"], "7"),
        (["blade", "point-07"], "7"),
        (["case12"], "12.0"),
        (["base"], "base"),
        (["other"], None),
    ],
)
def test_which_row_belongs_to_a_run(names: list[str], row: str | None, tmp_path: Path) -> None:
    """The same text first, then the number at the end of the name; the first name that has a row counts."""
    found = read_parameters(table(tmp_path, "run,a\n7,1\n12.0,2\nbase,3\n")).row_of(names)
    assert (found[1] if found else None) == row


def test_two_rows_for_one_run_are_refused(tmp_path: Path) -> None:
    """Rows 7 and 07 both fit point-07: neither is guessed; an exact text is no doubt."""
    found = read_parameters(table(tmp_path, "run,a\n7,1\n07,2\n"))
    with pytest.raises(ConfigError, match=r"rows 7 and 07 .* both fit the run 'point-07'"):
        found.row_of(["point-07"])
    assert found.row_of(["07"]) == ("07", "07")


@pytest.mark.parametrize(
    ("text", "refusal"),
    [
        ("", "has no parameters"),
        ("run,a\n", "has no parameters"),
        ("run\n1\n", "has no parameters"),
        ("run,a\n1,2\n1,3\n", "identifier '1' comes twice"),
        ("run,a,a [K]\n1,2,3\n", "column 'a' comes twice"),
        ("run,a\n1,2,3\n", "row 2 has 3 entries, the header 2"),
        ("run,a\n1,\n", "row 2 has no a"),
        ("run,a\n1,nan\n", "a in row 2 is nan"),
        ("run,a [K\n1,2\n", "not of the form"),
    ],
)
def test_malformed_tables_are_refused(text: str, refusal: str, tmp_path: Path) -> None:
    """Every defect is refused with its place."""
    with pytest.raises(ConfigError, match=refusal):
        read_parameters(table(tmp_path, text))


def test_absent_table_is_refused(tmp_path: Path) -> None:
    """A path to nothing is a refusal, not an OSError."""
    with pytest.raises(ConfigError, match="cannot be read"):
        read_parameters(tmp_path / "absent.csv")


def test_the_blade_design() -> None:
    """design.csv of blade-ensemble has 20 rows of three parameters with their units."""
    found = read_parameters(shared_data("blade-ensemble") / "design.csv")
    assert (found.id_column, len(found.rows)) == ("point", 20)
    assert found.units == {"omega_squared": "rad^2/s^2", "peak_temperature": "K", "hold_end": "s"}
    assert found.rows["7"] == {"omega_squared": 2.13159e6, "peak_temperature": 1128.12, "hold_end": 45.02}
