from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from run_factory import make_record, make_run

from kbench.compare.comparison import compare_runs
from kbench.compare.explain import explain
from kbench.compare.gate import gate
from kbench.model import Status
from kbench.report import jsonout
from kbench.store.summary import RunSummary


def test_comparison() -> None:
    bare = {"d": (0.3,), "speedup_low": None, "speedup_high": None}
    old = make_run([make_record("p/a", **bare), make_record("p/gone")])
    comparison = compare_runs(old, make_run([make_record("p/a", **(bare | {"d": (0.1,)})), make_record("p/new")]))
    text = jsonout.comparison_json(comparison, gate(comparison))
    data = json.loads(text, parse_constant=lambda name: pytest_fail(name))
    (row,) = data["rows"]
    assert row["verdict"] == "inconclusive"
    assert row["old_speedup"]["low"] is None and row["p_value"] is None
    assert data["gate"]["outcome"] == "regression" and data["gate"]["exit_code"] == 1
    assert data["vanished"] == [{
        "problem": "p", "solution": "gone", "status": "correct", "speedup": make_record().speedup,
    }]  # fmt: skip
    assert data["geometric_mean_ratio"]["high"] is None
    assert json.loads(jsonout.comparison_json(comparison))["gate"] is None


def test_a_row_carries_its_replicates_and_both_own_changes() -> None:
    old, new = make_record(), make_record(d=(0.1, 0.2), reference_ms=6.5)
    comparison = compare_runs(make_run([old, make_record("p/a")]), make_run([new, make_record("p/a")]))
    data = json.loads(jsonout.comparison_json(comparison))
    row, same = data["rows"]
    assert row["old_log_ratios"] == list(old.replicate_log_ratios) and row["new_log_ratios"] == [0.1, 0.2]
    assert row["delta_ln_reference"] == math.log(6.5 / 5.9)
    assert (same["delta_ln_reference"], same["delta_ln_time"]) == (0.0, 0.0)
    assert data["geometric_mean_ratio"]["low"] < data["geometric_mean_ratio"]["value"]
    assert data["old_fast_p"] == {
        "problems": 2, "over": {"eager": {"fast_0": 1.0, "fast_1": 1.0, "fast_1.5": 1.0, "fast_2": 1.0}},
    }  # fmt: skip
    assert data["new_fast_p"]["over"]["eager"]["fast_1.5"] == 0.5


def test_an_explanation() -> None:
    old = [make_record(), *(make_record(f"u/{i}") for i in range(4))]
    new = [make_record(d=(0.5, 0.7, 0.6, 0.65, 0.62), solution_sha="new"), *old[1:]]
    comparison = compare_runs(make_run(old), make_run(new))
    data = json.loads(jsonout.explanation_json(explain(comparison, "softmax"), gate(comparison)))
    evidence = data["evidence"]
    assert data["row"]["verdict"] == "inconclusive" and data["rule"].startswith("The change of -7.7% is as large")
    assert evidence["old"]["replicates"] == 5
    assert evidence["old"]["variance"] == pytest.approx(evidence["old"]["s"] ** 2 / 5)
    assert evidence["noise"]["rows"] == [f"u/{i}" for i in range(4)] and evidence["noise"]["left_out"] == []
    assert evidence["difference"]["delta"] == pytest.approx(evidence["new"]["mean"] - evidence["old"]["mean"])
    assert 1 <= evidence["rank"] <= evidence["tests"] == 5 and 0 < evidence["p_cutoff"] <= 0.05
    assert data["needed"]["verdict"] == "regressed" and data["needed"]["replicates"] > 5
    assert data["old"]["replicate_log_ratios"] == list(old[0].replicate_log_ratios)
    assert data["gate"]["outcome"] == "passed"


def test_an_explanation_without_times() -> None:
    comparison = compare_runs(make_run([make_record()]), make_run([make_record(status=Status.CRASH)]))
    data = json.loads(jsonout.explanation_json(explain(comparison, "softmax")))
    assert data["evidence"] is data["needed"] is data["gate"] is None
    assert data["rule"].startswith("It was correct and fails now")


def pytest_fail(name: str) -> None:
    raise AssertionError(f"{name} in JSON")


def test_run_and_record_and_list() -> None:
    record = make_record(status=Status.CRASH, message="\x1b[31m\u202e")
    assert "\x1b" not in jsonout.run_json(make_run([record]))
    assert json.loads(jsonout.run_json(make_run([record])))["records"][0]["message"] == record.message
    shown = json.loads(jsonout.record_json(record, files={"source": "a.py"}))
    assert shown["files"] == {"source": "a.py"} and "logs" not in shown
    assert json.loads(jsonout.record_json(record, files={}, logs={"build.log": "x"}))["logs"] == {"build.log": "x"}
    summary = RunSummary(name="a", path=Path("a"), started="2026-05-04 13:37", counts={Status.CORRECT: 2})
    assert json.loads(jsonout.list_json([summary]))["runs"][0]["counts"] == {"correct": 2}
