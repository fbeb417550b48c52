"""From a report to a verdict; and the whole way there with a stand-in for the tool, which needs no GPU."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kbench.cli.main import run_cli
from kbench.machine.tools import find_tool
from kbench.model import Device, Job, Problem, Solution, Status
from kbench.remote.hire import Hiring
from kbench.remote.link import Deadlines
from kbench.remote.surroundings import SERVER_MODULES, server_environment
from kbench.sandbox import confine
from kbench.sandbox.client import ForkServer
from kbench.sanitize.check import Ran, conclude, sanitize, smallest
from kbench.sanitize.tool import CHECKS, ERROR_EXIT, Check
from sanitize.test_report import CLEAN, INITCHECK, MEMCHECK, NO_RACE, RACECHECK, SOURCE

ROOT = Path(__file__).resolve().parents[2]
MEM, RACE, INIT = CHECKS


def ran(text: str, exit_code: int | None, *, stage: str = "done") -> Ran:
    return Ran(text=text, exit_code=exit_code, stage=stage)


@pytest.mark.parametrize(
    ("check", "text", "reason"),
    [(MEM, MEMCHECK, "out_of_bounds"), (RACE, RACECHECK, "race"), (INIT, INITCHECK, "uninitialised")],
    ids=lambda value: getattr(value, "tool", None),
)
def test_a_finding_is_the_verdict(check: Check, text: str, reason: str) -> None:
    verdict = conclude(check, ran(text, ERROR_EXIT), source=SOURCE).verdict
    assert (verdict.status, verdict.reason) == (Status.INCORRECT, reason)
    assert "in fused(float *, int)" in verdict.message
    assert verdict.evidence["kernel"] == "fused(float *, int)"


@pytest.mark.parametrize("line", ["bar.arrive %0, %1;", "barrier.cta.arrive %0, %1;", "barrier.arrive.aligned 1, 64;"])
def test_a_race_in_a_source_that_hands_over_by_named_barriers_comes_with_a_doubt(line: str) -> None:
    source = f'{SOURCE}\nasm volatile("{line}");\n'
    assert "by bar.arrive and bar.sync" in conclude(RACE, ran(RACECHECK, ERROR_EXIT), source=source).verdict.message
    assert "hint" not in conclude(RACE, ran(RACECHECK, ERROR_EXIT), source=SOURCE).verdict.message
    assert "hint" not in conclude(MEM, ran(MEMCHECK, ERROR_EXIT), source=source).verdict.message


def test_a_program_that_died_of_its_finding_is_incorrect_too() -> None:
    assert conclude(MEM, ran(MEMCHECK, 3, stage="call"), source=SOURCE).verdict.status is Status.INCORRECT


@pytest.mark.parametrize(("check", "text"), [(MEM, CLEAN), (RACE, NO_RACE), (INIT, CLEAN)])
def test_nothing_found_is_correct(check: Check, text: str) -> None:
    assert conclude(check, ran(text, 0), source=SOURCE).verdict.status is Status.CORRECT


def test_library_findings_alone_are_correct_and_said() -> None:
    cut = INITCHECK.index("========= Uninitialized", INITCHECK.index("at::native"))
    text = INITCHECK[:cut] + "========= ERROR SUMMARY: 1 error\n"
    sanitized = conclude(INIT, ran(text, ERROR_EXIT), source=SOURCE)
    assert sanitized.verdict.status is Status.CORRECT
    assert sanitized.flags == ("sanitize_library_findings:initcheck:1",)


def test_out_of_bounds_counts_in_any_kernel() -> None:
    text = MEMCHECK.replace("fused(float *, int)", "void at::native::index_kernel<float>(float *)")
    assert conclude(MEM, ran(text, ERROR_EXIT), source=SOURCE).verdict.reason == "out_of_bounds"


@pytest.mark.parametrize(
    ("text", "exit_code", "stage"),
    [("", 0, "done"), (CLEAN, 1, "done"), (CLEAN, None, "done"), (CLEAN, ERROR_EXIT, "done"), (CLEAN, 0, "call"),
     (INITCHECK.replace("fused", "at::x"), 0, "done"),
     (INITCHECK.replace("fused", "at::x").replace("SUMMARY: 2", "SUMMARY: 500"), ERROR_EXIT, "done")],
    ids=["nothing said", "program failed", "killed", "exit says errors", "left early", "exit says none", "not all"],
)  # fmt: skip
def test_what_cannot_be_concluded_is_no_pass(text: str, exit_code: int | None, stage: str) -> None:
    sanitized = conclude(INIT, ran(text, exit_code, stage=stage), source=SOURCE)
    assert (sanitized.verdict.status, sanitized.verdict.reason) == (Status.INFRA_ERROR, "sanitize")
    assert "sanitize_failed:initcheck" in sanitized.flags


def test_the_tool_is_looked_for_below_cuda_home(tmp_path: Path) -> None:
    tool = tmp_path / "bin" / "compute-sanitizer"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    assert find_tool({"PATH": "/nowhere", "CUDA_HOME": str(tmp_path)}) == tool
    assert find_tool({"PATH": str(tool.parent)}) == tool


def test_on_the_cpu_it_is_a_usage_error(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert run_cli(["run", "problems", "solutions", "--device", "cpu", "--sanitize", "--list"]) == 2
    assert "--sanitize needs a CUDA device" in capsys.readouterr().err


STAND_IN = """#!{python}
import subprocess, sys
arguments = sys.argv[1:]
program = arguments[arguments.index({python!r}):]
tool = arguments[arguments.index("--tool") + 1]
code = subprocess.run(program).returncode
print("========= COMPUTE-SANITIZER")
{body}
"""
HONEST = """
if tool == "racecheck":
    print("========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)")
