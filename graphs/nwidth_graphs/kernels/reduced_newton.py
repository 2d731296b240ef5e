"""Reduced Newton method: N unknowns, a law at a few points, many draws at once.

    for every time step, for all draws that are still there
        q <- q of the last step
        e_k = E_k q                  strain at the reduced points                                 (D, Q, s)
        flux, tangent, state         the law, at these points only, from the old state            (D, Q, s), (D, Q, s, s)
        g_int = sum_k w_k E_k^T flux_k,   A = sum_k w_k E_k^T tangent_k E_k                       (D, N), (D, N, N)
        ||g_ext - g_int|| <= tolerance ||g_ext||  ->  accept: q, state and flux are kept, the draw leaves the iteration
        q <- q + A^-1 (g_ext - g_int)

Nothing here has the size of the mesh. A step that does not converge is cut in two, for its draws only, with loads and
temperatures linear in time within it; a draw that fails even so ends there, with its reason, and the others do not notice:
whatever a draw gets is independent of who else is in the batch, up to rounding.

Reference: F. Casenave, N. Akkari, F. Bordeu, C. Rey, D. Ryckelynck, Int. J. Numer. Methods Eng. 121 (2020) 32-53, online stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nwidth_graphs.kernels.elements import Floats
from nwidth_graphs.kernels.materials.protocol import State
from nwidth_graphs.kernels.reduced_problem import FLUX, REASONS, Failure, NewtonSettings, PointSet, Reason, ReducedHistory

Integers = NDArray[np.int64]
States = list[dict[str, Floats]]

CONVERGED, NOT_CONVERGED, NOT_FINITE, SINGULAR, INPUTS, TEMPERATURE = range(len(REASONS))


def project_loads(modes: Floats, forces: Floats) -> Floats:
    """``g_ext = Phi^T f``: modes (n, N), nodal forces (..., n) -> (..., N), in units of force times the modes' unit.

    A sum over unknowns: over blocks of a mesh, the results of the blocks add up. Modes vanish where displacement is
    prescribed, so that reactions do no work and need not be known.
    """
    return np.asarray(forces @ modes)


def solve_reduced(
    sets: Sequence[PointSet],
    times: Floats,
    forces: Floats,
    *,
    temperatures: Sequence[Floats] | None = None,
    prescribed: Floats | None = None,
    initial: Floats | None = None,
    initial_states: Sequence[State] | None = None,
    settings: NewtonSettings | None = None,
    keep: Sequence[str] | None = None,
) -> ReducedHistory:
    """March all draws through all times.

    Cost per step and iteration: one call of the law for ``D Q`` points and ``2 D Q s N (s + N)`` flops. Memory: `history_bytes`.

    Parameters
    ----------
    sets : sequence of PointSet
        Points and laws.
    times : (T,) array
        Increasing; the first one is the initial state.
    forces : (D, T, N) array
        Projected external forces, see `project_loads`.
    temperatures : sequence of (D, T, Q) arrays, optional
        For every point set; what broadcasts to that shape will do. Zero where not given.
    prescribed : (D, T, G) array, optional
        Coordinates of the lifts.
    initial : (D, N) array, optional
        Coordinates at the first time; zero by default.
    initial_states : sequence of State, optional
        For every point set, the law's internal variables at the first time, each (D, Q, ...): to take up a march where another
        one ended. The law's own initial state by default.
    settings : NewtonSettings, optional
    keep : sequence of str, optional
        Names of the dual values to keep; all by default.

    Raises
    ------
    ValueError
        Shapes do not fit, or times do not increase. A draw that fails is no error: it is among `ReducedHistory.failures`.
    """
    forces = np.asarray(forces, np.float64)
    inputs = _inputs(sets, np.asarray(times, np.float64), forces, temperatures, prescribed)
    options = NewtonSettings() if settings is None else settings
    start = np.zeros((len(forces), sets[0].rank)) if initial is None else np.array(initial, np.float64)
    if start.shape != (len(forces), sets[0].rank):
        raise ValueError(f"the initial coordinates have the shape {start.shape}; give ({len(forces)}, {sets[0].rank})")
    record = _Record(sets, inputs.times, len(forces), keep)
    rows = np.arange(len(forces))
    states = _virgin(sets, start, inputs) if initial_states is None else _given(sets, len(forces), initial_states)
    record.begin(start, states)
    q = start
    for step in range(1, len(inputs.times)):
        outcome = _advance(sets, q, states, inputs.step(step, rows), (0.0, 1.0), options.halvings, options)
        record.write(step, rows, outcome)
        alive = np.flatnonzero(outcome.status == CONVERGED)
        rows, q, states = rows[alive], outcome.q[alive], _take(outcome.states, alive)
        if not rows.size:
            break
    return record.history()


@dataclass(frozen=True)
class _Inputs:
    """Everything that drives the draws, over all times."""

    times: Floats
    forces: Floats  # (D, T, N)
    temperatures: list[Floats]  # (D, T, Q) each
    prescribed: Floats  # (D, T, G)

    def step(self, number: int, rows: Integers) -> _Step:
        """The step that ends at time `number`, for some draws."""
        both = slice(number - 1, number + 1)
        return _Step(
            float(self.times[number] - self.times[number - 1]),
            self.forces[rows, both],
            [values[rows, both] for values in self.temperatures],
            self.prescribed[rows, both],
        )


@dataclass(frozen=True)
class _Step:
    """Loads at both ends of a step (index 1 of each array), linear in between."""

    dt: float
    forces: Floats
    temperatures: list[Floats]
    prescribed: Floats

    def at(self, share: float) -> tuple[Floats, list[Floats], Floats]:
        """Force, temperatures and prescribed coordinates at a share of the step."""
        force, prescribed, *temperatures = (
            values[:, 1] if share == 1.0 else (1 - share) * values[:, 0] + share * values[:, 1]
            for values in (self.forces, self.prescribed, *self.temperatures)
        )
        return force, temperatures, prescribed

    def of(self, rows: Integers) -> _Step:
        """The same for some of the draws."""
        return _Step(self.dt, self.forces[rows], [values[rows] for values in self.temperatures], self.prescribed[rows])


@dataclass
class _Outcome:
    """Where d draws are at the end of a step, or of a part of one."""

    q: Floats
    states: States
    fluxes: list[Floats]
    iterations: Integers
    halvings: Integers
    residuals: Floats
    stable: NDArray[np.bool_]
    status: Integers

    @classmethod
    def unsolved(cls, sets: Sequence[PointSet], q: Floats, states: States) -> _Outcome:
        """Nothing is known yet: where the step begins, and every draw not converged."""
        count = len(q)
        return cls(
            q.copy(),
            [{name: np.array(values) for name, values in state.items()} for state in states],
            [np.full((count, part.count, part.law.size), np.nan) for part in sets],
            np.zeros(count, np.int64),
            np.zeros(count, np.int64),
            np.full(count, np.inf),
            np.zeros(count, bool),
            np.full(count, NOT_CONVERGED, np.int64),
        )

    def put(self, rows: Integers, part: _Outcome) -> None:
        """Take over what `part` says of these draws; iterations and halvings add up."""
        self.q[rows], self.residuals[rows] = part.q, part.residuals
        self.stable[rows], self.status[rows] = part.stable, part.status
        self.iterations[rows] += part.iterations
        self.halvings[rows] += part.halvings
        for mine, theirs in zip(self.fluxes, part.fluxes, strict=True):
            mine[rows] = theirs
        for state, other in zip(self.states, part.states, strict=True):
            for name, values in other.items():
                state[name][rows] = values


def _advance(
    sets: Sequence[PointSet],
    q: Floats,
    states: States,
    step: _Step,
    interval: tuple[float, float],
    halvings: int,
    options: NewtonSettings,
) -> _Outcome:
    """Bring draws from one share of the step to another; those whose Newton method fails go there in two halves."""
    outcome = _newton(sets, q, states, step, interval, options)
    failed = np.flatnonzero((outcome.status != CONVERGED) & (outcome.status < INPUTS))
    if not failed.size or not halvings:
        return outcome
    outcome.halvings[failed] += 1
    middle = (interval[0] + interval[1]) / 2
    begin = (q[failed], _take(states, failed), step.of(failed))
    first = _advance(sets, *begin, (interval[0], middle), halvings - 1, options)
    outcome.put(failed, first)
    through = np.flatnonzero(first.status == CONVERGED)
    if through.size:
        arrived = (first.q[through], _take(first.states, through), step.of(failed[through]))
        outcome.put(failed[through], _advance(sets, *arrived, (middle, interval[1]), halvings - 1, options))
    return outcome


def _newton(
    sets: Sequence[PointSet], q: Floats, states: States, step: _Step, interval: tuple[float, float], options: NewtonSettings
) -> _Outcome:
    """Newton's method for all draws of a step, or of a part of it; a draw leaves when it has converged or cannot go on."""
    outcome = _Outcome.unsolved(sets, q, states)
    force, temperatures, prescribed = step.at(interval[1])
    dt = step.dt * (interval[1] - interval[0])
    outcome.status[:] = _refused(sets, force, temperatures, prescribed)
    rows = np.flatnonzero(outcome.status == NOT_CONVERGED)
    at, old = q[rows], _take(states, rows)
    for iteration in range(options.iterations + 1):
        if not rows.size:
            break
        local = [values[rows] for values in temperatures]
        # A draw on its way to infinity overflows quietly: it is dropped below, with a reason.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            answer = _evaluate(sets, at, old, local, prescribed[rows], dt)
            residual = force[rows] - answer.internal
            scale = np.linalg.norm(force[rows], axis=1)
            size = np.linalg.norm(residual, axis=1)
            outcome.residuals[rows] = size / np.where(scale > 0, scale, 1.0)
        # Of a force whose norm overflows, every residual would be small enough.
        done = np.isfinite(size) & (size <= np.where(scale > 0, options.tolerance * scale, options.absolute_tolerance))
        outcome.iterations[rows] = iteration
        _accept(outcome, rows, np.flatnonzero(done), at, answer)
        bad = ~(np.isfinite(size) & np.isfinite(answer.tangent).all(axis=(1, 2)))
        outcome.status[rows[bad & ~done]] = NOT_FINITE
        left = np.flatnonzero(~done & ~bad)
        update, solved = _solve(answer.tangent[left], residual[left])
        outcome.status[rows[left[~solved]]] = SINGULAR
        left = left[solved]
        if left.size < rows.size:
            old = _take(old, left)
        rows, at = rows[left], at[left] + update[solved]
    return outcome


