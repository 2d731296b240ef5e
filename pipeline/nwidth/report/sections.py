"""The sections of the report, each a pure function: record in, markup out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from nwidth.models.basis import Basis
from nwidth.models.certificate import MAX_DEFECT, Certificate
from nwidth.report import engine, figures, words
from nwidth.report.atlas.section import dictionary
from nwidth.report.markup import Html, facts, figure, join, table, tag
from nwidth.report.record import MODEL, RunRecord, snapshot_table
from nwidth.report.styling import Plot, inline_svg

N_WORST = 8


def headline(record: RunRecord, basis: Basis) -> str:
    """The result of one basis in one sentence."""
    certificate, snapshots = basis.certificate, snapshot_table(basis)
    return words.headline(
        rank=basis.rank,
        n_snapshots=len(certificate.relative_errors),
        fields=basis.fields,
        achieved=certificate.frobenius_error,
        asked=record.asked(basis.name),
        worst=certificate.worst_error,
        where=snapshots.where(certificate.worst_snapshot),
    )


def results(record: RunRecord) -> Html:
    """What came out: a sentence for one basis, a table for several."""
    if not record.bases:
        return tag("p", "This model has no basis.")
    if record.atlas is not None:
        return tag("p", dictionary(record.atlas), class_="headline")
    if len(record.bases) == 1:
        return tag("p", *(headline(record, basis) for basis in record.bases.values()), ".", class_="headline")
    return overview(record)


def overview(record: RunRecord) -> Html:
    """All bases in one table, each with what was asked of it."""
    rows: list[tuple[Any, ...]] = [
        (
            tag("a", name, href=f"#b{number}"),
            words.number(basis.rank),
            words.error(basis.certificate.frobenius_error),
            words.error(record.asked(name)),
            words.error(basis.certificate.worst_error),
            snapshot_table(basis).where(basis.certificate.worst_snapshot),
        )
        for number, (name, basis) in enumerate(record.bases.items())
    ]
    header: tuple[str, ...] = ("basis", "modes", "projection error", "asked", "worst snapshot", "which")
    if all(record.asked(name) is None for name in record.bases):
        header, rows = header[:3] + header[4:], [row[:3] + row[4:] for row in rows]
    return table(f"{words.count(len(rows), 'basis')}, each with its own certificate", header, rows, numeric=[1, 2, 3, 4])


def summary(record: RunRecord) -> Html:
    """What was read and what it cost, in one strip."""
    store, measured = record.section("store"), record.section("measured")
    passes = _passes(measured)
    pairs = [
        ("snapshots", words.number(store["n_snapshots"]) if "n_snapshots" in store else None),
        ("reads of the data", words.number(len(passes)) if passes else None),
        ("bytes read", words.amount(sum(p.get("bytes_read") or 0 for p in passes)) if passes else None),
        ("time", words.seconds(measured["seconds"]) if measured.get("seconds") is not None else None),
        (
            "peak memory of a worker",
            words.memory(measured.get("peak_bytes_per_worker")) if measured.get("peak_bytes_per_worker") else None,
        ),
        ("route", words.listing(dict.fromkeys(basis.spectrum.route for basis in record.bases.values())) or None),
    ]
    present = [(what, value) for what, value in pairs if value is not None]
    return facts(present, "strip") if present else Html("")


def _how(proof: Certificate) -> str:
    """How the errors of a certificate are known."""
    return "bounded from above" if proof.bound else "measured"


def _total(basis: Basis) -> float:
    """Sum of the squares of all singular values, computed or not."""
    return float(np.sum(basis.spectrum.singular_values**2) + basis.spectrum.missed_energy)


def _asked_in_words(record: RunRecord, basis: Basis) -> str:
    """Where the tolerance of a basis comes from."""
    asked = record.asked(basis.name)
    if asked is not None:
        return "the rtol of the study" if asked == record.rtol else "the rtol of the study's local bases"
    return "the study gave no rtol" if record.rtol is None else "the study's local bases have a rank, and no rtol"


def certificate(record: RunRecord, basis: Basis) -> Html:
    """Every number of the certificate with what it means."""
    proof, asked = basis.certificate, record.asked(basis.name)
    where = snapshot_table(basis).where(proof.worst_snapshot)
    rows: list[tuple[Any, str, str]] = [
        ("modes", words.number(basis.rank), f"rank of the basis; {basis.truncation or 'the reason was not recorded'}"),
        ("projection error", words.error(proof.frobenius_error, 3),
         f"relative, {_how(proof)} over all snapshots together (Frobenius)"),
        ("asked", words.error(asked), _asked_in_words(record, basis)),
        ("promised by the spectrum", words.error(proof.expected_error, 3), "from the singular values that were left out"),
        ("worst snapshot", words.error(proof.worst_error, 3), f"its relative error; {where}"),
        ("orthogonality defect", words.number(proof.orthogonality_defect),
         f"largest entry of |ΦᵀWΦ − I|; the limit is {words.number(MAX_DEFECT)}"),
        ("trustworthy values", f"{basis.spectrum.trusted} of {len(basis.spectrum.singular_values)}",
         f"singular values above the floor {words.number(basis.spectrum.floor)} of the {basis.spectrum.route} route"),
    ]  # fmt: skip
    if basis.spectrum.missed_energy:
        share = words.error(np.sqrt(basis.spectrum.missed_energy / _total(basis)), 3)
        rows.append(("beyond the sample", share, "relative norm of what the random sample did not span, measured"))
    if proof.repaired:
        rows.append(
            (
                "defect before repair",
                words.number(proof.measured_defect),
                "the modes were orthonormalised again before they were written",
            )
        )
    if len(basis.fields) > 1:
        rows += [
            (f"error of {name}", words.error(value, 3), "relative, of this field by itself")
            for name, value in proof.field_errors.items()
        ]
    rows += [
        (
            f"masked unknowns of {name}",
            words.count(unknowns, "unknown"),
            "NaN in every snapshot: outside of the domain, without weight",
        )
        for name, unknowns in proof.masked_unknowns.items()
    ]
    if proof.filled_fraction:
        share = f"{100 * proof.filled_fraction:.3g} %"
        rows += [
            (
                "filled values",
                share,
                "missing in some snapshots, and filled from the modes; the errors above include the filling",
            ),
            ("error of the filling", words.error(proof.fill_error, 3), "relative, measured on observed values hidden from it"),
        ]
    met = asked is None or proof.frobenius_error <= asked
    verdict = f"Certified: {_how(proof)} on every snapshot{'' if proof.bound else ' in the lifting pass'}" + (
        ", and within what was asked." if asked is not None and met else "."
    )
    if not met:
        verdict = "Certified, but above what was asked: more modes, or the tsqr route, would be needed."
    return tag(
        "div", tag("p", verdict, class_="verdict"), table("Certificate", ("quantity", "value", "meaning"), rows, numeric=[1]),
        class_="certificate" if met else "certificate missed",
    )  # fmt: skip


def how_it_was_made(basis: Basis) -> Html:
    """Inner product, centring, scaling and route in one paragraph."""
    products = words.listing(dict.fromkeys(basis.inner_products.values())) or "identity"
    scaling = "" if len(basis.fields) < 2 else "; fields scaled by " + words.listing(
        f"{words.number(value, 3)} ({name})" for name, value in basis.field_scaling.items()
    )  # fmt: skip
    centring = "The mean over the snapshots was removed" if basis.centred else "Snapshots were not centred"
    weights = "" if basis.snapshot_scaling in ("", "none") else f"; snapshot scaling: {basis.snapshot_scaling}"
    route = f"Route {basis.spectrum.route}: {basis.spectrum.reason or 'no reason recorded'}"
    return tag("p", f"Inner product: {products}. {centring}{weights}{scaling}. {route}.")


def spectrum(record: RunRecord, basis: Basis, prefix: str) -> Html:
    """Spectrum, energy and error curves."""
    values, rtol = basis.spectrum.singular_values, record.asked(basis.name)
    floor = (
        f"values below {words.number(basis.spectrum.floor)} are rounding"
        if basis.spectrum.floor > 0
        else "the route has no floor"
    )
    kept = f"{basis.rank} modes hold {words.share(basis.spectrum.energy[basis.rank - 1] if basis.rank else 0.0)} of the energy"
    top = words.number(values.max(initial=0))
    alt = f"Singular values of {basis.name} on a log scale, from {top} down; {basis.rank} kept; {floor}."
    curves = f"Cumulative energy and relative projection error against the number of modes; {kept}."
    caption = f"Spectrum: {words.count(len(values), 'singular value')}, {floor}."
    return join(
        [
            _plot(figures.spectrum(basis), f"{prefix}-s", alt, caption),
            _plot(
                figures.error_curves(basis, rtol), f"{prefix}-e", curves, f"The vertical line is the rank that was kept: {kept}."
            ),
        ]
    )


def _plot(drawn: Plot, prefix: str, alt: str, caption: str) -> Html:
    """A plot with its caption; `prefix` makes its ids its own."""
    return figure(Html(inline_svg(drawn, alt, prefix)), caption)


def errors(record: RunRecord, basis: Basis, prefix: str) -> Html:
    """Errors of all snapshots, and the worst ones by name."""
    proof, snapshots = basis.certificate, snapshot_table(basis)
    alt = (
        f"Relative error of each of {len(proof.relative_errors)} snapshots on a log scale; "
        f"the worst is {words.error(proof.worst_error)} at {snapshots.where(proof.worst_snapshot)}."
    )
    worst = np.argsort(proof.relative_errors, kind="stable")[::-1][:N_WORST]
    units = {name: snapshots.parameter_units.get(name, "") for name in snapshots.parameters}
    header = ["snapshot", "simulation", words.in_unit("time", snapshots.time_units),
              *(words.in_unit(name, unit) for name, unit in units.items()), "relative error", "norm"]  # fmt: skip
    rows = [
        [
            str(index), snapshots.simulation[index] or "–",
            "–" if snapshots.time is None else words.moment(snapshots.time[index]),
            *(_cell(values[index]) for values in snapshots.parameters.values()),
            words.error(proof.relative_errors[index], 3), words.number(proof.snapshot_norms[index], 3),
        ]
        for index in worst
    ]  # fmt: skip
    shaded = " Shading separates simulations." if 1 < len(snapshots.simulations) < len(snapshots.simulation) else ""
    caption = f"Relative projection error of every snapshot.{shaded} A snapshot without any error has no dot."
    return join(
        [
            _plot(figures.snapshot_errors(basis, record.asked(basis.name)), f"{prefix}-w", alt, caption),
            table("Worst snapshots", header, rows, numeric=[0, *range(2, len(header))]),
        ]
    )


def _cell(value: Any) -> str:
    """A parameter's value in a table."""
    return words.number(float(value), 4) if isinstance(value, int | float | np.integer | np.floating) else str(value)


