"""A study as Dagster assets, with a sensor that follows its store. The extra ``dagster``.

    snapshots ──▶ bases ──▶ learned, mechanics ──▶ draws          asset keys: <study>/<asset>, those that the study asks for
        ▲           └────▶ report
     sensor: a new version of the store asks for one run

`nwidth run` is idempotent, so all that follows from it is one step here, too: materialised twice, it says "nothing to do" in its
metadata, and the data versions stay what they were. The lock, the ledger and the kept partials of the run's folder are at work as
ever: a person, a timer and Dagster may share a study.
"""
# Without `from __future__ import annotations`: Dagster looks at the annotation of `context` itself, and refuses its text.

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from nwidth import __version__
from nwidth.config import Study, load_study
from nwidth.errors import ConfigError, NwidthError
from nwidth.runs.folder import RunFolder
from nwidth.runs.run import RunResult, run
from nwidth.runs.watching import FINAL
from nwidth.stores import open_store
from nwidth.workflows.words import Scalars, missed, production_scalars, run_scalars, scalars_of

RETRIES, WAIT = 2, 60.0
DATA_VERSION = "dagster/data_version"
"""The tag of an observation that Dagster reads as the data version of its asset."""


def study_definitions(
    *studies: str | Path | Study, every: int = 30, retries: int = RETRIES, wait: float = WAIT
) -> dg.Definitions:
    """The assets and sensors of some studies, for a code location of Dagster.

    Parameters
    ----------
    studies : study files, or studies
    every : seconds between two looks at a store, at least
    retries, wait : how often, and after how many seconds, a step is tried again whose failure may pass (a lost cluster, another
        run at work); a failure that would be met again is not retried

    Raises
    ------
    ConfigError
        A study file cannot be read, or two studies share the name that their assets have.
    """
    loaded = [study if isinstance(study, Study) else load_study(study) for study in studies]
    _refuse_shared_names(loaded)
    return dg.Definitions(
        assets=[asset for study in loaded for asset in study_assets(study, retries=retries, wait=wait)],
        sensors=[store_sensor(study, every=every) for study in loaded],
    )


def study_assets(study: Study, *, retries: int = RETRIES, wait: float = WAIT) -> list[Any]:
    """The assets of one study: snapshots, what a run gives, and draws where the study has uncertain inputs."""
    policy = dg.RetryPolicy(max_retries=retries, delay=wait)
    snapshots = _external(study) if study.full_order is None else _produced(study, policy)
    return [snapshots, _reduced(study, policy), *([_drawn(study, policy)] if study.uncertainty else [])]


