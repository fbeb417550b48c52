"""The sentences: each verdict's rule in words."""

from __future__ import annotations

import math
from typing import Any

import pytest
from run_factory import make_record, make_run

from kbench.compare.comparison import compare_runs
from kbench.compare.explain import explain
from kbench.compare.needed import Needed, Obstacle
from kbench.compare.row import Change
from kbench.model import Status
from kbench.report import explanation

BASE = (0.68, 0.69, 0.70, 0.71, 0.69)
WIDE = (0.3, 0.9, 0.5, 1.1, 0.2)
BARE: dict[str, Any] = {"replicate_log_ratios": (), "speedup_low": None, "speedup_high": None, "replicates": 1}


def shifted(delta: float, d: tuple[float, ...] = BASE) -> tuple[float, ...]:
    return tuple(value + delta for value in d)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ({}, {"d": shifted(-0.2)}, ["-18.1% is a slowdown of at least the threshold, 5%", "is below 0.05"]),
        ({}, {"d": shifted(0.2)}, ["+22.1% is a speedup of at least the threshold"]),
        ({}, {"d": shifted(-0.01)}, ["The whole 95% interval [-2.6%, +0.7%] lies within ±5%"]),
        ({}, {}, ["one measurement, seen twice"]),
        ({}, {"d": shifted(-0.04)}, ["-3.9% is smaller than the threshold", "[-5.5%, -2.3%] reaches past ±5%"]),
        ({"d": WIDE}, {"d": shifted(-0.2, WIDE)}, ["as large as the threshold, 5%, or larger", "is not below 0.05"]),
        (BARE, BARE | {"d": shifted(-0.2)}, ["Neither run has two replicates"]),
        ({}, {"status": Status.CRASH, "reason": "SIGSEGV"}, ["a regression whatever", "(crash: SIGSEGV.)"]),
        ({"status": Status.CRASH}, {}, ["failed and is correct now"]),
        ({"status": Status.CRASH}, {"status": Status.TIMEOUT}, ["fails in both runs"]),
        ({}, {"status": Status.SKIPPED}, ["nothing follows. (new run: skipped.)"]),
        ({}, {"size": "small"}, ["not the same in both runs", "(different size.)"]),
    ],
)
def test_the_rule_in_words(old: dict[str, Any], new: dict[str, Any], words: list[str]) -> None:
    comparison = compare_runs(make_run([make_record(**old)]), make_run([make_record(**new)]))
    said = explanation.rule(explain(comparison, "softmax"))
    assert all(part in said for part in words), said


@pytest.mark.parametrize(
    ("needed", "words"),
    [
        (Needed(verdict=Change.SAME, replicates=12), "12 replicates in each run; it would then be same"),
        (Needed(verdict=Change.REGRESSED), "more than 1000 replicates in each run; it would then be regressed"),
        (
            Needed(verdict=None, obstacle=Obstacle.NOISE),
            "no number of replicates would: the noise between runs alone is larger",
        ),
        (Needed(verdict=None, obstacle=Obstacle.UNKNOWN_SPREAD), "no number can be given"),
        (Needed(verdict=None, obstacle=Obstacle.THRESHOLD), "no number of replicates would: D is the threshold"),
    ],
)
def test_what_would_decide(needed: Needed, words: str) -> None:
    assert explanation.needed_text(needed).startswith(words)


def test_the_threshold_itself_is_said() -> None:
    new = make_record(d=shifted(math.log(0.95), WIDE))
    comparison = compare_runs(make_run([make_record(d=WIDE)]), make_run([new]))
    names = [name for name, _ in explanation.facts(explain(comparison, "softmax"))]
    assert "at the threshold" in names and names[-1] == "would decide it"


def test_what_makes_records_differ_is_shown_where_it_does() -> None:
    comparison = compare_runs(make_run([make_record()]), make_run([make_record(size="small", d=(0.5, 0.6))]))
    rows = {row[0]: row[1:] for row in explanation.runs_table(explain(comparison, "softmax")).rows}
    assert rows["size"] == ("full", "small")
    assert "precision" not in rows and "flags" not in rows
    assert rows["d_2"] == ("+0.69000  -0.4%", "+0.60000  +5.1%") and rows["d_5"][1] == "–"


def test_a_run_of_one_replicate_is_owned_up_to() -> None:
    comparison = compare_runs(make_run([make_record()]), make_run([make_record(d=(0.5,))]))
    facts = dict(explanation.facts(explain(comparison, "softmax")))
    assert "stands in" in facts["unknown variance"]
    assert "+ unknown +" in facts["variance of D"]


def test_wild_replicates_are_printed() -> None:
    wild = make_record(replicate_log_ratios=(-800.0, 800.0), reference_ms=1e300)
    comparison = compare_runs(make_run([make_record(reference_ms=1e-300)]), make_run([wild]))
    explained = explain(comparison, "softmax")
    assert "inf%" in dict(explanation.facts(explained))["reference's own change"]
    assert any("inf%" in row[2] for row in explanation.runs_table(explained).rows)
