"""How long `kbench compare` and the tables of a run take for many pairs: `python tests/benchmarks/compare_speed.py`.

A script, not a test: it prints the median and the range of several fresh processes, each with its imports, and judges
nothing. On a machine with more than 2 cores `taskset -c 0,1` gives the figure that the goal of 1.5 s speaks of.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from run_factory import make_record, write_run  # noqa: E402

from kbench.model import Record  # noqa: E402

KBENCH = "from kbench.cli.main import main; main()"
TABLES = """
import sys
from pathlib import Path
from kbench.report.csv import run_csv
from kbench.report.markdown import run_markdown
from kbench.store.runs import load_run
run = load_run(Path(sys.argv[1]))
run_csv(run), run_markdown(run)
"""


def records(count: int, rng: random.Random, *, moved_sd: float) -> list[Record]:
    """Correct pairs, two a problem, with evidence and a second baseline, of about the size real records have."""
    isolation = dict.fromkeys(("session", "network", "ipc", "mounts", "rlimits", "uid", "no_new_privs"), "on")
    evidence = {"cases": [{"name": f"case_{i}", "error": 1e-6, "limit": 1e-4} for i in range(12)]}
    found = []
    for index in range(count):
        mean = 0.2 + index % 7 / 10 + rng.gauss(0, moved_sd)
        found.append(
            make_record(
                f"level{index % 3 + 1}/{index // 2}_Some_Problem_Of_Usual_Length/v{index % 2}",
                d=[rng.gauss(mean, 0.01) for _ in range(5)], isolation=isolation, evidence=evidence,
                baselines={"compile": {"time_ms": 2.5, "speedup": 0.9, "speedup_low": 0.88, "speedup_high": 0.92}},
            )
        )  # fmt: skip
    return found


def seconds(code: str, *arguments: str, where: Path, columns: str = "") -> float:
    """Wall seconds of a fresh interpreter. Raises CalledProcessError where it fails."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": columns}
    begun = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=where, check=True, stdout=subprocess.DEVNULL, env=environment
    )
    return time.perf_counter() - begun


def main() -> None:
    """Print one line for each command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--times", type=int, default=7)
    options = parser.parse_args()
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        old = records(options.rows, rng, moved_sd=0.0)
        write_run(root / "results" / "old", old)
        write_run(root / "results" / "new", records(options.rows, rng, moved_sd=0.01))
        compare = ["compare", "old", "new"]
        commands = {
            "compare, in a pipe": (KBENCH, compare, ""),
            "compare, 120 columns": (KBENCH, compare, "120"),
            "compare --format md": (KBENCH, [*compare, "--format", "md"], ""),
            "compare --json": (KBENCH, [*compare, "--json"], ""),
            "compare --explain": (KBENCH, [*compare, "--explain", old[0].id], ""),
            "list RUN": (KBENCH, ["list", "old"], "120"),
            "speedups.csv and .md": (TABLES, ["results/old"], ""),
        }
        print(f"{options.rows} pairs a run, {options.times} fresh processes each, {len(os.sched_getaffinity(0))} cores")
        for name, (code, arguments, columns) in commands.items():
            taken = [seconds(code, *arguments, where=root, columns=columns) for _ in range(options.times)]
            print(f"{name:22} {statistics.median(taken):.2f} s  ({min(taken):.2f} to {max(taken):.2f})")


if __name__ == "__main__":
    main()
