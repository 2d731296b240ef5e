"""A writer process that dies by SIGKILL at a chosen moment: ``python store_writer_process.py '{"url": ..., "moment": ...}'``.

begin      the run was admitted, nothing is written
half       half of the snapshots are written
written    all snapshots are written, nothing is committed
journal    plain Zarr: the journal is there, no metadata document is replaced
document   plain Zarr: the first document is replaced
committed  everything is done
never      dies of nothing: appends and ends
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from nwidth.stores import commit, open_store
from tests.contracts.store_examples import batch, example_run, parameters, use_small_layouts


def die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_after_first(put: Any) -> Any:
    calls: list[int] = []

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if len(calls) == 2:  # the journal, and one document
            die()
        calls.append(1)
        return put(*args, **kwargs)

    return wrapped


def main(order: dict[str, Any]) -> None:
    use_small_layouts()
    store = open_store(order["url"], "a", order["options"])
    moment, simulation, count = order["moment"], order["simulation"], order["n_snapshots"]
    run = example_run(simulation, count)
    names = {"simulation": f"run-{simulation}", "source_key": f"key-{simulation}"}
    with store.append(run, parameters=parameters(simulation), files=("a.frd",), reader="frd", **names) as writer:
        if moment == "begin":
            die()
        for first in range(count):
            if moment == "half" and first == count // 2:
                die()
            writer.write(first, batch(simulation, first, 1))
        if moment == "written":
            writer.finish()  # type: ignore[attr-defined]
            die()
        if moment == "journal":
            commit._redo = die
        if moment == "document":
            import obstore

            obstore.put = die_after_first(obstore.put)
    if moment == "committed":
        die()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
