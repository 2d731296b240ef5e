"""The Grafana dashboard, the scrape configuration and the alerts: well formed, and somebody serves every metric of theirs."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema  # type: ignore[import-untyped, unused-ignore]
import pytest
import yaml  # type: ignore[import-untyped, unused-ignore]
from distributed import Client

from nwidth.operations.declared import METRICS
from tests.operations.scraping import endpoints, scraped
from tests.repository import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
DECLARED = {metric.name: metric for metric in METRICS}
COLUMNS = 24

NUMBER, TEXT = {"type": "integer", "minimum": 0}, {"type": "string", "minLength": 1}
DATASOURCE = {"type": "object", "properties": {"type": {"const": "prometheus"}, "uid": TEXT}, "required": ["type", "uid"]}
TARGET = {
    "type": "object",
    "required": ["refId", "expr", "datasource"],
    "properties": {"refId": {"pattern": "^[A-Z]$"}, "expr": TEXT, "datasource": DATASOURCE},
}
PANEL = {
    "type": "object",
    "required": ["id", "type", "title", "gridPos"],
    "properties": {
        "id": {"type": "integer", "minimum": 1},
        "type": {"enum": ["row", "stat", "timeseries"]},
        "title": TEXT,
        "gridPos": {
            "type": "object",
            "required": ["x", "y", "w", "h"],
            "properties": {
                "x": NUMBER,
                "y": NUMBER,
                "w": {"type": "integer", "minimum": 1},
                "h": {"type": "integer", "minimum": 1},
            },
            "additionalProperties": False,
        },
    },
    "if": {"properties": {"type": {"const": "row"}}},
    "then": {"required": ["collapsed", "panels"]},
    "else": {
        "required": ["datasource", "targets", "fieldConfig", "options", "description"],
        "properties": {
            "datasource": DATASOURCE,
            "targets": {"type": "array", "minItems": 1, "items": TARGET},
            "fieldConfig": {"type": "object", "required": ["defaults", "overrides"]},
        },
    },
}
VERSION_39 = {
    "type": "object",
    "required": ["title", "uid", "schemaVersion", "panels", "templating", "time", "annotations"],
    "properties": {
        "title": TEXT,
        "uid": {"type": "string", "pattern": "^[A-Za-z0-9_-]{1,40}$"},
        "schemaVersion": {"const": 39},
        "panels": {"type": "array", "minItems": 1, "items": PANEL},
        "templating": {
            "type": "object",
            "required": ["list"],
            "properties": {"list": {"type": "array", "items": {"type": "object", "required": ["name", "type", "query"]}}},
        },
    },
    "not": {"required": ["rows"]},  # of versions before 16
}
"""What a dashboard of Grafana's schema version 39 (Grafana 10.3 to 11) must have, as far as this one uses it."""


@pytest.fixture(scope="module")
def dashboard() -> Any:
    return json.loads((DEPLOY / "grafana" / "nwidth.json").read_text("utf-8"))


def expressions(dashboard: Any) -> Iterator[str]:
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text("utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def metrics_in(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:nwidth|dask)_\w+", expression))


def test_the_dashboard_is_one_of_its_schema_version(dashboard: Any) -> None:
    """It has what version 39 asks for; panels have ids of their own, lie inside the grid, and do not cover each other."""
    jsonschema.Draft202012Validator(VERSION_39).validate(dashboard)
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken = [
        (panel["gridPos"]["x"] + column, panel["gridPos"]["y"] + line)
        for panel in panels
        for column, line in itertools.product(range(panel["gridPos"]["w"]), range(panel["gridPos"]["h"]))
    ]
    assert len(set(taken)) == len(taken)
    assert max(column for column, _ in taken) < COLUMNS
    for panel in panels:
        letters = [target["refId"] for target in panel.get("targets", ())]
        assert len(set(letters)) == len(letters)