def coefficients(basis: Basis, prefix: str) -> Html:
    """Coefficients against time and against the parameters that vary."""
    plots = []
    if figures.has_histories(basis):
        caption = "Coefficients against time, a line per simulation."
        alt = f"{basis.name}, the first {min(4, basis.rank)} modes. {caption}"
        plots.append(_plot(figures.coefficients_in_time(basis), f"{prefix}-t", alt, caption))
    names = figures.varying_parameters(basis)
    drawn, left = names[: figures.MAX_PARAMETERS], names[figures.MAX_PARAMETERS :]
    if drawn:
        caption = f"Coefficients against {words.listing(drawn)}, a dot per snapshot."
        alt = f"{basis.name}, the first {min(3, basis.rank)} modes. {caption}"
        more = f" Not drawn: {words.listing(left)}." if left else ""
        plots.append(_plot(figures.coefficients_by_parameter(basis), f"{prefix}-p", alt, caption + more))
    nothing = "Neither a time nor a parameter varies over the snapshots: there is nothing to plot the coefficients against."
    return join(plots or [tag("p", nothing)])


# --- the run ----------------------------------------------------------------------------------------------------------


def _passes(section: Mapping[str, Any]) -> list[dict[str, Any]]:
    passes = section.get("passes")
    return [dict(entry) for entry in passes if isinstance(entry, Mapping)] if isinstance(passes, list) else []


