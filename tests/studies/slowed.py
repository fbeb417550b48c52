"""Copies slowed by a known share: does the gate call them regressed, and leave the others alone?

    python -m studies.slowed --device cpu --shares 0 0.2 --tries 10                       (from tests/)

One run of `tries` copies of an honest solution, then one for each share of copies that take so much longer. Every copy
is compared with its namesake by itself, as a run of one row: each is a try of its own. Prints a table; with `--expect`
it ends with 1 where a gate said otherwise.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
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
    kind = options.device.partition(":")[0]
    names = [f"copy_{number}" for number in range(options.tries)]
    codes: dict[float, list[int]] = {}
    print("| copies take | measured | gate ends with |\n| ---: | ---: | --- |")
    with tempfile.TemporaryDirectory() as work:
        before = _measured(Path(work) / "before", kind, names, "", options.device)
        for number, share in enumerate(options.shares):
            spin = _SPIN[kind].replace("{share}", repr(share)) if share else ""
            after = _measured(Path(work) / f"after{number}", kind, names, spin, options.device)
            codes[share] = [_gate(_part(before, n), _part(after, n), options.threshold) for n in names]
            counts = [f"{code} in {codes[share].count(code)} of {len(names)}" for code in sorted(set(codes[share]))]
            print(f"| +{share:.0%} | {_times(after) / _times(before) - 1:+.1%} | {', '.join(counts)} |", flush=True)
    if options.expect is not None and _unlike(codes, options.shares, options.expect):
        sys.exit("the gate did not end as expected")


def _measured(folder: Path, kind: str, names: Sequence[str], spin: str, device: str) -> Path:
    subject = _SUBJECTS[kind]
    write(folder, subject, dict.fromkeys(names, subject.source("ModelNew") + spin))
    run(folder, folder / "run", "--device", device)
    return folder / "run"


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


def _times(run_path: Path) -> float:
    return statistics.median(float(record["time_ms"]) for record in records(run_path).values())


def _unlike(codes: dict[float, list[int]], shares: Sequence[float], expected: Sequence[int]) -> bool:
    return any(set(codes[share]) != {code} for share, code in zip(shares, expected, strict=True))


if __name__ == "__main__":
    main()
