"""nwidth: `nwidth.pod` on arrays in memory, and a whole study on a store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.job import Answer, Job, Method, Work


@contextmanager
def pod(job: Job, route: Any) -> Iterator[Work]:
    """`nwidth.pod` on an array of this process."""
    import nwidth
    import nwidth.api
    from nwidth.workers import ThreadExecutor  # noqa: F401 (imported before the clock starts)

    rows = np.load(job.source)

    def work() -> Answer:
        basis = nwidth.pod(rows, rank=job.rank, route=route)
        return Answer(basis.spectrum.singular_values, basis.modes.values, note=f"route {basis.spectrum.route}")

    yield work


@contextmanager
def run(job: Job, route: Any, *, one_process: bool = False, threads_alone: bool = False, **options: Any) -> Iterator[Work]:
    """A study, from plan to published model, on a cluster that is up already: peers' clusters are, too.

    `one_process` has the same memory and threads in one worker, and `threads_alone` in this process, without a cluster.
    """
    import zarr  # what a run imports, so that starting up stays out of the time, as with the peers
    from zarr.storage import ObjectStore  # noqa: F401

    from nwidth.config import check_study
    from nwidth.runs.run import run as run_study
    from nwidth.workers import local_cluster

    count, threads = (1, job.workers) if one_process or threads_alone else (job.workers, 1)
    memory = job.memory * threads
    workers = {"count": count, "threads": threads, "memory": memory}
    with nullcontext() if threads_alone else local_cluster(count, threads, memory) as executor:
        where = {"kind": "threads"} if executor is None else {"address": executor.client.scheduler.address}
        study = check_study(
            {
                "study": {"name": "benchmark", "store": job.source, "output": job.scratch},
                "reduce": {"rank": job.rank, "route": route, **options},
                "workers": workers | where,
                "report": {"enabled": False},
            },
            folder=Path(job.scratch),
        )

        def work() -> Answer:
            result = run_study(study, force=True)
            basis: Any = zarr.open_group(str(result.model / "bases" / "u"), mode="r")
            passes = ", ".join(
                f"{measure['name']} {measure['seconds']:.2f} s (reads {measure['read_seconds']:.1f}, "
                f"computes {measure['compute_seconds']:.1f} core-s)"
                for measure in result.measured["passes"]
            )
            return Answer(
                np.asarray(basis["singular_values"][...]),
                basis["u/modes"],
                spilled_bytes=0,
                counted_bytes=result.measured["bytes_read"],
                note=passes,
            )

        yield work


@contextmanager
def spectrum(job: Job) -> Iterator[Work]:
    """Singular values alone, by one read: plan, Gram pass, eigenvalues."""
    from nwidth.config import check_study
    from nwidth.runs.plan import prepare
    from nwidth.stages.problem import Passes
    from nwidth.stores import open_store
    from nwidth.workers import local_cluster
    from nwidth_graphs.factor import factor_graph, factor_root
    from nwidth_graphs.reduction import GRAM

    with local_cluster(job.workers, 1, job.memory) as executor:
        study = check_study(
            {
                "study": {"name": "spectrum", "store": job.source, "output": job.scratch},
                "reduce": {"rank": job.rank, "route": "gram"},
                "workers": {"count": job.workers, "memory": job.memory},
            },
            folder=Path(job.scratch),
        )

        def work() -> Answer:
            problem = prepare(study, open_store(job.source), Path(job.scratch))[1]
            graph = factor_graph(list(problem.sources.values()), GRAM, problem.token)
            result = Passes(executor, None).run("gram", graph)[factor_root("u", GRAM)]
            return Answer(GRAM.finish(result.factor).values, None, spilled_bytes=0, counted_bytes=result.tally.bytes_read)

        yield work


METHODS: dict[str, Method] = {
    "nwidth pod auto": partial(pod, route="auto"),
    "nwidth pod gram": partial(pod, route="gram"),
    "nwidth pod tsqr": partial(pod, route="tsqr"),
    "nwidth pod sketch": partial(pod, route="sketch"),
    "nwidth run gram": partial(run, route="gram"),
    "nwidth run gram, one process": partial(run, route="gram", one_process=True),
    "nwidth run gram, threads": partial(run, route="gram", threads_alone=True),
    "nwidth run tsqr": partial(run, route="tsqr"),
    "nwidth spectrum": spectrum,
    "nwidth run sketch": partial(run, route="sketch"),
    "nwidth run sketch, one process": partial(run, route="sketch", one_process=True),
    "nwidth run sketch, threads": partial(run, route="sketch", threads_alone=True),
    "nwidth run sketch q 4": partial(run, route="sketch", power_iterations=4),
    "nwidth run sketch q 4, one process": partial(run, route="sketch", power_iterations=4, one_process=True),
    "nwidth run nystrom": partial(run, route="nystrom"),
    "nwidth run nystrom, threads": partial(run, route="nystrom", threads_alone=True),
}
