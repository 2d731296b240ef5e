"""The report's section on an atlas, each part a pure function: atlas in, markup out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nwidth.models.atlas import GLOBAL, Atlas
from nwidth.models.learned import Learned
from nwidth.report import words
from nwidth.report.atlas import choices, clusters, widths
from nwidth.report.markup import Html, facts, figure, join, table, tag
from nwidth.report.styling import Plot, inline_svg


def dictionary(atlas: Atlas) -> str:
    """The result of an atlas in one sentence."""
    ranks = sorted({int(rank) for rank in atlas.ranks})
    modes = words.count(ranks[0], "mode") if len(ranks) == 1 else f"{ranks[0]} to {ranks[-1]} modes"
    own, one = (float(values.max(initial=0.0)) for values in (atlas.own_errors, atlas.global_errors))
    if atlas.count == 1:
        return f"{_sentence(atlas.reason)} Its basis of {modes} leaves no snapshot an error above {words.error(one)}."
    return (
        f"{words.count(atlas.count, 'cluster')} of {words.count(len(atlas.items), atlas.of.removesuffix('s'))}: on local bases "
        f"of {modes} no snapshot's error is above {words.error(own)}, on one basis of {atlas.bases[GLOBAL].rank} it reaches "
        f"{words.error(one)}. " + ("The dictionary pays." if atlas.pays else "The dictionary does not pay.")
    )


def atlas_section(atlas: Atlas, medoids: Sequence[Html], learned: Learned | None = None) -> Html:
    """Everything that is to be seen of an atlas; `medoids` are pictures of its representatives, field by field."""
    return join(
        [
            tag("p", f"{_sentence(atlas.reason)}"),
            *(tag("p", _sentence(note), class_="note") for note in atlas.notes),
            facts(_facts(atlas), "strip"),
            tag("h3", "Who belongs where"), belonging(atlas),
            *((tag("h3", "Representatives"), *medoids) if medoids else ()),
            tag("h3", "Why so many clusters"), reasons(atlas),
            tag("h3", "Widths: can a dictionary pay?"), brackets(atlas),
            tag("h3", "Errors on own, second and global basis"), errors(atlas),
            *((tag("h3", "From one local basis to another"), switching(atlas)) if atlas.count > 1 else ()),
            *((tag("h3", "Choosing the cluster"), choosing(learned)) if learned is not None else ()),
        ]
    )  # fmt: skip


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")


def _facts(atlas: Atlas) -> list[tuple[str, str]]:
    found = np.isfinite(atlas.silhouettes).all() and atlas.count > 1
    return [
        (atlas.of, words.number(len(atlas.items))),
        ("dissimilarity", atlas.dissimilarity + (f", {atlas.reading}" if atlas.reading else "")),
        ("method", atlas.method),
        ("clusters", words.number(atlas.count)),
        ("mean dissimilarity to the representative", words.number(atlas.loss, 3)),
        *([("mean silhouette", words.number(float(atlas.silhouettes.mean()), 2))] if found else []),
    ]


def _plot(drawn: Plot, name: str, alt: str, caption: str) -> Html:
    """A plot with its caption; `name` makes its ids its own."""
    return figure(Html(inline_svg(drawn, alt, f"a-{name}")), caption)


def belonging(atlas: Atlas) -> Html:
    """Map, sizes, silhouette, and a table of the clusters."""
    sizes = words.listing(str(int(size)) for size in atlas.sizes)
    shown = f"A dot per {atlas.of.removesuffix('s')}, in the colour of its cluster; the numbered discs are the representatives."
    parts = [_plot(clusters.partition(atlas), "map", f"Map of {atlas.count} clusters of {sizes} {atlas.of}.", shown)]
    rows = [
        (
            tag("a", str(cluster), href=f"#b{cluster + 1}"),
            words.number(int(size)),
            *((words.number(len(atlas.members(cluster))),) if atlas.of != "snapshots" else ()),
            atlas.items[int(atlas.medoids[cluster])],
            words.number(float(np.mean(atlas.dissimilarities[cluster, atlas.item_labels == cluster])), 3),
            words.number(int(atlas.ranks[cluster])),
            words.error(atlas.own_errors[atlas.members(cluster)].max(initial=0.0)),
        )
        for cluster, size in enumerate(atlas.sizes)
    ]
    members = () if atlas.of == "snapshots" else ("snapshots",)
    header = ("cluster", atlas.of, *members, "representative", "mean dissimilarity", "modes", "worst error")
    last = len(header)
    parts.append(table("Clusters", header, rows, numeric=[0, 1, *range(2, 2 + len(members)), *range(last - 3, last)]))
    if atlas.count > 1 and np.isfinite(atlas.silhouettes).all():
        mean = float(atlas.silhouettes.mean())
        below = words.share(float(np.mean(atlas.silhouettes < 0)))
        caption = (
            "Silhouettes, (b − a) / max(a, b), with a the mean dissimilarity within the own cluster, b to the nearest other one; "
            f"their mean is {mean:.2f}, and {below} lie below 0."
        )
        parts.append(_plot(clusters.silhouette(atlas), "silhouette", f"Silhouettes by cluster; mean {mean:.2f}.", caption))
    return join(parts)


def reasons(atlas: Atlas) -> Html:
    """Loss, silhouette, gain and the map, where anything was tried."""
    gain = atlas.gain
    if gain.expected_gain.size == 0:
        return tag("p", "No other number of clusters was tried.")
    on = f"Errors of {gain.held_out}; accuracy of a classifier as guessed: {gain.accuracy_of}."
    parts = []
    if len(set(gain.clusters.tolist())) > 1:
        alt = "Loss, silhouette, expected gain and size of the smallest cluster against the number of clusters."
        parts.append(_plot(choices.loss_curve(atlas), "loss", alt, f"What was tried, against the number of clusters. {on}"))
    largest = f"the largest gain is {np.nanmax(gain.expected_gain):.3g}"
    alt = f"Expected gain and break-even accuracy over numbers of clusters and modes; {largest}."
    caption = (
        "Left, the expected gain: error of one global basis over that of the dictionary, of as many modes; blue above 1. Right, "
        "the accuracy at which both are equal; blue where a classifier is guessed to do better. " + ("" if parts else f"{on} ")
        + ("Framed is what was made." if atlas.count > 1 else "Framed is the largest gain.")
    )  # fmt: skip
    parts.append(_plot(choices.gain_map(atlas), "gain", alt, caption))
    return join(parts)


def brackets(atlas: Atlas) -> Html:
    """Width curves and the spectra of the parts."""
    of = f" Of a sample of {words.number(atlas.widths.sample)} snapshots." if atlas.widths.sample else ""
    caption = (
        "The worst relative error that the best N modes can have, between its bounds. Where the orange bracket lies below the "
        f"blue one, the worst part of the dictionary does what no single basis of as many modes can.{of}"
    )
    spectra = (
        "Relative error of the first k modes, from the spectra of what each basis is made of: its members, and those that it "
        "borrows from neighbours. The kept rank is ringed."
    )
    return join(
        [
            _plot(widths.widths(atlas), "widths", "Upper and lower bounds of the width, whole set and clusters.", caption),
            _plot(widths.spectra(atlas), "spectra", "Projection errors of the global basis and of all local ones.", spectra),
        ]
    )


def errors(atlas: Atlas) -> Html:
    """Errors of all snapshots on three bases each."""
    own, one = (float(np.sqrt(np.mean(values**2))) for values in (atlas.own_errors, atlas.global_errors))
    better = words.share(float(np.mean(atlas.own_errors <= atlas.global_errors)))
    caption = (
        f"Measured in the lifting pass. Root mean squares: {words.error(own)} on the own basis, {words.error(one)} on the global "
        f"one; the own basis is at least as good for {better} of the snapshots."
    )
    return _plot(clusters.errors(atlas), "errors", f"Relative errors of {len(atlas.labels)} snapshots on three bases.", caption)


def switching(atlas: Atlas) -> Html:
    """Losses of transitions."""
    caption = (
        "Relative loss (root mean square over the members of the column) of changing from the column's basis to the row's: what "
        "a simulation that marches from one cluster into another loses at the border."
    )
    return _plot(clusters.transitions(atlas), "transitions", "Losses of changing between all pairs of local bases.", caption)


def choosing(learned: Learned) -> Html:
    """The classifier's confusion and what it costs."""
    found = learned.evaluation
    spread = "" if found.standard_error is None else f" ± {found.standard_error:.2f}"
    pairs = [
        ("accuracy", None if found.accuracy is None else f"{found.accuracy:.2f}{spread}"),
        ("break-even", None if found.break_even is None else f"{found.break_even:.2f}"),
        ("error where right", None if found.error_right is None else words.error(found.error_right)),
        ("error where wrong", None if found.error_wrong is None else words.error(found.error_wrong)),
        ("error of the global basis", None if found.error_global is None else words.error(found.error_global)),
        ("answered “none of them”", None if found.rejected is None else words.share(found.rejected)),
    ]
    held = f"{words.count(found.folds, 'fold')}, by simulation" if found.folds else "no simulation held out: too few"
    caption = f"True cluster (rows) against the chosen one (columns): {held}."
    return join(
        [
            facts([(name, value) for name, value in pairs if value is not None], "strip"),
            _plot(clusters.confusion(learned), "confusion", f"Confusion matrix of {len(found.confusion)} clusters.", caption),
            *(tag("p", _sentence(note), class_="note") for note in learned.notes),
        ]
    )
