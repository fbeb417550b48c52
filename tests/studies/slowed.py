"""Copies slowed by a known share: does the gate call them regressed, and leave the others alone?

    python -m studies.slowed --device cpu --shares 0 0.2 --tries 10                       (from tests/)

One run of `tries` copies of an honest solution, then one for each share of copies that take so much longer. Every copy
is compared with its namesake by itself, as a run of one row: each is a try of its own. On the CPU every core has its
share of the tries, from the first run to the last. Prints a table; with `--expect` it ends with 1 where a gate said
otherwise.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from studies.pairs import Subject, kbench, records, run, write

_SUBJECTS = {
    "cpu": Subject(name="igamma", expression="torch.igamma(x, y)", shapes=((30000,), (30000,))),
    "cuda": Subject(
        name="linear", expression="self.linear(x)", shapes=((16384, 1024),), layer="self.linear = nn.Linear(1024, 1024)"
    ),
}
_SPIN = {
    "cpu": '''

import time


class _Slowed(ModelNew):
    """Waits after each call for a share of what the call took."""

    def forward(self, *inputs):
        start = time.perf_counter_ns()
        output = super().forward(*inputs)
        until = start + (1 + {share}) * (time.perf_counter_ns() - start)
        while time.perf_counter_ns() < until:
            pass
        return output


ModelNew = _Slowed
''',
    "cuda": '''

class _Slowed(ModelNew):
    """Lets the device spin after each call for a share of what a call takes, as its first calls tell."""

    def __init__(self):
        super().__init__()
        self.cycles = 0

    def _ms(self, action):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        times = []
        for _ in range(20):
            begin.record()
            action()
            end.record()
            torch.cuda.synchronize()
            times.append(begin.elapsed_time(end))
        return sorted(times)[10]

    def forward(self, x):
        if self.cycles == 0:
            honest = super().forward
            self._ms(lambda: honest(x))
            several = self._ms(lambda: [honest(x) for _ in range(20)]) - self._ms(lambda: honest(x))
            spun = self._ms(lambda: torch.cuda._sleep(2_000_000)) - self._ms(lambda: torch.cuda._sleep(1_000_000))
            self.cycles = max(1, int({share} * several / 19 / spun * 1_000_000))
        y = super().forward(x)
        torch.cuda._sleep(self.cycles)
        return y


ModelNew = _Slowed
''',
}


def main() -> None:
    """Make the runs, compare try by try."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.0, 0.2], help="how much longer the copies take")
    parser.add_argument("--tries", type=int, default=10)
    parser.add_argument("--threshold", default="5%")
    parser.add_argument("--expect", type=int, nargs="+", help="the exit code that the gate must give, for each share")
    options = parser.parse_args()
    names = [f"copy_{number}" for number in range(options.tries)]
    cores = sorted(os.sched_getaffinity(0))[: options.tries] if options.device == "cpu" else [None]
    with tempfile.TemporaryDirectory() as work, ThreadPoolExecutor(len(cores)) as pool:
        lanes = [
            pool.submit(_tried, Path(work) / f"lane{number}", names[number :: len(cores)], core, options)
            for number, core in enumerate(cores)
        ]
        tried = [each for lane in lanes for each in lane.result()]
    print("| copies take | measured | gate ends with |\n| ---: | ---: | --- |")
    for share in options.shares:
        codes = [each.code for each in tried if each.share == share]
        times = statistics.median(each.times for each in tried if each.share == share)
        counts = [f"{code} in {codes.count(code)} of {len(names)}" for code in sorted(set(codes))]
        print(f"| +{share:.0%} | {times - 1:+.1%} | {', '.join(counts)} |")
    if options.expect is not None:
        expected = dict(zip(options.shares, options.expect, strict=True))
        if any(each.code != expected[each.share] for each in tried):
            sys.exit("the gate did not end as expected")


@dataclass(frozen=True, kw_only=True)
class _Try:
    """One copy: how much slower it was made, how many times as long it took, how the gate ended."""

    share: float
    times: float
    code: int


def _tried(folder: Path, names: Sequence[str], core: int | None, options: argparse.Namespace) -> list[_Try]:
    """The tries of these copies, one run after the other, all on one core where one is given."""
    if core is not None:
        os.sched_setaffinity(0, {core})  # of this thread alone, and of what it starts
    kind = options.device.partition(":")[0]
    subject = _SUBJECTS[kind]
    folder.mkdir()

    def measured(name: str, spin: str) -> Path:
        place = folder / name
        write(place, subject, dict.fromkeys(names, subject.source("ModelNew") + spin))
        run(place, place / "run", "--device", options.device, lock_dir=folder if core is not None else None)
        return place / "run"

    before, tried = measured("before", ""), []
    for number, share in enumerate(options.shares):
        after = measured(f"after{number}", _SPIN[kind].replace("{share}", repr(share)) if share else "")
        old, new = records(before), records(after)
        for name in names:
            key = f"{subject.name}/{name}"
            times = float(new[key]["time_ms"]) / float(old[key]["time_ms"])
            code = _gate(_part(before, name), _part(after, name), options.threshold)
            tried.append(_Try(share=share, times=times, code=code))
    return tried


def _part(run_path: Path, name: str) -> Path:
    """The run reduced to one solution."""
    part = run_path.with_name(f"only_{name}")
    part.mkdir(exist_ok=True)
    shutil.copy(run_path / "run.yaml", part)
    lines = (run_path / "records.jsonl").read_text().splitlines(keepends=True)
    (part / "records.jsonl").write_text("".join(line for line in lines if f'"solution":"{name}"' in line))
    return part


def _gate(old: Path, new: Path, threshold: str) -> int:
    return kbench("compare", old, new, "--fail-on-regression", threshold, accepted=(0, 1, 3))[0]


if __name__ == "__main__":
    main()
