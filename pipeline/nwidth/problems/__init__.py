"""What is reduced, made of what a user has.

cutting   shapes and memory  ──> panels
options   options by field, weights: checked against the data
stored    fields of a store  ──> Problem
arrays    xarray objects     ──> Problem
"""

from nwidth.problems.arrays import problem_from_arrays
from nwidth.problems.cutting import SPARSE, Cut, Memory, cut_field, rank_bound
from nwidth.problems.options import COMPONENT, check_weights, content_token, inner_product_of
from nwidth.problems.stored import problem_from_store, snapshot_ranges

__all__ = [
    "COMPONENT",
    "SPARSE",
    "Cut",
    "Memory",
    "check_weights",
    "content_token",
    "cut_field",
    "inner_product_of",
    "problem_from_arrays",
    "problem_from_store",
    "rank_bound",
    "snapshot_ranges",
]
