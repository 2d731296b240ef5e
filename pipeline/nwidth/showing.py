"""What a notebook shows of a result: its sentence and a small table, as HTML. No plot: those are `nwidth.plots`.

Whatever is text in a result is escaped, so a name from a store cannot become markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nwidth.report import words
from nwidth.report.markup import Html, join, table, tag

if TYPE_CHECKING:
    from nwidth.mechanics.model import MechanicsModel
    from nwidth.models.atlas import Atlas
    from nwidth.models.basis import Basis
    from nwidth.models.certificate import Certificate
    from nwidth.models.learned import Learned
    from nwidth.runs.plan import Plan
    from nwidth.runs.run import RunResult
    from nwidth.uncertainty.ensemble import Ensemble

MOST_ROWS = 24


def certificate_html(proof: Certificate) -> str:
    """What a certificate promises."""
    return _shown(table("Certificate", ("quantity", "value"), _proof(proof), numeric=[1]))


def _proof(proof: Certificate) -> list[tuple[str, str]]:
    how = "bounded from above" if proof.bound else "measured"
    rows = [
        (f"projection error, {how}", words.error(proof.frobenius_error, 3)),
        ("promised by the spectrum", words.error(proof.expected_error, 3)),
        (f"worst snapshot, number {proof.worst_snapshot}", words.error(proof.worst_error, 3)),
        ("orthogonality defect", words.number(proof.orthogonality_defect)),
    ]
    if len(proof.field_errors) > 1:
        rows += [(f"error of {name}", words.error(value, 3)) for name, value in proof.field_errors.items()]
    return rows + [(line, "") for line in words.missing(proof.summary())]


def basis_html(basis: Basis) -> str:
    """A basis: fields, modes, spectrum in numbers, certificate."""
    values = basis.spectrum.singular_values
    energy = words.share(float(basis.spectrum.energy[basis.rank - 1])) if basis.rank else "0 %"
    rows = [
        ("modes", f"{words.number(basis.rank)}; {basis.truncation}" if basis.truncation else words.number(basis.rank)),
        ("energy", energy),
        ("singular values", f"{words.number(len(values))}, {words.number(basis.spectrum.trusted)} above the floor"),
        ("route", f"{basis.spectrum.route}: {basis.spectrum.reason}"),
        ("inner product", words.listing(dict.fromkeys(basis.inner_products.values())) or "identity"),
        ("centred", words.number(basis.centred)),
        *_proof(basis.certificate),
    ]
    count = words.count(len(basis.certificate.relative_errors), "snapshot")
    title = f"Basis {basis.name} of {words.listing(basis.fields)}, from {count}"
    return _shown(table(title, ("quantity", "value"), rows))


def atlas_html(atlas: Atlas) -> str:
    """An atlas: why so many clusters, and a row for each."""
    rows = [
        (
            str(cluster),
            words.number(int(size)),
            atlas.items[int(atlas.medoids[cluster])],
            words.number(int(atlas.ranks[cluster])),
            words.error(float(np.max(atlas.own_errors[atlas.members(cluster)], initial=0.0))),
            words.error(float(np.max(atlas.global_errors[atlas.members(cluster)], initial=0.0))),
        )
        for cluster, size in enumerate(atlas.sizes[:MOST_ROWS])
    ]
    header = ("cluster", atlas.of, "representative", "modes", "worst error", "on the global basis")
    clusters, items = words.count(atlas.count, "cluster"), words.count(len(atlas.items), atlas.of.removesuffix("s"))
    title = f"Atlas: {clusters} of {items} by {atlas.dissimilarity}"
    notes = [tag("p", note) for note in (atlas.reason, *atlas.notes, _left(atlas.count)) if note]
    return _shown(join([table(title, header, rows, numeric=[0, 1, 3, 4, 5]), *notes]))


def plan_html(plan: Plan) -> str:
    """A plan: the passes with their price, and why this route."""
    rows = [
        (
            cost.name, words.number(cost.reads), words.amount(cost.bytes_to_read), words.operations(cost.flops),
            words.number(cost.tasks), words.memory(cost.peak_bytes),
        )
        for cost in plan.passes
    ]  # fmt: skip
    title = f"Plan of study {plan.study}: route {plan.route}, about {words.seconds(plan.seconds)}"
    header = ("pass", "reads", "bytes", "work", "tasks", "memory of a worker")
    reason = tag("p", f"{plan.snapshots} snapshots of {words.listing(plan.fields)}. {plan.reason}.")
    return _shown(join([table(title, header, rows, numeric=range(1, 6)), reason]))


def result_html(result: RunResult) -> str:
    """What a run did: its bases with their errors, what was read, and where the report lies."""
    rows = [
        (
            name, words.number(entry.get("rank")), words.error(_proof_of(entry).get("frobenius_error")),
            words.error(_proof_of(entry).get("worst_error")),
        )
        for name, entry in list(result.bases.items())[:MOST_ROWS]
    ]  # fmt: skip
    title = f"Run in {result.folder}: {result.status}"
    read, seconds = result.measured.get("bytes_read"), result.measured.get("seconds")
    told = [
        f"{words.amount(read)} read in {words.seconds(seconds)}." if read is not None else "",
        result.words,
        _left(len(result.bases)),
    ]
    told += [f"Report: {result.report}" if result.report else ""]
    header = ("basis", "modes", "projection error", "worst snapshot")
    return _shown(join([table(title, header, rows, numeric=[1, 2, 3]), *(tag("p", line) for line in told if line)]))


def learned_html(learned: Learned) -> str:
    """What a model has learnt: how often it chooses right, and what right and wrong cost."""
    found = learned.evaluation
    spread = "" if found.standard_error is None else f" ± {found.standard_error:.2f}"
    known: Iterable[tuple[str, str | None]] = (
        ("accuracy", None if found.accuracy is None else f"{found.accuracy:.2f}{spread}"),
        ("break-even accuracy", None if found.break_even is None else f"{found.break_even:.2f}"),
        ("error where right", None if found.error_right is None else words.error(found.error_right)),
        ("error where wrong", None if found.error_wrong is None else words.error(found.error_wrong)),
        ("error of the global basis", None if found.error_global is None else words.error(found.error_global)),
        ("answered with none of them", None if found.rejected is None else words.share(found.rejected)),
    )
    title = f"Learnt: to choose among {words.count(len(learned.clusters), 'cluster')}, and to predict"
    rows = [(name, value) for name, value in known if value is not None]
    return _shown(join([table(title, ("quantity", "value"), rows, numeric=[1]), *(tag("p", note) for note in learned.notes)]))


def _proof_of(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    found = entry.get("certificate")
    return found if isinstance(found, Mapping) else {}


def _left(count: int) -> str:
    return f"{count - MOST_ROWS} more are not shown." if count > MOST_ROWS else ""


def _shown(content: Html) -> str:
    return str(tag("div", content))


def ensemble_html(ensemble: Ensemble) -> str:
    """A Monte Carlo run: estimates with their standard errors, and what the draws were like."""
    document = ensemble.document
    head = ("quantity", "mean", "standard error", "std", *(f"{level:.0%}" for level in document["levels"]))
    rows = [
        (name, *(f"{value:.4g}" for value in (of["mean"], of["standard_error"], of["std"], *of["quantiles"])))
        for name, of in list(document["estimates"].items())[:MOST_ROWS]
    ]
    told = [
        ("draws", words.number(document["draws"])),
        ("failed", words.number(len(document["failures"]))),
        ("with a remark", words.number(len(document["remarks"]))),
    ]
    indicator, verified = document["indicator"], document.get("verified")
    if indicator is not None:
        told.append(
            ("indicator, median and largest", f"{words.error(indicator['median'], 2)}, {words.error(indicator['largest'], 2)}")
        )
    if verified is not None:
        true = [f"{name} {words.error(of['median'], 2)}" for name, of in verified["errors"].items() if of is not None]
        told.append((f"true error, median over {words.count(len(verified['draws']), 'draw')}", words.listing(true)))
        told.append(("speed-up in core-hours", f"{verified['speed_up_core_hours']:.0f}"))
    tables = [table("Quantities", head, rows, numeric=list(range(1, len(head))))] if rows else []
    return _shown(join([*tables, table("Monte Carlo", ("", "value"), told)]))


def mechanics_html(model: MechanicsModel) -> str:
    """Reduced mechanics: modes, points and errors of every body."""
    head = ("body", "modes", "points", "cubature error", "held out", "dual fields", "correlation of the indicator")
    rows = [
        (
            str(number),
            words.number(body.rank),
            words.number(len(body.points)),
            words.error(body.rule.training, 2),
            "–" if body.rule.held_out is None else words.error(body.rule.held_out, 2),
            words.listing([f"{dual.name} ({words.count(dual.masked.modes, 'mode')})" for dual in body.duals]) or "none",
            "–" if body.calibration is None else f"{body.calibration.correlation:.3f}",
        )
        for number, body in enumerate(model.bodies[:MOST_ROWS])
    ]
    return _shown(table(f"Reduced mechanics of {model.mechanics.case}", head, rows, numeric=[1, 2, 3, 4, 6]))
