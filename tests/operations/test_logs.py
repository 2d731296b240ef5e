"""JSON logs of drivers and workers: with ids, forwarded, silent unless asked for, and without secrets."""

from __future__ import annotations

import json
import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from distributed import Client

from nwidth.cli import main
from nwidth.config import Study
from nwidth.errors import ConfigError, RunError, StoreError
from nwidth.operations.context import Context
from nwidth.operations.forwarding import Receiver
from nwidth.operations.logging import json_log, log
from nwidth.operations.redaction import redacted
from nwidth.runs import run
from nwidth.stores.options import StoreOptions
from nwidth_graphs import budget
from nwidth_graphs.layout import Panel
from nwidth_graphs.source import Reading
from tests.chaos.slow import BLOCKS, make_store, small_blocks
from tests.deploy.servers import scheduler_process, worker_process
from tests.runs.studies import study_of

SECRET = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"  # noqa: S105 - the one of the vendor's manual


@pytest.fixture(autouse=True)
def _blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small fields are cut as finely as large ones; nothing of the environment asks for a log."""
    monkeypatch.setattr(budget, "MIN_BLOCK_BYTES", budget.MIN_BLOCK_BYTES)
    monkeypatch.setattr(budget, "BLOCKS_OF_A_SMALL_FIELD", budget.BLOCKS_OF_A_SMALL_FIELD)
    monkeypatch.delenv("NWIDTH_LOG", raising=False)
    small_blocks()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A field in 24 blocks."""
    return make_store(tmp_path_factory.mktemp("store") / "store.zarr")


def logging_study(folder: Path, store: Path, address: str, **operations: Any) -> Study:
    found = study_of(folder, store, address, reduce={"rank": 5, "route": "gram"})
    return found.model_copy(update={"operations": found.operations.model_copy(update=operations)})


def lines_of(file: Path) -> list[dict[str, Any]]:
    """Every line is one JSON object."""
    return [json.loads(line, parse_constant=pytest.fail) for line in file.read_text("utf-8").splitlines()]


def test_every_block_is_logged_once_with_its_ids(tmp_path: Path, store: Path, scheduler: str) -> None:
    """Lines of all workers come to the driver's file: run, stage, block and worker of every block, in both passes."""
    result = run(logging_study(tmp_path, store, scheduler, log="log.jsonl", log_level="debug"))
    lines = lines_of(tmp_path / "log.jsonl")
    with Client(scheduler) as client:
        workers = set(client.scheduler_info(n_workers=-1)["workers"])
    assert {line["run"] for line in lines} == {"s"}
    assert len({line["run_id"] for line in lines}) == 1
    blocks = [line for line in lines if line["message"] == "block done"]
    assert Counter((line["stage"], line["block"]) for line in blocks) == {
        (stage, block): 1 for stage in ("gram", "lift") for block in range(BLOCKS)
    }
    assert {line["worker"] for line in blocks} <= workers
    assert sum(line["bytes_read"] for line in blocks) == result.measured["bytes_read"]
    told = [line["message"] for line in lines if line["logger"] != "nwidth.blocks"]
    assert [words for words in told if words.startswith("pass")] == ["pass begins", "pass done"] * 2
    assert told[0] == "started"
    assert told[-1] == "finished"


def test_blocks_are_not_told_unless_asked_for(tmp_path: Path, store: Path, scheduler: str) -> None:
    """By default a log has a line for a run's events and passes, however many blocks there are, and appends to what is there."""
    (tmp_path / "log.jsonl").write_text('{"message": "before"}\n')
    study = logging_study(tmp_path, store, scheduler, log="log.jsonl")
    run(study)
    run(study)
    told = [line["message"] for line in lines_of(tmp_path / "log.jsonl")]
    assert told[0] == "before"
    assert "block done" not in told
    assert told[-2:] == ["finished", "nothing to do"]


