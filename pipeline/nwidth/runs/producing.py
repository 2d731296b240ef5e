"""`nwidth produce`: the production stage on the workers that a study asks for."""

from __future__ import annotations

from collections.abc import Callable

from nwidth.config import Study
from nwidth.fullorder.protocol import Outcome
from nwidth.stages.production import ProductionReport
from nwidth.stages.production import produce as run_stage
from nwidth.workers import Progress


def produce(
    study: Study, *, progress: Progress | None = None, on_failure: Callable[[Outcome], None] | None = None
) -> ProductionReport:
    """Run the solver at every point that is missing; see `nwidth.stages.production.produce`.

    Local workers are threads of this process: a solver is a process of its own. A cluster or jobs of Slurm run the points where
    the study names them; solvers run one for each thread of a worker, or as many as it has of the resource ``SOLVER``.

    Raises
    ------
    ConfigError, StoreError, RunError
        As the stage does, and where the workers cannot be had.
    """
    workers = study.workers
    if workers.kind != "slurm" and workers.address is None:
        return run_stage(study, progress=progress, on_failure=on_failure)
    from nwidth.runs.executing import execution

    with execution(study, progress) as executor:
        return run_stage(study, executor=executor, progress=progress, on_failure=on_failure)
