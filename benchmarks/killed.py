"""Kill runs at random moments and go on with them: is every record there once, and right, and nothing left behind?

    python -m benchmarks.killed --tries 20 --out killed.md

Two undisturbed runs of a small mixed batch, with a cold and with a warm cache, say what is to come out and how long
that takes. Then, in each try, some of its builds are taken out of the cache that all tries share, `kbench run` is
started and killed with SIGKILL after a delay drawn over the whole length that this run should have, and
`kbench run --resume` completes it. Each try is a line of the table; the script ends with 1 where any found something
wrong. Times are seconds. Where the environment says nothing else, timings are short (KBENCH_REPLICATES=2,
KBENCH_BLOCKS=2, KBENCH_MIN_BLOCK_MS=2, KBENCH_MIN_SAMPLES=2).
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import aftermath, generate, runs, strays
from benchmarks.tables import markdown

_SHORT = {"KBENCH_REPLICATES": "2", "KBENCH_BLOCKS": "2", "KBENCH_MIN_BLOCK_MS": "2", "KBENCH_MIN_SAMPLES": "2"}
_LONGEST_RUN_S = 900.0
_STRAYS_DEADLINE_S = 20.0
_EVICTED_SHARE = 0.3
"""Of the builds, in each try; and of the tries in which torch's precompiled headers are to be made again."""
_COLUMNS = ("try", "killed after", "records then", "while", "strays gone after", "resumed in", "rebuilt", "left in tmp",
            "verdict")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Place:
    """The folders and options that all runs share."""

    batch: Path
    cache: Path
    temporary: Path
    device: str
    jobs: int

    def arguments(self, out: Path, *more: str) -> list[str]:
        """Of a run of the batch into `out`."""
        chosen = ["--device", self.device, "--out", str(out), "--cache-dir", str(self.cache), "--jobs", str(self.jobs)]
        return ["run", str(self.batch / "problems"), str(self.batch / "solutions"), *chosen, *more]


@dataclass(kw_only=True)
class Try:
    """What one try showed."""

    number: int
    delay_s: float
    ended: bool = False
    """The run was over before the kill."""
    records_then: int = 0
    moment: str = ""
    """The last thing that the killed run said."""
    gone_s: float = 0.0
    resumed_s: float = 0.0
    rebuilt: int = 0
    left: list[str] = field(default_factory=list)
    """In the temporary folder, from all tries so far."""
    wrong: list[str] = field(default_factory=list)

    def cells(self) -> tuple[str, ...]:
        """A row of the table."""
        verdict = "; ".join(self.wrong) or "ok"
        shown = (f"{self.delay_s:.1f}", str(self.records_then), self.moment, f"{self.gone_s:.2f}")
        return (str(self.number), *shown, f"{self.resumed_s:.1f}", str(self.rebuilt), str(len(self.left)), verdict)


