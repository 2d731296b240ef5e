"""A scheduler at an address: with TLS, with certificates that are wrong, and with workers of other versions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nwidth.clusters.versions import mismatch
from nwidth.config import check_study
from nwidth.errors import ConfigError
from nwidth.runs import run
from nwidth.runs.executing import execution
from tests.deploy.servers import Certificates, make_certificates, scheduler_process, worker_process
from tests.runs.studies import add_run

SNAPSHOTS = np.outer(np.arange(1.0, 9.0), np.sin(np.arange(300.0)))


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("foreign"))


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory: pytest.TempPathFactory, ours: Certificates) -> Iterator[str]:
    """Address of a scheduler and one worker, real processes that speak TLS only."""
    folder = tmp_path_factory.mktemp("tls")
    with scheduler_process(folder, ours) as address, worker_process(folder, address, ours):
        yield address


def study_with(folder: Path, **workers: Any) -> Any:
    return check_study(
        {
            "study": {"name": "s", "store": "store.zarr"},
            "reduce": {"rank": 1},
            "workers": {"memory": "1 GiB", **workers},
            "report": {"enabled": False},
        },
        folder,
    )


def test_a_run_over_tls(tmp_path: Path, encrypted: str, ours: Certificates) -> None:
    """With the authority's certificates a study runs on a scheduler that speaks TLS only, memory asked for over TLS, too."""
    add_run(tmp_path / "store.zarr", "a", {"T": SNAPSHOTS})
    result = run(study_with(tmp_path, address=encrypted, tls=ours.files, memory="auto"))
    assert (result.status, result.bases["T"]["rank"]) == ("done", 1)


def test_certificates_of_dasks_own_configuration(tmp_path: Path, encrypted: str, ours: Certificates) -> None:
    """Without the table, what Dask is configured with is used; without either, the refusal names both."""
    import dask

    parts = {"ca-file": ours.files["ca"], "client.cert": ours.files["certificate"], "client.key": ours.files["key"]}
    settings = {f"distributed.comm.tls.{name}": value for name, value in parts.items()}
    with dask.config.set(settings), execution(study_with(tmp_path, address=encrypted)) as executor:
        assert executor.n_workers == 1
    words = r"needs certificates; give \[workers\.tls\] with ca, certificate and key, or set distributed\.comm\.tls"
    with pytest.raises(ConfigError, match=words), execution(study_with(tmp_path, address=encrypted)):
        pass


def refusal(folder: Path, **workers: Any) -> str:
    with pytest.raises(ConfigError) as refused, execution(study_with(folder, **workers)):
        pass
    return str(refused.value)


def test_wrong_certificates_are_named(tmp_path: Path, encrypted: str, ours: Certificates, foreign: Certificates) -> None:
    """Another authority, a certificate that the scheduler does not trust, a key of another pair: each is named by its file."""
    other = foreign.files
    assert re.search(
        r"the certificate of the scheduler at 'tls://.*' is not accepted: self-signed.*; its authority should be the one in "
        rf"'{other['ca']}'",
        refusal(tmp_path, address=encrypted, tls=other),
    )
    assert re.search(
        rf"does not accept our certificate '{other['certificate']}': tlsv1 alert unknown ca; give one that is signed",
        refusal(tmp_path, address=encrypted, tls={**other, "ca": ours.files["ca"]}),
    )
    assert "cannot be used: [X509: KEY_VALUES_MISMATCH]" in refusal(
        tmp_path, address=encrypted, tls={**ours.files, "key": other["key"]}
    )
    assert "there is no file workers.tls.key = " in refusal(tmp_path, address=encrypted, tls={**ours.files, "key": "nowhere.pem"})


def test_encrypted_and_plain_do_not_meet(
    tmp_path: Path, scheduler: str, ours: Certificates, encrypted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain scheduler under a tls:// address, certificates for a tcp:// address, and tcp:// to one with TLS are refused."""
    hidden = scheduler.replace("tcp://", "tls://")
    assert "does not speak TLS; start it with --tls-ca-file" in refusal(tmp_path, address=hidden, tls=ours.files)
    assert "is not encrypted, and there is [workers.tls]" in refusal(tmp_path, address=scheduler, tls=ours.files)
    monkeypatch.setattr("nwidth.workers.CONNECT_SECONDS", 1)
    assert "no Dask scheduler answers at 'tcp://" in refusal(tmp_path, address=encrypted.replace("tls://", "tcp://"))


def other_image(folder: Path, **versions: str) -> dict[str, str]:
    """An environment in which packages report other versions: their metadata are found first there."""
    for name, version in versions.items():
        metadata = folder / f"{name}-{version}.dist-info" / "METADATA"
        metadata.parent.mkdir(parents=True)
        metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return {"PYTHONPATH": str(folder)}


def test_a_worker_image_with_other_versions_is_named(tmp_path: Path) -> None:
    """A real worker whose installation says another NumPy and another nwidth is refused by its address, before any work."""
    add_run(tmp_path / "store.zarr", "a", {"T": SNAPSHOTS})
    image = other_image(tmp_path / "image", numpy="1.26.4", nwidth="0.0.7")
    with scheduler_process(tmp_path) as address, worker_process(tmp_path, address, env=image):
        words = (
            r"the worker tcp://127\.0\.0\.1:\d+ has nwidth 0\.0\.7 \(here [\d.]+\), numpy 1\.26\.4 \(here [\d.]+\); "
            r"install the same lock file, or use the same image"
        )
        with pytest.raises(ConfigError, match=words):
            run(study_with(tmp_path, address=address))
    assert not (tmp_path / "runs" / "s" / "model.zarr").exists()


def test_patch_releases_of_python_agree() -> None:
    """Of Python major and minor version count; a package that is missing is a mismatch, one that nobody has is none."""
    ours = {"python": "3.13.2.final.0", "numpy": "2.4.0", "zarr": None}
    assert mismatch(ours, {**ours, "python": "3.13.9.final.0"}, ("numpy", "zarr")) == ""
    assert mismatch(ours, {**ours, "python": "3.12.9.final.0"}, ()) == "python 3.12 (here 3.13)"
    assert mismatch(ours, {"python": "3.13.2.final.0"}, ("numpy",)) == "numpy none (here 2.4.0)"


@pytest.mark.parametrize(
    ("workers", "words"),
    [
        ({"kind": "slurm", "address": "tcp://127.0.0.1:8786"}, "address names another"),
        ({"kind": "slurm", "device": "pool"}, "they are no pool"),
        ({"kind": "slurm", "memory": "auto"}, "give memory"),
        ({"slurm": {"queue": "cpu"}}, "kind is not"),
        ({"tls": {"ca": "a", "certificate": "b", "key": "c"}}, "workers.address, which is not given"),
        ({"kind": "slurm", "slurm": {"walltime": "60"}}, "walltime"),
        ({"kind": "slurm", "slurm": {"queue_wait": "soon"}}, "write for example 30s"),
    ],
)
def test_contradictions_in_the_study_are_refused(workers: dict[str, Any], words: str, tmp_path: Path) -> None:
    """Settings that exclude each other are refused when the study is read."""
    with pytest.raises(ConfigError, match=re.escape(words)):
        study_with(tmp_path, **{"memory": "1 GiB", **workers})
