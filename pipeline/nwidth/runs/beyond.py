"""What a study does beyond its passes, as far as it is known before: training of mechanics, draws. Pure; in words.

Reads of fields are known, times are not: a march depends on the law, and a search for points on what it finds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nwidth.config import Study
from nwidth.report.words import amount, count, listing

if TYPE_CHECKING:
    from nwidth.sections import MechanicsSection, UncertaintySection
    from nwidth.stores.protocol import SnapshotStore

UNKNOWN = "not in this plan: its time"


def beyond(study: Study, store: SnapshotStore) -> dict[str, str]:
    """Table -> what it will do, in words; fields that the store does not have are refused before."""
    found = {}
    if study.mechanics is not None:
        found["mechanics"] = _mechanics(study.mechanics, store, bases_apart=study.atlas is not None)
    if study.uncertainty is not None:
        found["uncertainty"] = _uncertainty(study.uncertainty)
    return found


def _mechanics(section: MechanicsSection, store: SnapshotStore, *, bases_apart: bool) -> str:
    fields = (section.displacement, *section.duals)
    parts = []
    if bases_apart or section.held_out:
        owner = "of each cluster" if bases_apart else "without what is held out"
        parts.append(f"2 reads of {listing(fields)} ({_bytes(store, fields)}) for bases {owner}")
    reads = "1 read" if section.search == "two-level" else "1 read for every pool of points"
    parts.append(f"{reads} of {section.stress} ({_bytes(store, (section.stress,))}) for the cubature")
    if section.held_out:
        held = count(len(section.held_out), "held-out simulation")
        parts.append(f"1 read of {listing(dict.fromkeys((*fields, section.stress)))} of {held}")
    return f"after the passes, {listing(parts)}; {UNKNOWN}"


def _uncertainty(section: UncertaintySection) -> str:
    tasks = -(-section.draws // section.batch)
    full = f", {count(section.verify, 'full-order run')}" if section.verify else ""
    return f"by nwidth predict, {count(section.draws, 'draw')} in {count(tasks, 'task')}, 1 read of the modes{full}; {UNKNOWN}"


def _bytes(store: SnapshotStore, names: tuple[str, ...]) -> str:
    """Of all snapshots, before compression."""
    fields = store.schema().fields
    return amount(sum(int(fields[name].nbytes) for name in names))
