"""Where blocks come from, as the graph builders see it: a field, cut into panels, and a function that reads one.

    FieldSource ──read(panel)──> Reading(values (rows, m), bytes)      inside the worker, in the task that reduces it
                └─product(panel)─> the inner product on these rows

A reader is a picklable callable given by the caller, so that nothing here knows a store. Where the data are a Dask array
instead, `array` holds it, already chunked by panels, and the leaf is fused with whatever makes its blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nwidth_graphs.inner import BlockProduct, Interface, identity
from nwidth_graphs.kernels.panels import Array
from nwidth_graphs.layout import Group, Panel

if TYPE_CHECKING:
    from nwidth_graphs.keeping import Shelf


@dataclass(frozen=True)
class Reading:
    """One block as read: rows by snapshots, and the bytes that came from the store for it (0 where that is not known)."""

    values: Array
    bytes_read: int = 0
    lent: bool = False
    """Whether `values` is a buffer of the reader's own, which its user may change; otherwise it may be the array of a person."""
    masked: Array | None = None
    """Indices of the rows that are outside of the domain, see `nwidth_graphs.missing`; found by the leaf, not by the reader."""
    read_seconds: float | None = None
    """How long it took where it was read, if that was another worker than the one that reduces it."""

    def __sizeof__(self) -> int:
        # What Dask believes that it sends from worker to worker, and holds in memory.
        return object.__sizeof__(self) + int(self.values.nbytes)


def _identity_everywhere(panel: Panel) -> BlockProduct:
    return identity()


@dataclass(frozen=True)
class FieldSource:
    """One field of a reduction; `read` or `array` says where its blocks come from."""

    name: str
    panels: tuple[Panel, ...]
    snapshots: int
    itemsize: int
    read: Callable[[Panel], Reading] | None = None
    array: Any = None
    """A Dask array (m, space...) or None; its blocks are the panels, in order, each with all snapshots."""
    product: Callable[[Panel], BlockProduct] = _identity_everywhere
    interface: Interface | None = None
    """Elements that straddle panels, where the inner product couples rows."""
    mass_entries: int = 0
    """Entries of the element masses of the fullest panel, where the inner product is a mass."""
    gram_only: bool = False
    """Whether the inner product has a Gram matrix and no factor, so that `r_factor` is not defined."""
    centre: bool = False
    fill: Callable[[Panel, Reading], Reading] | None = None
    """Puts values where there are none, before anything else sees the block; see `nwidth_graphs.gappy`."""
    shelf: Shelf | None = None
    """Where partials of passes over this field are kept, see `nwidth_graphs.keeping`; None keeps nothing."""

    @property
    def rows(self) -> int:
        """Degrees of freedom, n."""
        return sum(panel.rows for panel in self.panels)

    @property
    def largest_panel(self) -> int:
        """Rows of the largest block."""
        return max(panel.rows for panel in self.panels)


def without_array(source: FieldSource) -> FieldSource:
    """The source as it travels to workers: a Dask array stays behind, its blocks come through the graph."""
    return replace(source, array=None)


def as_sent(source: FieldSource) -> FieldSource:
    """The source as tasks share it: every task brings its own panel, so the list of all of them stays behind, too."""
    return replace(source, array=None, panels=())


def as_rows(block: Array) -> Array:
    """View a block (m, space...) as a matrix (rows, m); a C-ordered block is not copied."""
    return block.reshape(block.shape[0], -1).T if block.ndim > 2 else block.T


def part_of(source: FieldSource, group: Group) -> FieldSource:
    """The source with the snapshots of one group only.

    Raises
    ------
    TypeError
        The source's reader cannot read some snapshots: it has no ``part(start, stop)``.
    """
    if source.array is not None:
        return replace(source, snapshots=group.size, array=source.array[group.start : group.stop])
    part = getattr(source.read, "part", None)
    if part is None:
        raise TypeError(f"field {source.name!r} is read with all its snapshots at once: its reader has no part(start, stop)")
    return replace(source, snapshots=group.size, read=part(group.start, group.stop))
