"""Measuring suspects again, through the real command line with real workers, and how rounds become one record."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
from cli_process import read_records
from project_factory import HONEST, Project, make_project
from run_factory import make_record

from kbench.engine.confirm import over_rounds
from kbench.model import Status


def test_rounds_are_one_record_with_all_their_replicates() -> None:
    rounds = [make_record(d=(d,), time_ms=time, verified_calls=5) for d, time in ((0.1, 1.0), (0.3, 2.0), (0.2, 9.0))]
    record = over_rounds(rounds)
    assert record.replicate_log_ratios == (0.1, 0.3, 0.2)
    assert record.speedup == pytest.approx(math.exp(0.2))
    assert record.speedup_low is not None and record.speedup_high is not None and record.speedup is not None
    assert record.speedup_low < record.speedup < record.speedup_high
    assert (record.replicates, record.time_ms, record.verified_calls) == (3, 2.0, 15)


def test_rounds_that_were_all_spoiled_give_their_advice_once() -> None:
    rounds = [make_record(flags=flags, advice=said) for flags, said in (((), ()), (("a",), ("1",)), (("b",), ("2",)))]
    record = over_rounds(rounds)
    assert (record.flags, record.advice) == (("a", "b"), ("1",))


def test_one_round_that_fails_is_what_counts() -> None:
    wrong = make_record(status=Status.INCORRECT, reason="values")
    assert over_rounds([make_record(), wrong, make_record()]) is wrong


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A run and its copy in which the same solution seems to have lost three quarters of its speed.

    The folders they were made from are gone.
    """
    project = make_project(tmp_path_factory.mktemp("confirm"), a=HONEST)
    five = {"KBENCH_REPLICATES": "5"}
    code, process = project.run("run", "--device", "cpu", "--out", "results/old", environment=five)
    assert code == 0, process.stderr
    new = project.root / "results" / "new"
    shutil.copytree(project.root / "results" / "old", new)
    (record,) = read_records(new)
    factor, d = 0.25, [math.log(0.25 * record["speedup"]) + noise for noise in (-0.01, 0.0, 0.01, 0.005, -0.005)]
    slow = {name: factor * record[name] for name in ("speedup", "speedup_low", "speedup_high")}
    (new / "records.jsonl").write_text(json.dumps(record | slow | {"replicate_log_ratios": d}) + "\n")
    old = project.root / "results" / "old" / "records.jsonl"
    steady = [math.log(record["speedup"]) + noise for noise in (-0.01, 0.0, 0.01, 0.005, -0.005)]
    old.write_text(json.dumps(record | {"replicate_log_ratios": steady}) + "\n")
    for path in ("problems/scale.py", "solutions/scale/a.py"):
        (project.root / path).unlink()
    return project


@pytest.mark.workers
def test_the_runs_own_sources_are_measured_in_turn_and_decide(twice: Project) -> None:
    assert twice.run("compare", "old", "new", "--fail-on-regression", "50%")[0] == 1
    code, process = twice.run("compare", "old", "new", "--fail-on-regression", "50%", "--confirm", "--json")
    assert code == 0, process.stdout + process.stderr
    (row,) = json.loads(process.stdout)["rows"]
    assert "measured again (the runs said regressed, -75.0%)" in row["note"]
    assert (len(row["old_log_ratios"]), len(row["new_log_ratios"])) == (10, 10)
    assert row["verdict"] != "regressed"
    twice.assert_clean(process)


@pytest.mark.workers
def test_a_source_that_is_gone_is_told(twice: Project, tmp_path: Path) -> None:
    copy = tmp_path / "new"
    shutil.copytree(twice.root / "results" / "new", copy)
    (copy / "sources" / "scale" / "a.py").unlink()
    code, process = twice.run("compare", "old", copy, "--fail-on-regression", "50%", "--confirm")
    assert code == 2
    assert "solution 'scale/a' cannot be found" in process.stderr
    twice.assert_clean(process)


def test_where_nothing_regressed_nothing_is_measured(twice: Project) -> None:
    code, process = twice.run("compare", "old", "old", "--fail-on-regression", "5%", "--confirm")
    assert (code, "nothing to confirm" in process.stderr) == (0, True)
