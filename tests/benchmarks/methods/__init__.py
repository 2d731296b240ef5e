"""Every method by name: ours, and the peers' at the best setting that we could find for each."""

from __future__ import annotations

from tests.benchmarks.job import Method
from tests.benchmarks.methods import in_memory, ours, out_of_core, published

METHODS: dict[str, Method] = {**ours.METHODS, **in_memory.METHODS, **out_of_core.METHODS, **published.METHODS}