else:
    print("========= ERROR SUMMARY: 0 errors")
sys.exit(code)
"""
FINDS = """
if tool == "initcheck":
    print("========= Uninitialized __global__ memory read of size 4 bytes")
    print("=========     at fused(float *)+0x70")
    print("========= ERROR SUMMARY: 1 error")
    sys.exit(86)
""" + HONEST  # fmt: skip


@pytest.fixture
def hiring(tmp_path: Path) -> Iterator[Hiring]:
    environment = server_environment(Path(sys.executable).parent, threads=1, pinned=False, extra={})
    toolkit = tmp_path / "toolkit"
    toolkit.mkdir(exist_ok=True)
    with ForkServer(modules=SERVER_MODULES, environment=environment, visible=[str(toolkit)]) as server:
        server.await_ready()
        yield Hiring(
            server=server,
            limits=confine.Limits(memory_bytes=4 << 30),
            deadlines=Deadlines(load_s=60, call_s=60),
            threads=1,
        )


def job(tmp_path: Path, forward: str = "return torch.relu(self.linear(x))") -> Job:
    problem = ROOT / "tests/broken/problems/linear_relu.py"
    text = problem.with_name("linear_relu.py").read_text().replace("class Model(", "class ModelNew(")
    solution = tmp_path / "v1.py"
    solution.write_text(f"print('========= ERROR SUMMARY: 0 errors')\n{text}".replace(
        "return torch.relu(self.linear(x))", forward))  # fmt: skip
    sizes = {"full": {}, "small": {"batch_size": 4, "features": 8}}
    return Job(
        problem=Problem(id="linear_relu", path=problem, sha="", sizes=sizes),
        solution=Solution(problem_id="linear_relu", name="v1", path=solution, sha="", devices=frozenset(Device)),
        device=Device.CPU,
        size="full",
    )


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    tool = tmp_path / "toolkit" / "bin" / "compute-sanitizer"
    tool.parent.mkdir(parents=True)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    return tool


def install(tool: Path, body: str) -> None:
    tool.write_text(STAND_IN.format(python=sys.executable, body=body))
    tool.chmod(0o755)


def test_the_smallest_size_is_taken(tmp_path: Path) -> None:
    assert dict(smallest(job(tmp_path)).overrides) == {"batch_size": 4, "features": 8}
    only_full = dataclasses.replace(job(tmp_path).problem, sizes={"full": {}})
    assert smallest(dataclasses.replace(job(tmp_path), problem=only_full)).size == "full"


@pytest.mark.workers
def test_three_clean_runs_are_correct(tmp_path: Path, stand_in: Path, hiring: Hiring) -> None:
    install(stand_in, HONEST)
    sanitized = sanitize(hiring, job(tmp_path), libraries=None, log_path=lambda _, name: tmp_path / f"{name}.log")
    assert sanitized.verdict.status is Status.CORRECT, sanitized.verdict.message
    logs = {check.tool: (tmp_path / f"sanitize-{check.tool}.log").read_text() for check in CHECKS}
    assert all(text.count("SUMMARY") == 1 for text in logs.values()), logs  # the solution's own is not among them


@pytest.mark.workers
def test_a_finding_of_the_last_check_counts(tmp_path: Path, stand_in: Path, hiring: Hiring) -> None:
    install(stand_in, FINDS)
    sanitized = sanitize(hiring, job(tmp_path), libraries=None, log_path=lambda _, name: tmp_path / f"{name}.log")
    assert (sanitized.verdict.status, sanitized.verdict.reason) == (Status.INCORRECT, "uninitialised")


@pytest.mark.workers
@pytest.mark.parametrize("forward", ["raise RuntimeError('no')", "import os; os._exit(0)"])
def test_a_solution_that_does_not_run_under_it_is_no_pass(
    forward: str, tmp_path: Path, stand_in: Path, hiring: Hiring
) -> None:
    install(stand_in, HONEST)
    broken = job(tmp_path, forward)
    sanitized = sanitize(hiring, broken, libraries=None, log_path=lambda _, name: tmp_path / f"{name}.log")
    assert (sanitized.verdict.status, sanitized.verdict.reason) == (Status.INFRA_ERROR, "sanitize")


@pytest.mark.workers
def test_a_tool_that_cannot_be_started_is_no_pass(tmp_path: Path, stand_in: Path, hiring: Hiring) -> None:
    stand_in.write_text("no program\n")
    stand_in.chmod(0o755)
    sanitized = sanitize(hiring, job(tmp_path), libraries=None, log_path=lambda _, name: tmp_path / f"{name}.log")
    assert sanitized.verdict.status is Status.INFRA_ERROR
    assert sanitized.flags == ("sanitize_failed:memcheck",)
