"""The store contract, for both kinds on a local disk and on a real S3 server on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nwidth.stores.objectstore import chunk_store, icechunk_storage, location
from nwidth.stores.options import parse_options
from tests.contracts.s3_server import BUCKET, s3_server
from tests.contracts.store_contract import StoreContract, raw_objects
from tests.contracts.store_examples import Place


@pytest.fixture(scope="module")
def s3() -> Iterator[dict[str, Any]]:
    with s3_server() as options:
        yield options


class ZarrKind(StoreContract):
    def chunk_keys(self, place: Place) -> list[str]:
        return ["fields/displacement/c/0/1/0"]

    def fields_alone(self, place: Place) -> Any:
        import xarray

        store = chunk_store(location(place.url), parse_options(place.options), read_only=True)
        return xarray.open_dataset(store, engine="zarr", group="fields", consolidated=False)  # type: ignore[arg-type]


class IcechunkKind(StoreContract):
    def chunk_keys(self, place: Place) -> list[str]:
        return [str(entry["path"]) for batch in raw_objects(place).list("chunks") for entry in batch]

    def fields_alone(self, place: Place) -> Any:
        import icechunk
        import xarray

        repository = icechunk.Repository.open(icechunk_storage(location(place.url), parse_options(place.options)))
        store = repository.readonly_session("main").store
        return xarray.open_dataset(store, engine="zarr", group="fields", consolidated=False)  # type: ignore[arg-type]


class TestLocalZarr(ZarrKind):
    """Plain Zarr in a folder."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return Place(str(tmp_path / "study.zarr"), "zarr")

    def fields_alone(self, place: Place) -> Any:
        import xarray

        return xarray.open_dataset(place.url, engine="zarr", group="fields", consolidated=False)


class TestLocalIcechunk(IcechunkKind):
    """Icechunk in a folder."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> Place:
        return Place(str(tmp_path / "study.icechunk"), "icechunk")


class TestS3Zarr(ZarrKind):
    """Plain Zarr in a bucket."""

    @pytest.fixture
    def place(self, s3: dict[str, Any], request: pytest.FixtureRequest) -> Place:
        return Place(f"s3://{BUCKET}/{abs(hash(request.node.nodeid))}/study.zarr", "zarr", s3)


class TestS3Icechunk(IcechunkKind):
    """Icechunk in a bucket."""

    @pytest.fixture
    def place(self, s3: dict[str, Any], request: pytest.FixtureRequest) -> Place:
        return Place(f"s3://{BUCKET}/{abs(hash(request.node.nodeid))}/study.icechunk", "icechunk", s3)
