"""What a caller may set of a store: one frozen record, picklable, so that a reference can take it to workers."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from nwidth.errors import ConfigError
from nwidth.stores.codec import DEFAULT_CODEC, check_codec
from nwidth.stores.layout import DEFAULT_BUDGET


@dataclass(frozen=True)
class StoreOptions:
    """Settings of a store; what is empty is taken from the usual ``AWS_*`` environment variables.

    endpoint            URL of an S3-compatible server; empty for AWS itself
    region              S3 region
    access_key_id, secret_access_key, session_token    S3 credentials; they travel to workers only where given here
    codec               compression of fields: ``blosc``, ``lz4`` or ``none``
    expected_snapshots  how many snapshots the store is expected to hold in the end; 0: not known
    memory_budget       bytes that one writer may hold, all fields together
    lock_wait_seconds   how long to wait for another writer before refusing
    references          folder whose files a store by reference may read chunks from; none where empty, since a stranger's
                        store could name any file of this machine
    """

    endpoint: str = ""
    region: str = ""
    access_key_id: str = ""
    secret_access_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)
    codec: str = DEFAULT_CODEC
    expected_snapshots: int = 0
    memory_budget: int = DEFAULT_BUDGET
    lock_wait_seconds: float = 5.0
    references: str = ""

    def __post_init__(self) -> None:
        check_codec(self.codec)
        if self.memory_budget < 1:
            raise ConfigError(f"memory_budget is {self.memory_budget} bytes; give a positive number")


def parse_options(options: Mapping[str, Any] | StoreOptions | None) -> StoreOptions:
    """Build `StoreOptions`; an unknown key is refused with the nearest name (`ConfigError`)."""
    if isinstance(options, StoreOptions):
        return options
    given = dict(options or {})
    known = [setting.name for setting in fields(StoreOptions)]
    for key in given:
        if key not in known:
            nearest = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {nearest[0]!r}" if nearest else f"known are {', '.join(known)}"
            raise ConfigError(f"store option {key!r} is unknown; {hint}")
    return StoreOptions(**given)
