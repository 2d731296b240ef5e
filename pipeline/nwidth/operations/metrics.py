"""Our numbers as Prometheus's, on the registry that Dask's own are on; nothing where the extra `metrics` is not installed.

    add("nwidth_read_bytes_total", 4096, run="blade", stage="gram")      a counter
    put("nwidth_pass_seconds", 12.5, run="blade", stage="gram")          a gauge

Scheduler and workers serve them at ``/metrics`` of their HTTP ports. The driver serves them where it is asked to, on the loopback
interface only (`served`), and leaves them in a file when a run ends (`written`): a batch run is gone before anybody scrapes it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nwidth.errors import ConfigError
from nwidth.operations.declared import METRICS

LOOPBACK = "127.0.0.1"
_DECLARED = {metric.name: metric for metric in METRICS}
_MADE: dict[str, Any] = {}
_LOCK = threading.Lock()


def available() -> bool:
    """Whether the extra is installed."""
    try:
        import prometheus_client  # noqa: F401 - whether it is there is all that is asked
    except ImportError:
        return False
    return True


def add(name: str, amount: float, **labels: str) -> None:
    """Let a counter grow; without the extra, nothing."""
    metric = _made(name)
    if metric is not None and amount > 0:
        metric.labels(**labels).inc(amount)


def put(name: str, value: float, **labels: str) -> None:
    """Set a gauge; without the extra, nothing."""
    metric = _made(name)
    if metric is not None:
        metric.labels(**labels).set(value)


def _made(name: str) -> Any:
    """The metric, registered when it is first used: a process shows what it has."""
    if not available():
        return None
    import prometheus_client

    with _LOCK:
        if name not in _MADE:
            declared = _DECLARED[name]
            kind = prometheus_client.Counter if declared.kind == "counter" else prometheus_client.Gauge
            _MADE[name] = kind(name, declared.words, declared.labels)
        return _MADE[name]


def require(key: str) -> None:
    """Refuse a study that asks for metrics where they cannot be had.

    Raises
    ------
    ConfigError
        The extra is not installed.
    """
    if not available():
        raise ConfigError(f'{key} needs prometheus-client; pip install "nwidth[metrics]", or remove it')


@contextmanager
def served(port: int) -> Iterator[int]:
    """Serve this process's metrics at ``http://127.0.0.1:port/metrics`` for the duration of the block; yields the port.

    Raises
    ------
    ConfigError
        The extra is not installed, or the port is taken.
    """
    require("operations.metrics_port")
    import prometheus_client

    try:
        server, thread = prometheus_client.start_http_server(port, addr=LOOPBACK)
    except OSError as error:
        raise ConfigError(
            f"operations.metrics_port = {port} cannot be used: {error.strerror}; give a free port, or 0 for no endpoint"
        ) from None
    try:
        yield int(server.server_port)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def text_file(folder: Path, run: str) -> Path:
    """Where a run of that name leaves its metrics, for node_exporter's textfile collector.

    Raises
    ------
    ConfigError
        The extra is not installed, or there is no such folder.
    """
    require("operations.metrics_folder")
    if not folder.is_dir():
        raise ConfigError(
            f"operations.metrics_folder = {str(folder)!r} is no folder; make it, or give the one that node_exporter's "
            "--collector.textfile.directory names"
        )
    return folder / f"nwidth-{run}.prom"


def written(file: Path) -> None:
    """Write the driver's metrics of this process, whole or not at all.

    Raises
    ------
    OSError
        The system refuses.
    """
    import prometheus_client

    # A counter's samples and its family have different names; the registry asks for those of samples.
    names = [metric.name for metric in METRICS if metric.where == "driver" and metric.name in _MADE]
    prometheus_client.write_to_textfile(str(file), prometheus_client.REGISTRY.restricted_registry(names))
