"""Input templates with named places: ``${speed}``, or ``${speed:.6e}`` with a number format. Pure text, no code.

    *DLOAD                          design: omega_squared = 1.82465e6
    Eall,CENTRIF,${omega_squared},0.,0.,-300.,1.,0.,0.       ->      Eall,CENTRIF,1824650.0,0.,0.,-300.,1.,0.,0.

A ``$`` that is not followed by ``{`` stands for itself; ``$${`` writes ``${``. Values are numbers, or single words: a value can
neither start a line nor name a place outside the folder of its run.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

from nwidth.errors import ConfigError

_PLACE = re.compile(r"\$\$\{|\$\{(?P<inside>[^{}\n]*)\}?")
_INSIDE = re.compile(r"(?P<name>[A-Za-z_]\w*)(?::(?P<format>[+ ]?\d{0,2}(?:\.\d{1,2})?[deEfFgG]))?")
_WORD = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9_.+-]*")
NUMBER_WIDTH = 20
"""Characters of a number in the free format of CalculiX and Abaqus; what is longer is cut there without a word."""


def placeholders(text: str, label: str) -> frozenset[str]:
    """Names of the places in a template.

    Raises
    ------
    nwidth.errors.ConfigError
        A place is malformed; the text names the line.
    """
    names = set()
    for match in _PLACE.finditer(text):
        if match[0] != "$${":
            names.add(_parsed(match, text, label)["name"])
    return frozenset(names)


def fill(text: str, values: Mapping[str, float | str], label: str) -> str:
    """The template with its values.

    Raises
    ------
    nwidth.errors.ConfigError
        A place is malformed or has no value, or a value does not fit its format or is more than one word.
    """

    def filled(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        place = _parsed(match, text, label)
        if place["name"] not in values:
            raise ConfigError(f"{label}: ${{{place['name']}}} has no value; the design has {', '.join(values) or 'no column'}")
        return format_value(place["name"], values[place["name"]], place["format"])

    return _PLACE.sub(filled, text)


def check_names(places: Iterable[str], columns: Iterable[str], label: str, design: str) -> None:
    """Refuse a place without a column, and a column without a place.

    Raises
    ------
    nwidth.errors.ConfigError
        Names the first, and the nearest name on the other side.
    """
    wanted, given = sorted(places), sorted(columns)
    for name in wanted:
        if name not in given:
            raise ConfigError(f"{label} has a place ${{{name}}}, and {design} has no column {name!r}{_nearest(name, given)}")
    for name in given:
        if name not in wanted:
            raise ConfigError(
                f"{design} has a column {name!r}, and {label} has no place ${{{name}}}{_nearest(name, wanted)}; "
                "a column that changes nothing would look like a parameter"
            )


def format_value(name: str, value: float | str, format_spec: str | None = None) -> str:
    """A value as it is written into an input: numbers in the fewest digits that give them back, in at most 20 characters."""
    if isinstance(value, str):
        if format_spec or not _WORD.fullmatch(value) or ".." in value:
            asked = f" in the format {format_spec}" if format_spec else ""
            raise ConfigError(f"{name} = {value!r} cannot be written into a template{asked}; give a number, or one plain word")
        return value
    if format_spec is None:
        text = repr(float(value))
        return text if len(text) <= NUMBER_WIDTH else f"{value:.12e}"
    if format_spec.endswith("d"):
        if not float(value).is_integer():
            raise ConfigError(f"{name} = {value} is no whole number, which ${{{name}:{format_spec}}} asks for")
        return format(int(value), format_spec)
    return format(float(value), format_spec)


def _parsed(match: re.Match[str], text: str, label: str) -> re.Match[str]:
    inside = _INSIDE.fullmatch(match["inside"])
    if inside is None or not match[0].endswith("}"):
        line = text.count("\n", 0, match.start()) + 1
        raise ConfigError(
            f"{label}, line {line}: {match[0]!r} is no place for a value; write ${{name}} or ${{name:.6e}}, "
            "or $${ for ${ itself"
        )
    return inside


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(known) or 'none'}"
