"""Run the folder of broken solutions through the real command line and hold each record against its `expect:` line.

A solution's docstring begins with `expect: STATUS / REASON`, alternatives after a `|`, the reason left out where any
will do. A line `says: TEXT` names what the message must hold, and a comment `<- here` the line it must point to.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cli_process import leftovers, new_cache, read_records, start, stray_processes

from kbench.build.headers import PrecompiledHeaders, compile_command
from kbench.build.toolchain import detect
from kbench.machine.environment import probe
from kbench.remote.surroundings import server_environment

pytestmark = pytest.mark.workers

ROOT = Path(__file__).resolve().parents[1]
BROKEN = Path("tests/broken")
HERE = "<- here"
FOR_EVER = "sleeps_at_import"
"""Ends only with the build's deadline, which the C++ solutions need to be long: judged in a run of its own."""
HUNGRY = "touches_too_much"
"""Ends when its memory is full. How long that takes is the machine's affair (seen: 3 GiB in 2 to 10 s), so in a run of
its own it has a small limit and much time."""
DAEMON = "kbench-broken-suite-daemon"
LOG_LIMIT = (1 << 20) + 200
"""Bytes that one worker may leave in its log: the cap, and a line that says so."""
TIMEOUT_S, CLI_TIMEOUT_S = 5, 900
REPLICATES = 2
SAMPLING = {
    "KBENCH_BLOCKS": "3",
    "KBENCH_MIN_SAMPLES": "4",
    "KBENCH_MIN_BLOCK_MS": "5",
    "KBENCH_REPLICATES": str(REPLICATES),
}


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A solution of the folder and what its docstring says must become of it."""

    problem: str
    name: str
    outcomes: tuple[tuple[str, str | None], ...]
    says: str
    line: int | None

    @property
    def id(self) -> str:
        return f"{self.problem}/{self.name}"

    @property
    def needs_cuda(self) -> bool:
        return self.name.startswith("cuda_")

    def accepts(self, record: dict[str, Any]) -> bool:
        return any(record["status"] == s and r in (None, record["reason"]) for s, r in self.outcomes)


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A run of the command line that has ended."""

    exit_code: int
    stderr: str
    out: Path
    temporary: Path
    marker: str

    @property
    def records(self) -> list[dict[str, Any]]:
        return read_records(self.out)

    def of(self, broken: Broken) -> dict[str, Any]:
        found = [r for r in self.records if (r["problem"], r["solution"]) == (broken.problem, broken.name)]
        assert len(found) == 1, f"{broken.id} has {len(found)} records\n{self.stderr[-2000:]}"
        return found[0]


def read_expectation(path: Path) -> Broken:
    text = path.read_text()
    first = re.match(r'"""expect: (.+)\n(?:says: (.+)\n)?', text)
    assert first, f"{path} does not begin with an `expect:` line"
    outcomes = []
    for outcome in first[1].split("|"):
        status, _, reason = outcome.strip().partition(" / ")
        outcomes.append((status, reason or None))
    marked = [number for number, line in enumerate(text.splitlines(), 1) if HERE in line]
    return Broken(
        problem=path.parent.name,
        name=path.stem,
        outcomes=tuple(outcomes),
        says=first[2] or "",
        line=marked[0] if marked else None,
    )


ALL = [read_expectation(path) for path in sorted((ROOT / BROKEN / "solutions").glob("*/*.py"))]
ON_CPU = [b for b in ALL if b.name not in (FOR_EVER, HUNGRY)]
ON_CUDA = [b for b in ALL if b.needs_cuda]


def run_broken(
    folder: Path,
    *,
    device: str,
    select: str,
    timeout_s: int = TIMEOUT_S,
    build_timeout_s: int = 400,
    memory_gib: int = 3,
) -> Finished:
    """One run through the command line, in a temporary folder of its own and with a mark on all its processes."""
    temporary, out = folder / "tmp", folder / "run"
    arguments: list[str | Path] = [
        "run", BROKEN / "problems", BROKEN / "solutions", "--out", out, "--device", device, "-k", select,
        "--timeout", str(timeout_s), "--build-timeout", str(build_timeout_s), "--memory-limit", str(memory_gib),
        "--jobs", "3", "--cache-dir", new_cache(folder),
    ]  # fmt: skip
    process = start(arguments, cwd=ROOT, temporary=temporary, environment=SAMPLING)
    code = process.wait(deadline_s=CLI_TIMEOUT_S)
    return Finished(exit_code=code, stderr=process.stderr, out=out, temporary=temporary, marker=process.marker)


@pytest.fixture(scope="module")
def cpu_run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    others = f"not ({FOR_EVER} or {HUNGRY})"
    return run_broken(tmp_path_factory.mktemp("cpu"), device="cpu", select=others)


