"""Draw i of the inputs: the same numbers whatever the batch it is in, the order of the batches and who computes them.

    u_i (p,) = words i*w .. i*w + p - 1 of the Philox stream of the seed       w = p rounded up to a whole counter step
    x_ij     = F_j^-1(u_ij)

A counter-based generator goes to any draw at once, so that nothing has to be drawn before it.

Source  J. K. Salmon et al., Parallel random numbers: as easy as 1, 2, 3 (2011)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import ConfigError
from nwidth.uncertainty.distributions import Distribution

Floats = NDArray[np.float64]

_WORDS_PER_STEP = 4
# Generator.random gives multiples of 2^-53, zero among them, at which the quantile of an unbounded distribution is infinite.
_HALF_STEP = 2.0**-54


@dataclass(frozen=True)
class Draws:
    """A sequence of draws without an end; travels to the workers."""

    names: tuple[str, ...]
    distributions: tuple[Distribution, ...]
    seed: int

    def __call__(self, start: int, stop: int) -> dict[str, Floats]:
        """The draws ``start:stop``: name -> (stop - start,)."""
        u = unit_cube(self.seed, len(self.names), start, stop)
        return {name: found.quantile(u[:, j]) for j, (name, found) in enumerate(zip(self.names, self.distributions, strict=True))}


def draws_of(distributions: Mapping[str, Distribution], seed: int) -> Draws:
    """Draws of named inputs; their order does not matter.

    Raises
    ------
    ConfigError
        There is no input.
    """
    if not distributions:
        raise ConfigError("no input is uncertain; name at least one under uncertainty.parameters")
    names = tuple(sorted(distributions))
    return Draws(names, tuple(distributions[name] for name in names), seed)


def unit_cube(seed: int, dimensions: int, start: int, stop: int) -> Floats:
    """Points ``start:stop`` of a random sequence in the open unit cube, (stop - start, dimensions)."""
    steps = -(-dimensions // _WORDS_PER_STEP)
    stream = np.random.Philox(key=seed)
    stream.advance(start * steps)
    words = np.random.Generator(stream).random((stop - start, steps * _WORDS_PER_STEP))
    return words[:, :dimensions] + _HALF_STEP