@dataclass(frozen=True)
class _Answer:
    """Internal force (d, N), tangent (d, N, N), and what the laws said."""

    internal: Floats
    tangent: Floats
    fluxes: list[Floats] = field(default_factory=list)
    states: States = field(default_factory=list)


def _evaluate(
    sets: Sequence[PointSet], q: Floats, states: States, temperatures: list[Floats], prescribed: Floats, dt: float
) -> _Answer:
    """Laws at all points of d draws, gathered to N x N."""
    answer = _Answer(np.zeros_like(q), np.zeros((len(q), q.shape[1], q.shape[1])))
    for part, state, temperature in zip(sets, states, temperatures, strict=True):
        response = part.law(part.strain(q, prescribed), state, temperature, dt)
        answer.fluxes.append(response.flux)
        answer.states.append(dict(response.state))
        answer.internal[:] += response.flux.reshape(len(q), -1) @ part.weighted_rows
        stiff = np.matmul(response.tangent, part.operator).reshape(len(q), -1, part.rank)
        answer.tangent[:] += np.matmul(part.weighted_rows.T, stiff)
    return answer


def _accept(outcome: _Outcome, rows: Integers, done: Integers, q: Floats, answer: _Answer) -> None:
    """Write down the draws `done` (positions within `rows`) that have converged."""
    if not done.size:
        return
    there = rows[done]
    outcome.status[there] = CONVERGED
    outcome.q[there] = q[done]
    tangent = answer.tangent[done]
    outcome.stable[there] = np.linalg.eigvalsh(tangent + tangent.transpose(0, 2, 1))[:, 0] > 0
    for kept, flux in zip(outcome.fluxes, answer.fluxes, strict=True):
        kept[there] = flux[done]
    for state, new in zip(outcome.states, answer.states, strict=True):
        for name, values in new.items():
            state[name][there] = values[done]


