"""Build one solution in a confined process of its own, or find that it was built before."""

from __future__ import annotations

import dataclasses
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbench.build import diagnostics
from kbench.build.cache import BuildCache, Entry, cache_key
from kbench.build.headers import PrecompiledHeaders
from kbench.build.kernels import Resources, take_account
from kbench.build.toolchain import SHORT_HEADERS, Toolchain
from kbench.model import Status, Verdict
from kbench.plan.cflags import read_cflags
from kbench.plan.source import read_facts
from kbench.remote.hire import Hiring, Post, hire
from kbench.remote.link import WorkerFailed
from kbench.sandbox.answers import Malformed

_PASSES = re.compile(
    r"Killed|(due to|by) signal|[Oo]ut of memory|[Cc]annot allocate|No space left|internal compiler error"
)
"""Words of a failure that another try may not meet. Whatever else a compiler refuses, it refuses again."""

_MAY_WANT_A_DEVICE = frozenset({Status.LOAD_ERROR, Status.RUNTIME_ERROR, Status.CRASH})
"""How the import of a file may end that uses a GPU before it compiles anything, where there is none."""


@dataclass(frozen=True, kw_only=True)
class Build:
    """A solution's compiled extensions, or why there are none."""

    libraries: Path | None = None
    seconds: float = 0.0
    cached: bool = False
    compile_only: bool = False
    """The libraries are not linked against torch's CUDA and cannot be loaded."""
    failure: Verdict | None = None
    kernels: tuple[Resources, ...] = ()
    needs_device: bool = False
    """Nothing can be said without a device, which the build was not let near: it is to be built again with one."""


@dataclass(frozen=True, kw_only=True)
class BuildRoom:
    """What all builds of a run share."""

    hiring: Hiring
    cache: BuildCache
    toolchain: Toolchain
    headers: PrecompiledHeaders | None
    """None where none are wanted."""
    timeout_s: float
    compile_only: bool
    """Compile CUDA sources without linking against torch's CUDA, which this torch lacks."""
    device_hidden: bool = False
    """No GPU is seen here, since something is being timed on it."""


def build(room: BuildRoom, *, source: str, shown_path: str, log: Path) -> Build:
    """Import `source` once in a build worker, so that it compiles what it compiles; keep the libraries.

    A failure is a value: `build_error` with the compiler's message at the solution's own line, or whatever else
    became of the import. Raises StoreError where the cache cannot be written, InfraError where no worker starts.
    """
    circumstances = {**room.toolchain.facts, "compile_only": str(room.compile_only), "shown_path": shown_path}
    key = cache_key(source, circumstances)
    if (entry := room.cache.find(key)) is not None:
        return _from_cache(entry, room, log)
    facts = read_facts(source)
    if room.headers and facts.uses_extension:  # nvcc takes longer than one host unit gains: it does not wait
        room.headers.ask(read_cflags(source), wait=not facts.uses_nvcc)
    post = Post(
        source=source,
        shown_path=shown_path,
        role="candidate",
        precision="fp32",
        log=log,
        headers=SHORT_HEADERS,
        precompiled=room.headers.ready() if room.headers else {},
        compile_only=room.compile_only,
        environment=room.toolchain.environment(),
    )
    start = time.monotonic()
    with hire(room.hiring, post, load_s=room.timeout_s if facts.uses_extension else None) as link:
        try:
            link.load()
        except WorkerFailed as failed:
            verdict = _explain(failed.verdict, source=source, shown_path=shown_path)
            seconds = time.monotonic() - start
            if room.device_hidden and verdict.status in _MAY_WANT_A_DEVICE:
                return Build(seconds=seconds, needs_device=True)
            said = str(failed.verdict.evidence.get("text", ""))
            if verdict.status is Status.BUILD_ERROR and not _PASSES.search(said):
                room.cache.store_failure(key, dataclasses.asdict(verdict), log=log, seconds=seconds)
            return Build(seconds=seconds, failure=verdict)
        seconds = time.monotonic() - start
        link.stop()
        if room.device_hidden and facts.uses_extension and not any(link.extensions.iterdir()):
            return Build(seconds=seconds, needs_device=True)

        def account(libraries: Path) -> list[dict[str, Any]]:
            return _account(room, libraries, log=log) if facts.uses_nvcc else []

        entry = room.cache.store(key, link.extensions, seconds=seconds, account=account)
        return dataclasses.replace(_from_cache(entry, room, log), seconds=seconds, cached=False)


def _account(room: BuildRoom, libraries: Path, *, log: Path) -> list[dict[str, Any]]:
    """Nothing where a library makes nonsense of it: that is for who reads the record, and no verdict."""
    try:
        return [dataclasses.asdict(kernel) for kernel in take_account(room.hiring, libraries, log=log)]
    except Malformed as malformed:
        with log.open("a") as said:
            said.write(f"kbench: the kernels' resources cannot be read: {malformed}\n")
        return []


def _from_cache(entry: Entry, room: BuildRoom, log: Path) -> Build:
    if entry.failure is None:
        return Build(
            libraries=entry.libraries, seconds=entry.seconds, cached=True, compile_only=room.compile_only,
            kernels=tuple(Resources(**kernel) for kernel in entry.kernels),
        )  # fmt: skip
    with log.open("ab") as again:
        again.write(entry.log.read_bytes())
    failure = Verdict(**{**entry.failure, "status": Status(entry.failure["status"])})
    return Build(seconds=entry.seconds, cached=True, failure=failure)


def _explain(verdict: Verdict, *, source: str, shown_path: str) -> Verdict:
    if verdict.status is Status.TIMEOUT:
        return dataclasses.replace(verdict, reason="build", message=f"{verdict.message} and compiled")
    if verdict.status is not Status.BUILD_ERROR:
        return verdict
    summary = diagnostics.summarise(str(verdict.evidence.get("text", "")), own_file=shown_path, source=source)
    return dataclasses.replace(verdict, message=summary)
