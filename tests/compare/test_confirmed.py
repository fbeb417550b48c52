"""Which rows are measured again, and what becomes of a comparison when they are."""

from __future__ import annotations

import pytest
from run_factory import make_record, make_run

from kbench.compare.comparison import compare_runs
from kbench.compare.confirmed import suspects, with_fresh_rows
from kbench.compare.gate import Outcome, gate
from kbench.compare.row import Change
from kbench.model import Status

BASE = (0.68, 0.69, 0.70, 0.71, 0.69)
SLOW = tuple(value - 0.2 for value in BASE)
WIDE = (0.2, 0.9, 0.5, 1.1, 0.3)


def test_what_regressed_is_suspect_and_with_strict_what_may_have() -> None:
    old = make_run([make_record("p/fine"), make_record("p/slow"), make_record("p/unclear")])
    new = make_run([make_record("p/fine"), make_record("p/slow", d=SLOW), make_record("p/unclear", d=WIDE)])
    comparison = compare_runs(old, new)
    assert suspects(comparison) == (("p", "slow"),)
    assert suspects(comparison, strict=True) == (("p", "slow"), ("p", "unclear"))


@pytest.mark.parametrize(
    ("fresh", "verdict", "outcome"),
    [
        (make_record("p/slow"), Change.SAME, Outcome.PASSED),
        (make_record("p/slow", d=SLOW), Change.REGRESSED, Outcome.REGRESSION),
        (make_record("p/slow", d=WIDE), Change.INCONCLUSIVE, Outcome.PASSED),
        (make_record("p/slow", status=Status.INCORRECT, reason="values"), Change.BROKEN, Outcome.REGRESSION),
    ],
    ids=["not confirmed", "confirmed", "unclear", "broken"],
)
def test_fresh_figures_decide(fresh: object, verdict: Change, outcome: Outcome) -> None:
    old, slow = make_record("p/slow"), make_record("p/slow", d=SLOW, solution_sha="new")
    comparison = compare_runs(make_run([old, make_record("p/a")]), make_run([slow, make_record("p/a")]))
    assert gate(comparison).outcome is Outcome.REGRESSION
    again = compare_runs(make_run([old]), make_run([fresh]))  # type: ignore[list-item]
    confirmed = with_fresh_rows(comparison, again)
    (row,) = (row for row in confirmed.rows if row.solution == "slow")
    assert row.verdict is verdict
    assert "measured again (the runs said regressed, -18.1%)" in row.note
    assert gate(confirmed).outcome is outcome
    assert [row.verdict for row in confirmed.rows if row.solution == "a"] == [Change.SAME]
