"""The routes ``sketch`` and ``nystrom``: a basis from random samples, where m x m is too much.

    sketch    sources ──Z = S^T W S Om──> P ──(power steps, larger samples)──> P ──lift Y = S P, measure──┐
    nystrom   sources ──Z = S^T W S Om, and Y = S Om is written──────────────────────────────────────────┤
                                                                                                          ▼
                                   modes Y T in the sink <──a visit of the samples only── small SVD + certificate

Either way the samples Y lie in the sink as provisional modes, their overlap ``Y^T W Y`` and their products ``Y^T W S`` are known
exactly, and so is the best that their span can do for every snapshot: errors are measured, never estimated. ``sketch`` reads
2 + q times and spans ``S (S^T W S)^{1+q} Om``; ``nystrom`` reads once and spans ``S Om``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nwidth.config import ReduceSection
from nwidth.errors import FieldError
from nwidth.models.basis import Spectrum
from nwidth.models.certificate import MAX_DEFECT, Certificate
from nwidth.stages.lifting import Lifting, describe_truncation, field_error, frobenius, ratios
from nwidth.stages.problem import BasisParts, Floats, Passes, PodResult, Problem, basis_groups
from nwidth.stages.refusals import describe_bad, describe_zero
from nwidth.stages.sinks import ModesSink
from nwidth_graphs.kernels.lift import (
    LiftSums,
    field_error_square,
    merge_lift_sums,
    needs_residual,
    orthogonality_defect,
    scale_lift_sums,
)
from nwidth_graphs.kernels.sketch import enlarged, next_sample, nystrom_spectrum, orthonormal_test
from nwidth_graphs.leaves import LiftPartial
from nwidth_graphs.lifting import Lift, Write, lift_graph, lift_root
from nwidth_graphs.sampling import cut_sample, first_sample, largest_sample
from nwidth_graphs.sketch import Sketch, SketchPartial, sketch_graph, sketch_root
from nwidth_graphs.truncation import Truncation

# Samples grow by at least 5 % of what there is to find, so this many reads find all of it.
MAX_READS = 20


def reduce_sketch(problem: Problem, request: ReduceSection, passes: Passes, sink: ModesSink, device: str) -> PodResult:
    """Reduce all fields of a problem by one of the two routes.

    Where the plan chose ``nystrom``, and its measured error misses `rtol`, ``sketch`` reads on from what was found.

    Raises
    ------
    FieldError
        A field holds NaN or infinite values, or is zero.
    CertificateError
        The modes cannot be made orthonormal.
    """
    asked = request.route != "auto"
    route = request.route if asked else problem.route
    reason = f'route = "{route}" was asked for' if asked else problem.reason
    run = _Run(problem, request, passes, sink, device)
    if route == "sketch":
        return PodResult(run.sketch(reason), {}, "sketch", reason, tuple(passes.measures))
    lifted, samples = run.nystrom()
    worst = max(sample.errors[-1] for sample in samples.values())
    if not asked and request.rtol is not None and worst > request.rtol:
        reason += f"; its one read left {worst:.1e}, measured, where rtol = {request.rtol:g} is asked for, so sketching went on"
        bases = run.refine(samples, lifted.weighing, reason)
        return PodResult(bases, {}, "sketch", reason, tuple(passes.measures))
    return PodResult(run.close(lifted, "nystrom", reason), {}, "nystrom", reason, tuple(passes.measures))


@dataclass(frozen=True)
class _Sample:
    """What a sketching read found of one basis."""

    values: Floats
    """(k,): singular values of the snapshots, projected on the sample."""
    vectors: Floats
    """(m, k): right vectors."""
    errors: Floats
    """(k + 1,): relative errors of the first 0..k directions; the last one is that of the whole sample."""


@dataclass(frozen=True)
class _Weighing:
    """Norms, and how they weigh fields and snapshots."""

    field_norms: Mapping[str, Floats]
    """Field -> norms (m,) of its unscaled snapshots."""
    fields: Mapping[str, float]
    """Field -> its scaling in its basis."""
    norms: Mapping[str, Floats]
    """Basis -> norms (m,) of its snapshots."""
    snapshots: Mapping[str, Floats]
    """Basis -> d (m,)."""

    def energy(self, basis: str) -> float:
        """``||S D||_F^2``."""
        return float(np.sum((self.snapshots[basis] * self.norms[basis]) ** 2))


@dataclass(frozen=True)
class _Lifted:
    """What a pass that wrote samples has measured."""

    sums: Mapping[str, LiftSums]
    """Field -> its sums."""
    predicted: Mapping[str, Floats | None]
    """Basis -> coefficients (r, m) of which the residual was formed."""
    masked: Mapping[str, int]
    weighing: _Weighing


@dataclass(frozen=True)
class _Run:
    problem: Problem
    request: ReduceSection
    passes: Passes
    sink: ModesSink
    device: str

    @property
    def groups(self) -> dict[str, tuple[str, ...]]:
        return basis_groups(tuple(self.problem.sources), self.request)

    @property
    def snapshots(self) -> int:
        return next(iter(self.problem.sources.values())).snapshots

    def first_tests(self) -> dict[str, Floats]:
        """Basis -> test matrix (m, r) of the first read."""
        return {
            name: orthonormal_test(self.request.seed, self.snapshots, first_sample(self._directions(name), *self._asked))
            for name in self.groups
        }

    def sketch(self, reason: str) -> tuple[BasisParts, ...]:
        """A sample, sharpened as often as was asked for, then as `refine` has it."""
        tests, weighing = self.first_tests(), None
        if self.request.snapshot_scaling == "unit":
            # The norms are part of what is sampled: without a read for them, a few large snapshots would fill the sample.
            weighing = self._weigh(self._read({name: test[:, :1] for name, test in tests.items()}))
        samples, weighing = self._sampled(tests, weighing)
        for _ in range(self.request.power_iterations):
            samples, _ = self._sampled({name: sample.vectors for name, sample in samples.items()}, weighing)
        return self.refine(samples, weighing, reason)

    def refine(self, samples: dict[str, _Sample], weighing: _Weighing, reason: str) -> tuple[BasisParts, ...]:
        """Larger samples until the tolerance is reached, and a last read that lifts and measures."""
        drawn = {name: first_sample(self._directions(name), *self._asked) for name in samples}
        for _ in range(MAX_READS):
            larger = {name: self._enlarged(name, sample, drawn[name]) for name, sample in samples.items()}
            tests = {name: test for name, test in larger.items() if test is not None}
            if not tests:
                break
            drawn |= {name: drawn[name] + test.shape[1] - len(samples[name].values) for name, test in tests.items()}
            samples |= self._sampled(tests, weighing)[0]
        return self.close(self._lift(samples, weighing), "sketch", reason)

    def _sampled(self, tests: Mapping[str, Floats], weighing: _Weighing | None) -> tuple[dict[str, _Sample], _Weighing]:
        """One sketching read: what it found, and the norms that the first one measures."""
        applied = {name: test if weighing is None else weighing.snapshots[name][:, None] * test for name, test in tests.items()}
        partials = self._read(applied)
        weighing = weighing or self._weigh(partials)
        return self._samples(applied, partials, weighing), weighing

    def nystrom(self) -> tuple[_Lifted, dict[str, _Sample]]:
        """The one read, which writes the samples and gives their image."""
        tests = self.first_tests()
        writers = {field: self._begin(name, field, tests[name]) for name in self.groups for field in self.groups[name]}
        partials = self._read(tests, writers)
        weighing = self._weigh(partials)
        samples = self._samples(tests, partials, weighing)
        sums = {}
        for name, fields in self.groups.items():
            for field in fields:
                image = partials[field].sums.image
                overlap = image @ tests[name]
                sums[field] = LiftSums((overlap + overlap.T) / 2.0, image, None)  # Y = S Q: Y^T W Y = Z^T Q, Y^T W S = Z^T
        masked = {field: partial.tally.masked_rows for field, partial in partials.items()}
        return _Lifted(sums, dict.fromkeys(self.groups), masked, weighing), samples

    @property
    def _asked(self) -> tuple[int | None, float | None, int]:
        return self.request.rank, self.request.rtol, self._beyond

    @property
    def _beyond(self) -> int:
        return self.request.samples_beyond(self.problem.route)

    def _directions(self, basis: str) -> int:
        """``min(n, m)``: what there is to find."""
        return min(self.snapshots, sum(self.problem.sources[field].rows for field in self.groups[basis]))

    def _begin(self, basis: str, field: str, test: Floats) -> Write:
        # What is written here are images of a sample, which the last pass turns into modes.
        return self.sink.begin(basis, self.problem.shapes[field], test.shape[1], centred=self.request.centre, read_again=True)

    def _read(self, tests: Mapping[str, Floats], writers: Mapping[str, Write] | None = None) -> dict[str, SketchPartial]:
        """One pass over the fields of some bases; refuses what cannot be reduced."""
        sketches = [
            Sketch(self.problem.sources[field], test, None if writers is None else writers[field])
            for name, test in tests.items()
            for field in self.groups[name]
        ]
        token = f"{self.problem.token}-sketch{len(self.passes.measures)}"
        results: dict[str, SketchPartial] = self.passes.run("sketch", sketch_graph(sketches, token, self.device))
        partials = {sketch.source.name: results[sketch_root(sketch.source.name)] for sketch in sketches}
        for partial in partials.values():
            if partial.bad:
                raise FieldError(describe_bad(partial.bad[0], self.problem))
        for name, partial in partials.items():
            if not np.any(partial.sums.squares > 0):
                raise FieldError(describe_zero(name, self.problem.sources[name]))
        return partials

    def _weigh(self, partials: Mapping[str, SketchPartial]) -> _Weighing:
        field_norms = {field: np.sqrt(partial.sums.squares) for field, partial in partials.items()}
        fields = self._field_scaling(field_norms)
        norms = {
            name: np.sqrt(sum((fields[field] * field_norms[field]) ** 2 for field in members))
            for name, members in self.groups.items()
        }
        unit = self.request.snapshot_scaling == "unit"
        scale = {name: ratios(np.ones_like(values), values) if unit else np.ones_like(values) for name, values in norms.items()}
        return _Weighing(field_norms, fields, norms, {name: np.where(d > 0, d, 1.0) for name, d in scale.items()})

    def _field_scaling(self, norms: Mapping[str, Floats]) -> dict[str, float]:
        asked = self.request.field_scaling
        if isinstance(asked, dict):
            return {field: asked.get(field, 1.0) for field in norms}
        joint = any(len(fields) > 1 for fields in self.groups.values())
        return {field: 1.0 / float(np.linalg.norm(n)) if joint and asked == "unit" else 1.0 for field, n in norms.items()}

    def _samples(
        self, applied: Mapping[str, Floats], partials: Mapping[str, SketchPartial], weighing: _Weighing
    ) -> dict[str, _Sample]:
        """What a read has found.

        `applied` are the matrices A with which it made ``Z = C A``, so that ``D C D`` was tested with ``D^-1 A``.
        """
        samples = {}
        for name, matrix in applied.items():
            image: Floats = sum(weighing.fields[field] ** 2 * partials[field].sums.image.T for field in self.groups[name])
            scale = weighing.snapshots[name][:, None]
            values, vectors = nystrom_spectrum(matrix / scale, image * scale)
            left = weighing.energy(name) - np.cumsum(np.concatenate([[0.0], values**2]))
            samples[name] = _Sample(values, vectors, np.sqrt(np.maximum(left, 0.0) / weighing.energy(name)))
        return samples

    def _largest(self, basis: str) -> int:
        return largest_sample(self._directions(basis), self.request.rank, self._beyond)

    def _enlarged(self, basis: str, sample: _Sample, drawn: int) -> Floats | None:
        """The next test matrix, where the sample misses the tolerance and may grow; None where it is what will be lifted."""
        rtol, found, most = self.request.rtol, len(sample.values), self._largest(basis)
        if rtol is None or sample.errors[-1] <= rtol or found >= most:
            return None
        columns = next_sample(sample.errors, rtol, most, self._beyond) - found
        return enlarged(sample.vectors, self.request.seed, columns, first_column=drawn)

    def _lift(self, samples: Mapping[str, _Sample], weighing: _Weighing) -> _Lifted:
        """The last read: ``Y = S D V`` is written, and measured."""
        transforms = {name: weighing.snapshots[name][:, None] * sample.vectors for name, sample in samples.items()}
        predicted = {
            name: sample.vectors.T / weighing.snapshots[name] if self._fits_closely(name, sample, weighing) else None
            for name, sample in samples.items()
        }
        lifts = [
            Lift(
                self.problem.sources[field],
                transforms[name],
                predicted[name],
                self._begin(name, field, transforms[name]),
            )
            for name in samples
            for field in self.groups[name]
        ]
        results: dict[str, LiftPartial] = self.passes.run("lift", lift_graph(lifts, self.problem.token, self.device))
        partials = {field: results[lift_root(field)] for field in self.problem.sources}
        sums = {field: partial.sums for field, partial in partials.items()}
        masked = {field: partial.tally.masked_rows for field, partial in partials.items()}
        return _Lifted(sums, predicted, masked, weighing)

    def _fits_closely(self, basis: str, sample: _Sample, weighing: _Weighing) -> bool:
        """Whether errors will be so small that only the residual can measure them."""
        rtol = self.request.rtol
        reached = len(sample.values) if rtol is None else int(np.argmax(np.append(sample.errors[:-1] <= rtol, True)))
        kept = min(reached, self.request.rank or reached)
        expected = sample.values[:kept, None] * sample.vectors[:, :kept].T / weighing.snapshots[basis]
        return needs_residual(weighing.norms[basis], expected)

    def close(self, lifted: _Lifted, route: str, reason: str) -> tuple[BasisParts, ...]:
        """Turn samples into modes, in the sink, and what was measured into certificates."""
        return tuple(self._close_basis(name, lifted, route, reason) for name in self.groups)

    def _close_basis(self, name: str, lifted: _Lifted, route: str, reason: str) -> BasisParts:
        fields, weighing, predicted = self.groups[name], lifted.weighing, lifted.predicted[name]
        norms, scale = weighing.norms[name], weighing.snapshots[name]
        scaling = {field: weighing.fields[field] for field in fields}
        total = merge_lift_sums([scale_lift_sums(lifted.sums[field], scaling[field] ** 2) for field in fields])
        basis = cut_sample(
            total,
            predicted,
            norms,
            scale,
            rtol=self.request.rtol,
            rank=self.request.rank,
            beyond_floor=self.request.beyond_floor,
        )
        cut = basis.truncation
        lifting = Lifting(self.problem, self.request, self.passes, self.sink, self.device)
        overlap = lifting.rotate(name, cut.transform, scaling, "rotate")
        measured = orthogonality_defect(overlap)
        coefficients, defect = cut.coefficients, measured
        if measured > MAX_DEFECT:
            coefficients, defect = lifting.repair(name, coefficients, overlap, scaling)
        combined = cut.transform @ cut.coefficients  # the coefficients of the projections in Y
        certificate = Certificate(
            relative_errors=ratios(np.sqrt(basis.squares), norms),
            snapshot_norms=norms,
            frobenius_error=frobenius(basis.squares, norms, scale),
            expected_error=cut.expected_error,
            field_errors={
                field: field_error(
                    field_error_square(lifted.sums[field], predicted, combined, weighing.field_norms[field]),
                    weighing.field_norms[field],
                )
                for field in fields
            },
            orthogonality_defect=defect,
            measured_defect=measured,
            masked_unknowns={field: lifted.masked[field] for field in fields if lifted.masked[field]},
        )
        return BasisParts(
            name=name,
            fields=fields,
            spectrum=Spectrum(cut.singular_values, cut.floor, route, reason, basis.missed_energy),
            coefficients=coefficients,
            certificate=certificate,
            field_scaling=scaling,
            truncation=_describe(cut, self.request, certificate.frobenius_error),
        )


def _describe(cut: Truncation, request: ReduceSection, error: float) -> str:
    """What decided the rank, in words; a tolerance that was missed is said first."""
    if request.rtol is None or cut.rank_for_rtol is not None:
        return describe_truncation(cut, request)
    found = len(cut.singular_values)
    return (
        f"rtol = {request.rtol:g} is not reached: the sample has {found} directions, and the {cut.rank} modes kept leave "
        f"{error:.1e}; raise rank" + (', or read on with route = "sketch"' if request.route == "nystrom" else "")
    )
