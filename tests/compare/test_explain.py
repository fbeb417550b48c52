from __future__ import annotations

import math

import pytest
from run_factory import make_record, make_run

from kbench.compare.comparison import Comparison, compare_runs
from kbench.compare.explain import explain
from kbench.compare.row import Change
from kbench.errors import UsageError
from kbench.model import Status

BASE = (0.68, 0.69, 0.70, 0.71, 0.69)


@pytest.fixture
def comparison() -> Comparison:
    """A changed row, six unchanged ones of which one leapt, a broken one, one that is gone and one that is new."""
    moves = (0.01, -0.012, 0.009, -0.01, 0.011, 0.6)
    old = [make_record("level1/gelu/v1"), make_record("level1/relu/v1"), make_record("p/gone")]
    new = [
        make_record("level1/gelu/v1", d=[d - 0.04 for d in BASE], solution_sha="new", reference_ms=5.0),
        make_record("level1/relu/v1", status=Status.CRASH), make_record("p/new"),
    ]  # fmt: skip
    for index, move in enumerate(moves):
        old.append(make_record(f"u/{index}"))
        new.append(make_record(f"u/{index}", d=[d + move for d in BASE]))
    return compare_runs(make_run(old), make_run(new))


@pytest.mark.parametrize("name", ["level1/gelu/v1", "gelu/v1", "gelu", "/gelu/v1/"])
def test_a_row_is_named_as_a_record_is(comparison: Comparison, name: str) -> None:
    assert explain(comparison, name).row.id == "level1/gelu/v1"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("level1", "2 records match"),
        ("nothing", "no record matches"),
        ("p/gone", "only the old run has it"),
        ("p/new", "only the new run has it"),
    ],
)
def test_what_names_no_row(comparison: Comparison, name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        explain(comparison, name)


def test_the_figures_are_those_of_the_verdict(comparison: Comparison) -> None:
    found = explain(comparison, "gelu")
    row, evidence = found.row, found.row.evidence
    assert row.verdict is Change.INCONCLUSIVE and evidence is not None
    assert (row.old_log_ratios, row.new_log_ratios) == (found.old.replicate_log_ratios, found.new.replicate_log_ratios)
    assert evidence.difference.delta == pytest.approx(evidence.new.mean - evidence.old.mean)
    assert evidence.difference.variance == pytest.approx(
        (evidence.old.variance or 0) + (evidence.new.variance or 0) + evidence.noise.variance
    )
    assert evidence.noise_rows == tuple(("u", str(index)) for index in range(6))
    assert [evidence.noise_rows[index] for index in evidence.noise.left_out] == [("u", "5")]
    assert found.p_cutoff is not None and row.p_value is not None and row.p_adjusted is not None
    assert (row.p_value < found.p_cutoff) == (row.p_adjusted < 0.05)
    assert (found.low_bound, found.high_bound) == pytest.approx((math.log(0.95), math.log(1.05)))
    assert found.needed is not None and not found.at_threshold


def test_ranks_are_places_among_the_p_values(comparison: Comparison) -> None:
    measured = [explain(comparison, row.id).row for row in comparison.measured]
    ranked = sorted(measured, key=lambda row: row.evidence.rank or 0 if row.evidence else 0)
    assert [row.evidence.rank for row in ranked if row.evidence] == list(range(1, len(measured) + 1))
    assert [row.p_value for row in ranked] == sorted(row.p_value or 0.0 for row in ranked)
    assert {row.evidence.tests for row in ranked if row.evidence} == {len(measured)}


def test_an_unchanged_row_is_not_among_those_it_is_tested_against(comparison: Comparison) -> None:
    evidence = explain(comparison, "u/3").row.evidence
    assert evidence is not None
    assert ("u", "3") not in evidence.noise_rows and len(evidence.noise_rows) == 5


def test_a_decided_row_needs_nothing(comparison: Comparison) -> None:
    assert explain(comparison, "u/5").needed is None
    broken = explain(comparison, "relu")
    assert broken.row.evidence is None and broken.needed is None and broken.p_cutoff is None
    assert broken.row.old_log_ratios == BASE and broken.row.new_log_ratios == ()


@pytest.mark.parametrize(("share", "at"), [(0.95, True), (1.05, True), (0.9501, False)])
def test_a_change_at_the_threshold(share: float, at: bool) -> None:
    old, new = make_record(), make_record(d=[d + math.log(share) for d in BASE])
    assert explain(compare_runs(make_run([old]), make_run([new])), "softmax").at_threshold is at
