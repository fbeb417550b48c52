"""Who works for a run: the fork server whose workers build, answer and are timed, and what they have in common."""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import kbench
from kbench.build.cache import BuildCache
from kbench.build.headers import PrecompiledHeaders
from kbench.build.toolchain import Toolchain, detect
from kbench.config import RunOptions
from kbench.engine.events import Listener
from kbench.engine.lock import context_turn
from kbench.engine.prepare import Prepared
from kbench.errors import InfraError
from kbench.importing import without_collection
from kbench.machine.gpus import other_nodes
from kbench.machine.inventory import usable_cores
from kbench.model import Device
from kbench.sandbox import confine

if TYPE_CHECKING:
    from kbench.build.service import BuildRoom
    from kbench.engine.pair import Settings
    from kbench.machine.telemetry import Gauge
    from kbench.remote.hire import Hiring


_ONE_REPLICATE = 2
"""Workers that get their context in one go: the first replicate's, or of wrong solutions the next two."""
_MOST_IN_A_HURRY = 4


def group_size(replicates: int, *, hurried: bool) -> int:
    """How many workers get their contexts in one go. In a hurry a right solution takes one for each replicate, as its
    references stay."""
    return min(max(_ONE_REPLICATE, replicates), _MOST_IN_A_HURRY) if hurried else _ONE_REPLICATE


@contextmanager
def staffed(
    prepared: Prepared, listener: Listener, *, also_hidden: Sequence[Path], any_arch: str | None = None,
    device_hidden: bool = False,
) -> Iterator[tuple[Hiring, BuildRoom]]:  # fmt: skip
    """Workers and a room to build in, on one fork server. Raises InfraError.

    Workers see none of the options' own folders, nor of `also_hidden`; no GPU but the first, or none where the device
    is hidden.
    """
    _look_at_isolation(required=prepared.options.require_isolation, listener=listener)
    toolchain = detect(cuda_arch=any_arch or _present_arch(prepared))
    BuildCache(prepared.options.cache_dir).trim(prepared.options.cache_limit_gb * 2**30, time.time())
    with (
        hiring_from(prepared, toolchain, also_hidden=also_hidden, device_hidden=device_hidden) as hiring,
        PrecompiledHeaders(
            BuildCache(prepared.options.cache_dir).headers, facts=toolchain.facts,
            environment=_environment(prepared, toolchain), note=listener.note,
        ) as headers,
    ):  # fmt: skip
        wanted = headers if prepared.options.precompile else None
        yield hiring, build_room(prepared, hiring, toolchain, headers=wanted, device_hidden=device_hidden)


def build_room(
    prepared: Prepared, hiring: Hiring, toolchain: Toolchain, *, headers: PrecompiledHeaders | None = None,
    device_hidden: bool = False,
) -> BuildRoom:  # fmt: skip
    """Where these workers build."""
    from kbench.build.service import BuildRoom

    return BuildRoom(
        hiring=hiring,
        cache=BuildCache(prepared.options.cache_dir),
        toolchain=toolchain,
        headers=headers,
        timeout_s=prepared.options.build_timeout_s,
        compile_only=prepared.device is Device.CUDA and not prepared.available.cuda,
        device_hidden=device_hidden,
    )


@contextmanager
def hiring_from(
    prepared: Prepared, toolchain: Toolchain, *, also_hidden: Sequence[Path], device_hidden: bool = False
) -> Iterator[Hiring]:
    """A fork server on this process's cores, and what all workers have in common. Raises InfraError."""
    from kbench.remote.surroundings import server_modules
    from kbench.sandbox.client import ForkServer

    options = prepared.options
    environment = _environment(prepared, toolchain) | ({"CUDA_VISIBLE_DEVICES": ""} if device_hidden else {})
    visible = _toolchain_folders(toolchain)
    hidden = _hidden_folders(options, also_hidden, visible=visible)
    if device_hidden:
        hidden += tuple(str(node) for node in sorted(Path("/dev").glob("nvidia*")))
    elif prepared.gpu is not None:
        hidden += other_nodes(prepared.gpu)
    modules = server_modules(options.baselines)
    with ForkServer(modules=modules, environment=environment, visible=visible, hidden=hidden) as server:
        from kbench.remote.hire import Hiring
        from kbench.remote.link import Deadlines

        yield Hiring(
            server=server,
            limits=confine.Limits(memory_bytes=int(options.memory_limit_gb * 2**30)),
            deadlines=Deadlines(load_s=options.timeout_s, call_s=options.timeout_s),
            threads=usable_cores(),
        )