def _solve(tangent: Floats, residual: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """``A^-1 r`` of every draw (d, N), and whether there is one: a singular tangent of one draw does not stop the others."""
    try:
        update = np.linalg.solve(tangent, residual[..., None])[..., 0]
    except np.linalg.LinAlgError:
        update = np.stack([_solve_one(A, r) for A, r in zip(tangent, residual, strict=True)])
    return update, np.isfinite(update).all(axis=1)


def _solve_one(A: Floats, r: Floats) -> Floats:
    try:
        return np.asarray(np.linalg.solve(A, r))
    except np.linalg.LinAlgError:
        return np.full_like(r, np.nan)


def _refused(sets: Sequence[PointSet], force: Floats, temperatures: list[Floats], prescribed: Floats) -> Integers:
    """Status of draws before a step: inputs that are not finite or outside of a law's range need no attempt."""
    status = np.full(len(force), NOT_CONVERGED, np.int64)
    finite = np.isfinite(force).all(axis=1) & np.isfinite(prescribed).all(axis=1)
    for part, values in zip(sets, temperatures, strict=True):
        low, high = part.law.temperature_range
        status[((values < low) | (values > high)).any(axis=1)] = TEMPERATURE
        finite &= np.isfinite(values).all(axis=1)
    status[~finite] = INPUTS
    return status


def _take(states: States, rows: Integers) -> States:
    return [{name: values[rows] for name, values in state.items()} for state in states]


def _inputs(
    sets: Sequence[PointSet], times: Floats, forces: Floats, temperatures: Sequence[Floats] | None, prescribed: Floats | None
) -> _Inputs:
    """See that all shapes fit together, and fill in what was not given."""
    if not sets or len({part.rank for part in sets}) > 1:
        raise ValueError(f"point sets have {[part.rank for part in sets]} modes; give at least one set, all with the same modes")
    if times.ndim != 1 or len(times) < 1 or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise ValueError(f"times of shape {times.shape} do not increase, or are not finite; give (T,) increasing numbers")
    if forces.ndim != 3 or forces.shape[1:] != (len(times), sets[0].rank):
        raise ValueError(f"forces have the shape {forces.shape}; give (draws, {len(times)}, {sets[0].rank})")
    given = [np.zeros(1)] * len(sets) if temperatures is None else list(temperatures)
    if len(given) != len(sets):
        raise ValueError(f"{len(given)} temperature fields were given for {len(sets)} point sets; give one for each")
    lifts = {part.lift.shape[2] for part in sets if part.lift is not None}
    coordinates = np.zeros((*forces.shape[:2], 0)) if prescribed is None else np.asarray(prescribed, np.float64)
    if lifts - {coordinates.shape[-1]} or coordinates.shape[:2] != forces.shape[:2]:
        raise ValueError(
            f"prescribed coordinates have the shape {coordinates.shape}; give ({forces.shape[0]}, {forces.shape[1]}, "
            f"{max(lifts, default=0)})"
        )
    return _Inputs(
        times, forces, [_broadcast(part, values, forces) for part, values in zip(sets, given, strict=True)], coordinates
    )


def _virgin(sets: Sequence[PointSet], start: Floats, inputs: _Inputs) -> States:
    """The laws' own initial states."""
    return [
        dict(part.law.initial_state(part.strain(start, inputs.prescribed[:, 0]), temperature[:, 0]))
        for part, temperature in zip(sets, inputs.temperatures, strict=True)
    ]


def _given(sets: Sequence[PointSet], draws: int, states: Sequence[State]) -> States:
    """States that were handed in, checked and copied: the march writes into its own."""
    if len(states) != len(sets):
        raise ValueError(f"{len(states)} initial states were given for {len(sets)} point sets; give one for each")
    copies = [{name: np.array(values, np.float64) for name, values in state.items()} for state in states]
    for part, state in zip(sets, copies, strict=True):
        expected = {name: (draws, part.count, *shape) for name, shape in part.law.state_shapes.items()}
        found = {name: values.shape for name, values in state.items()}
        if found != expected:
            raise ValueError(f"an initial state has the internal variables {found}; give those of the law, {expected}")
    return copies


def _broadcast(part: PointSet, values: Floats, forces: Floats) -> Floats:
    shape = (*forces.shape[:2], part.count)
    try:
        return np.broadcast_to(np.asarray(values, np.float64), shape)
    except ValueError:
        raise ValueError(f"temperatures have the shape {np.shape(values)}; give what broadcasts to {shape}") from None


class _Record:
    """The history while it is written."""

    def __init__(self, sets: Sequence[PointSet], times: Floats, draws: int, keep: Sequence[str] | None) -> None:
        shape = (draws, len(times))
        known = {FLUX} | {name for part in sets for name in part.law.state_shapes}
        if unknown := sorted(set(keep or ()) - known):
            raise ValueError(f"dual values {', '.join(unknown)} are to be kept; the laws have {', '.join(sorted(known))}")
        self.times, self.failures = times, list[Failure]()
        self.q = np.full((*shape, sets[0].rank), np.nan)
        self.duals = [
            {
                name: np.full((*shape, part.count, *size), np.nan)
                for name, size in {FLUX: (part.law.size,), **part.law.state_shapes}.items()
                if keep is None or name in keep
            }
            for part in sets
        ]
        self.iterations, self.halvings = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        self.residuals, self.stable = np.full(shape, np.nan), np.zeros(shape, bool)

    def begin(self, q: Floats, states: States) -> None:
        """The first time: given, not computed."""
        self.q[:, 0], self.residuals[:, 0], self.stable[:, 0] = q, 0.0, True
        for kept, state in zip(self.duals, states, strict=True):
            for name, values in kept.items():
                values[:, 0] = 0.0 if name == FLUX else state[name]

    def write(self, step: int, rows: Integers, outcome: _Outcome) -> None:
        """One step of the draws `rows`: those that arrived, and the reasons of those that did not."""
        self.iterations[rows, step], self.halvings[rows, step] = outcome.iterations, outcome.halvings
        good = np.flatnonzero(outcome.status == CONVERGED)
        there = rows[good]
        self.q[there, step], self.residuals[there, step] = outcome.q[good], outcome.residuals[good]
        self.stable[there, step] = outcome.stable[good]
        for kept, flux, state in zip(self.duals, outcome.fluxes, outcome.states, strict=True):
            for name, values in kept.items():
                values[there, step] = (flux if name == FLUX else state[name])[good]
        for place in np.flatnonzero(outcome.status != CONVERGED):
            reason: Reason = REASONS[outcome.status[place]]
            draw, residual = int(rows[place]), float(outcome.residuals[place])
            self.failures.append(Failure(draw, step, float(self.times[step]), reason, residual))

    def history(self) -> ReducedHistory:
        """What was written."""
        duals, failures = tuple(self.duals), tuple(self.failures)
        return ReducedHistory(self.times, self.q, duals, self.iterations, self.halvings, self.residuals, self.stable, failures)
