"""Tables of a study file that concern mechanics and uncertainty, and what all tables have in common."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

_Share = Annotated[float, Field(gt=0, lt=1)]
_Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A table of the study file: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MechanicsSection(Section):
    """``[mechanics]``: the model is trained to solve load cases, after every run that made other bases."""

    case: Annotated[str, Field(min_length=1, description="loads and temperature: a plug-in, or `module:object`")]
    law: Annotated[dict[str, Any], Field(description="the material, as a table with its `kind`")]
    displacement: Annotated[str, Field(description="field at the nodes")] = "displacement"
    stress: Annotated[str, Field(description="field at the integration points, six components")] = "stress"
    duals: Annotated[
        dict[str, str], Field(description="field at the integration points -> the law's name of it, `flux` for the stress")
    ] = {}
    indicating: Annotated[str, Field(description="dual field whose residual is the error indicator; the first by default")] = ""
    search: Annotated[
        Literal["two-level", "one-level"],
        Field(description="of cubature points: one read of the stress, or one per pool of points"),
    ] = "two-level"
    points: Annotated[
        Literal["own", "shared"], Field(description="of a dictionary: each body its own, or one set with weights of each")
    ] = "own"
    tolerance: Annotated[float, Field(ge=0, lt=1, description="of the cubature, relative, over all training states")] = 1e-5
    normalised: Annotated[bool, Field(description="choose points by the angle of their integrands")] = False
    volume: Annotated[bool, Field(description="integrate a constant, too")] = False
    held_out: Annotated[tuple[str, ...], Field(description="simulations that no body sees, on which it is measured")] = ()
    reconstruction: Annotated[
        Literal["gappy", "lasso", "gaussian-process"],
        Field(description="of dual fields: from their values at points, or by a regression trained on the reduced runs"),
    ] = "gappy"
    newton_tolerance: Annotated[float, Field(gt=0, lt=1, description="of the reduced Newton method, relative")] = 1e-8
    smallest_norm: Annotated[float, Field(ge=0, description="norm below which the indicating field has no relative error")] = 0.0
    shares: Annotated[
        tuple[Annotated[float, Field(gt=0, le=1)], ...],
        Field(min_length=1, description="of the modes, with which training runs are repeated to calibrate the indicator"),
    ] = (1.0, 0.75, 0.5)
    rtol: Annotated[
        _Share | dict[str, _Share] | None,
        Field(description="of the bases that bodies have of their own; or a table by field; default: as `[reduce]`"),
    ] = None
    rank: Annotated[
        _Count | dict[str, _Count] | None, Field(description="largest number of their modes; or a table by field")
    ] = None
    sampled_runs: Annotated[
        int, Field(ge=0, description="reduced runs between those of training, whose fields join the snapshots of these bases")
    ] = 0


class QuantitySection(Section):
    """``[uncertainty.quantities.<name>]``: a number of interest."""

    field: Annotated[str, Field(min_length=1, description="field that it is taken of")]
    of: Annotated[
        Literal["maximum", "minimum", "mean", "integral", "norm"], Field(description="over the places of the field")
    ] = "maximum"
    at: Annotated[Literal["last", "first", "largest"], Field(description="time; largest: over all times")] = "last"


class UncertaintySection(Section):
    """``[uncertainty]``: what `nwidth predict STUDY.toml --draws` draws, and what it asks."""

    parameters: Annotated[
        dict[str, dict[str, Any]],
        Field(min_length=1, description="input -> distribution (uniform, normal, log-normal, choice, constant) and its numbers"),
    ]
    draws: Annotated[int, Field(ge=1, description="how many, unless the command says otherwise")] = 1000
    seed: Annotated[int, Field(ge=0, lt=2**63, description="seed of the draws")] = 0
    fields: Annotated[tuple[str, ...], Field(description="fields whose statistics are formed; all by default")] = ()
    quantities: Annotated[dict[str, QuantitySection], Field(description="numbers of interest")] = {}
    levels: Annotated[
        tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(description="quantiles of fields and quantities")
    ] = (0.05, 0.5, 0.95)
    batch: Annotated[int, Field(ge=1, description="draws of a task")] = 16
    verify: Annotated[int, Field(ge=0, description="draws that the full-order model answers, too")] = 0
    reference: Annotated[str, Field(description="the full-order model: `module:function` of the inputs")] = ""
    enrich_above: Annotated[
        float, Field(ge=0, description="indicator above which a draw enriches the model by full-order steps; 0: never")
    ] = 0.0
    stepper: Annotated[str, Field(description="full-order model of single steps, `module:object`")] = ""
    most_enrichments: Annotated[int, Field(ge=1, description="enriched versions of the model at most, the worst draw first")] = 3


class OperationsSection(Section):
    """``[operations]``: what operators see of a run; nothing of it changes a result."""

    log: Annotated[str, Field(description="file of a JSON log, or `-` for stderr")] = ""
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="least level of its lines; debug: every block")
    ] = "info"
    metrics_port: Annotated[
        int, Field(ge=0, le=65535, description="port of this machine where the driver's metrics are served; 0: none")
    ] = 0
    metrics_folder: Annotated[
        str, Field(description="folder of node_exporter's textfile collector, for the metrics of a run that has ended")
    ] = ""
    traces: Annotated[
        Literal["off", "file", "otlp", "provider"],
        Field(description="OpenTelemetry spans: to `traces.jsonl` in the results, a collector, or the process's own provider"),
    ] = "off"
