"""Where blocks come from, as the graph builders see it: a field, cut into panels, and a function that reads one.

    FieldSource ──read(panel)──> Reading(values (rows, m), bytes)      inside the worker, in the task that reduces it
                └─product(panel)─> the inner product on these rows

A reader is a picklable callable given by the caller, so that nothing here knows a store. Where the data are a Dask array
instead, `array` holds it, already chunked by panels, and the leaf is fused with whatever makes its blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from nwidth_graphs.inner import BlockProduct, Interface, identity
from nwidth_graphs.kernels.panels import Array
from nwidth_graphs.layout import Panel


@dataclass(frozen=True)
class Reading:
    """One block as read: rows by snapshots, and the bytes that came from the store for it (0 where that is not known)."""

    values: Array
    bytes_read: int = 0


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
    centre: bool = False

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


def as_rows(block: Array) -> Array:
    """View a block (m, space...) as a matrix (rows, m); a C-ordered block is not copied."""
    return block.reshape(block.shape[0], -1).T if block.ndim > 2 else block.T
