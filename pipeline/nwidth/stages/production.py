"""A design of experiments -> solver runs -> snapshot store: the stage before all others.

    design ──points──> threads, or workers of a cluster, each running one solver process ──as they finish──> harvest ──> store
       │                        │                                                                              │
       └─ names, template, executable, store: all checked before a solver starts      failures listed, others go on

A solver is a process of its own, so that threads of this process are enough to keep a machine busy; with ``workers.address``
points run on the workers of a cluster, which see the same folder. What was done is read from the points' folders, so that a
production that failed, was stopped or was killed continues with what is missing.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nwidth.config import DrawSection, FullOrderSection, Study
from nwidth.errors import ConfigError, FormatError, RunError, StoreError
from nwidth.fullorder import make_solver, pool
from nwidth.fullorder.attempts import Job, missing_executable, remove_results
from nwidth.fullorder.design import Axis, design_text, draw, keep_design, points_of
from nwidth.fullorder.folder import DESIGN, ProductionFolder
from nwidth.fullorder.harvest import Harvest
from nwidth.fullorder.protocol import Limits, Outcome, Point, Solver
from nwidth.fullorder.templates import check_names
from nwidth.stages.parameters import read_parameters

if TYPE_CHECKING:
    from nwidth.workers import Executor

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class ProductionReport:
    """What a production did."""

    store: str
    folder: str
    points: int
    produced: tuple[str, ...]
    """Points that were run now, and are good."""
    added: tuple[str, ...]
    """Runs that are new in the store."""
    there: int
    """Points that were in the store before."""
    failed: Mapping[str, str]
    """Point -> why."""
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Production:
    """A study's full-order part with everything settled that can be before a solver starts."""

    study: Study
    asked: FullOrderSection
    solver: Solver

    @cached_property
    def folder(self) -> ProductionFolder:
        """Where the solvers run."""
        return ProductionFolder((self.study.folder / self.asked.folder).resolve())

    @property
    def design_file(self) -> Path:
        """The CSV of the design, given or drawn."""
        return self.study.folder / self.asked.design if self.asked.design else self.folder.path / DESIGN

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """The design; its names are those of the template."""
        table = read_parameters(self.design_file)
        columns = next(iter(table.rows.values()))
        check_names(self.solver.parameters, columns, str(self.study.folder / self.asked.deck), str(self.design_file))
        return points_of(table.rows, str(self.design_file))

    @property
    def limits(self) -> Limits:
        """Of one attempt."""
        asked = self.asked
        return Limits(asked.timeout, asked.attempts, asked.disk, asked.memory, asked.threads)

    @cached_property
    def _solver_key(self) -> str:
        return self.solver.key()

    def key(self, point: Point) -> str:
        """Content key of the inputs of a point."""
        parameters = json.dumps(dict(point.parameters), sort_keys=True)
        return hashlib.blake2b(f"{self._solver_key}\0{parameters}".encode(), digest_size=16).hexdigest()

    def job(self, point: Point, session: str) -> Job:
        """What a worker needs to run a point."""
        folder = self.folder
        return Job(point, folder.of(point), self.key(point), self.solver, self.limits, folder.session_file, session)

    def stored(self) -> frozenset[str]:
        """Names of the runs that are in the store; none where there is no store yet."""
        from nwidth.stores import open_store
        from nwidth.stores.opening import detect

        if detect(self.study.store_url, self.study.store_options) is None:
            return frozenset()
        store = open_store(self.study.store_url, options=self.study.store_options)
        return frozenset(run.simulation for run in store.schema().runs)

    def standing(self, stored: frozenset[str]) -> dict[str, Outcome]:
        """What is done and need not be run: points with a good attempt, whose results are in the store or still lie there.

        Raises
        ------
        ConfigError
            A point was produced from other inputs.
        StoreError
            The store has a run of a point's name that was not produced here.
        """
        done = {}
        for point in self.points:
            outcome = self.folder.outcome(point, self.key(point))
            if outcome is not None and outcome.status == "done" and (point.name in stored or self._has_results(point, outcome)):
                done[point.name] = outcome
            elif point.name in stored:
                raise StoreError(
                    f"{self.study.store_url} has a run {point.name!r} already, and {self.folder.path} does not know how it was "
                    "produced; give the study another store, or full_order the folder of that production"
                )
        return done

    def _has_results(self, point: Point, outcome: Outcome) -> bool:
        files = self.solver.outputs(self.folder.of(point) / outcome.folder)
        return bool(files) and all(file.exists() for file in files)


def settle(study: Study) -> Production:
    """Check all of a study's full-order part that can be without running anything; a drawn design is written.

    Raises
    ------
    ConfigError
        There is no such part, a file is missing, or design and template do not fit each other.
    """
    asked = study.full_order
    if asked is None:
        raise ConfigError("the study has no table [full_order]; it says which solver makes the snapshots, and from which design")
    executable = asked.executable
    if os.sep in executable:
        executable = str((study.folder / executable).absolute())
    files = tuple((study.folder / file).absolute() for file in asked.files)
    for file in files:
        if not file.is_file():
            raise ConfigError(f"{file} is not a file; mend full_order.files")
    solver = make_solver(asked.solver, (study.folder / asked.deck).absolute(), files, executable, asked.options)
    production = Production(study, asked, solver)
    if asked.draw is not None:
        _keep_drawn(asked.draw, production.design_file)
    if not production.points:
        raise ConfigError(f"{production.design_file} has no row; a production needs one at least")
    return production


