"""From a stored record to the facts of a script: find the two sources as they were judged."""

from __future__ import annotations

from kbench.errors import UsageError
from kbench.model import Record, Status
from kbench.plan.files import read_source
from kbench.repro.facts import Facts
from kbench.store.runs import LoadedRun
from kbench.store.sources import find_problem, find_solution

_NOT_JUDGED = (Status.SKIPPED, Status.INFRA_ERROR)
_DEFAULT_TIMEOUT_S = 60.0


def facts_of(run: LoadedRun, record: Record) -> Facts:
    """What a script of `record` must know.

    Raises UsageError where nothing of the solution was judged, and where a source is not to be had any more as it was.
    """
    if record.status in _NOT_JUDGED:
        raise UsageError(
            f"there is no failure of {record.id} to show", where=str(run.path),
            why=f"it was not judged: {record.status}{f' ({record.reason})' if record.reason else ''}",
        )  # fmt: skip
    problem = find_problem(run, record)
    if record.size not in problem.sizes:
        where = str(problem.sidecar or problem.path)
        raise UsageError(f"problem {problem.id!r} has no size {record.size!r}", where=where)
    timeout_s = run.options.get("timeout_s")
    return Facts(
        problem=record.problem,
        solution=record.solution,
        device=record.device,
        size=record.size,
        precision=record.precision,
        mode=problem.mode,
        overrides=dict(problem.sizes[record.size]),
        status=record.status.value,
        reason=record.reason,
        message=record.message,
        evidence=dict(record.evidence),
        left_out=tuple(said.partition(":")[2] for said in record.cases_left_out),
        timeout_s=float(timeout_s) if isinstance(timeout_s, int | float) else _DEFAULT_TIMEOUT_S,
        problem_source=read_source(problem.path).text,
        solution_source=find_solution(run, record),
    )
