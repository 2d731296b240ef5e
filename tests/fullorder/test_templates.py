"""Templates: places, formats, and everything that must not get into a deck."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nwidth.errors import ConfigError
from nwidth.fullorder.templates import NUMBER_WIDTH, check_names, fill, format_value, placeholders


def test_places_are_found_and_filled() -> None:
    """Names are replaced by values, formats are obeyed, and a dollar that is no place stands for itself."""
    deck = "*DLOAD\nEall,CENTRIF,${speed}\n${count:d},${speed:.3e},$5,$${speed},${grade}\n"
    assert placeholders(deck, "deck") == {"speed", "count", "grade"}
    filled = fill(deck, {"speed": 1824650.0, "count": 12.0, "grade": "IN-718"}, "deck")
    assert filled == "*DLOAD\nEall,CENTRIF,1824650.0\n12,1.825e+06,$5,${speed},IN-718\n"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_fit_the_width_that_decks_have(value: float) -> None:
    """A number takes at most 20 characters, gives itself back where its digits fit, and is off by 1e-12 of itself otherwise."""
    text = format_value("x", value)
    assert len(text) <= NUMBER_WIDTH
    if len(repr(value)) <= NUMBER_WIDTH:
        assert float(text) == value
    else:
        # 13 digits: half a unit of the last one.
        assert math.isclose(float(text), value, rel_tol=5.0000001e-13, abs_tol=5e-324)


@pytest.mark.parametrize(
    "place", ["${}", "${a b}", "${a:x}", "${a!r}", "${a.b}", "${a[0]}", "${__import__('os')}", "${a", "${a\n}"]
)
def test_a_malformed_place_is_refused_by_its_line(place: str) -> None:
    """Nothing but a name and a number format can stand in a place: no attribute, no index, no expression."""
    with pytest.raises(ConfigError, match=r"deck, line 3: .* is no place for a value"):
        placeholders(f"*A\n*B\n1,{place}\n", "deck")


@pytest.mark.parametrize("value", ["../up", "a/b", "two words", "a\n*STEP", "", "a,b", "..", ".hidden"])
def test_a_value_is_one_plain_word(value: str) -> None:
    """A text value can neither start a line, nor be a second entry, nor name a place outside of the folder."""
    with pytest.raises(ConfigError, match="one plain word"):
        fill("${grade}", {"grade": value}, "deck")


def test_a_fraction_is_no_whole_number() -> None:
    """``:d`` takes 12.0, and refuses 12.5 instead of cutting it."""
    with pytest.raises(ConfigError, match=r"n = 12\.5 is no whole number"):
        fill("${n:d}", {"n": 12.5}, "deck")


def test_names_are_compared_before_anything_runs() -> None:
    """A place without a column and a column without a place are refused by name, with the nearest one."""
    check_names({"a", "b"}, ["b", "a"], "deck", "design")
    with pytest.raises(ConfigError, match=r"has a place \$\{speed\}.*no column 'speed'; did you mean 'sped'"):
        check_names({"speed"}, ["sped"], "deck", "design")
    with pytest.raises(ConfigError, match=r"a column 'load', and deck has no place"):
        check_names({"speed"}, ["speed", "load"], "deck", "design")
