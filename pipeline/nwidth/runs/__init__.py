"""Planning and running a study: what it will cost, doing it, and what it did cost."""

from nwidth.runs.plan import Plan, plan
from nwidth.runs.run import RunResult, run

__all__ = ["Plan", "RunResult", "plan", "run"]