def _keep_drawn(asked: DrawSection, file: Path) -> None:
    levels = asked.levels
    axes = [
        Axis(name, low, high, name in asked.logarithmic, levels.get(name, 2) if isinstance(levels, dict) else levels)
        for name, (low, high) in asked.ranges.items()
    ]
    text = design_text(axes, draw(axes, asked.method, asked.points, asked.seed), asked.units)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        keep_design(text, file)
    except OSError as error:
        raise StoreError(f"cannot write the design to {file}: {error.strerror}; set full_order.folder") from None


# ------------------------------------------------------------------------------------------------------------- doing


def produce(
    study: Study,
    *,
    executor: Executor | None = None,
    progress: Progress | None = None,
    on_failure: Callable[[Outcome], None] | None = None,
) -> ProductionReport:
    """Run the solver at every point that is missing, and bring the results into the store.

    A point that fails is told to `on_failure` at once and listed in the report, and the others go on. Without `executor`, threads
    of this process start the solvers.

    Raises
    ------
    ConfigError, StoreError
        Something does not fit, see `settle` and `Production.standing`: no solver was started. Or the store cannot be written.
    RunError
        No point can succeed: the disk is full, the folder is not shared, the cluster went away. What was done is kept.
    """
    started = time.perf_counter()
    production = settle(study)
    # The pool ends after the folder is given back: solvers that nobody waits for see that first, and are killed.
    with _pool(production, executor) as workers, production.folder.held() as session:
        stored = production.stored()
        done = production.standing(stored)
        missing = [point for point in production.points if point.name not in done]
        if missing and (lacking := workers.which(production.solver.command()[0])):
            raise ConfigError(missing_executable(production.solver, lacking))
        book = _Book(production, stored, progress, on_failure)
        book.note("production started", points=len(production.points), missing=len(missing), solver=production.solver.name)
        book.take(done.values())
        book.take(workers.outcomes(production.job(point, session) for point in missing))
        report = book.report({point.name for point in missing}, time.perf_counter() - started)
        book.note("production ended", added=len(report.added), failed=len(report.failed), seconds=round(report.seconds, 3))
    return report


@contextmanager
def _pool(production: Production, executor: Executor | None) -> Iterator[pool.Pool]:
    asked, study = production.asked, production.study
    from nwidth.workers import client_of

    client = None if executor is None else client_of(executor)
    if executor is None or client is None:
        with pool.threads(asked.slots, asked.threads) as workers:
            yield workers
        return
    # Jobs come one after the other: what the study counts on, and not who is there in the first moment.
    coming = study.workers.count * study.workers.threads if study.workers.kind == "slurm" else 1
    with pool.cluster(client, asked.slots, executor.description, coming) as workers:
        yield workers


class _Book:
    """What has become of every point: told to the ledger and to people, and handed to the harvest where it is good."""

    def __init__(
        self,
        production: Production,
        stored: frozenset[str],
        progress: Progress | None,
        on_failure: Callable[[Outcome], None] | None,
    ) -> None:
        self.production, self.stored = production, stored
        self.progress, self.on_failure = progress, on_failure
        self.note = production.folder.note
        self.harvest = Harvest(production.points, production.folder.of, self._add, self._settled)
        self._n_settled = 0

    def take(self, outcomes: Iterable[Outcome]) -> None:
        """Take outcomes; one that dooms all the others ends the production."""
        for outcome in outcomes:
            if outcome.status in ("hopeless", "stopped"):
                with suppress(StoreError):  # on a full disk, the reason goes before its record
                    self.note("production given up", **asdict(outcome))
                raise RunError(
                    f"{outcome.point}: {outcome.words} ({len(self.harvest.added)} runs were added to "
                    f"{self.production.study.store_url}; what is done is kept, and not produced again)"
                )
            self.harvest.settle(outcome)

    def _settled(self, point: Point, outcome: Outcome) -> None:
        folder = self.production.folder
        attempts = folder.attempts(point)
        folder.sweep(point, keep=outcome.folder or (attempts[-1].name if attempts else ""))
        if outcome.status == "failed" and self.on_failure is not None:
            self.on_failure(outcome)
        if point.name not in self.stored:
            self.note(f"point {outcome.status}", **asdict(outcome))
        self._n_settled += 1
        if self.progress is not None:
            self.progress("points", self._n_settled, len(self.production.points))

    def _add(self, point: Point, attempt: Path) -> bool:
        """Ingest one run, unless it is there."""
        from nwidth.stages.ingest import ingest

        production = self.production
        if point.name in self.stored:
            return False
        run = production.solver.outputs(attempt)[0]
        report = ingest(
            [run],
            production.study.store_url,
            reader=production.solver.reader,
            parameters=production.design_file,
            simulation=point.name,
            fields=production.asked.fields or None,
            store_options=self._store_options(run),
        )
        if not report.added:
            raise FormatError(f"{run} is byte for byte what another point gave; see that the deck uses its parameters")
        if production.asked.keep == "inputs":
            remove_results(attempt)
        return True

    def _store_options(self, run: Path) -> dict[str, Any]:
        """A store that is made now is laid out for all points, and not for the first."""
        options: dict[str, Any] = dict(self.production.study.store_options)
        if not self.stored and not self.harvest.added:
            from nwidth.readers import find_reader

            opened = find_reader(run, self.production.solver.reader).open(run)
            options["expected_snapshots"] = len(self.production.points) * len(opened.times)
        return options

    def report(self, missing: set[str], seconds: float) -> ProductionReport:
        """What was done."""
        production, outcomes = self.production, self.harvest.outcomes
        return ProductionReport(
            store=production.study.store_url,
            folder=str(production.folder.path),
            points=len(production.points),
            produced=tuple(name for name, outcome in outcomes.items() if name in missing and outcome.status == "done"),
            added=tuple(self.harvest.added),
            there=sum(point.name in self.stored for point in production.points),
            failed={name: outcome.words for name, outcome in outcomes.items() if outcome.status != "done"},
            seconds=seconds,
        )