@dataclass(frozen=True)
class Leaking:
    """Fails as an object store's client does: with the request in its words."""

    def __call__(self, panel: Panel) -> Reading:
        raise RunError(
            f"403 for https://keyid:{SECRET}@host/bucket?X-Amz-Signature={SECRET}&x=1; "
            f"options {{'secret_access_key': '{SECRET}', 'region': 'eu'}}; Authorization: Bearer {SECRET}"
        )


def test_no_secret_reaches_a_log(
    tmp_path: Path, store: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A run whose blocks fail with credentials in their words logs the failure of worker and driver, and nothing secret."""
    import nwidth.problems.stored

    stored: Any = nwidth.problems.stored
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setattr(stored, "StoreReader", lambda *_: Leaking())
    with pytest.raises(RunError):
        run(logging_study(tmp_path, store, scheduler, log="log.jsonl", log_level="debug", traces="file"))
    lines = lines_of(tmp_path / "log.jsonl")
    failed = [line for line in lines if line["message"] in ("block failed", "failed")]
    assert {line["logger"] for line in failed} == {"nwidth.blocks", "nwidth.runs"}
    assert all("403 for https://***@host" in line["error"] for line in failed)
    assert SECRET not in (tmp_path / "log.jsonl").read_text()
    assert SECRET not in (tmp_path / "runs" / "s" / "traces.jsonl").read_text()
    assert SECRET not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    "text",
    [
        f"secret_access_key={SECRET}",
        f'"session_token": "{SECRET}"',
        f"StoreOptions(access_key_id='{SECRET}', region='x')",
        f"s3://user:{SECRET}@host/bucket",
        f"https://host/key?X-Amz-Credential={SECRET}&X-Amz-Date=1",
        f"Authorization: AWS4-HMAC-SHA256 {SECRET}",
        f"password: {SECRET}",
        f"export NWIDTH_TOKEN={SECRET}",
    ],
)
def test_secrets_are_known_by_their_shape(text: str) -> None:
    """Credentials of options, headers, environments and URLs are hidden though nothing says what they are."""
    assert SECRET not in redacted(text)
    assert "***" in redacted(text)


def test_what_is_no_secret_stays() -> None:
    """Paths, numbers, keys of content and names of stores are told as they are."""
    for text in ("s3://bucket/store.zarr", "key af79d1de0d773722", "user@host", "rank = 5", "tokens 3", "read 10 of 12 blocks"):
        assert redacted(text) == text


def test_fields_under_a_secret_name_are_hidden_whole(tmp_path: Path) -> None:
    """Options of a store, as a record and as a table, log without their credentials, and with the rest."""
    options = StoreOptions(region="eu", access_key_id="A" * 20, secret_access_key=SECRET, session_token=SECRET)
    with json_log(str(tmp_path / "log.jsonl")):
        log("stores", "opened", {"options": vars(options), "record": options, "store": "s3://b/s"})
    (line,) = lines_of(tmp_path / "log.jsonl")
    assert line["options"]["region"] == "eu"
    assert line["options"]["secret_access_key"] == line["options"]["session_token"] == "***"  # noqa: S105
    assert line["store"] == "s3://b/s"
    text = (tmp_path / "log.jsonl").read_text()
    assert SECRET not in text
    assert "A" * 20 not in text


def test_an_exception_is_one_line(tmp_path: Path) -> None:
    """A record with an exception, of ours or of a program that uses the logger, has its text and traceback in the one object."""
    with json_log(str(tmp_path / "log.jsonl")):
        try:
            raise ValueError(f"password={SECRET}\nsecond line")
        except ValueError:
            logging.getLogger("nwidth.mine").exception("went wrong: %s", "x")
    (line,) = lines_of(tmp_path / "log.jsonl")
    assert (line["level"], line["message"]) == ("error", "went wrong: x")
    assert line["error"].startswith("ValueError: password=***")
    assert "test_an_exception_is_one_line" in line["traceback"]
    assert SECRET not in json.dumps(line)


def test_a_run_is_silent_by_default(tmp_path: Path, store: Path, scheduler: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Nobody asked for a log: nothing is written, warnings of ours included."""
    run(logging_study(tmp_path, store, scheduler))
    log("runs", "something odd", level=logging.WARNING)
    assert capfd.readouterr() == ("", "")


def test_a_driver_takes_lines_of_its_own_run_only(tmp_path: Path) -> None:
    """Two runs on one cluster hear the same events, and each writes its own."""
    said = {"time": "2026-01-01T00:00:00.000Z", "level": "info", "logger": "nwidth.blocks", "message": "block done", "block": 3}
    receiver = Receiver(Context("s", "mine", forward=logging.INFO))
    with json_log(str(tmp_path / "log.jsonl")):
        for run_id in ("mine", "another"):
            receiver((0.0, {**said, "run_id": run_id}))
        receiver((0.0, "no line of ours"))
    (line,) = lines_of(tmp_path / "log.jsonl")
    assert (line["run_id"], line["block"], line["time"]) == ("mine", 3, said["time"])


def study_file(folder: Path, store: Path, address: str) -> Path:
    (folder / "study.toml").write_text(
        f'[study]\nname = "s"\nstore = "{store}"\n[reduce]\nrank = 3\n'
        f'[workers]\naddress = "{address}"\n[report]\nenabled = false\n'
    )
    return folder / "study.toml"


def test_the_command_line_logs_to_stderr_and_to_files(
    tmp_path: Path, store: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """With - and with NWIDTH_LOG=json stderr holds JSON and no progress; a file starts where the command was given."""
    study = study_file(tmp_path, store, scheduler)
    assert main(["run", str(study), "--log-json", "-"]) == 0
    out, err = capfd.readouterr()
    assert [json.loads(line)["message"] for line in err.splitlines()][-1] == "finished"
    assert "model" in out
    monkeypatch.setenv("NWIDTH_LOG", "json")
    assert main(["run", str(study)]) == 0
    assert [json.loads(line)["message"] for line in capfd.readouterr().err.splitlines()] == ["nothing to do"]
    monkeypatch.chdir(tmp_path)
    assert main(["run", str(study), "--force", "--log-json", "here.jsonl"]) == 0
    assert lines_of(tmp_path / "here.jsonl")[-1]["message"] == "finished"


def test_logs_that_cannot_be_written_are_refused_before_work(
    tmp_path: Path, store: Path, scheduler: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is not there and a format that nobody knows are named, and nothing is run."""
    with pytest.raises(ConfigError, match=r"the log '.*nowhere/log\.jsonl' cannot be written: No such file"):
        run(logging_study(tmp_path, store, scheduler, log="nowhere/log.jsonl"))
    monkeypatch.setenv("NWIDTH_LOG", "xml")
    with pytest.raises(ConfigError, match=r"NWIDTH_LOG = 'xml' is no format of logs; set it to json, or unset it"):
        run(logging_study(tmp_path, store, scheduler))
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_a_worker_that_others_started_logs_where_its_environment_says(tmp_path: Path) -> None:
    """A real worker with NWIDTH_LOG=json writes failed blocks on its own stderr, with their ids, though no driver asked."""
    store = make_store(tmp_path / "store.zarr")
    for chunk in (store / "fields" / "T" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(chunk.read_bytes()[:100])
    study = study_of(tmp_path, store, reduce={"rank": 5, "route": "gram"}, workers={"memory": "1 GiB"})
    with scheduler_process(tmp_path) as address, worker_process(tmp_path, address, env={"NWIDTH_LOG": "json"}):
        here = study.model_copy(update={"workers": study.workers.model_copy(update={"address": address})})
        with pytest.raises(StoreError, match="is truncated or damaged"):
            run(here)
        written = [line for line in (tmp_path / "worker.log").read_text().splitlines() if line.startswith("{")]
    failed = [json.loads(line) for line in written]
    assert failed
    assert {(line["message"], line["run"], line["stage"]) for line in failed} == {("block failed", "s", "gram")}
    assert all(isinstance(line["block"], int) and line["worker"].startswith("tcp://") for line in failed)
