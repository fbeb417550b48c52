"""Identical copies, several runs: do the intervals hold 1.0, do runs agree, is the gate quiet?

    python -m studies.identical --device cuda --runs 5 --out results/identical-h200      (from tests/)

Prints a table, writes it to `study.md` beside the runs, and judges nothing.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from studies.pairs import kbench, records, run, subjects, write

_SHORT_MS = 0.02
_SAY = {0: "quiet", 1: "false alarm", 3: "no answer"}


def main() -> None:
    """Measure what is to be measured, then look at all runs there are."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--runs", type=int, default=5, help="how many to make now (0: only look at those there are)")
    parser.add_argument("--first", type=int, default=1, help="number of the first run to make")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for subject in subjects(options.device):
            write(Path(folder), subject, {"copy": subject.source("ModelNew")})
        for number in range(options.first, options.first + options.runs):
            run(Path(folder), options.out.resolve() / f"run-{number}", "--device", options.device)
    runs = sorted(options.out.resolve().glob("run-*"))
    whole = [path for path in runs if len(records(path)) == len(subjects(options.device))]
    if len(whole) < len(runs):
        cut = ", ".join(path.name for path in runs if path not in whole)
        print(f"left out, since they were cut short: {cut}", file=sys.stderr)
    page = report(whole)
    (options.out / "study.md").write_text(page)
    print(page)


def report(runs: Sequence[Path]) -> str:
    """The study of these runs as markdown."""
    found = [records(path) for path in runs]
    rows = sorted(found[0], key=lambda name: float(found[0][name]["reference_ms"]))
    pairs = list(itertools.combinations(range(len(runs)), 2))
    body = [_row(name, [each[name] for each in found], pairs) for name in rows]
    intervals = [(each[name]["speedup_low"], each[name]["speedup_high"]) for each in found for name in rows]
    excluding = sum(not low <= 1.0 <= high for low, high in intervals)
    verdicts = [_gate(runs[a], runs[b]) for a, b in pairs]
    lines = [
        f"# {len(rows)} identical copies in {len(runs)} runs",
        "",
        "Each solution is its problem's reference, renamed: every speedup is 1.",
        "",
        f"- Intervals that exclude 1.0: {excluding} of {len(intervals)} ({excluding / len(intervals):.1%}).",
        f"- Two runs' speedups differ most by {_worst(found, rows, pairs, short=False):.2%} at calls of 20 us and more,"
        f" by {_worst(found, rows, pairs, short=True):.2%} below.",
        f"- Gate of 5% between any two runs: {', '.join(f'{verdicts.count(c)} {w}' for c, w in _SAY.items())}.",
        "",
        "| problem | ms | speedups | widest interval | replicates | largest difference | excluding 1.0 |",
        "| --- | ---: | --- | ---: | --- | ---: | ---: |",
        *body,
        "",
    ]
    return "\n".join(lines)


def _row(name: str, own: Sequence[dict[str, Any]], pairs: Sequence[tuple[int, int]]) -> str:
    milliseconds = statistics.median(record["reference_ms"] for record in own)
    speedups = " ".join(f"{record['speedup']:.4f}" for record in own)
    widest = max((record["speedup_high"] - record["speedup_low"]) / 2 for record in own)
    excluding = sum(not record["speedup_low"] <= 1.0 <= record["speedup_high"] for record in own)
    replicates = " ".join(str(record["replicates"]) for record in own)
    largest = max((_difference(own[a], own[b]) for a, b in pairs), default=0.0)
    problem = name.partition("/")[0].replace("_", r"\_")
    cells = (problem, f"{milliseconds:.4g}", speedups, f"{widest:.2%}", replicates, f"{largest:.2%}", str(excluding))
    return f"| {' | '.join(cells)} |"


def _difference(a: dict[str, Any], b: dict[str, Any]) -> float:
    return abs(math.expm1(math.log(a["speedup"]) - math.log(b["speedup"])))


def _worst(
    found: Sequence[dict[str, dict[str, Any]]], rows: Sequence[str], pairs: Sequence[tuple[int, int]], *, short: bool
) -> float:
    chosen = [name for name in rows if (found[0][name]["reference_ms"] < _SHORT_MS) is short]
    return max((_difference(found[a][n], found[b][n]) for n in chosen for a, b in pairs), default=0.0)


def _gate(old: Path, new: Path) -> int:
    return kbench("compare", old, new, "--fail-on-regression", "5%", accepted=tuple(_SAY))[0]


if __name__ == "__main__":
    main()
