"""`kbench run` and `kbench build` as functions of their options: plan, open the run, do the work, write the tables."""

from __future__ import annotations

import dataclasses
import importlib
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kbench.build.service import Build
from kbench.engine.events import Listener
from kbench.engine.gauge import watching
from kbench.engine.lane import LaneHere
from kbench.engine.lane_process import Order, lane_processes
from kbench.engine.lock import timing_lock
from kbench.engine.pipeline import build_all, run_jobs, settle_early
from kbench.engine.prepare import Prepared
from kbench.engine.staff import settings_of, staffed
from kbench.errors import KbenchError, UsageError
from kbench.machine.cores import by_place, share_out
from kbench.machine.environment import describe
from kbench.model import Job
from kbench.store.writer import RunStore

_FIXED_BY_RUN = (
    "device", "size", "baselines", "replicates", "most_replicates", "blocks", "min_samples", "min_block_ms", "sanitize",
    "half_blocks",
)  # fmt: skip
"""Options that a resumed run cannot change: its records would not belong together."""
_KEPT = (
    "gpus", "problems", "solutions", "select", "jobs", "timeout_s", "build_timeout_s", "memory_limit_gb",
    *_FIXED_BY_RUN,
)  # fmt: skip
"""Options that a run's `run.yaml` keeps. Folders of this machine and the seed stay out of it."""


def open_store(prepared: Prepared, *, path: Path, started: str) -> RunStore:
    """Begin or resume the run in `path`. Raises UsageError when it was begun with other options, StoreError."""
    if not prepared.options.resume:
        options = {name: value for name, value in stored_options(prepared).items() if name in _KEPT}
        environment = describe(prepared.inventory, gpu=prepared.gpu)
        return RunStore.create(path, options={**options, "started": started}, environment=environment)
    store = RunStore.resume(path)
    try:
        current = stored_options(prepared)
        for name in _FIXED_BY_RUN:
            if name in store.options and store.options[name] != current[name]:
                raise UsageError(
                    f"the run was begun with {name} {store.options[name]!r}, not {current[name]!r}",
                    where=str(path), hint="without that flag it goes on as it was begun",
                )  # fmt: skip
        if any(job.key not in store.records for job in prepared.jobs):
            store.go_on_in(describe(prepared.inventory, gpu=prepared.gpu))
    except KbenchError:
        store.close()
        raise
    return store


def stored_options(prepared: Prepared) -> dict[str, Any]:
    """Its options as plain values that YAML can hold."""
    plain = dataclasses.asdict(dataclasses.replace(prepared.options, blocks=prepared.blocks))
    return {k: str(v) if isinstance(v, Path) else list(v) if isinstance(v, tuple) else v for k, v in plain.items()}


def execute(prepared: Prepared, store: RunStore, listener: Listener) -> None:
    """Bring every planned pair to its record and write the tables. An interrupt leaves a valid run behind."""
    try:
        for job in {job.problem.id: job for job in prepared.jobs}.values():
            store.save_problem_source(job.problem.id, job.problem.path)
            if job.problem.sidecar is not None:
                store.save_sidecar(job.problem.id, job.problem.sidecar)
        if store.environment_key != store.environment.get("key"):
            listener.note(
                "the run was begun in another environment: its new records carry the key of this one, "
                f"{store.environment_key}"
            )
        jobs = settle_early(prepared.jobs, store=store, environment_key=store.environment_key, listener=listener)
        if jobs and prepared.gpus:
            _execute_beside(jobs, prepared, store, listener)
        elif jobs:
            _execute_here(jobs, prepared, store, listener)
    finally:
        store.write_tables()


def _execute_here(jobs: Sequence[Job], prepared: Prepared, store: RunStore, listener: Listener) -> None:
    """On the CPU: all builds first, then one pair after another in this process, which has the machine to itself."""
    key, options = store.environment_key, prepared.options
    with (
        timing_lock(None, folder=options.lock_dir, waiting=listener.note),
        staffed(prepared, listener, also_hidden=[store.path]) as (hiring, room),
        watching(None) as gauge,
        settings_of(
            prepared, hiring, room.toolchain, environment_key=key, log_path=store.log_path, stage=listener.stage,
            gauge=gauge,
        ) as settings,
    ):  # fmt: skip
        run_jobs(
            jobs, store=store, room=room, lanes=[LaneHere(settings)], workers=options.jobs, apart=False,
            environment_key=key, listener=listener,
        )  # fmt: skip


def _execute_beside(jobs: Sequence[Job], prepared: Prepared, store: RunStore, listener: Listener) -> None:
    """On CUDA: a judge for each GPU, on cores of its own where there are enough, and the builds on the others."""
    key, options = store.environment_key, prepared.options
    cores = os.sched_getaffinity(0)
    present = len(prepared.inventory.gpus) + prepared.inventory.hidden_gpus
    shares = share_out(by_place(cores), places=[gpu.place for gpu in prepared.gpus], of=present)
    os.sched_setaffinity(0, shares.builds)
    try:
        with staffed(prepared, listener, also_hidden=[store.path], device_hidden=shares.apart) as (_, room):
            order = Order(
                prepared=prepared, toolchain=room.toolchain, run=store.path, environment_key=key, first=jobs[0]
            )
            placed = list(zip(prepared.gpus, shares.lanes, strict=True))
            with lane_processes(placed, order, listener) as lanes:
                # What the tables are made with takes 0.7 s to import: meanwhile.
                threading.Thread(target=importlib.import_module, args=("pandas",), daemon=True).start()
                run_jobs(
                    jobs, store=store, room=room, lanes=lanes, workers=options.jobs, apart=shares.apart,
                    environment_key=key, listener=listener,
                )  # fmt: skip
    finally:
        os.sched_setaffinity(0, cores)


def build_only(prepared: Prepared, *, logs: Path, arch: str | None, listener: Listener) -> Mapping[str, Build]:
    """Build every planned solution, several at once. Returns each solution's build."""
    with staffed(prepared, listener, also_hidden=[], any_arch=arch) as (_, room):

        def log(solution_id: str, name: str) -> Path:
            path = logs / solution_id / f"{name}.log"
            path.parent.mkdir(parents=True, exist_ok=True)
            return path

        jobs = [job for job in prepared.jobs if job.skip_reason is None and job.solution.defect is None]
        built = build_all(jobs, room=room, log_path=log, workers=prepared.options.jobs, listener=listener)
        return {job.solution.id: its_build for job, its_build in built}


def default_run_path(results: Path, started: str) -> Path:
    """A new run's folder: its start, made a name. The process number keeps two runs of one second apart."""
    return results / f"{started.replace(':', '').replace('+0000', 'Z')}-{os.getpid()}"
