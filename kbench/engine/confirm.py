"""Measure rows of a comparison again: both runs' own sources, replicate by replicate in turn, in fresh processes.

Whatever moved between the two runs (a driver, a neighbour, the weather) now meets both alike, so that the fresh
figures alone decide. Every replicate is judged anew before it is timed.
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from kbench import stats
from kbench.config import RunOptions
from kbench.engine.events import Listener
from kbench.engine.gauge import watching
from kbench.engine.lock import timing_lock
from kbench.engine.prepare import Prepared, prepare
from kbench.engine.staff import settings_of, staffed
from kbench.model import Record, Status
from kbench.store.runs import Key, LoadedRun
from kbench.store.sources import find_problem, find_solution

if TYPE_CHECKING:
    from kbench.build.service import Build
    from kbench.engine.pair import Settings
    from kbench.model import Job

ROUNDS = 10
"""Replicates of each side."""


def remeasure(
    old: LoadedRun,
    new: LoadedRun,
    keys: Sequence[Key],
    *,
    options: RunOptions,
    listener: Listener,
    rounds: int = ROUNDS,
) -> tuple[LoadedRun, LoadedRun]:
    """Both runs reduced to the pairs `keys`, measured here and now. Everything else of `options` is as a run's.

    Raises UsageError where a source is not to be had any more, and what planning and staffing a run raise.
    """
    with tempfile.TemporaryDirectory(prefix="kbench-confirm-") as folder, ExitStack() as stack:
        sides = [
            stack.enter_context(prepare(_laid_out(run, keys, Path(folder) / name, options)))
            for name, run in (("old", old), ("new", new))
        ]
        with timing_lock(sides[0].gpu, folder=options.lock_dir, waiting=listener.note):
            hidden = [Path(folder), options.problems, options.solutions, old.path, new.path]
            found = _measured(sides, Path(folder), listener, rounds, hidden=hidden)
    fresh = [
        dataclasses.replace(run, records=records, environment={}, options={**run.options, "replicates": rounds})
        for run, records in zip((old, new), found, strict=True)
    ]
    return fresh[0], fresh[1]


def _laid_out(run: LoadedRun, keys: Sequence[Key], folder: Path, options: RunOptions) -> RunOptions:
    """The sources of a run's pairs as problems and solutions below `folder`."""
    for key in keys:
        record = run.records[key]
        problem = find_problem(run, record)
        place = folder / "problems" / f"{record.problem}.py"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(problem.path.read_bytes())
        if problem.sidecar is not None:
            place.with_suffix(".yaml").write_bytes(problem.sidecar.read_bytes())
        solution = folder / "solutions" / record.problem / f"{record.solution}.py"
        solution.parent.mkdir(parents=True, exist_ok=True)
        solution.write_text(find_solution(run, record), newline="")
    return dataclasses.replace(
        options, problems=folder / "problems", solutions=folder / "solutions", device=run.records[keys[0]].device,
        baselines=("eager",), gpus=1, select=None, replicates=1, most_replicates=1, sanitize=False,
    )  # fmt: skip


def _measured(
    sides: Sequence[Prepared], folder: Path, listener: Listener, rounds: int, *, hidden: Sequence[Path]
) -> list[dict[Key, Record]]:
    """For each side, its pairs' records, each over all rounds."""
    options = sides[0].options

    def log_path(pair: str, name: str) -> Path:
        path = folder / "logs" / pair / f"{name}.log"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    with (
        staffed(sides[0], listener, also_hidden=hidden) as (hiring, room),
        watching(sides[0].gpu) as gauge,
        settings_of(
            sides[0], hiring, room.toolchain, environment_key="confirm", log_path=log_path,
            stage=lambda *_: None, gauge=gauge,
        ) as settings,
    ):  # fmt: skip
        from kbench.engine.pipeline import build_all

        built = [
            {
                job.key: (job, build)
                for job, build in build_all(
                    side.jobs, room=room, log_path=log_path, workers=options.jobs, listener=listener
                )
            }
            for side in sides
        ]
        taken = [_in_turn((built[0][key], built[1][key]), settings, listener, rounds) for key in built[0]]
    return [{records[side].key: records[side] for records in taken} for side in (0, 1)]


def _in_turn(
    pair: tuple[tuple[Job, Build], tuple[Job, Build]], settings: Settings, listener: Listener, rounds: int
) -> list[Record]:
    """A record for each of the two, whose replicates alternated; who goes first alternates as well."""
    from kbench.engine.pair import run_pair
    from kbench.engine.records import make_record, settled

    taken: list[list[Record]] = [[], []]
    for number in range(rounds):
        listener.stage(pair[0][0].solution.id, f"confirming {number + 1}/{rounds}")
        for side in (0, 1) if number % 2 == 0 else (1, 0):
            job, build = pair[side]
            early = settled(job) or build.failure
            if early is None:
                record, *_ = run_pair(job, build, settings)
            else:
                record = make_record(job, build, early, settings.environment_key)
            taken[side].append(record)
        if any(records[-1].status is not Status.CORRECT for records in taken):
            break  # no time will be compared
    both = [over_rounds(records) for records in taken]
    listener.ended(both[1])
    return both


def over_rounds(records: Sequence[Record]) -> Record:
    """One record of several with a replicate each: the first that is not correct, or all their replicates together."""
    for record in records:
        if record.status is not Status.CORRECT:
            return record
    d = tuple(value for record in records for value in record.replicate_log_ratios)
    speedup = stats.speedup_estimate(d)
    known = len(d) > 1
    return dataclasses.replace(
        records[0], speedup=speedup.value, speedup_low=speedup.low if known else None,
        speedup_high=speedup.high if known else None, replicates=len(d), replicate_log_ratios=d,
        time_ms=statistics.median(r.time_ms for r in records if r.time_ms is not None),
        reference_ms=statistics.median(r.reference_ms for r in records if r.reference_ms is not None),
        flags=tuple(dict.fromkeys(flag for record in records for flag in record.flags)),
        advice=next((record.advice for record in records if record.advice), ()),
        timed_calls=sum(r.timed_calls for r in records), verified_calls=sum(r.verified_calls for r in records),
    )  # fmt: skip
