"""Workers that are not processes of this machine: how they are reached, started, kept and judged before work is given to them.

    workers.address ──tls──> a scheduler that runs somewhere ─┐
    workers.kind = "slurm" ──> a scheduler in this process    ├──versions──> client ──> ClusterExecutor
                               + one job per worker, kept ────┘

    address     an address that an environment variable holds
    tls         certificates of a study, and what is wrong with them, in words
    versions    a worker with other packages than ours is named and refused
    slurm       workers as jobs: the script, the first worker, the end
    keeping     jobs that ended are replaced; when to give up, and what to say then
    slurm_jobs  sbatch and squeue: the only file that speaks to Slurm

Everything of Dask is imported inside functions, but in `slurm_jobs`, which is imported when jobs are wanted.
"""