@pytest.mark.parametrize(
    "broken",
    [{"schemaVersion": 12}, {"rows": []}, {"panels": [{"id": 1, "type": "graph", "title": "x", "gridPos": {}}]}, {"uid": "a b"}],
)
def test_a_broken_dashboard_is_seen(dashboard: Any, broken: dict[str, Any]) -> None:
    """The schema of this test refuses another version, its old form, unknown panels and a bad id."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(VERSION_39).validate({**dashboard, **broken})


def test_every_metric_of_the_dashboard_and_the_alerts_is_declared(dashboard: Any) -> None:
    """No panel and no alert asks for a metric of ours that no code has; no metric of ours is left out of the dashboard."""
    shown = {name for expression in expressions(dashboard) for name in metrics_in(expression) if name.startswith("nwidth_")}
    asked = {name for rule in alerts() for name in metrics_in(rule["expr"])}
    assert shown == set(DECLARED)
    assert asked <= set(DECLARED)


def test_labels_and_functions_fit_the_metrics(dashboard: Any) -> None:
    """What an expression groups by are labels of its metric; of gauges no rate is asked."""
    for expression in (*expressions(dashboard), *(rule["expr"] for rule in alerts())):
        assert expression.count("(") == expression.count(")"), expression
        assert expression.count("{") == expression.count("}"), expression
        for name in metrics_in(expression) & set(DECLARED):
            metric = DECLARED[name]
            grouped = {word for found in re.findall(r"by \(([^)]*)\)", expression) for word in re.findall(r"\w+", found)}
            selected = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression))
            assert grouped | selected <= set(metric.labels), expression
            moving = bool(re.search(r"\b(?:rate|increase)\(", expression))
            assert moving <= (metric.kind == "counter"), expression


def test_dasks_own_metrics_of_the_dashboard_are_served(dashboard: Any, scheduler: str) -> None:
    """Every name of Dask's that a panel asks for is on a real scheduler's or worker's port."""
    pytest.importorskip("prometheus_client")
    with Client(scheduler) as client:
        address, workers = endpoints(client)
        served = {name for url in (address, *workers) for name, _ in scraped(url)}
    asked = {name for expression in expressions(dashboard) for name in metrics_in(expression) if name.startswith("dask_")}
    assert asked
    assert asked <= served


def test_the_scrape_configuration_names_what_serves() -> None:
    """Jobs have names of their own and targets of the form host:port; the file of rules is there; each alert has words."""
    found = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text("utf-8"))
    assert set(found) == {"global", "rule_files", "scrape_configs"}
    jobs = found["scrape_configs"]
    assert len({job["job_name"] for job in jobs}) == len(jobs)
    for job in jobs:
        assert set(job) <= {"job_name", "static_configs", "file_sd_configs"}
        assert all(re.fullmatch(r"[\w.]+:\d+", target) for one in job["static_configs"] for target in one["targets"])
    assert all((DEPLOY / "prometheus" / name).is_file() for name in found["rule_files"])
    for rule in alerts():
        assert set(rule) == {"alert", "expr", "labels", "annotations"}
        labels = {word for text in rule["annotations"].values() for word in re.findall(r"\$labels\.(\w+)", text)}
        grouped = {word for found in re.findall(r"by \(([^)]*)\)", rule["expr"]) for word in re.findall(r"\w+", found)}
        assert labels <= (grouped or {"run"})


def test_the_page_lists_every_metric_with_its_labels() -> None:
    """The table of the how-to page has a row for each metric, in the order of the code, with whose it is and its labels."""
    page = (REPOSITORY / "docs" / "how-to" / "monitor-a-run.md").read_text("utf-8")
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in page.splitlines() if line.startswith("| `nwidth_")]
    whose = {"worker": "workers", "scheduler": "scheduler", "driver": "driver"}
    assert rows == [[f"`{metric.name}`", whose[metric.where], ", ".join(metric.labels)] for metric in METRICS]
