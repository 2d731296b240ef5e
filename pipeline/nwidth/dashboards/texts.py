"""Records in words and tables: pure functions from records to markup. Every text from a store or a ledger is escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from urllib.parse import urlsplit

import numpy as np

from nwidth.dashboards.contents import BasisView, ClusterMap, ModelView
from nwidth.dashboards.costs import Costs
from nwidth.dashboards.indicators import IndicatorView
from nwidth.dashboards.ledger import Ledger
from nwidth.dashboards.runs import PassProgress, RunState
from nwidth.dashboards.scheduler import SchedulerView
from nwidth.report import words
from nwidth.report.markup import Html, facts, join, table, tag

LONGEST_TEXT = 400
MOST_EVENTS = 200
STATE_WORDS = {
    "running": "running", "finished": "finished", "failed": "failed", "stopped": "stopped", "empty": "nothing yet",
}  # fmt: skip


def short(value: object, longest: int = LONGEST_TEXT) -> str:
    """Text from elsewhere, not endless."""
    shown = words.printable(value)
    return shown if len(shown) <= longest else shown[: longest - 1] + "…"


def clock(moment: datetime | None) -> str:
    """A time in words, in UTC."""
    return "–" if moment is None else moment.strftime("%Y-%m-%d %H:%M:%S")


# --- runs -------------------------------------------------------------------------------------------------------------


def runs_table(runs: Sequence[RunState], folder: object) -> Html:
    """All runs with their states; in an empty folder, what would fill it."""
    if not runs:
        return tag(
            "div",
            tag("p", "No run in ", tag("code", short(folder)), " yet.", class_="verdict"),
            tag("p", "This page follows the folder: ", tag("code", "nwidth run study.toml"), " makes the first run appear here."),
            class_="empty",
        )
    rows = [
        (
            badge(run), tag("strong", short(run.title, 80)), clock(run.since),
            words.seconds(run.seconds) if run.seconds is not None else "–", progress_bars(run.passes), short(run.words),
        )
        for run in runs
    ]  # fmt: skip
    header = ("state", "study", "began (UTC)", "time", "blocks done", "")
    return table(words.count(len(runs), "run"), header, rows, numeric=[3])


def badge(run: RunState) -> Html:
    """The state as a coloured word."""
    return tag("span", STATE_WORDS[run.state], class_=f"badge {run.state}")


def progress_bars(passes: Sequence[PassProgress]) -> Html:
    """A bar for each pass at work; a number where nobody says how many blocks there are."""
    bars = []
    for progress in passes:
        of = f" of {progress.total}" if progress.total else ""
        bar: Html | str = tag("progress", value=progress.done, max=progress.total) if progress.total else ""
        bars.append(tag("div", bar, tag("small", f"{short(progress.name, 40)}: {progress.done}{of}"), class_="progress"))
    return join(bars) if bars else Html("–")


def ledger_table(ledger: Ledger) -> Html:
    """The events of a run, the newest first."""
    rows = []
    for event in reversed(ledger.events[-MOST_EVENTS:]):
        details = ", ".join(f"{name}: {short(value, 160)}" for name, value in event.details.items() if name != "key")
        rows.append((clock(event.time), short(event.name, 40), short(details)))
    remarks = []
    if ledger.damaged:
        remarks.append(f"{words.count(ledger.damaged, 'line')} of this ledger cannot be read and is left out.")
    if ledger.truncated or len(ledger.events) > MOST_EVENTS:
        remarks.append("Older events are in the file ledger.jsonl.")
    shown = table("Events", ("time (UTC)", "event", "details"), rows) if rows else tag("p", "The ledger has no events.")
    return join([shown, *(tag("p", remark, class_="note") for remark in remarks)])


# --- a finished run ---------------------------------------------------------------------------------------------------


def alert(sentence: object) -> Html:
    """A refusal in the place of what it is about."""
    return tag("div", tag("p", short(sentence)), class_="alert", role="alert")


def summary(view: ModelView) -> Html:
    """What the run has found: every basis with its certificate's numbers."""
    rows = []
    for basis in view.bases.values():
        proof = basis.certificate
        rows.append(
            (
                tag("strong", short(basis.name, 60)), short(", ".join(basis.fields), 80), words.number(basis.rank),
                words.error(proof.get("frobenius_error"), 3), words.error(proof.get("expected_error"), 3),
                words.error(proof.get("worst_error"), 3), words.number(proof.get("orthogonality_defect")),
                short(basis.spectrum.route, 20),
            )
        )  # fmt: skip
    header = ("basis", "fields", "modes", "error, measured", "promised", "worst snapshot", "defect", "route")
    return join([tag("h2", short(view.study, 120)), _strip(view), table("Bases", header, rows, numeric=[2, 3, 4, 5, 6]),
                 *(tag("p", short(basis.name), ": ", short(basis.truncation), class_="note")
                   for basis in list(view.bases.values())[:4] if basis.truncation)])  # fmt: skip


