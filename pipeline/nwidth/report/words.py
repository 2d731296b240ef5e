"""Numbers and results in words: one way to write an error, a size, a duration, and the sentence on top of the report."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np


def printable(text: object) -> str:
    """Text from elsewhere without its control characters, which neither HTML nor XML allows; line ends stay."""
    return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in str(text))


def number(value: Any, digits: int = 2, small: float = 1e-3) -> str:
    """A plain number with `digits` significant digits: ``8.7e-5``, ``0.35``, ``1200``; counts in full, and a dash for nothing.

    Numbers below `small` are written with an exponent.
    """
    if value is None:
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{int(value):,}".replace(",", "\u202f")
    size = abs(float(value))
    if not math.isfinite(size):
        return str(float(value))
    if size and not small <= size < 1e5:
        return (
            re.sub(r"\.?0*e", "e", f"{float(value):.{digits - 1}e}").replace("e+0", "e").replace("e-0", "e-").replace("e+", "e")
        )
    return f"{float(value):.{digits}g}" if size < 10**digits else f"{float(value):.0f}"


def error(value: Any, digits: int = 2) -> str:
    """A relative error: ``8.7e-5``, ``1e-3``, ``0.02``; a dash for nothing."""
    return number(value, digits, small=1e-2)


def share(value: float) -> str:
    """A part of a whole in percent, never rounded up to all of it: ``93.2 %``, ``99.99998 %``, ``4.1e-5 %``."""
    missing = 1 - value
    if missing >= 0.1:
        return f"{number(100 * value, 3)} %"
    return f"{100 * value:.{min(12, int(-math.log10(missing))) if missing > 0 else 0}f} %"


def amount(value: Any, unit: str = "B") -> str:
    """Data or work with a decimal prefix: ``1.4 GB``, ``27.4 Gflop``."""
    if value is None:
        return "–"
    size, prefixes = float(value), ["", "k", "M", "G", "T", "P"]
    while abs(size) >= 999.5 and len(prefixes) > 1:
        size /= 1000
        prefixes.pop(0)
    return f"{size:.3g} {prefixes[0]}{unit}"


def memory(value: Any) -> str:
    """Memory in binary units: ``512 MiB``, ``12.5 GiB``."""
    if value is None:
        return "–"
    return f"{value / 2**20:.0f} MiB" if value < 10 * 2**30 else f"{value / 2**30:.1f} GiB"


def operations(value: Any) -> str:
    """Floating-point operations: ``27.4 Gflop``."""
    return amount(value, "flop")


def seconds(value: Any) -> str:
    """A duration: ``35 ms``, ``2.4 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if value is None:
        return "–"
    span = float(value)
    if span < 1:
        return f"{1000 * span:.3g} ms"
    if span < 99.95:
        return f"{span:.3g} s"
    minutes, rest = divmod(round(span), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def count(amount: int, noun: str) -> str:
    """``1 mode``, ``12 modes``, ``2 bases``."""
    plural = noun[:-2] + "es" if noun.endswith("is") else noun + ("es" if noun.endswith("s") else "s")
    return f"{number(int(amount))} {noun if amount == 1 else plural}"


def listing(items: Any) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    names = [str(item) for item in items]
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def with_unit(value: str, unit: str) -> str:
    """A value and its unit, where it has one."""
    return f"{value} {unit}" if unit and unit != "1" else value


def in_unit(name: str, unit: str) -> str:
    """A quantity on an axis or in a column: ``time in s``; a number without dimension is named alone."""
    return f"{name} in {unit}" if unit and unit != "1" else name


def moment(value: Any, unit: str = "") -> str:
    """A time of a snapshot: a number with its unit, or a date."""
    if isinstance(value, np.datetime64):
        return str(value.astype("datetime64[s]")).replace("T", " ").removesuffix(" 00:00:00")
    if isinstance(value, int | float | np.integer | np.floating):
        return with_unit(number(float(value), 4), unit)
    return str(value)


def headline(*, rank: int, n_snapshots: int, fields: Any, achieved: float, asked: float | None, worst: float, where: str) -> str:
    """The result in one sentence.

    ``12 modes reproduce 400 snapshots of temperature to 8.7e-5 (asked 1e-4);
    worst single snapshot 3.1e-4: simulation run-07, t = 0.35 s``
    """
    verb = "reproduces" if rank == 1 else "reproduce"
    bound = (
        ""
        if asked is None
        else f" (asked {error(asked)})"
        if achieved <= asked
        else f", which misses the {error(asked)} that was asked"
    )
    place = f": {where}" if where else ""
    return (
        f"{count(rank, 'mode')} {verb} {count(n_snapshots, 'snapshot')} of {listing(fields)} to {error(achieved)}{bound}; "
        f"worst single snapshot {error(worst)}{place}"
    )


def missing(proof: Mapping[str, Any]) -> list[str]:
    """What a certificate's summary says of masked unknowns and filled values, one line each; empty for a whole field."""
    lines = [
        f"{count(unknowns, 'unknown')} of {name} masked: NaN in every snapshot"
        for name, unknowns in (proof.get("masked_unknowns") or {}).items()
    ]
    if proof.get("filled_fraction"):
        lines.append(
            f"{100 * proof['filled_fraction']:.3g} % of the values were missing and filled; "
            f"relative error of the filling {error(proof.get('fill_error'), 3)}, measured on values hidden from it"
        )
    return lines
