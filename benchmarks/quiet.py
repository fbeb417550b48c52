"""Do timings taken while other candidates are being built agree with those on an otherwise idle machine?

    python -m benchmarks.quiet --work DIR --watched 4 --building 64 --out quiet.md

Some right candidates are built beforehand. They are then timed three times: alone, in one run together with many that
must still be built (and are wrong, so that they are not timed), and alone once more, which shows what two quiet runs
differ by. For each of them the table gives the ratio of the times of a call, with Welch's 95% interval over replicates,
and how many builds shared some time with its timing: without any, the row shows nothing. The goal is 1% for calls of
100 us and more.

Ends with 1 where a watched candidate was not correct, or missed the goal. KBENCH_* variables go on to `kbench run`.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import generate, runs, tables
from benchmarks.generate import Candidate
from benchmarks.tables import Ratio, Span

_GOAL = 0.01
_LEAST_NS = 1e5
"""The goal is meant for calls of 100 us and more."""
_LARGER = {"cuda": 4, "cpu": 1}
"""Times the rows of the usual batch: a call of 60 us becomes one of 240."""
_RUNS = ("alone", "busy", "again")


@dataclass(frozen=True, kw_only=True)
class Row:
    """What became of one watched candidate."""

    name: str
    alone_ns: float
    busy: Ratio
    """Over alone."""
    again: Ratio
    """Likewise."""
    builds: int
    """That shared some time with its timing in the busy run."""

    @property
    def missed(self) -> bool:
        """Whether the goal holds for it and is not met."""
        return self.alone_ns >= _LEAST_NS and abs(self.busy.value - 1.0) > _GOAL

    def cells(self) -> tuple[str, ...]:
        meets = "too short" if self.alone_ns < _LEAST_NS else "no" if self.missed else "yes"
        times = (f"{self.alone_ns / 1e3:.2f}", self.busy.text(), self.again.text())
        return (self.name, *times, str(self.builds), meets)


def main() -> int:
    """Make the runs and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the candidates, the cache, the runs")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--watched", type=int, default=4)
    parser.add_argument("--building", type=int, default=64)
    parser.add_argument("--jobs", type=int, help="builds at once (default: kbench's own)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="where to write the table as well")
    options = parser.parse_args()
    work: Path = options.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    kind = options.device.partition(":")[0]
    watched = _extensions("correct", options.watched, name="watched", device=kind, seed=options.seed)
    building = _extensions("wrong", options.building, name="building", device=kind, seed=options.seed + 1)
    generate.write(work / "alone", watched, device=kind, times=_LARGER[kind])
    generate.write(work / "busy", [*watched, *building], device=kind, times=_LARGER[kind])
    given = ["--device", options.device, "--cache-dir", str(work / "cache")]
    given += ["--jobs", str(options.jobs)] if options.jobs else []
    runs.kbench("build", *_folders(work / "alone"), *given, log=work / "build.log")
    spans: Mapping[str, Span] = {}
    builds: Sequence[Span] = ()
    for name in _RUNS:
        known = _manifests(work / "cache")
        seen = _watched_run(work, name, given)
        if name == "busy":
            spans, builds = seen, [_built_at(path) for path in _manifests(work / "cache") - known]
    wrong = [f"{name}: {said}" for name in _RUNS for said in _not_correct(work / f"run-{name}", watched)]
    rows = [] if wrong else compared(work, [each.id for each in watched], spans, builds)
    page = report(rows, wrong, builds=len(builds))
    print(page)
    if options.out is not None:
        options.out.write_text(page)
    return 1 if wrong or any(row.missed for row in rows) else 0


def compared(work: Path, names: Sequence[str], spans: Mapping[str, Span], builds: Sequence[Span]) -> list[Row]:
    """A row for each of `names`, from the samples of the three runs below `work`."""
    alone, busy, again = (tables.replicate_times(runs.samples(work / f"run-{n}"), "solution") for n in _RUNS)
    return [
        Row(
            name=name, alone_ns=sum(alone[name]) / len(alone[name]),
            busy=tables.ratio_of_times(busy[name], alone[name]), again=tables.ratio_of_times(again[name], alone[name]),
            builds=tables.meeting(spans[name], builds) if name in spans else 0,
        )
        for name in names
    ]  # fmt: skip


def report(rows: Sequence[Row], wrong: Sequence[str], *, builds: int) -> str:
    """The table as markdown."""
    columns = ("candidate", "alone us", "beside builds / alone", "alone again / alone", "builds meanwhile", "within 1%")
    page = tables.markdown(columns, [row.cells() for row in rows])
    met = sum(row.builds > 0 for row in rows)
    page += f"\n{builds} builds; {met} of {len(rows)} candidates were timed while some of them went on.\n"
    return page + "".join(f"\n- {said}" for said in wrong)


def _extensions(kind: str, count: int, *, name: str, device: str, seed: int) -> list[Candidate]:
    """The first candidates of a kind in a batch, which is large enough; named so that two batches can lie together."""
    enough = 32 * (count // generate.PER_32[kind] + 1)
    found = [each for each in generate.candidates(enough, device=device, seed=seed) if each.kind == kind]
    return [dataclasses.replace(each, solution=f"{name}_{each.solution}") for each in found[:count]]


def _folders(batch: Path) -> tuple[Path, Path]:
    return batch / "problems", batch / "solutions"


def _watched_run(work: Path, name: str, given: Sequence[str]) -> dict[str, Span]:
    """Run, and note from when until when (by `time.time`) each pair was timed, from what kbench says of it."""
    batch = work / ("busy" if name == "busy" else "alone")
    command = runs.command("run", *_folders(batch), *given, "--out", work / f"run-{name}")
    began: dict[str, float] = {}
    spans: dict[str, Span] = {}
    said: list[str] = []
    with subprocess.Popen(
        command, cwd=runs.ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            now = time.time()
            said.append(line)
            pair, _, what = line.partition(": ")
            if what.startswith("timing 1/"):
                began[pair] = now
            elif pair in began:
                spans.setdefault(pair, (began[pair], now))
    if process.returncode not in runs.JUDGED:
        sys.exit(f"the run {name} ended with {process.returncode}:\n{''.join(said[-20:])}")
    print(f"{name}: {len(spans)} pairs were timed", file=sys.stderr, flush=True)
    return spans


def _manifests(cache: Path) -> set[Path]:
    """One for each build that is kept."""
    return set((cache / "builds").glob("*/*/build.json"))


def _built_at(manifest: Path) -> Span:
    """A new entry says how long it took to build, and was written when that was done; later uses would touch it."""
    ended = manifest.stat().st_mtime
    return ended - float(json.loads(manifest.read_text())["seconds"]), ended


def _not_correct(run: Path, watched: Sequence[Candidate]) -> list[str]:
    statuses = {runs.identity(record): record["status"] for record in runs.records(run)}
    return [f"{e.id} is {statuses.get(e.id)}" for e in watched if statuses.get(e.id) != "correct"]


if __name__ == "__main__":
    sys.exit(main())
