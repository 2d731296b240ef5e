"""Where a store lies: a local folder, or a prefix of an S3 bucket reached through obstore.

    location("blade.zarr")                 a folder
    location("file:///data/blade.zarr")    the same
    location("s3://bucket/path/blade.zarr")

Credentials and the endpoint come from the options, or else from the usual ``AWS_*`` environment variables.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlparse

from nwidth.errors import ConfigError
from nwidth.stores.options import StoreOptions

if TYPE_CHECKING:
    from icechunk import Storage
    from obstore.store import ObjectStore
    from zarr.abc.store import Store


@dataclass(frozen=True)
class Location:
    """A parsed address: either `path`, or `bucket` and `prefix`."""

    url: str
    path: Path | None = None
    bucket: str = ""
    prefix: str = ""

    @property
    def is_local(self) -> bool:
        return self.path is not None


def location(url: str | os.PathLike[str]) -> Location:
    """Parse an address (`ConfigError` where its scheme is not known)."""
    text = os.fspath(url)
    parts = urlparse(text)
    if parts.scheme in ("", "file") or len(parts.scheme) == 1:  # one letter: a Windows drive
        path = Path(unquote(parts.path)) if parts.scheme == "file" else Path(text)
        return Location(text, path=path.expanduser().absolute())
    if parts.scheme != "s3":
        raise ConfigError(f"cannot open {text}: scheme {parts.scheme!r} is unknown; give a path, file:// or s3://bucket/path")
    if not parts.netloc or not parts.path.strip("/"):
        raise ConfigError(f"{text} names no place within a bucket; write s3://bucket/path")
    return Location(text, bucket=parts.netloc, prefix=parts.path.strip("/"))


def objects(place: Location, options: StoreOptions, *, create: bool = False) -> ObjectStore:
    """Small whole objects below `place` (journal, lock): put atomically, also on a local disk."""
    from obstore.store import LocalStore, S3Store

    if place.path is not None:
        return LocalStore(prefix=place.path, mkdir=create)
    settings = {
        "aws_endpoint": endpoint(options),
        "aws_region": region(options),
        "aws_access_key_id": options.access_key_id,
        "aws_secret_access_key": options.secret_access_key,
        "aws_session_token": options.session_token,
    }
    plain_http = endpoint(options).startswith("http://")
    return S3Store(
        place.bucket,
        prefix=place.prefix,
        config=cast("Any", {key: value for key, value in settings.items() if value}),
        client_options={"allow_http": True} if plain_http else {},
        virtual_hosted_style_request=not endpoint(options),
    )


def chunk_store(place: Location, options: StoreOptions, *, read_only: bool) -> Store:
    """The Zarr store at `place`."""
    from zarr.storage import LocalStore, ObjectStore

    if place.path is not None:
        return LocalStore(place.path, read_only=read_only)
    return ObjectStore(objects(place, options), read_only=read_only)


def icechunk_storage(place: Location, options: StoreOptions) -> Storage:
    """The Icechunk storage at `place`."""
    import icechunk

    icechunk.set_logs_filter("error")  # its warnings go to stderr whatever Python's logging says
    if place.path is not None:
        return icechunk.local_filesystem_storage(str(place.path))
    keys = (
        {
            "access_key_id": options.access_key_id,
            "secret_access_key": options.secret_access_key,
            "session_token": options.session_token or None,
        }
        if options.access_key_id
        else {"from_env": True}
    )
    return icechunk.s3_storage(
        bucket=place.bucket,
        prefix=place.prefix,
        region=region(options),
        endpoint_url=endpoint(options) or None,
        allow_http=endpoint(options).startswith("http://"),
        force_path_style=bool(endpoint(options)),
        **cast("Any", keys),
    )


def virtual_access(options: StoreOptions) -> Any:
    """Which files outside of the repository Icechunk may read as chunks: those below ``options.references``, or none."""
    if not options.references:
        return None
    import icechunk

    # Icechunk before 2.3 says None for files that need no credentials.
    granted = getattr(icechunk.credentials, "LocalFileSystemAccess", None)
    return {reference_prefix(Path(options.references)): granted}


def reference_prefix(folder: Path) -> str:
    """The address under which a store by reference names `folder`."""
    return f"{folder.expanduser().resolve().as_uri()}/"


def endpoint(options: StoreOptions) -> str:
    """The S3 endpoint, empty for AWS itself."""
    return options.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""


def region(options: StoreOptions) -> str:
    """The S3 region."""
    return options.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