def store_sensor(study: Study, *, every: int = 30) -> dg.SensorDefinition:
    """A sensor that, for a version of the store not seen before, notes it and asks for one run of all that follows from it."""

    @dg.sensor(
        name=f"{_prefix(study)}_store",
        asset_selection=[_key(study, name) for name in (*_results(study), *(["draws"] if study.uncertainty else []))],
        minimum_interval_seconds=every,
        description=f"New versions of {study.store_url}",
    )
    def follow(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        try:
            version = _version(study)
        except NwidthError as error:
            return dg.SkipReason(str(error))
        if version == context.cursor:
            return dg.SkipReason(f"the store is still at version {version}")
        # The key makes Dagster itself drop a second request for the same version, after a lost cursor, for one.
        request = dg.RunRequest(run_key=f"{_prefix(study)}-{version}")
        seen = dg.AssetObservation(_key(study, "snapshots"), tags={DATA_VERSION: version})
        return dg.SensorResult(run_requests=[request], cursor=version, asset_events=[seen])

    return follow


def _refuse_shared_names(studies: list[Study]) -> None:
    for prefix, count in Counter(_prefix(study) for study in studies).items():
        if count > 1:
            raise ConfigError(f"{count} studies have assets of the name {prefix!r}; give each a study.name of its own")


def _external(study: Study) -> dg.AssetSpec:
    """The store as something that others write: the sensor notes its versions."""
    return dg.AssetSpec(_key(study, "snapshots"), group_name=_prefix(study), description=study.store_url)


def _produced(study: Study, policy: dg.RetryPolicy) -> Any:
    """The store as what the study's solver writes: a materialisation runs the points that are missing."""
    key = _key(study, "snapshots")

    @dg.asset(
        key=key,
        group_name=_prefix(study),
        description=f"{study.store_url}, by the solver of [full_order]",
        retry_policy=policy,
        check_specs=[dg.AssetCheckSpec("every_point", asset=key, description="no point of the design failed")],
    )
    def snapshots() -> dg.MaterializeResult:  # type: ignore[type-arg] # Dagster knows the class by its bare name
        from nwidth.runs.producing import produce

        report = _told(lambda: produce(study))
        failed = dict(report.failed)
        check = dg.AssetCheckResult(passed=not failed, check_name="every_point", metadata=failed)
        version = dg.DataVersion(_told(lambda: _version(study)))
        return dg.MaterializeResult(metadata=production_scalars(report), data_version=version, check_results=[check])

    return snapshots


def _reduced(study: Study, policy: dg.RetryPolicy) -> Any:
    """What `nwidth run` gives, an asset each."""
    bases, results = _key(study, "bases"), _results(study)
    above = {"bases": "snapshots", "learned": "bases", "mechanics": "bases", "report": "bases"}
    specs = [
        dg.AssetSpec(
            _key(study, name),
            deps=[_key(study, above[name])],
            description=words,
            group_name=_prefix(study),
            code_version=__version__,
        )
        for name, words in results.items()
    ]

    @dg.multi_asset(
        specs=specs,
        name=f"{_prefix(study)}_run",
        retry_policy=policy,
        check_specs=[dg.AssetCheckSpec("tolerance", asset=bases, description="the measured error is at most reduce.rtol")],
    )
    def reduced(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult[Any]]:
        result = _told(lambda: run(study))
        if result.words:
            context.log.info(result.words)
        for name in results:
            checks = [_tolerance(study, result)] if name == "bases" else []
            version = dg.DataVersion(_content_key(study, name))
            yield dg.MaterializeResult(
                _key(study, name), metadata=_metadata(name, result), data_version=version, check_results=checks
            )

    return reduced


def _drawn(study: Study, policy: dg.RetryPolicy) -> Any:
    """The Monte Carlo run of [uncertainty]."""
    parents = [_key(study, name) for name in ("mechanics", "learned") if name in _results(study)]

    @dg.asset(
        key=_key(study, "draws"),
        deps=parents or [_key(study, "bases")],
        group_name=_prefix(study),
        description="Statistics over draws of uncertain inputs",
        code_version=__version__,
        retry_policy=policy,
    )
    def draws() -> dg.MaterializeResult:  # type: ignore[type-arg]
        from nwidth.runs.ensembles import predict_study

        ensemble = _told(lambda: predict_study(study))
        metadata = {
            **scalars_of(ensemble.document),
            "failed": len(ensemble.failures),
            "path": dg.MetadataValue.path(ensemble.path),
        }
        return dg.MaterializeResult(metadata=metadata)

    return draws


def _results(study: Study) -> dict[str, str]:
    """The assets that a run of this study gives -> what they are."""
    asked = {"learned": study.learn is not None, "mechanics": study.mechanics is not None, "report": study.report.enabled}
    words = {
        "bases": "Certified bases: model.zarr",
        "learned": "What the model predicts with",
        "mechanics": "Reduced mechanics: the model solves load cases",
        "report": "report.html, for a person",
    }
    return {name: text for name, text in words.items() if asked.get(name, True)}


def _metadata(name: str, result: RunResult) -> dict[str, Any]:
    """What Dagster shows of one asset of a run."""
    told: Scalars = {"status": result.status}
    if name == "bases":
        told = run_scalars(result)
    elif name == "learned":
        told |= scalars_of(result.learned or {})
    elif name == "mechanics":
        told |= {"bodies": len((result.mechanics or {}).get("bodies", ()))}
    elif result.report:
        return {**told, "path": dg.MetadataValue.path(result.report)}
    return dict(told)


def _tolerance(study: Study, result: RunResult) -> dg.AssetCheckResult:
    beyond = missed(result, study.reduce.rtol)
    return dg.AssetCheckResult(
        passed=not beyond,
        check_name="tolerance",
        # A rank that was asked for may cut off what the tolerance wants: the basis is certified all the same, and usable.
        severity=dg.AssetCheckSeverity.WARN,
        metadata={f"{name}/error": error for name, error in beyond.items()},
    )


def _told[T](work: Callable[[], T]) -> T:
    """The result, or Dagster's failure with our sentence; retried only where another try may end differently."""
    try:
        return work()
    except NwidthError as error:
        raise dg.Failure(
            f"{type(error).__name__}: {error}",
            metadata={"error": type(error).__name__},
            allow_retries=not isinstance(error, FINAL),
        ) from error


def _version(study: Study) -> str:
    """Of the store; a request or two, and no field."""
    return str(open_store(study.store_url, options=study.store_options).reference().version)


def _content_key(study: Study, name: str) -> str:
    """What an asset was made of: the key of the bases, and the settings of what was trained on them."""
    record = RunFolder(study.run_folder).record()
    key = "" if record is None else str(record["provenance"]["content_key"])
    settings = {"learned": study.learn, "mechanics": study.mechanics}.get(name)
    if settings is None:
        return key
    return f"{key}-{hashlib.blake2b(settings.model_dump_json().encode(), digest_size=8).hexdigest()}"


def _key(study: Study, name: str) -> dg.AssetKey:
    return dg.AssetKey([_prefix(study), name])


def _prefix(study: Study) -> str:
    """The study's name in the letters that Dagster allows."""
    return re.sub(r"[^A-Za-z0-9_]", "_", study.study.name)
