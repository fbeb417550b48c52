"""`kbench selftest` as its user meets it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from cli_process import CliProcess, leftovers, read_records, start, stray_processes
from click.testing import CliRunner
from selftest_factory import WRONG, solution, write_suite

from kbench.cli.main import cli, run_cli
from kbench.machine.environment import probe

FILES = {
    "numerics_forgets_relu": solution("incorrect / values", WRONG),
    "honest_numerics_clamp": solution("correct"),
    "clock_cuda_events": solution("correct, at most 1.5x"),
    "inputs_liar": solution("incorrect / values"),
    "honest_inputs_liar": solution("correct", WRONG),
}
"""The `liar`s are none: what they claim to be is not what they are, so that both kinds of surprise are seen."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    code: int
    process: CliProcess
    temporary: Path
    out: Path


def selftest(folder: Path, *arguments: str) -> Ended:
    suite, temporary, out = write_suite(folder / "suite", FILES), folder / "tmp", folder / "out"
    process = start(
        ["selftest", "--suite", suite, "--device", "cpu", "--out", out, *arguments],
        cwd=folder, temporary=temporary, environment={"KBENCH_CACHE_DIR": str(folder / "cache")},
    )  # fmt: skip
    return Ended(code=process.wait(deadline_s=600), process=process, temporary=temporary, out=out)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return selftest(tmp_path_factory.mktemp("good"), "-k", "not liar", "--json")


@pytest.fixture(scope="module")
def bad(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    return selftest(tmp_path_factory.mktemp("bad"), "-k", "liar")


@pytest.mark.workers
def test_all_caught_and_no_false_alarm(good: Ended) -> None:
    assert good.code == 0, good.process.stderr
    data = json.loads(good.process.stdout)
    assert data == json.loads((good.out / "selftest.json").read_text())
    assert [(f["name"], f["outcome"], f["ok"]) for f in data["files"]] == [
        ("clock_cuda_events", "not run", None),
        ("numerics_forgets_relu", "caught", True),
        ("honest_numerics_clamp", "accepted", True),
    ]
    assert data["files"][0]["seconds"] is None
    assert all(f["seconds"] > 0 for f in data["files"][1:])


@pytest.mark.workers
def test_every_file_has_its_record_and_nothing_is_left(good: Ended) -> None:
    assert {r["solution"] for r in read_records(good.out)} == {n for n in FILES if "liar" not in n}
    assert (good.out / "selftest.md").read_text().startswith("# Selftest on cpu\n\n**1 of 1 cheats caught")
    assert stray_processes(good.process.marker) == {}
    assert leftovers(good.temporary) == []


@pytest.mark.workers
def test_a_pipe_hears_of_surprises_only(good: Ended, bad: Ended) -> None:
    assert "numerics" not in good.process.stderr
    assert "judging" not in bad.process.stderr
    assert "double/inputs_liar: got through: correct" in bad.process.stderr


@pytest.mark.workers
def test_surprises_are_named_with_a_command_that_works(bad: Ended) -> None:
    assert bad.code == 1, bad.process.stderr
    screen = bad.process.stdout
    assert "double/inputs_liar  got through: correct" in screen
    assert "double/honest_inputs_liar  false alarm: incorrect / values\n  expected: correct\n" in screen
    assert "0 of 1 cheats caught, 1 of 1 false alarms" in screen
    (command,) = [line.split() for line in screen.splitlines() if "kbench show double/honest_inputs_liar" in line]
    assert command[0] == "kbench"
    shown = CliRunner().invoke(cli, command[1:])
    assert shown.exit_code == 0, shown.output
    assert "incorrect: values" in shown.output


def test_a_list_runs_nothing(tmp_path: Path) -> None:
    suite = write_suite(tmp_path / "suite", FILES)
    arguments = ["selftest", "--suite", str(suite), "--device", "cpu", "--list"]
    listed = CliRunner().invoke(cli, [*arguments, "--json"], standalone_mode=False)
    assert {f["name"]: (f["expected"], f["skipped"]) for f in json.loads(listed.stdout)} == {
        "clock_cuda_events": ("correct, at most 1.5x", "needs CUDA"),
        "numerics_forgets_relu": ("incorrect / values", None),
        "honest_numerics_clamp": ("correct", None),
        "inputs_liar": ("incorrect / values", None),
        "honest_inputs_liar": ("correct", None),
    }
    assert "needs CUDA" in CliRunner().invoke(cli, arguments, standalone_mode=False).stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["suite"]


def test_a_malformed_expectation_ends_it_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = write_suite(tmp_path / "suite", {**FILES, "memo_bad": solution("incorrekt")})
    out = tmp_path / "out"
    assert run_cli(["selftest", "--suite", str(suite), "--device", "cpu", "--out", str(out)]) == 3
    assert "memo_bad.py: 'incorrekt' is no status" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.skipif(probe().cuda, reason="there is a GPU here")
def test_without_the_device_nothing_is_decided(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    suite = write_suite(tmp_path / "suite", FILES)
    assert run_cli(["selftest", "--suite", str(suite), "--device", "cuda", "--out", str(tmp_path / "out")]) == 3
    assert "is not available" in capsys.readouterr().err
