"""A real S3 server on loopback, in this process: moto, which keeps the rules of conditional puts."""

from __future__ import annotations

import logging
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

BUCKET = "snapshots"
CREDENTIALS = {"access_key_id": "test", "secret_access_key": "test", "region": "us-east-1"}


@contextmanager
def s3_server() -> Iterator[dict[str, Any]]:
    """Start the server with one bucket; the store options that reach it."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        with urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT")) as response:  # noqa: S310 (loopback)
            assert response.status == 200
        yield {"endpoint": endpoint, **CREDENTIALS}
    finally:
        server.stop()
