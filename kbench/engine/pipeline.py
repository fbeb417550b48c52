"""Run a plan: all builds first, side by side, then one pair after another. Each pair's record is kept as it ends."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Sequence
from pathlib import Path

from kbench.build.service import Build, BuildRoom, build
from kbench.engine.events import Listener
from kbench.engine.pair import Settings, make_record, padded_source, run_pair, torch_device
from kbench.errors import KbenchError
from kbench.judge.warm import warm_up
from kbench.model import Job, Status, Verdict
from kbench.store.writer import RunStore


def run_jobs(
    jobs: Sequence[Job], *, store: RunStore, room: BuildRoom, settings: Settings, workers: int, listener: Listener
) -> None:
    """Bring every job to its record, in the plan's order, except those that have one already.

    Nothing is timed while anything is built. Raises StoreError when a record cannot be written.
    """
    todo = [job for job in jobs if job.key not in store.records]
    for job in todo:
        store.save_source(job.solution.id, job.solution.path)
    ready = []
    for job in todo:
        if (early := settled(job)) is None:
            ready.append(job)
        else:
            listener.ended(store.append(make_record(job, None, early, settings.environment_key)))
    first = {torch_device(job): job for job in reversed(ready)}
    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as aside:
        warmed = [
            aside.submit(warm_up, job.problem, size=job.size, device=device) for device, job in first.items()
        ]
        built = build_all(ready, room=room, log_path=store.log_path, workers=workers, listener=listener)
    for each in warmed:
        each.result()
    for job, its_build in built:
        if its_build.failure is not None:
            record = make_record(job, its_build, its_build.failure, settings.environment_key)
            listener.ended(store.append(record))
    for job, its_build in built:
        if its_build.failure is None:
            listener.ended(store.append(*run_pair(job, its_build, settings)))


def settled(job: Job) -> Verdict | None:
    """The verdict of a pair that needs no worker."""
    if job.skip_reason is not None:
        return Verdict(status=Status.SKIPPED, reason=job.skip_reason)
    if job.problem.defect is not None:
        return Verdict(status=Status.INFRA_ERROR, reason="problem", message=job.problem.defect)
    if job.solution.defect is not None:
        return Verdict(status=Status.LOAD_ERROR, reason="no_candidate", message=job.solution.defect)
    return None


def build_all(
    jobs: Sequence[Job],
    *,
    room: BuildRoom,
    log_path: Callable[[str, str], Path],
    workers: int,
    listener: Listener,
) -> list[tuple[Job, Build]]:
    """Build several jobs at once, `workers` at a time. Failures are values; an interrupt ends all builds."""

    def one(job: Job) -> Build:
        listener.stage(job.solution.id, "building")
        finished = _build_job(job, room=room, log=log_path(job.solution.id, "build"))
        listener.stage(job.solution.id, "built" if finished.failure is None else "not built")
        return finished

    pool = concurrent.futures.ThreadPoolExecutor(max_workers=workers)
    try:
        futures = [pool.submit(one, job) for job in jobs]
        return [(job, future.result()) for job, future in zip(jobs, futures, strict=True)]
    except BaseException:
        room.hiring.server.kill_all()  # an interrupted build must not be waited for
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _build_job(job: Job, *, room: BuildRoom, log: Path) -> Build:
    """One job's build; a failure of ours becomes a failed build as well."""
    try:
        return build(room, source=padded_source(job), shown_path=job.solution.shown_path, log=log)
    except KbenchError as error:
        return Build(failure=Verdict(status=Status.INFRA_ERROR, reason="build", message=str(error)))
