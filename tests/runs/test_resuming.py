"""Bad days in the middle of a run: it stops cleanly, and the next one reads only what is missing."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nwidth as nw
from nwidth.errors import RunError, StoreError
from nwidth.models.files import FieldShape
from nwidth.runs import RunResult, run
from nwidth.runs.folder import RunFolder
from nwidth.stages.sinks import FolderSink
from nwidth_graphs.layout import panels
from tests.runs.ledgers import events
from tests.runs.studies import add_run, contents, left_in, snapshots_of, store_of_24_blocks, study_of

PUBLISHED = {".lock", "ledger.jsonl", "model.zarr", "run.json"}
NODES, SNAPSHOTS, RANK = 24_000, 64, 5


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A field of 24 blocks, each of one column of chunks."""
    return store_of_24_blocks(tmp_path, monkeypatch, NODES, SNAPSHOTS)


def kept_study(folder: Path, store: Path, scheduler: str, **reduce: Any) -> Any:
    """A study whose partials are kept although it is small."""
    return study_of(folder, store, scheduler, study={"keep": "always"}, reduce={"rank": RANK, **reduce})


class Interrupted(Exception):  # noqa: N818 (no error of ours: somebody's Ctrl-C)
    """The run was stopped from outside."""


def stop_after(name: str) -> Callable[[str, int, int], None]:
    """A `progress` that stops the run as soon as the pass `name` is done."""

    def progress(of: str, done: int, total: int) -> None:
        if of == name and done == total and threading.current_thread() is threading.main_thread():
            raise Interrupted

    return progress


def interrupted(study: Any, name: str) -> Path:
    """Run until a pass is done; the attempt that is left."""
    with pytest.raises(Interrupted):
        run(study, progress=stop_after(name))
    (attempt,) = study.run_folder.glob(".attempt-*")
    return Path(attempt)


def reused(result: RunResult) -> list[tuple[int, int]]:
    """(blocks, blocks reused) of every pass."""
    return [(measure["blocks"], measure["blocks_reused"]) for measure in result.measured["passes"]]


def test_a_damaged_chunk_is_named_and_the_run_resumes_after_repair(tmp_path: Path, store: Path, scheduler: str) -> None:
    """A chunk with flipped bytes stops the run with its name; when it is restored, only what is missing is read."""
    expected = run(kept_study(tmp_path / "undisturbed", store, scheduler))
    study = kept_study(tmp_path, store, scheduler)
    files = [path for path in (store / "fields" / "T" / "c").rglob("*") if path.is_file()]
    chunk = max(files, key=lambda file: int(file.name))  # of the last block
    whole = chunk.read_bytes()
    chunk.write_bytes(bytes(255 - byte for byte in whole))
    with pytest.raises(StoreError, match=r"chunk c/\d+/\d+ of array fields/T in .* is truncated or damaged .*restore it"):
        run(study)
    assert not (study.run_folder / "model.zarr").exists()
    chunk.write_bytes(whole)
    told: dict[str, tuple[int, int]] = {}
    result = run(study, on_resume=told.update)
    (done, total) = told["gram of T"]
    assert total == expected.plan["fields"]["T"]["blocks"] == 24
    assert 0 < done < total
    assert reused(result) == [(total, done), (total, 0)]
    assert result.measured["passes"][0]["bytes_read"] < expected.measured["passes"][0]["bytes_read"]
    assert contents(result) == contents(expected)
    assert left_in(study.run_folder) == PUBLISHED
    assert events(study.run_folder) == ["started", "failed", "started", "resumed", "finished"]


def test_damaged_partials_and_modes_are_computed_again(tmp_path: Path, store: Path, scheduler: str) -> None:
    """Of an interrupted run: a torn partial, a missing one, altered modes and missing modes are made anew, the rest is reused."""
    study = kept_study(tmp_path, store, scheduler, centre=True)
    expected = contents(run(kept_study(tmp_path / "undisturbed", store, scheduler, centre=True)))
    attempt = interrupted(study, "lift")
    (factors,), (modes, mean) = attempt.glob("partials/gram-*"), (attempt.rglob(f"T/{name}/c") for name in ("modes", "mean"))
    torn = factors / "0000003x1.part"
    torn.write_bytes(torn.read_bytes()[:-1])
    (factors / "0000004x1.part").unlink()
    layer = next(modes) / "0"
    (layer / "5").write_bytes(bytes((layer / "5").stat().st_size))
    (layer / "6").unlink()
    (next(mean) / "7").unlink()
    result = run(study)
    assert reused(result) == [(24, 22), (24, 21)]
    assert contents(result) == expected