def _strip(view: ModelView) -> Html:
    """Who, from where, how large."""
    store, origin = view.manifest.get("store"), view.manifest.get("provenance")
    store, origin = (dict(entry) if isinstance(entry, dict) else {} for entry in (store, origin))
    pairs = [
        ("snapshots", words.number(view.snapshots.count)),
        ("asked error", words.error(view.rtol) if view.rtol is not None else "–"),
        ("store", short(store.get("url", "–"), 80)),
        ("nwidth", short(origin.get("nwidth", "–"), 20)),
        ("workers", short(origin.get("workers", "–"), 60)),
    ]
    return facts(pairs, "strip")


def cost_table(costs: Costs) -> Html:
    """Predicted beside measured, pass by pass."""
    if not costs.passes:
        return tag("p", "This run has no measurements: its model was made by another command, or its record is gone.")
    rows = [
        (
            short(entry.name, 40), words.amount(entry.measured_bytes), words.amount(entry.planned_bytes),
            words.memory(entry.measured_peak), words.memory(entry.planned_peak),
            words.number(_whole(entry.measured_tasks)), words.number(_whole(entry.planned_tasks)),
            words.seconds(entry.seconds) if entry.seconds is not None else "–",
        )
        for entry in costs.passes
    ]  # fmt: skip
    header = ("pass", "read", "planned", "peak of a worker", "planned", "tasks", "planned", "time")
    parts = [table("Costs", header, rows, numeric=range(1, 8))]
    if costs.measured_seconds is not None:
        about = f", planned about {words.seconds(costs.planned_seconds)}" if costs.planned_seconds else ""
        parts.append(tag("p", f"The whole run took {words.seconds(costs.measured_seconds)}{about}.", class_="note"))
    return join(parts)


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def errors_note(basis: BasisView, shown: int) -> Html:
    """How the errors are known, and which of them are shown."""
    proof = basis.certificate
    how = "upper bounds" if proof.get("bound") else "measured in the lifting pass"
    part = "" if shown == len(basis.errors) else f" {shown} of {len(basis.errors)} are shown, the worst of each stretch."
    asked = f"Over all snapshots together: {words.error(proof.get('frobenius_error'), 3)}; the errors are {how}."
    return tag("p", asked + part, class_="note")


def clusters_table(found: ClusterMap) -> Html:
    """Every cluster: its members, its representative, its basis, what it gains."""
    atlas = found.atlas
    own, rows = atlas.own_errors, []
    for cluster in range(atlas.count):
        members = atlas.members(cluster)
        one, other = (
            float(np.sqrt(np.mean(errors[members] ** 2))) if members.size else None for errors in (own, atlas.global_errors)
        )
        rows.append(
            (
                f"cluster {cluster}", words.number(int(atlas.sizes[cluster])), words.number(int(members.size)),
                short(atlas.items[int(atlas.medoids[cluster])], 60), words.number(int(atlas.ranks[cluster])),
                words.error(one), words.error(other),
            )
        )  # fmt: skip
    verdict = "Local bases pay: " if atlas.pays else "Local bases do not pay: "
    header = (
        "",
        "items" if atlas.of == "snapshots" else atlas.of,
        "snapshots",
        "represented by",
        "modes",
        "own basis",
        "global basis",
    )
    return join([
        tag("p", verdict + short(atlas.reason), class_="verdict"),
        table("Clusters, errors as root mean square over the members", header, rows, numeric=[1, 2, 4, 5, 6]),
        *(tag("p", short(remark), class_="note") for remark in atlas.notes),
    ])  # fmt: skip


def indicator_table(views: Sequence[IndicatorView]) -> Html:
    """How well each body's indicator follows its error."""
    if not views:
        return tag("p", "The reduced bodies of this model have no calibrated indicator.")
    rows = [
        (
            f"body {view.body}",
            words.number(view.pairs),
            "–" if view.correlation is None else f"{view.correlation:.3f}",
            words.share(view.covered),
        )
        for view in views
    ]
    header = ("", "pairs", "correlation of log ρ and log e", "errors below the indicator")
    return table("Calibration, on training runs", header, rows, numeric=range(1, 4))


# --- Dask -------------------------------------------------------------------------------------------------------------


def dask_link(run: RunState) -> Html:
    """A link to Dask's own dashboard, where the run says it; only to an address of the web."""
    try:
        web = urlsplit(run.dask_dashboard).scheme in ("http", "https")
    except ValueError:
        web = False
    if not web:
        return Html("")
    return tag("p", tag("a", "Open the Dask dashboard", href=run.dask_dashboard, target="_blank", rel="noopener noreferrer"))


def scheduler_table(view: SchedulerView) -> Html:
    """The scheduler's tasks by name."""
    if view.words:
        return tag("p", tag("code", short(view.address, 80)), f": {view.words}.", class_="note")
    rows = [(short(group.name, 60), *(words.number(n) for n in (group.waiting, group.processing, group.done, group.erred)))
            for group in view.groups[:40]]  # fmt: skip
    return table(
        f"Tasks at {short(view.address, 80)}", ("task", "waiting", "at work", "done", "failed"), rows, numeric=range(1, 5)
    )
