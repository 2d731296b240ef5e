"""``nw.monte_carlo``: draws of uncertain inputs, answered by a reduced model, with the statistics of its fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nwidth.errors import ConfigError, RunError
from nwidth.models.model import Model, open_model
from nwidth.problems import content_token
from nwidth.uncertainty.asking import Surrogate, learned_surrogate
from nwidth.uncertainty.distributions import Distribution, distribution
from nwidth.uncertainty.draws import draws_of
from nwidth.uncertainty.ensemble import Ensemble
from nwidth.uncertainty.monte_carlo import BATCH, LEVELS, MonteCarlo, Place, run_monte_carlo
from nwidth.uncertainty.quantities import Quantity
from nwidth.uncertainty.verification import Reference
from nwidth.workers import Executor, Progress, ThreadExecutor, executor_of

RESULT, WORK = "draws.zarr", ".draws"


def monte_carlo(
    model: str | Path | Model,
    parameters: Mapping[str, Distribution | Mapping[str, Any]],
    *,
    draws: int = 1000,
    seed: int = 0,
    surrogate: Surrogate | None = None,
    fields: Sequence[str] | None = None,
    quantities: Sequence[Quantity] = (),
    levels: Sequence[float] = LEVELS,
    batch: int = BATCH,
    verify: int = 0,
    reference: Reference | None = None,
    out: str | Path | None = None,
    client: Any = None,
    progress: Progress | None = None,
) -> Ensemble:
    """Statistics of what a reduced model answers to random inputs; a run that is cut off goes on where it was.

    Mean, standard deviation and quantiles of whole fields are those of the sample itself (`kernels.field_statistics`), in memory
    bounded by a block of modes. The standard error of the mean of a quantity is ``s / sqrt(D)``.

    Parameters
    ----------
    model : path or Model
        That `nwidth.learn` has taught, or with a `surrogate` of its own.
    parameters : mapping
        Input -> distribution, or a table such as ``{"distribution": "uniform", "low": 0, "high": 1}``.
    draws, seed : D, and what fixes all draws, whatever the batches and workers
    surrogate : Surrogate, optional
        Who answers, ``nw.open_mechanics(model).surrogate`` for one; by default what `nwidth.learn` has taught the model.
    fields : whose statistics are formed; all that are answered by default
    quantities : scalar quantities of interest
    levels : quantiles
    batch : draws of a task
    verify, reference : so many draws, chosen by the seed, are answered by a full-order model, too
    out : folder of the result; ``draws.zarr`` beside the model by default
    client : distributed.Client, optional
        Workers; by default two threads of this process.

    Raises
    ------
    ConfigError
        Before any work: what is wanted does not fit the model.
    RunError
        All draws failed, or another Monte Carlo run of the same result is at work.
    """
    opened = model if isinstance(model, Model) else open_model(model)
    if draws < 1 or batch < 1:
        raise ConfigError(f"draws = {draws} in batches of {batch} were asked for; give positive numbers")
    if not all(0.0 <= level <= 1.0 for level in levels):
        raise ConfigError(f"levels of quantiles are {list(levels)}, expected numbers from 0 to 1")
    asked = learned_surrogate(opened) if surrogate is None else surrogate
    found = {name: distribution(name, given) if isinstance(given, Mapping) else given for name, given in parameters.items()}
    wanted = MonteCarlo(
        draws=draws,
        sequence=draws_of(found, seed),
        fields=tuple(asked.modes) if fields is None else tuple(fields),
        quantities=tuple(quantities),
        levels=tuple(levels),
        batch=batch,
        verify=verify,
    )
    executor: Executor = ThreadExecutor(2) if client is None else executor_of(client)
    result = opened.path.with_name(RESULT) if out is None else Path(out)
    return run_in(wanted, asked, opened, result, executor, reference=reference, progress=progress)


def run_in(
    wanted: MonteCarlo,
    surrogate: Surrogate,
    model: Model,
    result: Path,
    executor: Executor,
    *,
    weights: Mapping[str, str] | None = None,
    reference: Reference | None = None,
    progress: Progress | None = None,
) -> Ensemble:
    """Run in a working folder beside the result, which nobody else holds; errors as `monte_carlo`."""
    with place_of(wanted, model, result) as place:
        return run_monte_carlo(wanted, surrogate, place, executor, weights=weights, reference=reference, progress=progress)


@contextmanager
def place_of(wanted: MonteCarlo, model: Model, result: Path) -> Iterator[Place]:
    """A working folder beside the result, which nobody else holds, with what a killed run has left there.

    Raises
    ------
    RunError
        Another Monte Carlo run of the same result is at work.
    """
    import fcntl

    content = model.manifest.get("provenance", {}).get("content_key", "")
    key = content_token("draws", content, repr(wanted.sequence), wanted.draws, wanted.batch)
    work = result.with_name(f"{WORK}-{result.name}")
    work.parent.mkdir(parents=True, exist_ok=True)
    with work.with_name(f"{work.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"another Monte Carlo run is at work on {result}; wait for it, or give another folder") from None
        yield Place(model.path, work, result, key)