@pytest.fixture(scope="module")
def stuck_build(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return run_broken(tmp_path_factory.mktemp("stuck"), device="cpu", select=FOR_EVER, build_timeout_s=5)


@pytest.fixture(scope="module")
def full_memory(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    return run_broken(tmp_path_factory.mktemp("full"), device="cpu", select=HUNGRY, timeout_s=200, memory_gib=1)


@pytest.fixture(scope="module")
def cuda_run(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    available = probe()
    if not available.cuda:
        pytest.skip(available.why_no_cuda)
    return run_broken(tmp_path_factory.mktemp("cuda"), device="cuda", select="cuda_")


def check(broken: Broken, record: dict[str, Any]) -> None:
    said = f"{record['status']} / {record['reason']}: {record['message']}"
    assert broken.accepts(record), said
    assert broken.says in record["message"], said
    if broken.line is not None:
        assert f"{BROKEN}/solutions/{broken.problem}/{broken.name}.py:{broken.line}:" in record["message"], said
    correct = record["status"] == "correct"
    assert (record["speedup"] is not None) == (record["time_ms"] is not None) == correct, said


@pytest.mark.parametrize("broken", ON_CPU, ids=lambda b: b.id)
def test_on_the_cpu(cpu_run: Finished, broken: Broken) -> None:
    record = cpu_run.of(broken)
    if broken.needs_cuda:
        assert (record["status"], record["reason"]) == ("skipped", "needs CUDA")
    else:
        check(broken, record)


def test_a_stuck_build(stuck_build: Finished) -> None:
    (broken,) = (b for b in ALL if b.name == FOR_EVER)
    check(broken, stuck_build.of(broken))
    assert stuck_build.exit_code == 1


def test_a_full_memory(full_memory: Finished) -> None:
    (broken,) = (b for b in ALL if b.name == HUNGRY)
    check(broken, full_memory.of(broken))
    assert_tidy(full_memory, planned=[broken])


@pytest.mark.gpu
@pytest.mark.parametrize("broken", ON_CUDA, ids=lambda b: b.id)
def test_on_cuda(cuda_run: Finished, broken: Broken) -> None:
    check(broken, cuda_run.of(broken))


@pytest.mark.gpu
def test_cuda_leaves_nothing_behind(cuda_run: Finished) -> None:
    assert_tidy(cuda_run, planned=ON_CUDA)


def test_the_cpu_run_leaves_nothing_behind(cpu_run: Finished) -> None:
    assert_tidy(cpu_run, planned=ON_CPU)


def assert_tidy(run: Finished, *, planned: list[Broken]) -> None:
    assert run.exit_code == 1, run.stderr[-2000:]
    assert sorted((r["problem"], r["solution"]) for r in run.records) == sorted((b.problem, b.name) for b in planned)
    assert (run.out / "speedups.md").is_file()
    assert (run.out / "speedups.csv").is_file()
    assert leftovers(run.temporary) == []
    assert stray_processes(run.marker, DAEMON) == {}


def test_every_status_of_the_design_was_seen(cpu_run: Finished) -> None:
    from kbench.model import Status

    assert {record["status"] for record in cpu_run.records} == {status.value for status in Status}


def test_logs_are_capped(cpu_run: Finished) -> None:
    sizes = {path: path.stat().st_size for path in (cpu_run.out / "logs").rglob("*.log")}
    assert sizes
    too_long = [p for p, size in sizes.items() if size > LOG_LIMIT * (REPLICATES if p.stem == "timing" else 1)]
    assert too_long == []
    flooded = cpu_run.out / "logs" / "linear_relu" / "output_flood" / "judge.log"
    assert flooded.read_bytes().endswith(b" further bytes of output dropped]\n")


@pytest.mark.skipif(shutil.which("g++") is None, reason="headers are precompiled for g++ alone")
def test_the_run_left_headers_that_the_compiler_takes(cpu_run: Finished, tmp_path: Path) -> None:
    toolchain = detect(cuda_arch=None)
    environment = server_environment(
        Path(sys.executable).parent, threads=1, pinned=False, extra=toolchain.environment()
    )
    root = cpu_run.out.parent / "cache" / "headers"
    with PrecompiledHeaders(root, facts=toolchain.facts, environment=environment, note=pytest.fail) as headers:
        headers.ask([()], wait=True)
        made = headers.ready()[""] / "torch" / "extension.h.gch"
    command = compile_command(())
    assert command is not None
    (tmp_path / "main.cpp").write_text("#include <torch/extension.h>\n#include <torch/extension.h>\nat::Tensor f();\n")
    compiler, *flags = [part for part in command if part not in ("-x", "c++-header")]
    done = subprocess.run(
        [compiler, *flags, "-DTORCH_EXTENSION_NAME=any", f"-I{made.parents[1]}", "-H", "-Winvalid-pch", "-fsyntax-only",
         str(tmp_path / "main.cpp")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr.startswith(f"! {made}\n")
    assert "warning" not in done.stderr


def test_messages_are_short_and_records_small(cpu_run: Finished) -> None:
    for record in cpu_run.records:
        assert len(record["message"]) < 5000, record["solution"]
        assert len(json.dumps(record)) < 20_000, record["solution"]


def test_a_forged_line_of_output_changed_nothing(cpu_run: Finished) -> None:
    log = (cpu_run.out / "logs" / "linear_relu" / "exit_after_fake_success" / "judge.log").read_text()
    assert '"speedup": 1000.0' in log
    assert all(record["speedup"] != 1000.0 for record in cpu_run.records)
