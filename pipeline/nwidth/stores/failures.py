"""Failures of disks, networks and libraries, put into one sentence once, at the border of a store."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from nwidth.errors import NwidthError, StoreError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}


@contextmanager
def store_failures(url: str, what: str) -> Iterator[None]:
    """Turn what goes wrong at `url` while trying to `what` ("read", "append to", ...) into a `StoreError` with a way out."""
    try:
        yield
    except NwidthError:
        raise
    except BaseExceptionGroup as group:
        refusals = [error for error in _leaves(group) if isinstance(error, NwidthError)]
        if refusals:
            raise refusals[0] from group
        failures = [error for error in _leaves(group) if isinstance(error, Exception)]
        if not failures:
            raise
        raise StoreError(_sentence(failures[0], url, what)) from group
    except Exception as error:
        if not is_store_failure(error):
            raise
        raise StoreError(_sentence(error, url, what)) from error


def is_store_failure(error: Exception) -> bool:
    """Whether the store failed, and not the caller's code."""
    return isinstance(error, OSError) or type(error).__module__.partition(".")[0] in ("obstore", "icechunk", "zarr")


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [leaf for error in group.exceptions for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])]


def _sentence(error: Exception, url: str, what: str) -> str:
    text, code = str(error), getattr(error, "errno", None)
    first = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    if code in _FULL or any(words in text for words in ("No space left", "File too large", "quota exceeded")):
        return f"cannot {what} {url}: no room on disk; free some or choose another place (what was committed before is intact)"
    if code in _DENIED or any(
        words in text for words in ("Permission denied", "Access Denied", "AccessDenied", "Not a directory", "Read-only")
    ):
        return f"cannot {what} {url}: no permission, or a part of the path is a file; check the path and its rights ({first})"
    return f"cannot {what} {url}: {first}; check that the place is reachable and try again"
