"""``nwidth learn``: teach a finished model to predict."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from nwidth.cli.output import count, emit_json, rows, say


def learn(
    model: Annotated[Path, typer.Argument(help="A model, or the folder of a run.")],
    parameter: Annotated[
        list[str] | None, typer.Option(help="Parameter that is an input; repeat for several. All that vary by default.")
    ] = None,
    classifier: Annotated[str, typer.Option(help="logistic or stacking.")] = "logistic",
    augmentation: Annotated[float, typer.Option(help="New inputs inside the classes, as a multiple.")] = 0.0,
    regression: Annotated[str, typer.Option(help="gaussian-process or rbf.")] = "gaussian-process",
    novelty: Annotated[str, typer.Option(help="neighbour or mahalanobis.")] = "neighbour",
    quantile: Annotated[float, typer.Option(help="Of the distances among training inputs: beyond it, none of them.")] = 0.99,
    folds: Annotated[int, typer.Option(help="Of the cross-validation, by simulation.")] = 5,
    seed: Annotated[int, typer.Option(help="Of folds, augmentation and starts.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of words.")] = False,
) -> None:
    """Teach a model to predict from the parameters of its simulations. Reads no field."""
    from nwidth.learning.training import learn as teach
    from nwidth.models.model import open_model
    from nwidth.stages.learning import summary

    opened = open_model(model)
    learned = teach(
        opened,
        parameters=parameter or None,
        classifier=classifier,
        augmentation=augmentation,
        regression=regression,
        novelty=novelty,
        quantile=quantile,
        folds=folds,
        seed=seed,
    )
    told = summary(learned)
    if json:
        emit_json({"model": str(opened.path), **told, "confusion": learned.evaluation.confusion.tolist()})
        return
    say(f"{opened.path} has learnt to predict", *learned_lines(told))


def learned_lines(told: Mapping[str, Any]) -> list[str]:
    """What a model has learnt, in words."""
    listed = [("learnt", f"{count(told['clusters'], 'cluster')} from {', '.join(told['inputs']) or 'the time alone'}")]
    if told["accuracy"] is not None:
        spread = "" if told["standard_error"] is None else f" +- {told['standard_error']:.2f}"
        even = "" if told["break_even"] is None else f", break-even {told['break_even']:.2f}: " + _verdict(told["pays"])
        listed.append(("right labels", f"{told['accuracy']:.2f}{spread} of simulations that were held out{even}"))
    if told["rejected"] is not None:
        listed.append(("none of them", f"{told['rejected']:.0%} of the training simulations, each without itself"))
    errors = [error for cluster in told["regression_errors"] for error in cluster if error is not None]
    if errors:
        listed.append(("regression", f"error {min(errors):.1e} to {max(errors):.1e}, cluster by cluster, simulations left out"))
    return [*rows(listed), *(f"  {note}" for note in told["notes"])]


def _verdict(pays: bool | None) -> str:
    return "the dictionary pays" if pays else "one basis for all would be better"
