"""Numerical trouble that a pass met, in words: where it is, and what to do."""

from __future__ import annotations

from nwidth.stages.problem import Problem
from nwidth_graphs.leaves import BadValue
from nwidth_graphs.source import FieldSource


def describe_bad(bad: BadValue, problem: Problem) -> str:
    """A NaN, an infinity or an overflow: field, place and snapshot."""
    if bad.snapshot < 0:
        return f"field {bad.field!r} holds values whose squares overflow; rescale it (larger units)"
    shape = problem.shapes[bad.field]
    place = ", ".join(
        f"component {shape.components[index]}" if dim == "component" and shape.components else f"{dim} {index}"
        for dim, index in zip(shape.dims, bad.place, strict=True)
    )
    return (
        f"field {bad.field!r} is {bad.value} at {place}, in snapshot {bad.snapshot} ({problem.snapshot_label(bad.snapshot)}); "
        "repair or leave out that simulation (fields with missing values are not reduced)"
    )


def describe_zero(name: str, source: FieldSource) -> str:
    """A field without a direction."""
    if source.centre and source.snapshots == 1:
        return f"field {name!r} has one snapshot, which is zero once its mean is removed; set centre = false, or add snapshots"
    removed = " once its mean is removed" if source.centre else ""
    return (
        f"every snapshot of field {name!r} is zero{removed} (or its squares are): there is nothing to reduce; leave the field "
        "out, or rescale it (smaller units)"
    )
