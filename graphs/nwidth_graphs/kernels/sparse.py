"""A sparse symmetric positive definite matrix at work on a block of rows: its entries within the block, never a factor of it.

    M = sum_p P_p^T M_pp P_p  +  P_I^T M_c P_I             two levels
        entries within panel p   entries between panels, over the interface rows I that they touch

    u^T M v = sum_p u_p^T M_pp v_p  +  u_I^T M_c v_I

The first sum runs in the leaves, each with its own rows; the second at the root of the tree, over the interface rows that the
leaves handed up. `M_c` has no diagonal, so it is not positive: only the sum is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SparsePatch:
    """Some entries of a sparse matrix, in compressed rows numbered from zero; a node's components are not coupled."""

    indptr: NDArray[np.integer[Any]]
    """(n_nodes + 1,)."""
    indices: NDArray[np.integer[Any]]
    """(entries,): column of each entry."""
    data: NDArray[np.float64]
    """(entries,)."""
    components: int = 1

    @property
    def n_nodes(self) -> int:
        """Rows of the matrix, before they are repeated for each component."""
        return len(self.indptr) - 1

    @cached_property
    def matrix(self) -> Any:
        """The scipy matrix, (n_nodes * components) squared: ``M`` times the identity of the components."""
        from scipy.sparse import csr_array, kron

        matrix = csr_array((self.data, self.indices, self.indptr), shape=(self.n_nodes, self.n_nodes))
        return matrix if self.components == 1 else kron(matrix, np.eye(self.components), format="csr")
