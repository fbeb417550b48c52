"""Every CUDA solution under compute-sanitizer at its problem's smallest size, several at once on each GPU.

    python -m benchmarks.sanitized --work DIR [-k EXPR] [--each 6]

What `kbench run --sanitize` does after judging and timing, without those: nothing is timed, so a GPU can be shared.
Prints what was found and the flags (warnings, findings in libraries), then how many are clean. DIR keeps a log for each
solution and check. Ends with 1 where one is not clean.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import os
import queue
import sys
from collections.abc import Iterator
from pathlib import Path

from kbench.build.service import BuildRoom
from kbench.build.toolchain import detect
from kbench.config import load_options
from kbench.engine.pipeline import build_job
from kbench.engine.prepare import Prepared, prepare
from kbench.engine.records import settled
from kbench.engine.staff import build_room, hiring_from
from kbench.errors import KbenchError
from kbench.machine.gpus import see_only
from kbench.model import Job, Record, Status, Verdict
from kbench.remote.hire import Hiring
from kbench.sanitize.check import Sanitized, sanitize


class _Silent:
    """A listener."""

    def stage(self, pair: str, stage: str) -> None:
        """Not shown."""

    def note(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def ended(self, record: Record) -> None:
        """There are none."""


def main() -> int:
    """Run the checks, print what they found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the logs")
    parser.add_argument("--problems", default="problems")
    parser.add_argument("--solutions", default="solutions")
    parser.add_argument("-k", dest="select", default="cuda")
    parser.add_argument("--each", type=int, default=6, help="solutions at once on a GPU")
    asked = parser.parse_args()
    flags = {
        "problems": asked.problems, "solutions": asked.solutions, "select": asked.select, "device": "cuda",
        "gpus": "all", "sanitize": True,
    }  # fmt: skip
    try:
        with prepare(load_options(flags, os.environ, Path.cwd()).options) as prepared:
            found = _look_at(prepared, asked.work, each=asked.each)
    except KbenchError as error:
        sys.exit(f"error: {error}")
    for name, its in found.items():
        if its.flags or its.verdict.status is not Status.CORRECT:
            print(", ".join([f"{name}: {its.verdict.status.value}", *its.flags, its.verdict.message or "no error"]))
    clean = sum(its.verdict.status is Status.CORRECT for its in found.values())
    print(f"{clean} of {len(found)} are clean")
    return 0 if found and clean == len(found) else 1


def _look_at(prepared: Prepared, work: Path, *, each: int) -> dict[str, Sanitized]:
    def log(solution: str, name: str) -> Path:
        path = work / solution / f"{name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def one(job: Job) -> Sanitized:
        if (early := settled(job)) is not None:
            return Sanitized(verdict=early)
        hiring, room = places.get()
        try:
            built = build_job(job, room, log, _Silent())
            if built.failure is not None:
                return Sanitized(verdict=built.failure)
            return sanitize(hiring, job, libraries=built.libraries, log_path=log)
        except KbenchError as error:
            return Sanitized(verdict=Verdict(status=Status.INFRA_ERROR, reason="kbench", message=str(error)))
        finally:
            places.put((hiring, room))

    with contextlib.ExitStack() as stack:
        places: queue.Queue[tuple[Hiring, BuildRoom]] = queue.Queue()
        for place in _staff(prepared, stack):
            for _ in range(each):
                places.put(place)
        with concurrent.futures.ThreadPoolExecutor(each * len(prepared.gpus)) as pool:
            return dict(zip((job.solution.id for job in prepared.jobs), pool.map(one, prepared.jobs), strict=True))


def _staff(prepared: Prepared, stack: contextlib.ExitStack) -> Iterator[tuple[Hiring, BuildRoom]]:
    """For each GPU workers that see it alone."""
    for gpu in prepared.gpus:
        see_only(gpu, os.environ, of=len(prepared.inventory.gpus))
        own = dataclasses.replace(prepared, gpus=(gpu,))
        toolchain = detect(cuda_arch=gpu.capability)
        hiring = stack.enter_context(hiring_from(own, toolchain, also_hidden=[]))
        yield hiring, build_room(own, hiring, toolchain)


if __name__ == "__main__":
    sys.exit(main())
