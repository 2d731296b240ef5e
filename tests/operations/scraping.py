"""Real HTTP endpoints of real schedulers, workers and drivers, read as Prometheus reads them."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterable
from typing import Any

from distributed import Client

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scraped(url: str) -> Samples:
    """(name, labels) -> value of every sample that the endpoint serves, parsed by Prometheus's own parser."""
    from prometheus_client.parser import text_string_to_metric_families

    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - http on this machine, made by `endpoints`
        text = answer.read().decode()
    return samples_of(text_string_to_metric_families(text))


def samples_of(families: Iterable[Any]) -> Samples:
    return {(sample.name, frozenset(sample.labels.items())): sample.value for family in families for sample in family.samples}


def endpoints(client: Client) -> tuple[str, list[str]]:
    """Addresses of the metrics of a cluster's scheduler, and of its workers."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    scheduler = str(client.dashboard_link).removesuffix("/status") + "/metrics"
    return scheduler, [f"http://{worker['host']}:{worker['services']['dashboard']}/metrics" for worker in workers]


def total(found: Iterable[Samples], name: str, **labels: str) -> float:
    """Sum of a metric over endpoints and over all labels that are not given."""
    wanted = set(labels.items())
    return sum(value for samples in found for (sample, its), value in samples.items() if sample == name and wanted <= its)
