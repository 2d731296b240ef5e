"""The study file: defaults, units of memory, and one sentence for whatever is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from nwidth.config import check_study, load_study, parse_bytes
from nwidth.errors import ConfigError

STUDY = {"name": "blade", "store": "blade.icechunk"}


def test_defaults() -> None:
    """Two keys make a study; the tolerance is 1e-4 where neither it nor a rank is given."""
    study = check_study({"study": STUDY}, folder=Path("cases"))
    assert (study.reduce.rtol, study.reduce.rank, study.reduce.route) == (1e-4, None, "auto")
    assert (study.workers.count, study.workers.threads, study.workers.memory) == (2, 1, 2 * 2**30)
    assert (study.reduce.basis, study.reduce.inner_product, study.reduce.centre) == ("each", "identity", False)
    assert study.store_url == str(Path("cases/blade.icechunk"))
    assert study.run_folder == Path("cases/runs/blade")
    assert check_study({"study": STUDY, "reduce": {"rank": 5}}).reduce.rtol is None
    assert check_study({"study": STUDY | {"store": "s3://bucket/blade"}}, folder=Path("cases")).store_url == "s3://bucket/blade"


def test_a_study_cannot_be_changed() -> None:
    """What was checked stays as it was checked."""
    study = check_study({"study": STUDY})
    with pytest.raises(ValidationError, match="frozen"):
        study.reduce.rank = 3


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1.5 GiB", 3 * 2**29),
        ("2GB", 2 * 10**9),
        ("512 MiB", 2**29),
        ("100 kB", 10**5),
        ("64", 64),
        (4096, 4096),
        ("1e3 B", 1000),
    ],
)
def test_memory_units(text: str | int, size: int) -> None:
    """Decimal and binary units, with or without a space; plain numbers are bytes."""
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "2 parsecs", "-1 GiB", "0", "1,5 GiB", True, "nan"])
def test_memory_that_is_none(text: Any) -> None:
    """What is no positive amount is refused with an example."""
    with pytest.raises(ValueError, match="is not an amount of memory; write for example 2 GiB"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({}, "the study: 'study' is missing"),
        ({"study": {"name": "a"}}, "'study.store' is missing"),
        ({"study": STUDY, "reduse": {}}, "unknown key 'reduse'; did you mean 'reduce'?"),
        ({"study": STUDY, "reduce": {"rtoll": 1e-3}}, "unknown key 'reduce.rtoll'; did you mean 'rtol'?"),
        ({"study": {"name": "a", "stroe": "b"}}, "unknown key 'study.stroe'; did you mean 'store'?"),
        ({"study": STUDY, "workers": {"xyzzy": 1}}, "unknown key 'workers.xyzzy'; known: kind, count, threads, memory"),
        (
            {"study": STUDY, "folder": "elsewhere"},
            "unknown key 'folder'; known: study, reduce, atlas, full_order, learn, mechanics",
        ),
        ({"study": STUDY, "reduce": 3}, "reduce = 3: Input should be a valid dictionary"),
        ({"study": STUDY | {"name": "../up"}}, "study.name = '../up': String should match"),
        ({"study": STUDY | {"store": ""}}, "study.store = ''"),
        ({"study": STUDY, "reduce": {"rtol": 2}}, "reduce.rtol = 2: Input should be less than 1"),
        ({"study": STUDY, "reduce": {"rank": 0}}, "reduce.rank = 0: Input should be greater than or equal to 1"),
        ({"study": STUDY, "reduce": {"route": "grm"}}, "reduce.route = 'grm': Input should be 'auto', 'gram', 'tsqr', 'hapod',"),
        ({"study": STUDY, "reduce": {"inner_product": 3}}, "reduce.inner_product = 3"),
        (
            {"study": STUDY, "reduce": {"field_scaling": {"u": 0.0}}},
            "reduce.field_scaling.u = 0.0: Input should be greater than 0",
        ),
        ({"study": STUDY, "workers": {"count": 0}}, "workers.count = 0"),
        ({"study": STUDY, "workers": {"memory": "2 parsecs"}}, "workers.memory = '2 parsecs': '2 parsecs' is not an amount"),
        ({"study": STUDY, "workers": {"device": "tpu"}}, "workers.device = 'tpu': Input should be 'cpu', 'cuda' or 'pool'"),
        ({"study": STUDY, "report": {"modes": 99}}, "report.modes = 99: Input should be less than or equal to 24"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_key_or_value_is_named(table: dict[str, Any], words: str) -> None:
    """Each is one sentence with the key as it is written in the file, and the nearest name or what is allowed."""
    with pytest.raises(ConfigError) as refusal:
        check_study(table)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_study_files(tmp_path: Path) -> None:
    """A file is read relative to its own folder; one that is missing, a folder, or not TOML is refused by its name."""
    file = tmp_path / "study.toml"
    file.write_text('[study]\nname = "blade"\nstore = "data/blade.zarr"\n[reduce]\nfields = ["u", "p"]\n', encoding="utf-8")
    study = load_study(file)
    assert study.store_url == str(tmp_path / "data/blade.zarr")
    assert study.reduce.fields == ("u", "p")
    with pytest.raises(ConfigError, match=r"there is no study file .*absent\.toml; write one"):
        load_study(tmp_path / "absent.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_study(tmp_path)
    for content in (b"[study\nname = 1", b"\xff\xfe\x00"):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=r"study\.toml is not TOML"):
            load_study(file)
    file.write_text('[study]\nname = "blade"\nstor = "x"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"study\.toml: unknown key 'study\.stor'; did you mean 'store'"):
        load_study(file)
