"""Kubernetes manifests, held to the schemas of Kubernetes and of Dask's operator; a wrong field is a failure."""

from __future__ import annotations

import copy
import shlex
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped, unused-ignore]

from nwidth.config import check_study
from tests.deploy.commands import accepted
from tests.repository import REPOSITORY

FOLDER = REPOSITORY / "deploy" / "kubernetes"
FILES = sorted(FOLDER.rglob("*.yaml"))
OPERATOR = "kubernetes.dask.org/v1"
Resource = dict[str, Any]


def resources(file: Path) -> list[Resource]:
    return list(yaml.safe_load_all(file.read_text("utf-8")))


def everything() -> Iterator[tuple[str, Resource]]:
    """Every resource with a name for the report."""
    for file in FILES:
        for resource in resources(file):
            yield f"{file.relative_to(FOLDER)}:{resource['kind']}", resource


ALL = dict(everything())


@cache
def operator_schemas() -> Mapping[str, Any]:
    """Kind -> schema, from the chart that installs the operator; closed, so that a field that it does not know is an error."""
    specification = find_spec("dask_kubernetes")  # found, not imported: it would want a cluster's client libraries
    if specification is None or specification.origin is None:
        pytest.skip("dask-kubernetes is not installed: its chart holds the operator's schemas")
    chart = Path(specification.origin).parent / "operator" / "deployment" / "helm" / "dask-kubernetes-operator" / "crds"
    found = {}
    for file in sorted(chart.glob("*.yaml")):
        definition = yaml.safe_load(file.read_text("utf-8"))
        version = next(version for version in definition["spec"]["versions"] if version["name"] == "v1")
        found[definition["spec"]["names"]["kind"]] = closed(version["schema"]["openAPIV3Schema"], top=True)
    return found


def closed(schema: Any, *, top: bool = False) -> Any:
    """A copy that refuses unknown fields, as the API server does with ``fieldValidation=Strict``."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        if top:  # every resource has these, and a schema does not list them
            made["properties"] = {**made["properties"], "apiVersion": {}, "kind": {}, "metadata": {}}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            made["additionalProperties"] = False
    return made


def complaint(resource: Resource) -> str:
    """What the schemas have against a resource; empty where nothing."""
    import jsonschema  # type: ignore[import-untyped, unused-ignore]

    if resource["apiVersion"] == OPERATOR:
        schema = operator_schemas()[resource["kind"]]
        errors = [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(resource)]
        return "; ".join(errors)
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason="kubernetes-validate is not installed")
    try:
        kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)
    except kubernetes_validate.ValidationError as error:
        return str(error.message)
    return ""


@pytest.mark.parametrize("name", ALL)
def test_a_resource_is_valid(name: str) -> None:
    """Kubernetes' newest schemas, and the operator's own, accept it, unknown fields refused."""
    assert complaint(ALL[name]) == ""


def pod_specs(resource: Any) -> Iterator[Resource]:
    """Every pod that a resource describes, however deep."""
    if isinstance(resource, dict):
        if "containers" in resource:
            yield resource
        for value in resource.values():
            yield from pod_specs(value)
    elif isinstance(resource, list):
        for value in resource:
            yield from pod_specs(value)


@pytest.mark.parametrize("name", [name for name, resource in ALL.items() if any(pod_specs(resource))])
def test_a_wrong_field_is_refused(name: str) -> None:
    """The negative control: a misspelt field in a container, and one of a wrong type, fail in every resource that has pods."""
    for field, value in (("resuorces", {}), ("args", "nwidth")):
        spoilt = copy.deepcopy(ALL[name])
        next(pod_specs(spoilt))["containers"][0][field] = value
        assert complaint(spoilt), f"{name} with {field} = {value!r} was accepted"


PODS = {f"{name}:{pod['containers'][0]['name']}": pod for name, resource in ALL.items() for pod in pod_specs(resource)}


@pytest.mark.parametrize("name", PODS)
def test_a_pod_is_confined(name: str) -> None:
    """Not root, no new privileges, a root file system that is read only, no token of the API, and a limit of memory."""
    pod = PODS[name]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    for container in pod["containers"]:
        context = container["securityContext"]
        assert (context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]) == (False, True)
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


@pytest.mark.parametrize("name", PODS)
def test_a_pods_command_exists(name: str) -> None:
    """The words after the image's entry point are a command of nwidth or of Dask with options that it has."""
    for container in PODS[name]["containers"]:
        words = [str(word) for word in container["args"]]
        assert accepted(words) == "", shlex.join(words)


@pytest.mark.parametrize("name", [name for name in PODS if name.endswith(":worker")])
def test_a_worker_fits_its_pod(name: str) -> None:
    """The worker's memory limit leaves its nanny some of the pod's, and GPUs are asked for where they are promised."""
    from nwidth.config import parse_bytes

    (container,) = PODS[name]["containers"]
    words, limits = container["args"], container["resources"]["limits"]
    assert parse_bytes(words[words.index("--memory-limit") + 1]) + 256 * 2**20 <= parse_bytes(f"{limits['memory']}B")
    assert ("--resources" in words) == ("nvidia.com/gpu" in limits)


def test_the_study_of_the_config_map_is_one() -> None:
    """The study in the ConfigMap is read by the real configuration."""
    import tomllib

    (study,) = (resource for resource in ALL.values() if resource["metadata"]["name"] == "nwidth-study")
    assert check_study(tomllib.loads(study["data"]["study.toml"])).workers.wait == 600


@pytest.mark.parametrize(
    "words", [["dask", "worker", "--nthread", "1"], ["dask", "workers"], ["nwidth", "runs", "a.toml"], ["nwidth", "run"], ["sh"]]
)
def test_a_command_that_does_not_exist_is_seen(words: list[str]) -> None:
    """The negative control: misspelt options and commands, a missing argument, a foreign program."""
    assert accepted(words)
