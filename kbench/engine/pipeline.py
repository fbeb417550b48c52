"""From planned pairs to records: builds side by side, and each built pair onto the next lane that is free."""

from __future__ import annotations

import concurrent.futures
import heapq
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from kbench.build.service import Build, BuildRoom, build
from kbench.engine.events import Listener
from kbench.engine.lane import Lane
from kbench.engine.records import Outcome, make_record, padded_source, settled
from kbench.errors import InfraError, KbenchError
from kbench.model import Job, Status, Verdict
from kbench.store.writer import RunStore


def run_jobs(
    jobs: Sequence[Job], *, store: RunStore, room: BuildRoom, lanes: Sequence[Lane], workers: int, apart: bool,
    environment_key: str, listener: Listener,
) -> None:  # fmt: skip
    """Bring every job that `settle_early` left to its record. `workers` are built at a time.

    The cheapest comes first: what does not build. Of what is built, the earliest in the plan is next; unless builds
    are `apart` from the lanes' cores, nothing is timed before all have ended. A lane whose device is of no use any more
    leaves its pair to the others.

    Raises StoreError when a record cannot be written, InfraError when no lane is left.
    """
    places = {job.key: place for place, job in enumerate(jobs)}
    builders = concurrent.futures.ThreadPoolExecutor(max_workers=workers)
    building = {builders.submit(build_job, job, room, store.log_path, listener): job for job in jobs}
    built: list[tuple[int, Job, Build]] = []
    judging: dict[Future[Outcome], tuple[Lane, Job, Build]] = {}
    idle = list(lanes)
    try:
        while building or built or judging:
            if room.headers and not apart and not building:
                room.headers.settle()
            while built and idle and (apart or not building):
                _, job, its_build = heapq.heappop(built)
                lane = idle.pop(0)
                judging[lane.submit(job, its_build)] = (lane, job, its_build)
            under_way: list[Future[Any]] = [*building, *judging]
            ended = concurrent.futures.wait(under_way, return_when=concurrent.futures.FIRST_COMPLETED).done
            for future in ended & building.keys():
                job, its_build = building.pop(future), future.result()
                if its_build.failure is None:
                    heapq.heappush(built, (places[job.key], job, its_build))
                else:
                    listener.ended(store.append(make_record(job, its_build, its_build.failure, environment_key)))
            for future in ended & judging.keys():
                lane, job, its_build = judging.pop(future)
                try:
                    listener.ended(store.append(*future.result()))
                    idle.append(lane)
                except InfraError as error:
                    if not idle and not judging:
                        raise
                    listener.note(f"a GPU is left out from here on: {error}")
                    heapq.heappush(built, (places[job.key], job, its_build))
    except BaseException:
        _abandon(room)
        raise
    finally:
        builders.shutdown(cancel_futures=True)


def settle_early(jobs: Sequence[Job], *, store: RunStore, environment_key: str, listener: Listener) -> list[Job]:
    """Keep the sources of all that have no record yet, and record those that need no worker. Returns the others.

    Raises StoreError.
    """
    todo = [job for job in jobs if job.key not in store.records]
    for job in todo:
        store.save_source(job.solution.id, job.solution.path)
    ready = []
    for job in todo:
        if (early := settled(job)) is None:
            ready.append(job)
        else:
            listener.ended(store.append(make_record(job, None, early, environment_key)))
    return ready


def build_all(
    jobs: Sequence[Job],
    *,
    room: BuildRoom,
    log_path: Callable[[str, str], Path],
    workers: int,
    listener: Listener,
) -> list[tuple[Job, Build]]:
    """Build several jobs at once, `workers` at a time. Failures are values; an interrupt ends all builds."""
    pool = concurrent.futures.ThreadPoolExecutor(max_workers=workers)
    try:
        futures = [pool.submit(build_job, job, room, log_path, listener) for job in jobs]
        built = [(job, future.result()) for job, future in zip(jobs, futures, strict=True)]
        if room.headers:
            room.headers.settle()  # nothing is timed while anything is compiled
        return built
    except BaseException:
        _abandon(room)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _abandon(room: BuildRoom) -> None:
    """An interrupted build must not be waited for."""
    if room.headers:
        room.headers.close()
    room.hiring.server.kill_all()


def build_job(job: Job, room: BuildRoom, log_path: Callable[[str, str], Path], listener: Listener) -> Build:
    """One job's build; a failure of ours becomes a failed build as well."""
    listener.stage(job.solution.id, "building")
    log = log_path(job.solution.id, "build")
    try:
        finished = build(room, source=padded_source(job), shown_path=job.solution.shown_path, log=log)
    except KbenchError as error:
        finished = Build(failure=Verdict(status=Status.INFRA_ERROR, reason="build", message=str(error)))
    listener.stage(job.solution.id, "built" if finished.failure is None else "not built")
    return finished
