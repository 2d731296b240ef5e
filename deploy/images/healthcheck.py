"""Whether the server of a container answers: asks the address in ``NWIDTH_HEALTH``, and ends with 0 or 1."""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request

SECONDS = 4.0


def healthy(address: str) -> bool:
    """Whether a GET of `address` is answered with success; an empty address has nothing to ask."""
    if not address:
        return True
    if not address.startswith("http://"):
        return False
    try:
        with urllib.request.urlopen(address, timeout=SECONDS) as answer:  # noqa: S310 - the scheme is checked above
            return bool(200 <= answer.status < 300)
    except (OSError, ValueError, urllib.error.URLError):
        return False


if __name__ == "__main__":
    sys.exit(0 if healthy(os.environ.get("NWIDTH_HEALTH", "")) else 1)
