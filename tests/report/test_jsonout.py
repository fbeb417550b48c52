from __future__ import annotations

import json
from pathlib import Path

from run_factory import make_record, make_run

from kbench.compare.comparison import compare_runs
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
