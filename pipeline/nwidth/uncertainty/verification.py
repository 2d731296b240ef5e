"""A random subset of the draws, answered by the full-order model, too: the true errors behind the model's own estimates.

    error of field f, draw d   sqrt( sum_t sum_i w_i (x_dti - x~_dti)^2 / sum_t sum_i w_i x_dti^2 )

The subset is drawn by the seed, and not by what the model says of its answers.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nwidth.errors import NwidthError
from nwidth.uncertainty.asking import AskDraws
from nwidth.uncertainty.fields import ModesReader, panels_at
from nwidth_graphs.draws import Verified

Floats = NDArray[np.float64]

Reference = Callable[[Mapping[str, float]], Mapping[str, Floats]]
"""A full-order model: inputs by name -> field -> (T, *space[, component]) at the surrogate's times. Travels to the workers.

Fields that it does not give are not compared. It raises `nwidth.errors.NwidthError` where a draw cannot be solved; any other
exception is told by its type."""

_SUBSET_STREAM = 1


def subset(seed: int, draws: int, count: int) -> NDArray[np.int64]:
    """`count` of the draws 0..draws-1, ascending, by the seed."""
    # A jump ahead of the stream that the draws themselves come from.
    stream = np.random.Philox(key=seed).jumped(_SUBSET_STREAM)
    return np.sort(np.random.Generator(stream).permutation(draws)[:count])


@dataclass(frozen=True)
class Check:
    """``check(draw)``: both models asked about one draw, and compared; travels to the workers."""

    ask: AskDraws
    reference: Reference
    readers: Mapping[str, ModesReader]
    """Field -> reader of the modes that its answers are of."""

    def __call__(self, draw: int) -> Verified:
        inputs = {name: float(values[0]) for name, values in self.ask.draws(draw, draw + 1).items()}
        answer = self.ask(draw, draw + 1)
        processor, words = time.thread_time(), ""
        truth: Mapping[str, Any] = {}
        try:
            truth = self.reference(inputs)
        except NwidthError as error:
            words = str(error)
        except Exception as error:  # somebody's own solver: one draw's failure is not the run's
            words = f"{type(error).__name__}: {error}"
        seconds = time.thread_time() - processor
        errors = {name: np.full(1, np.nan) for name in self.readers}
        if answer.failed[0]:
            words = words or f"the reduced model failed: {answer.words[0]}"
        elif not words:
            for name, reader in self.readers.items():
                if name in truth and not words:
                    exact = np.asarray(truth[name], float)
                    words = _misfit(name, exact, reader, len(answer.labels[0]))
                    if not words:
                        errors[name][0] = _error(reader, answer.labels[0], answer.coefficients[name][0], exact)
        return Verified(np.array([draw]), errors, np.array([seconds]), (words,))


def _misfit(name: str, exact: Floats, reader: ModesReader, times: int) -> str:
    """What is wrong with the shape of a full-order field; empty where nothing is."""
    import zarr

    stored: Any = zarr.open_array(f"{reader.folders[0]}/modes", mode="r")
    expected = (times, *stored.shape[1:])
    return "" if exact.shape == expected else f"the full-order model gives {name!r} of shape {exact.shape}, expected {expected}"


def _error(reader: ModesReader, labels: NDArray[np.int64], coefficients: Floats, truth: Floats) -> float:
    """The relative error of one field of one draw, panel by panel."""
    difference = total = 0.0
    for panel in panels_at(reader.folders[0]):
        block = reader(panel)
        exact = truth[(slice(None), *panel.selection)].reshape(len(labels), -1)
        weights = 1.0 if block.weights is None else block.weights
        for t, label in enumerate(labels):
            phi, mean = block.modes[label], block.means[label]
            formed = coefficients[t, : len(phi)] @ phi + (0.0 if mean is None else mean)
            difference += float(np.sum(weights * (exact[t] - formed) ** 2))
            total += float(np.sum(weights * exact[t] ** 2))
    return float(np.sqrt(difference / total)) if total > 0 else float(np.sqrt(difference))
