"""What operators see of a run: numbers, log lines and spans. None of it changes a result, none of it is needed for one.

    runs, stages ──told──> observing ──> metrics    Prometheus: driver's endpoint, a file for batch runs
                                    ├──> logging    one JSON object per line, with run, stage and block
                                    └──> tracing    OpenTelemetry spans per run and pass
    workers, scheduler ──plugins──> the same numbers on Dask's own endpoints, log lines forwarded to the driver

Files: `context` which run and pass this is; `declared metrics`; `logging redaction forwarding`; `tracing`; `plugins` what runs in
workers and the scheduler; `observing` what runs and stages call.
"""
