"""How long a batch of candidates takes: one after the other the usual way, and with kbench.

    python -m benchmarks.batch --work DIR --stock-sample 4 --out batch.md
    python -m benchmarks.batch --work DIR --device cpu --count 8
    python -m benchmarks.batch --work DIR --parts gpus --gpus 1,2,4

Five parts, on one machine; each adds its figures to DIR/figures.json, so that they may be measured in several commands:

- `stock`: for each candidate a fresh interpreter that imports torch, builds with the stock `load_inline` in an empty
  folder, compares and times (`benchmarks.stock`), one process at a time. With `--stock-sample K` only every K-th of
  each kind is measured, and each kind's mean stands for those left out; the table says so.
- `cold`: `kbench run` on the batch, its build cache empty.
- `warm`: the same into a new folder, with the cache that `cold` has filled.
- `single`: the same once more, with one replicate a pair: one process a side, as the stock way, and no interval.
- `gpus`: a batch of 64, built beforehand, on each number of GPUs of `--gpus`, and whether the speedups agree with those
  of the first number. Left out unless `--gpus` is given.

Words: wall seconds are those of the whole command, its start included. Build seconds are the sum of `build_s` of all
records that were not served by the cache (0 with a warm cache). The device time needed is what all timed samples of all
sides took on the device, `time_ns` times `calls` of every line of samples.jsonl: no verdict without it, and no waiting,
warming up, drawing of inputs or checking in it. The overhead per candidate is what is left:

    (wall seconds - build seconds - device time needed) / candidates

All are run with `--quick`, or with `--effort`. Ends with 1 where a status is not the one that the manifest
says. KBENCH_* variables go on to `kbench run`. On the CPU the stock part takes its turn with the kbench runs of this
machine, so that none is timed beside its builds.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import generate, runs, tables
from benchmarks.generate import Expected

PARTS = ("stock", "cold", "warm", "single", "gpus")
_FIGURES = "figures.json"
_MANY = 64
"""Candidates for the runs on several GPUs."""
_STOCK_LIMIT_S = 900.0


def main() -> int:
    """Measure the parts that are asked for, then print the tables of all that were."""
    options = _options()
    work: Path = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    kind = options.device.partition(":")[0]
    expected = _written(work / "batch", options.count, kind=kind, seed=options.seed)
    _begin(work, {"device": options.device, "count": options.count, "seed": options.seed})
    for part in options.parts:
        if part == "stock":
            with runs.turn(options.device):
                found = _stock(work, expected, device=options.device, step=options.stock_sample)
            _keep(work, "stock", found)
        elif part == "gpus":
            _on_gpus(work, options)
        else:
            with runs.turn(options.device):
                pass  # a run's wall seconds are not to hold those of waiting for its turn
            _keep(work, part, _kbench(work, part, expected, options))
    figures = json.loads((work / _FIGURES).read_text())["parts"]
    page = report(figures)
    print(page)
    if options.out is not None:
        options.out.write_text(page)
    return 1 if any(each.get("unexpected") for each in figures.values()) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for the batch, the cache, the runs")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, help="builds at once (default: kbench's own)")
    parser.add_argument("--effort", choices=("quick", "usual"), default="quick")
    parser.add_argument("--stock-sample", type=int, default=1, metavar="K")
    parser.add_argument("--parts", type=lambda text: text.split(","), help=f"of {','.join(PARTS)} (default: all)")
    parser.add_argument("--gpus", type=lambda text: [int(each) for each in text.split(",")], default=[])
    parser.add_argument("--out", type=Path, help="where to write the tables as well")
    options = parser.parse_args()
    options.parts = options.parts or [part for part in PARTS if part != "gpus" or options.gpus]
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if "gpus" in options.parts and not options.gpus:
        parser.error("the part gpus needs --gpus, e.g. 1,2,4")
    return options


def _written(folder: Path, count: int, *, kind: str, seed: int) -> list[Expected]:
    shutil.rmtree(folder, ignore_errors=True)
    generate.write(folder, generate.candidates(count, device=kind, seed=seed), device=kind)
    return generate.read_manifest(folder)


def _begin(work: Path, batch: dict[str, Any]) -> None:
    """Forget the figures of another batch."""
    path = work / _FIGURES
    if not path.exists() or json.loads(path.read_text())["batch"] != batch:
        path.write_text(json.dumps({"batch": batch, "parts": {}}))


def _keep(work: Path, name: str, found: dict[str, Any]) -> None:
    path = work / _FIGURES
    figures = json.loads(path.read_text())
    figures["parts"][name] = found
    path.write_text(json.dumps(figures, indent=1) + "\n")


def _stock(work: Path, expected: Sequence[Expected], *, device: str, step: int) -> dict[str, Any]:
    by_kind: dict[str, list[str]] = {}
    for each in expected:
        by_kind.setdefault(each.kind, []).append(each.id)
    known = {each.id: each for each in expected}
    seconds: dict[str, list[float]] = {kind: [] for kind in by_kind}
    unexpected = []
    for name in tables.every_nth(by_kind, step):
        begun = time.monotonic()
        status, parts_s = _stock_one(work, name, device=device)
        wall_s = time.monotonic() - begun
        seconds[known[name].kind].append(wall_s)
        _say(f"stock {name}: {status}, {wall_s:.1f} s {parts_s}")
        if status != known[name].status:
            unexpected.append(f"{name} is {status}, not {known[name].status}")
    counts = {kind: len(names) for kind, names in by_kind.items()}
    scaled = tables.scaled_by_kind(seconds, counts)
    return {
        "wall_s": scaled.wall_s, "measured": scaled.measured, "count": scaled.of, "seconds": seconds,
        "unexpected": unexpected,
    }  # fmt: skip


def _stock_one(work: Path, name: str, *, device: str) -> tuple[str, dict[str, float]]:
    problem = name.partition("/")[0]
    paths = [work / "batch" / "problems" / f"{problem}.py", work / "batch" / "solutions" / f"{name}.py"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.stock", *map(str, paths), "--device", device], cwd=runs.ROOT,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_STOCK_LIMIT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "timeout", {}
    if done.returncode != 0:
        return "crash", {}
    answer = json.loads(done.stdout.splitlines()[-1])
    return answer["status"], answer["parts_s"]


def _kbench(work: Path, part: str, expected: Sequence[Expected], options: argparse.Namespace) -> dict[str, Any]:
    cache = work / "cache"
    if part == "cold":
        shutil.rmtree(cache, ignore_errors=True)
    elif not cache.exists():
        sys.exit("the cache is empty: measure the part cold first")
    effort = _effort(options) + (["--replicates", "1"] if part == "single" else [])
    more = ["--device", options.device, *effort]
    return _measured(work, "batch", part, expected, more, cache=cache, jobs=options.jobs)


def _effort(options: argparse.Namespace) -> list[str]:
    return [] if options.effort == "usual" else [f"--{options.effort}"]


def _measured(
    work: Path, batch: str, part: str, expected: Sequence[Expected], more: list[str], *, cache: Path, jobs: int | None
) -> dict[str, Any]:
    """One `kbench run` into a new folder, as figures."""
    out = work / f"run-{part}"
    shutil.rmtree(out, ignore_errors=True)
    arguments = ["--out", out, "--cache-dir", cache, *more, *(["--jobs", jobs] if jobs else [])]
    ended = runs.kbench(
        "run", work / batch / "problems", work / batch / "solutions", *arguments, log=work / f"{part}.log"
    )
    found = runs.records(out)
    statuses = {runs.identity(record): record["status"] for record in found}
    unexpected = [f"{e.id} is {statuses.get(e.id)}, not {e.status}" for e in expected if statuses.get(e.id) != e.status]
    _say(f"{part}: {ended.wall_s:.1f} s")
    return {
        "wall_s": ended.wall_s, "count": len(expected), "build_s": tables.build_seconds(found),
        "device_s": tables.device_seconds(runs.samples(out)), "unexpected": unexpected,
    }  # fmt: skip


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _on_gpus(work: Path, options: argparse.Namespace) -> None:
    numbers: list[int] = options.gpus
    expected = _written(work / "many", _MANY, kind="cuda", seed=options.seed)
    folders = (work / "many" / "problems", work / "many" / "solutions")
    cache = work / "cache-many"
    runs.kbench("build", *folders, "--device", options.device, "--cache-dir", cache, log=work / "build-many.log")
    for number in numbers:
        part = f"gpus-{number}"
        more = ["--device", options.device, "--gpus", str(number), *_effort(options)]
        found = _measured(work, "many", part, expected, more, cache=cache, jobs=options.jobs)
        agreed = tables.agreement(runs.records(work / f"run-gpus-{numbers[0]}"), runs.records(work / f"run-{part}"))
        agreement = {"rows": agreed.rows, "overlapping": agreed.overlapping, "largest": agreed.largest}
        _keep(work, part, {**found, "gpus": number, "agreement": agreement})


def report(figures: dict[str, Any]) -> str:
    """The tables of whatever was measured, as markdown."""
    pages = [_ways(figures)] + ([_scaling(figures)] if any(name.startswith("gpus-") for name in figures) else [])
    wrong = [f"- {part}: {said}" for part, each in figures.items() for said in each["unexpected"]]
    return "\n".join([*pages, *(["Not as the manifest says:", "", *wrong, ""] if wrong else [])])


_WAYS = {
    "stock": "one by one, stock `load_inline`", "cold": "kbench, cold cache", "warm": "kbench, warm cache",
    "single": "kbench, warm cache, one replicate",
}  # fmt: skip


def _ways(figures: dict[str, Any]) -> str:
    stock = figures.get("stock")
    rows = []
    for name in (name for name in _WAYS if name in figures):
        each = figures[name]
        ratio = f"{stock['wall_s'] / each['wall_s']:.2f}x" if stock else "-"
        judged = each.get("measured", each["count"])
        rows.append(
            (
                _WAYS[name], str(each["count"]), f"{each['wall_s']:.1f}", f"{60 * each['count'] / each['wall_s']:.1f}",
                ratio, _overhead(each), f"{judged - len(each['unexpected'])} of {judged}",
            )
        )  # fmt: skip
    columns = ("way", "candidates", "wall s", "candidates a minute", "as fast as stock", "overhead s a candidate",
               "statuses as expected")  # fmt: skip
    page = tables.markdown(columns, rows)
    if stock and stock["measured"] < stock["count"]:
        page += (
            f"\nOf the stock way {stock['measured']} of {stock['count']} candidates were measured; the seconds of the"
            " others are their kind's mean.\n"
        )
    return page


def _overhead(each: dict[str, Any]) -> str:
    if "device_s" not in each:
        return "-"
    return "{:.2f}".format(
        tables.overhead_s(
            wall_s=each["wall_s"], build_s=each["build_s"], device_s=each["device_s"], count=each["count"]
        )
    )


def _scaling(figures: dict[str, Any]) -> str:
    found = sorted((each for name, each in figures.items() if name.startswith("gpus-")), key=lambda each: each["gpus"])
    rows = []
    for each in found:
        agreed = each["agreement"]
        rows.append(
            (
                str(each["gpus"]), f"{each['wall_s']:.1f}", f"{60 * each['count'] / each['wall_s']:.1f}",
                f"{found[0]['wall_s'] / each['wall_s']:.2f}x", f"{agreed['overlapping']} of {agreed['rows']}",
                f"{agreed['largest']:.2%}", f"{each['count'] - len(each['unexpected'])} of {each['count']}",
            )
        )  # fmt: skip
    columns = ("GPUs", "wall s", "candidates a minute", "as fast as the first", "intervals that meet its",
               "largest difference", "statuses as expected")  # fmt: skip
    return tables.markdown(columns, rows)


if __name__ == "__main__":
    sys.exit(main())