def main() -> int:
    """Make the tries."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=20)
    parser.add_argument("--count", type=int, default=6, help="candidates in the batch")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--jobs", type=int, default=2, help="builds at once")
    parser.add_argument("--seed", type=int, default=1, help="of the moments and of the builds that are taken out")
    parser.add_argument("--out", type=Path, help="where to write the table as well")
    options = parser.parse_args()
    strays.adopt_orphans()
    with tempfile.TemporaryDirectory(prefix="killed-") as work:
        folder = Path(work)
        place = Place(
            batch=folder / "batch", cache=folder / "cache", temporary=folder / "tmp", device=options.device,
            jobs=options.jobs,
        )  # fmt: skip
        place.temporary.mkdir()
        kind = options.device.partition(":")[0]
        generate.write(place.batch, generate.candidates(options.count, device=kind, seed=options.seed), device=kind)
        tries = _all_tries(place, folder, tries=options.tries, rng=random.Random(options.seed))
    page = markdown(_COLUMNS, [each.cells() for each in tries])
    if options.out is not None:
        options.out.write_text(page)
    left = tries[-1].left if tries else []
    print(f"\nleft in the temporary folder by {len(tries)} tries: {', '.join(aftermath.counted(left)) or 'nothing'}")
    wrong, ended = sum(bool(each.wrong) for each in tries), sum(each.ended for each in tries)
    print(f"{len(tries) - wrong} of {len(tries)} tries are as they should be; {ended} had ended before the kill")
    return 1 if wrong else 0


def _all_tries(place: Place, folder: Path, *, tries: int, rng: random.Random) -> list[Try]:
    expected = generate.read_manifest(place.batch)
    undisturbed = [_undisturbed(place, folder / name, expected) for name in ("cold", "warm")]
    built = aftermath.fingerprints(place.cache)
    print(f"undisturbed: {undisturbed[0]:.1f} s with a cold cache, {undisturbed[1]:.1f} s with a warm one; "
          f"{len(expected)} candidates, {len(built)} builds", file=sys.stderr)  # fmt: skip
    print(markdown(_COLUMNS, []), end="", flush=True)
    found = []
    for number, moment in enumerate(moments(tries, rng), start=1):
        evicted = [key for key in sorted(built) if rng.random() < _EVICTED_SHARE]
        spent_s = [aftermath.build_seconds(place.cache, key) for key in evicted]
        length_s = undisturbed[1] + max([sum(spent_s) / place.jobs, *spent_s])
        for key in evicted:
            aftermath.evict(place.cache, key)
        if evicted and rng.random() < _EVICTED_SHARE:
            length_s += aftermath.evict_headers(place.cache)
        this = Try(number=number, delay_s=moment * length_s, rebuilt=len(evicted))
        out = folder / f"run-{number}"
        _kill_one(place, out, this)
        this.wrong += aftermath.faults(out, expected, place.cache, built)
        this.left = sorted(path.name for path in place.temporary.iterdir())
        shutil.rmtree(out, ignore_errors=True)
        print(f"| {' | '.join(this.cells())} |", flush=True)
        found.append(this)
    return found


def _undisturbed(place: Place, out: Path, expected: Sequence[generate.Expected]) -> float:
    """Seconds of a run that nobody kills. Exits where it is not as it should be."""
    this = Try(number=0, delay_s=0.0)
    took_s = _finish(place, out, this, marker=_marker(), resume=False)
    wrong = [*this.wrong, *aftermath.faults(out, expected, place.cache, aftermath.fingerprints(place.cache))]
    if wrong:
        sys.exit("the undisturbed run is not as it should be: " + "; ".join(wrong))
    return took_s


def _await_turn(device: str) -> None:
    """So that no delay passes while another run on this machine has its turn."""
    with runs.turn(device):
        pass


def moments(tries: int, rng: random.Random) -> list[float]:
    """Shares of a run's length, from 0 to 1: one at random in each of `tries` equal parts, in random order."""
    drawn = [(part + rng.random()) / tries for part in range(tries)]
    rng.shuffle(drawn)
    return drawn


def _kill_one(place: Place, out: Path, this: Try) -> None:
    marker = _marker()
    log = place.batch / "killed.log"
    _await_turn(place.device)
    process = _start(place.arguments(out), place, marker, log)
    try:
        process.wait(timeout=this.delay_s)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
    this.records_then = len(aftermath.whole_lines(out / "records.jsonl"))
    said = log.read_text(errors="replace").splitlines()
    this.ended = process.returncode != -signal.SIGKILL
    this.moment = "it had ended" if this.ended else said[-1][:60].replace("|", " ") if said else "starting"
    this.gone_s, left = strays.await_none([marker, str(place.temporary)], deadline_s=_STRAYS_DEADLINE_S)
    this.wrong += [f"stray after the kill: {called[:80]}" for called in left.values()]
    this.resumed_s = _finish(place, out, this, marker=marker, resume=(out / "run.yaml").exists())


def _finish(place: Place, out: Path, this: Try, *, marker: str, resume: bool) -> float:
    """Run to the end; seconds, without those of waiting for a turn."""
    _await_turn(place.device)
    begun = time.monotonic()
    log = place.batch / "resumed.log"
    process = _start(place.arguments(out, *(["--resume"] if resume else [])), place, marker, log)
    try:
        code = process.wait(timeout=_LONGEST_RUN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        code = process.wait()
    took_s = time.monotonic() - begun
    if code not in runs.JUDGED:
        this.wrong.append(f"ended with {code}: {log.read_text(errors='replace')[-500:]}".replace("\n", " "))
    _, left = strays.await_none([marker, str(place.temporary)], deadline_s=_STRAYS_DEADLINE_S)
    this.wrong += [f"stray after the end: {called[:80]}" for called in left.values()]
    return took_s


def _start(arguments: Sequence[str], place: Place, marker: str, log: Path) -> subprocess.Popen[bytes]:
    """In a session of its own, its processes marked and its temporary files below `place.temporary`."""
    own = {strays.MARKED_BY: marker, "TMPDIR": str(place.temporary)}
    with log.open("wb") as output:
        return subprocess.Popen(
            runs.command(*arguments), cwd=runs.ROOT, env={**_SHORT, **os.environ, **own}, stdin=subprocess.DEVNULL,
            stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip


def _marker() -> str:
    return f"/killed-{uuid.uuid4().hex}"


if __name__ == "__main__":
    sys.exit(main())