def test_another_study_sweeps_what_is_left(tmp_path: Path, store: Path, scheduler: str) -> None:
    """Partials of one rank are of no use to another: the attempt goes, and nothing of it is reused."""
    interrupted(kept_study(tmp_path, store, scheduler), "lift")
    result = run(kept_study(tmp_path, store, scheduler, rtol=1e-2))
    assert reused(result) == [(24, 0), (24, 0)]
    assert left_in(result.folder) == PUBLISHED


def test_small_passes_keep_nothing_unless_asked(tmp_path: Path, store: Path, scheduler: str) -> None:
    """By default a pass of less than a GiB leaves nothing behind when it fails."""
    study = study_of(tmp_path, store, scheduler, reduce={"rank": RANK})
    with pytest.raises(Interrupted):
        run(study, progress=stop_after("lift"))
    assert left_in(study.run_folder) == {".lock", "ledger.jsonl"}


def when_the_factor_pass_is_done(act: Callable[[], Any]) -> Callable[[str, int, int], None]:
    """A `progress` that acts once, before the lifting pass."""
    acted: list[int] = []

    def progress(name: str, done: int, total: int) -> None:
        if name == "gram" and done == total and not acted and threading.current_thread() is threading.main_thread():
            acted.append(1)
            act()

    return progress


def test_a_store_made_anew_under_a_run_is_refused(tmp_path: Path, store: Path, scheduler: str) -> None:
    """A plain Zarr store that is removed and written again between two passes: both versions are named, nothing is published."""
    study = kept_study(tmp_path, store, scheduler)

    def replace() -> None:
        shutil.rmtree(store)
        add_run(store, "alpha", {"T": snapshots_of(NODES, SNAPSHOTS, seed=5, decades=3, dtype=np.float32)})

    with pytest.raises(StoreError, match=r"was changed under the run: pass 'gram' began with version \w+-1, and it is \w+-1 now"):
        run(study, progress=when_the_factor_pass_is_done(replace))
    assert not (study.run_folder / "model.zarr").exists()
    assert reused(run(study)) == [(24, 0), (24, 0)]


@pytest.mark.parametrize("kind", ["zarr", "icechunk"])
def test_a_store_that_grows_goes_on_serving_the_run(tmp_path: Path, scheduler: str, kind: str) -> None:
    """Snapshots that are appended between two passes change nothing: the version that was planned is read to the end."""
    url, values = tmp_path / "store", {"T": snapshots_of(3000, 20, decades=3)}
    add_run(url, "alpha", values, kind=kind)
    expected = contents(run(kept_study(tmp_path / "undisturbed", url, scheduler)))
    grow = when_the_factor_pass_is_done(lambda: add_run(url, "beta", {"T": values["T"][::-1]}, kind=kind))
    result = run(kept_study(tmp_path, url, scheduler), progress=grow)
    assert contents(result) == expected
    assert result.plan["snapshots"] == 20


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[Path, str], None]]:
    """Mounts a file system of a given size on a folder, where this process may."""

    def mount_on(folder: Path, size: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True).returncode:
            pytest.skip("mounting a small file system needs privileges that are not here")

    yield mount_on
    for line in Path("/proc/self/mounts").read_text().splitlines():  # a folder may have another name by now
        if line.split()[1].startswith(str(tmp_path)):
            subprocess.run(["umount", "-l", line.split()[1]], check=True)


def test_a_full_shelf_does_not_stop_a_run(tmp_path: Path, store: Path, scheduler: str, mount: Any) -> None:
    """Where partials find no room the run goes on without them, and record and ledger say so once."""
    study = kept_study(tmp_path, store, scheduler)
    first = run(study)
    key = RunFolder(study.run_folder).record()["provenance"]["content_key"]  # type: ignore[index]
    mount(study.run_folder / f".attempt-{key}" / "partials", "64k")
    second = run(study, force=True)
    assert 0 < second.measured["blocks_unkept"] <= 48
    assert contents(second) == contents(first)
    assert events(study.run_folder) == ["started", "finished", "started", "not kept", "finished"]


def test_a_full_disk_keeps_partials_and_frees_the_modes(tmp_path: Path, store: Path, scheduler: str, mount: Any) -> None:
    """When modes find no room the run ends with a sentence; the factor pass is not lost, and what filled the disk is gone."""
    mount(tmp_path / "runs", "2m")
    study = kept_study(tmp_path, store, scheduler, rank=20)
    with pytest.raises(RunError, match="no room is left under"):
        run(study)
    (attempt,) = study.run_folder.glob(".attempt-*")
    assert {path.name for path in attempt.iterdir()} == {"partials"}
    subprocess.run(["mount", "-o", "remount,size=32m", tmp_path / "runs"], check=True)
    result = run(study)
    assert reused(result)[0] == (24, 24)
    assert left_in(study.run_folder) == PUBLISHED