@contextmanager
def settings_of(
    prepared: Prepared,
    hiring: Hiring,
    toolchain: Toolchain,
    *,
    environment_key: str,
    log_path: Callable[[str, str], Path],
    stage: Callable[[str, str], None],
    gauge: Gauge,
    hurried: bool = False,
) -> Iterator[Settings]:
    """How the pairs of a run are judged and measured. Workers that wait for one are gone when it is left.

    `hurried`: they may serve longer than one replicate. Not for the CPU, where a heap's history shows in the times.
    """
    with without_collection():  # on the CPU these are seconds, while the fork server imports as much
        from kbench.engine.pair import Settings, judged_on, woken
    from kbench.judge.cases import SeedSource
    from kbench.judge.exam import Exams
    from kbench.measure.crew import has_room
    from kbench.measure.replicates import Effort
    from kbench.remote.spares import Spares

    options = prepared.options
    seeds = SeedSource(options.seed)
    device = judged_on(prepared.device)
    room, group = functools.partial(has_room, device), group_size(options.replicates, hurried=hurried)
    turn = functools.partial(context_turn, folder=options.lock_dir)
    with Spares(hiring, device=woken(device), group=group, hurried=hurried, has_room=room, turn=turn) as spares:
        yield Settings(
            hiring=hiring,
            spares=spares,
            seeds=seeds,
            exams=Exams(seeds),
            baselines=options.baselines,
            effort=Effort(replicates=options.replicates, most_replicates=options.most_replicates),
            blocks=prepared.blocks,
            min_samples=options.min_samples,
            min_block_ms=options.min_block_ms,
            environment_key=environment_key,
            build_environment=toolchain.environment(),
            log_path=log_path,
            stage=stage,
            sanitize=options.sanitize,
            gauge=gauge,
        )


def _environment(prepared: Prepared, toolchain: Toolchain) -> dict[str, str]:
    from kbench.remote.surroundings import server_environment

    return server_environment(
        Path(sys.executable).parent, threads=usable_cores(), pinned=prepared.device is Device.CPU,
        extra=toolchain.environment(),
    )  # fmt: skip


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
    if prepared.gpu is not None and prepared.gpu.capability:
        return prepared.gpu.capability
    import torch  # an older driver's nvidia-smi does not say

    major, minor = torch.cuda.get_device_capability()
    return f"{major}.{minor}"


def _toolchain_folders(toolchain: Toolchain) -> tuple[str, ...]:
    return (str(Path(toolchain.cuda_home).resolve()),) if toolchain.cuda_home else ()


def _hidden_folders(options: RunOptions, more: Sequence[Path], *, visible: tuple[str, ...]) -> tuple[str, ...]:
    """Problems, solutions, results and other builds; never a folder that the interpreter lies around, or all of `/`.

    An installed kbench carries its red-team suite among its own files, which workers see: that part is hidden too.
    """
    from kbench.sandbox.client import interpreter_folders

    wanted = [options.problems, options.solutions, options.results, options.cache_dir, options.lock_dir, *more]
    folders = {(path if path.is_dir() else path.parent).resolve() for path in wanted if path.exists()}
    needed = [Path(path) for path in (*visible, *interpreter_folders())]
    hidden = folders - {Path("/")} - set(needed)
    package = Path(kbench.__file__).resolve().parent

    def hideable(folder: Path) -> bool:
        return package in folder.parents or not any(n in folder.parents for n in needed)

    return tuple(str(folder) for folder in sorted(hidden) if hideable(folder))