# What is shown, its key in the plan's pass and in the measured one, and how it is written.
_COMPARED: tuple[tuple[str, str, str, Callable[[Any], str]], ...] = (
    ("bytes read", "bytes_to_read", "bytes_read", words.amount),
    ("tasks", "tasks", "tasks", words.number),
    ("peak memory of a worker", "peak_bytes", "peak_bytes", words.memory),
    ("work", "flops", "flops", words.operations),
    ("time", "seconds", "seconds", words.seconds),
)


def plan(record: RunRecord) -> Html:
    """What the plan said, what was measured, and the ratio."""
    planned, measured = record.section("plan"), record.section("measured")
    rows = [
        row
        for name, before, after in _paired(_passes(planned), _passes(measured))
        for label, asked, found, show in _COMPARED
        if (row := _comparison(name, label, before.get(asked), after.get(found), show)) is not None
    ]
    seconds = _comparison("all", "time, start to end", planned.get("seconds"), measured.get("seconds"), words.seconds)
    rows += [seconds] if seconds else []
    if not rows:
        return tag("p", "This run has no record of its plan.")
    split = [
        f"{entry.get('name', '')}: {words.seconds(entry['read_seconds'])} reading and decoding, "
        f"{words.seconds(entry.get('compute_seconds'))} computing"
        for entry in _passes(measured)
        if entry.get("read_seconds") is not None
    ]
    reason = planned.get("reason")
    return join(
        [
            tag("p", f"Route {planned.get('route', '')}: {reason}.") if reason else Html(""),
            table(
                "Pass by pass, what was planned and what was measured",
                ("pass", "quantity", "planned", "measured", "measured / planned"),
                rows,
                numeric=[2, 3, 4],
            ),
            tag("p", "Seconds of the tasks, summed over the workers. " + "; ".join(split) + ".", class_="note")
            if split
            else Html(""),
            engine.blocks(_passes(measured)),
            engine.settings(planned),
            engine.routes(planned),
        ]
    )