def published(tmp_path: Path, store: Path, scheduler: str) -> tuple[Path, Path, Any]:
    """The folder of an old result; that of a new one of the same study; and the new study."""
    old, new = (kept_study(tmp_path / name, store, scheduler, rank=rank) for name, rank in (("old", 2), ("new", 3)))
    for study in (old, new):
        run(study)
    return old.run_folder, new.run_folder, kept_study(tmp_path / "old", store, scheduler, rank=3)


@pytest.mark.parametrize("moment", ["before the exchange", "after the exchange", "after the record"])
def test_a_publication_that_was_cut_off_is_completed(tmp_path: Path, store: Path, scheduler: str, moment: str) -> None:
    """A kill while a finished model is published: the next run finds it finished, completes it, and computes nothing."""
    old, new, study = published(tmp_path, store, scheduler)
    key = RunFolder(new).record()["provenance"]["content_key"]  # type: ignore[index]
    attempt = old / f".attempt-{key}"
    attempt.mkdir()
    shutil.copy(new / "run.json", attempt / "run.json")
    if moment == "before the exchange":
        shutil.copytree(new / "model.zarr", attempt / "model.zarr")
    else:
        (old / "model.zarr").rename(attempt / "model.zarr")
        shutil.copytree(new / "model.zarr", old / "model.zarr")
    if moment == "after the record":
        shutil.copy(new / "run.json", old / "run.json")
    result = run(study)
    assert result.status == "nothing to do"
    assert nw.open_model(result.model).basis.rank == 3
    assert left_in(old) == PUBLISHED
    assert "completed" in events(old)


def test_a_report_that_a_kill_prevented_is_written(tmp_path: Path, store: Path, scheduler: str) -> None:
    """A run that was killed between publishing its model and writing its report is done, and gets its report the next time."""
    study = kept_study(tmp_path, store, scheduler)
    run(study)
    with_report = study.model_copy(update={"report": study.report.model_copy(update={"enabled": True, "modes": 0})})
    result = run(with_report)
    assert result.status == "nothing to do"
    assert result.report is not None
    before = result.report.stat().st_mtime_ns
    run(with_report)
    assert result.report.stat().st_mtime_ns == before


def test_a_repair_that_was_cut_off_begins_again_from_the_lifted_modes(tmp_path: Path) -> None:
    """Whatever moment a repair is killed at, the sink gives the modes as they were lifted to the run that takes over."""
    shape = FieldShape("T", ("node",), (10,), (5,))
    sink, transform = FolderSink(tmp_path / "model.zarr"), np.array([[2.0, 1.0], [0.0, 3.0]])
    lifted = np.arange(20.0).reshape(2, 10)

    def repair(panels_done: int) -> None:
        read = sink.repairing("b", shape, transform)
        for panel in panels((10,), (5,))[:panels_done]:
            read(panel)

    def begin_again() -> None:
        write = sink.begin("b", shape, 2, centred=False)
        assert {path.name for path in (tmp_path / "model.zarr" / "bases" / "b" / "T").iterdir()} == {"zarr.json", "modes"}
        np.testing.assert_array_equal(sink.collect("b", shape)[0], lifted)
        assert [write.proof(panel) for panel in panels((10,), (5,))] == proofs  # type: ignore[attr-defined]

    write = sink.begin("b", shape, 2, centred=False)
    for panel in panels((10,), (5,)):
        write(panel, lifted[:, panel.selection[0]], None)
    proofs = [write.proof(panel) for panel in panels((10,), (5,))]  # type: ignore[attr-defined]
    repair(1)
    begin_again()
    repair(2)
    sink.finish_repair("b", shape)
    np.testing.assert_array_equal(sink.collect("b", shape)[0], transform.T @ lifted)
    begin_again()
    for _ in range(2):
        repair(2)
        sink.finish_repair("b", shape)
    np.testing.assert_array_equal(sink.collect("b", shape)[0], transform.T @ transform.T @ lifted)
    begin_again()


def test_people_are_told_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    """The command line says pass by pass how many blocks need not be read."""
    from nwidth.cli.app import _say_resumed

    _say_resumed({"gram of T": (37, 64), "lift of T": (1, 64)})
    assert capsys.readouterr().out == (
        "resumes: 37 of 64 blocks of pass gram of T are there\nresumes: 1 of 64 blocks of pass lift of T are there\n\n"
    )
