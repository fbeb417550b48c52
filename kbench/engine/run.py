"""`kbench run` and `kbench build` as functions of their options: plan, open the run, do the work, write the tables."""

from __future__ import annotations

import dataclasses
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kbench
from kbench.build.cache import BuildCache
from kbench.build.toolchain import Toolchain, detect
from kbench.config import RunOptions
from kbench.engine.events import Listener
from kbench.engine.gauge import watching
from kbench.engine.lock import timing_lock
from kbench.errors import InfraError, NothingToDo, UsageError
from kbench.machine.environment import Available, describe, probe, resolve_device
from kbench.machine.gpus import Gpu, see_only
from kbench.machine.inventory import Inventory, take_inventory, usable_cores
from kbench.model import Device, Job
from kbench.plan.discover import Discovery, discover
from kbench.sandbox import confine
from kbench.sanitize.tool import find_tool
from kbench.store.writer import RunStore

if TYPE_CHECKING:
    from kbench.build.service import Build, BuildRoom
    from kbench.engine.pair import Settings
    from kbench.machine.telemetry import Gauge
    from kbench.remote.hire import Hiring

_FIXED_BY_RUN = (
    "device", "size", "baselines", "replicates", "most_replicates", "blocks", "min_samples", "min_block_ms", "sanitize",
)  # fmt: skip
"""Options that a resumed run cannot change: its records would not belong together."""
_KEPT = ("problems", "solutions", "select", "jobs", "timeout_s", "build_timeout_s", "memory_limit_gb", *_FIXED_BY_RUN)
"""Options that a run's `run.yaml` keeps. Folders of this machine and the seed stay out of it."""


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A planned run that has not begun."""

    options: RunOptions
    available: Available
    inventory: Inventory
    device: Device
    gpu: Gpu | None
    """The one that the run takes, where it is on CUDA."""
    discovery: Discovery

    @property
    def jobs(self) -> tuple[Job, ...]:
        return self.discovery.plan.jobs


@contextmanager
def prepare(options: RunOptions, *, to_build: bool = False) -> Iterator[Prepared]:
    """Plan `options` on this machine; `to_build` plans for CUDA without a GPU as well.

    On CUDA this process sees only the chosen GPU from then on (`see_only`).

    Raises UsageError or NothingToDo as `discover` and `resolve_device` do.
    """
    inventory = take_inventory()
    available = probe(inventory)
    if not available.torch:
        raise NothingToDo("torch is not installed here", hint="pip install 'torch>=2.9'; kbench doctor says more")
    if to_build and options.device.startswith("cuda") and not available.cuda:
        device, gpu = Device.CUDA, None
    else:
        device, index = resolve_device(options.device, available)
        gpu = see_only(inventory.gpus, index, os.environ) if device is Device.CUDA else None
    if options.sanitize and not to_build:
        _look_at_sanitizer(device)
    with tempfile.TemporaryDirectory(prefix="kbench-responses-") as folder:
        discovery = discover(
            options.problems, options.solutions, device=device, size=options.size,
            select=options.select, available=available, materialise=Path(folder),
        )  # fmt: skip
        yield Prepared(
            options=options, available=available, inventory=inventory, device=device, gpu=gpu, discovery=discovery
        )


def _look_at_sanitizer(device: Device) -> None:
    """Refuse before any work what could not be done after it. Raises UsageError, NothingToDo."""
    if device is not Device.CUDA:
        raise UsageError(
            "--sanitize needs a CUDA device", why="compute-sanitizer looks at CUDA kernels only",
            hint="leave it out, or give --device cuda",
        )  # fmt: skip
    if find_tool(os.environ) is None:
        raise NothingToDo(
            "compute-sanitizer was not found", why="it is not on the path, nor below CUDA_HOME or /usr/local/cuda",
            hint="it is part of the CUDA toolkit: set CUDA_HOME, or leave --sanitize out",
        )  # fmt: skip


def open_store(prepared: Prepared, *, path: Path, started: str) -> RunStore:
    """Begin or resume the run in `path`. Raises UsageError when it was begun with other options, StoreError."""
    if not prepared.options.resume:
        options = {name: value for name, value in stored_options(prepared.options).items() if name in _KEPT}
        environment = describe(prepared.inventory, gpu=prepared.gpu)
        return RunStore.create(path, options={**options, "started": started}, environment=environment)
    store = RunStore.resume(path)
    try:
        current = stored_options(prepared.options)
        for name in _FIXED_BY_RUN:
            if name in store.options and store.options[name] != current[name]:
                raise UsageError(
                    f"the run was begun with {name} {store.options[name]!r}, not {current[name]!r}",
                    where=str(path), hint=f"leave --{name.replace('_', '-')} out to go on as it was",
                )  # fmt: skip
    except UsageError:
        store.close()
        raise
    return store


def stored_options(options: RunOptions) -> dict[str, Any]:
    """Options as plain values that YAML can hold."""
    plain = dataclasses.asdict(options)
    return {k: str(v) if isinstance(v, Path) else list(v) if isinstance(v, tuple) else v for k, v in plain.items()}


def execute(prepared: Prepared, store: RunStore, listener: Listener) -> None:
    """Bring every planned pair to its record and write the tables. An interrupt leaves a valid run behind."""
    try:
        with timing_lock(prepared.gpu, waiting=listener.note):
            _execute_jobs(prepared, store, listener)
    finally:
        store.write_tables()


def _execute_jobs(prepared: Prepared, store: RunStore, listener: Listener) -> None:
    options = prepared.options
    for job in {job.problem.id: job for job in prepared.jobs}.values():
        store.save_problem_source(job.problem.id, job.problem.path)
        if job.problem.sidecar is not None:
            store.save_sidecar(job.problem.id, job.problem.sidecar)
    with staffed(prepared, listener, also_hidden=[store.path]) as (hiring, room), watching(prepared.gpu) as gauge:
        from kbench.engine.pipeline import run_jobs

        settings = settings_of(
            options, hiring, room, environment_key=str(store.environment.get("key", "")),
            log_path=store.log_path, stage=listener.stage, gauge=gauge,
        )  # fmt: skip
        run_jobs(prepared.jobs, store=store, room=room, settings=settings, workers=options.jobs, listener=listener)


def settings_of(
    options: RunOptions,
    hiring: Hiring,
    room: BuildRoom,
    *,
    environment_key: str,
    log_path: Callable[[str, str], Path],
    stage: Callable[[str, str], None],
    gauge: Gauge,
) -> Settings:
    """How the pairs of a run with these options are judged and measured."""
    from kbench.engine.pair import Settings
    from kbench.judge.cases import SeedSource
    from kbench.measure.replicates import Effort

    return Settings(
        hiring=hiring,
        seeds=SeedSource(options.seed),
        baselines=options.baselines,
        effort=Effort(replicates=options.replicates, most_replicates=options.most_replicates),
        blocks=options.blocks,
        min_samples=options.min_samples,
        min_block_ms=options.min_block_ms,
        environment_key=environment_key,
        build_environment=room.toolchain.environment(),
        log_path=log_path,
        stage=stage,
        sanitize=options.sanitize,
        gauge=gauge,
    )


@contextmanager
def staffed(
    prepared: Prepared, listener: Listener, *, also_hidden: Sequence[Path], any_arch: str | None = None
) -> Iterator[tuple[Hiring, BuildRoom]]:
    """A fork server with what every worker and build has in common. Raises InfraError.

    Workers see none of the options' own folders, nor of `also_hidden`.
    """
    from kbench.remote.surroundings import SERVER_MODULES, server_environment
    from kbench.sandbox.client import ForkServer

    options = prepared.options
    _look_at_isolation(required=options.require_isolation, listener=listener)
    toolchain = detect(cuda_arch=any_arch or _present_arch(prepared))
    cache = BuildCache(options.cache_dir)
    cache.trim(options.cache_limit_gb * 2**30, time.time())
    threads = usable_cores()
    environment = server_environment(
        Path(sys.executable).parent, threads=threads, pinned=prepared.device is Device.CPU,
        extra=toolchain.environment(),
    )  # fmt: skip
    visible = _toolchain_folders(toolchain)
    hidden = _hidden_folders(options, also_hidden, visible=visible)
    with ForkServer(modules=SERVER_MODULES, environment=environment, visible=visible, hidden=hidden) as server:
        from kbench.build.service import BuildRoom  # torch, which takes seconds here, and at the same time there
        from kbench.remote.hire import Hiring
        from kbench.remote.link import Deadlines

        server.await_ready()
        hiring = Hiring(
            server=server,
            limits=confine.Limits(memory_bytes=int(options.memory_limit_gb * 2**30)),
            deadlines=Deadlines(load_s=options.timeout_s, call_s=options.timeout_s),
            threads=threads,
        )
        yield (
            hiring,
            BuildRoom(
                hiring=hiring,
                cache=cache,
                toolchain=toolchain,
                timeout_s=options.build_timeout_s,
                compile_only=prepared.device is Device.CUDA and not prepared.available.cuda,
            ),
        )


def _look_at_isolation(*, required: bool, listener: Listener) -> None:
    from kbench.sandbox.probe import probe_layers

    missing = confine.missing(probe_layers())
    if not missing:
        return
    why = "; ".join(f"{name} is {state}" for name, state in missing.items())
    if required:
        raise InfraError("isolation is required, and incomplete here", why=why, hint="kbench doctor")
    listener.note(f"degraded isolation: {why}")


def _present_arch(prepared: Prepared) -> str | None:
    if prepared.device is not Device.CUDA or not prepared.available.cuda:
        return None
    import torch

    major, minor = torch.cuda.get_device_capability()
    return f"{major}.{minor}"


def _toolchain_folders(toolchain: Toolchain) -> tuple[str, ...]:
    return (str(Path(toolchain.cuda_home).resolve()),) if toolchain.cuda_home else ()


def _hidden_folders(options: RunOptions, more: Sequence[Path], *, visible: tuple[str, ...]) -> tuple[str, ...]:
    """Problems, solutions, results and other builds; never a folder that the interpreter lies around, or all of `/`.

    An installed kbench carries its red-team suite among its own files, which workers see: that part is hidden too.
    """
    from kbench.sandbox.client import interpreter_folders

    wanted = [options.problems, options.solutions, options.results, options.cache_dir, *more]
    folders = {(path if path.is_dir() else path.parent).resolve() for path in wanted if path.exists()}
    needed = [Path(path) for path in (*visible, *interpreter_folders())]
    hidden = folders - {Path("/")} - set(needed)
    package = Path(kbench.__file__).resolve().parent

    def hideable(folder: Path) -> bool:
        return package in folder.parents or not any(n in folder.parents for n in needed)

    return tuple(str(folder) for folder in sorted(hidden) if hideable(folder))


def build_only(prepared: Prepared, *, logs: Path, arch: str | None, listener: Listener) -> Mapping[str, Build]:
    """Build every planned solution, several at once. Returns each solution's build."""
    from kbench.engine.pipeline import build_all

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
