"""The doctor really tries things, and what is broken is said with the way out."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import pytest

from nwidth import doctor
from nwidth.doctor import installation, machine
from nwidth.doctor.checks import Check


def test_this_installation_is_healthy(tmp_path: Path) -> None:
    """Where these tests run, nothing fails, every check has words, names are unique, and every warning has an advice."""
    checks = doctor.diagnose(tmp_path)
    assert [asdict(check) for check in checks if check.status == "fail"] == []
    assert all(check.found for check in checks)
    assert all(check.advice for check in checks if check.status != "ok")
    assert len({check.name for check in checks}) == len(checks)
    assert {"python", "packages", "blas", "rendering", "memory", "disk", "readers", "cluster"} <= {check.name for check in checks}
    assert list(tmp_path.iterdir()) == []


def test_known_bad_versions_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that is known to break something fails with its cure, and a mismatched pair is warned of."""
    real = installation.installed
    bad = {"zfpy": "1.0.1.post0", "icechunk": "2.2.1", "distributed": "2020.1.0"}
    monkeypatch.setattr(installation, "installed", lambda name: bad.get(name) or real(name))
    found = {check.name: check for check in installation.check_packages()}
    assert found["zfpy"].status == found["icechunk"].status == "fail"
    assert "zfpy==1.0.1" in found["zfpy"].advice
    assert found["dask"].status == "warn"


def test_a_missing_package_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that nwidth cannot do without is named."""
    real = installation.installed
    monkeypatch.setattr(installation, "installed", lambda name: None if name == "xarray" else real(name))
    assert installation.check_packages()[0].status == "fail"
    assert "xarray" in installation.check_packages()[0].found


def test_a_broken_renderer_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A PyVista that crashes its process is found out, and the doctor survives."""
    (tmp_path / "pyvista.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGABRT)", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep))
    check = installation.check_rendering()
    assert check.status == "warn"
    assert "SIGABRT" in check.found


def test_a_cluster_that_hangs_fails_in_time() -> None:
    """A cluster that does not answer within the limit is a failure, not a wait."""
    check = installation.check_cluster(timeout=0.05)
    assert check.status == "fail"
    assert "no answer within" in check.found


def test_control_group_limits_are_read(tmp_path: Path) -> None:
    """Limits of control groups of both versions are understood, and "no limit" is none."""
    assert machine.cgroup_memory(tmp_path) is None
    assert machine.cgroup_cores(tmp_path) is None
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "memory.limit_in_bytes").write_text(f"{2**63 - 4096}\n", encoding="ascii")
    assert machine.cgroup_memory(tmp_path) is None
    (tmp_path / "memory.max").write_text("1073741824\n", encoding="ascii")
    (tmp_path / "cpu.max").write_text("150000 100000\n", encoding="ascii")
    assert machine.cgroup_memory(tmp_path) == 2**30
    assert machine.cgroup_cores(tmp_path) == 1.5
    (tmp_path / "memory.max").write_text("max\n", encoding="ascii")
    (tmp_path / "cpu.max").write_text("max 100000\n", encoding="ascii")
    assert machine.cgroup_memory(tmp_path) is None
    assert machine.cgroup_cores(tmp_path) is None


def test_a_folder_without_permission_or_existence_fails(tmp_path: Path) -> None:
    """A folder that cannot be written is a failure with its reason."""
    check = machine.check_disk(tmp_path / "missing")
    assert check.status == "fail"
    assert "cannot be written" in check.found


def test_an_unforeseen_error_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A check that itself breaks is reported, and the others go on."""

    def broken() -> Check:
        raise ZeroDivisionError("inside")

    monkeypatch.setattr(doctor, "check_blas", broken)
    monkeypatch.setattr(doctor, "check_cluster", lambda: Check("cluster", "ok", "not tried"))
    monkeypatch.setattr(doctor, "check_rendering", lambda: Check("rendering", "ok", "not tried"))
    checks = {check.name: check for check in doctor.diagnose(tmp_path)}
    assert checks["blas"].status == "fail"
    assert "ZeroDivisionError: inside" in checks["blas"].found
    assert checks["cluster"].status == "ok"
