"""The suite as an ordinary run: fixed modest options, then the engine as for `kbench run`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kbench.config import ENV_PREFIX, RunOptions, load_options
from kbench.engine.events import Listener
from kbench.engine.prepare import Prepared, prepare
from kbench.errors import InfraError
from kbench.model import Device, Job, Plan, Record
from kbench.selftest.specimens import PROBLEMS, SOLUTIONS, Specimen

OPTIONS: Mapping[str, Any] = {
    "size": "full",
    "baselines": "eager",
    "replicates": 1,
    "blocks": 4,
    "min_samples": 4,
    "min_block_ms": 5.0,
    "timeout_s": 20.0,
    "build_timeout_s": 240.0,
}
"""What every selftest runs with, so that two of them ask the same. Lies are gross: few samples tell them."""
_MEMORY_LIMIT_GB = {False: 3.0, True: 5.0}
"""Without CUDA and with it: nvcc alone takes 2.8. The suite's memory bombs want 6."""
_OF_THE_MACHINE = ("CACHE_DIR", "PRECOMPILE", "JOBS", "RESULTS", "REQUIRE_ISOLATION")
"""Options that may come from the environment: they change no outcome. `kbench.yaml` is not read."""
NEEDS_CUDA, NEEDS_CPU = "needs CUDA", "needs the CPU"


def selftest_options(
    suite: Path, *, device: str, gpus: str | None, select: str | None, out: Path | None,
    environment: Mapping[str, str], cwd: Path,
) -> RunOptions:
    """The options of a run of the suite. Raises UsageError for what cannot be used as given."""
    kept = {ENV_PREFIX + name for name in _OF_THE_MACHINE}
    env = {name: value for name, value in environment.items() if not name.startswith(ENV_PREFIX) or name in kept}
    shown = suite.relative_to(cwd) if cwd in suite.parents else suite
    memory_limit_gb = _MEMORY_LIMIT_GB[device.startswith("cuda")]
    files = {"problems": shown / PROBLEMS, "solutions": shown / SOLUTIONS}
    flags = {**OPTIONS, **files, "memory_limit_gb": memory_limit_gb}
    return load_options({**flags, "device": device, "gpus": gpus, "select": select, "out": out}, env, suite).options


@contextmanager
def prepare_suite(
    options: RunOptions, specimens: Sequence[Specimen]
) -> Iterator[tuple[Prepared, tuple[Specimen, ...]]]:
    """Plan the suite, and the part of it that `options.select` chose.

    A file that says it needs CUDA, or the CPU, is skipped elsewhere, whatever can be read off the rest of its text.
    Raises as `prepare`, and InfraError where the plan lacks a file.
    """
    known = {specimen.key: specimen for specimen in specimens}
    with prepare(options) as prepared:
        jobs = tuple(on_its_device(job, known[job.key]) for job in prepared.jobs if job.key in known)
        planned = {job.key for job in jobs}
        if options.select is None and (lacking := [s.id for s in specimens if s.key not in planned]):
            raise InfraError("files of the suite were not planned", why=", ".join(lacking), hint="rename them")
        discovery = dataclasses.replace(prepared.discovery, plan=Plan(jobs=jobs))
        yield (
            dataclasses.replace(prepared, discovery=discovery),
            tuple(specimen for specimen in specimens if specimen.key in planned),
        )


def on_its_device(job: Job, specimen: Specimen) -> Job:
    """The job, skipped where its file is for another kind of device."""
    if specimen.needs_cuda and job.device is not Device.CUDA:
        return dataclasses.replace(job, skip_reason=NEEDS_CUDA)
    if specimen.expectation.cpu_only and job.device is not Device.CPU:
        return dataclasses.replace(job, skip_reason=NEEDS_CPU)
    return job


def run_path(results: Path, device: Device, started: str) -> Path:
    """Where a selftest that began at `started` (ISO 8601, UTC) goes by default."""
    return results / f"selftest-{device}-{started.replace(':', '').replace('+0000', 'Z')}"


class Stopwatch:
    """A listener that notes how long each pair takes, and passes on what it hears."""

    def __init__(self, listener: Listener, clock: Callable[[], float]) -> None:
        self._listener, self._clock = listener, clock
        self._since: dict[str, float] = {}
        self.seconds: dict[str, float] = {}
        """By id: from its build to its end, without the wait for other pairs in between."""

    def stage(self, pair: str, stage: str) -> None:
        if stage in ("building", "judging"):
            self._since[pair] = self._clock()
        elif stage in ("built", "not built"):
            self._stop(pair)
        self._listener.stage(pair, stage)

    def ended(self, record: Record) -> None:
        self._stop(record.id)
        self._listener.ended(record)

    def note(self, text: str) -> None:
        self._listener.note(text)

    def _stop(self, pair: str) -> None:
        if (since := self._since.pop(pair, None)) is not None:
            self.seconds[pair] = self.seconds.get(pair, 0.0) + self._clock() - since
