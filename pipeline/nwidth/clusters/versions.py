"""Workers must have the packages of the process that sends them work, at the same versions: named where they have not.

Tasks are sent as code by reference: another nwidth computes something else, another NumPy rounds otherwise, another Dask may not
understand the message. A run on such workers would be wrong in a way that its certificate need not show.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nwidth.errors import ConfigError

OURS = ("nwidth", "numpy", "scipy", "zarr", "icechunk", "dask", "distributed")
"""Packages whose versions must agree, beside Python's own; what else is in the lock file follows from them."""


def check_versions(client: Any) -> None:
    """Compare the packages of all workers, and of the scheduler as far as it understands us, with ours.

    Raises
    ------
    ConfigError
        Some differ: names one worker, the package, and both versions.
    """
    answers = client.get_versions(packages=list(OURS))
    ours = answers["client"]["packages"]
    # The scheduler never computes: of its packages only those that speak to us matter.
    ends: list[tuple[str, Any, tuple[str, ...]]] = [("the scheduler", answers["scheduler"], ("dask", "distributed"))]
    ends += [(f"the worker {address}", answer, OURS) for address, answer in sorted(answers["workers"].items())]
    for who, answer, names in ends:
        found = mismatch(ours, (answer or {}).get("packages", {}), names)
        if found:
            others = sum(bool(mismatch(ours, (each or {}).get("packages", {}), OURS)) for each in answers["workers"].values())
            raise ConfigError(
                f"{who} has {found}{_and_more(others)}; install the same lock file, or use the same image, on "
                "both sides, then run again"
            )


def mismatch(ours: Mapping[str, Any], theirs: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """What differs, in words: ``numpy 2.4.0 (here 2.5.0), scipy none (here 1.18.0)``; empty where nothing does.

    Of Python, major and minor version count: a patch release changes no bytecode.
    """
    pairs = {"python": (_minor(ours.get("python")), _minor(theirs.get("python")))}
    pairs |= {name: (ours.get(name), theirs.get(name)) for name in names}
    return ", ".join(
        f"{name} {there or 'none'} (here {here or 'none'})" for name, (here, there) in pairs.items() if here != there
    )


def _minor(version: str | None) -> str | None:
    return None if version is None else ".".join(version.split(".")[:2])


def _and_more(workers: int) -> str:
    return f", and {workers - 1} more of the workers differ, too" if workers > 1 else ""