def _paired(
    planned: list[dict[str, Any]], measured: list[dict[str, Any]]
) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """(name, planned pass or nothing, measured pass or nothing); a factor pass is measured under the name of its route."""
    left = {str(entry.get("name")): entry for entry in planned}
    routes = {"gram": "factor", "tsqr": "factor"}
    for entry in measured:
        name = str(entry.get("name"))
        yield name, left.pop(name, {}) or left.pop(routes.get(name, ""), {}), entry
    yield from ((name, entry, {}) for name, entry in left.items())


def _comparison(name: str, label: str, planned: Any, measured: Any, show: Callable[[Any], str]) -> tuple[str, ...] | None:
    """One row, or None where neither figure is known."""
    numbers = [value if isinstance(value, int | float) and not isinstance(value, bool) else None for value in (planned, measured)]
    if numbers == [None, None]:
        return None
    ratio = words.number(numbers[1] / numbers[0], 3) if numbers[0] and numbers[1] is not None else "–"
    return name, label, show(numbers[0]), show(numbers[1]), ratio


def provenance(record: RunRecord) -> Html:
    """Where the numbers come from: store, versions, host, configuration."""
    store, origin = record.section("store"), record.section("provenance")
    rows: list[tuple[str, Any]] = [
        (f"store {key.removeprefix('n_')}", value) for key, value in store.items() if not isinstance(value, Mapping | list)
    ]
    rows += [(key.replace("_", " "), value) for key, value in origin.items() if not isinstance(value, Mapping | list)]
    rows += [("model schema", record.manifest.get("nwidth_model"))]
    parts = [table("Provenance", ("what", "value"), [(what, tag("code", value)) for what, value in rows])]
    fields = store.get("fields")
    if isinstance(fields, Mapping) and fields:
        keys = ("shape", "dtype", "chunks", "shards", "codec")
        listed = [(name, *(_plain(info.get(key)) for key in keys)) for name, info in fields.items() if isinstance(info, Mapping)]
        parts.append(table("Fields of the store", ("field", *keys), listed))
    configuration = record.section("configuration")
    if configuration:
        shown = json.dumps(configuration, indent=2, default=str, ensure_ascii=False)
        parts.append(tag("details", tag("summary", "Configuration, with its defaults"), tag("pre", tag("code", shown))))
    return join([engine.parents(origin), *parts])


def _plain(value: Any) -> str:
    return " × ".join(str(item) for item in value) if isinstance(value, list | tuple) else "–" if value is None else str(value)


def loading(record: RunRecord) -> Html:
    """Three lines of Python that open this model."""
    path = (record.folder / MODEL).as_posix() if (record.folder / MODEL).is_dir() else record.folder.as_posix()
    basis = next(iter(record.bases), "")
    lines = (
        "import nwidth as nw",
        f"model = nw.open_model({path!r})",
        f"basis = model.bases[{basis!r}]        # .modes .singular_values .coefficients .certificate",
    )
    note = "The model is plain Zarr v3 with a JSON manifest: any Zarr reader opens it, without nwidth."
    return join([tag("pre", tag("code", "\n".join(lines))), tag("p", note)])
