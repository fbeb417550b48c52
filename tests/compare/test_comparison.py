from __future__ import annotations

import math
import random
from typing import Any

import pytest
from run_factory import ENVIRONMENT, make_record, make_run

from kbench.compare.comparison import Comparison, compare_runs
from kbench.compare.row import Change, Row
from kbench.model import Record, Status

BASE = (0.68, 0.69, 0.70, 0.71, 0.69)


def shifted(delta: float, d: tuple[float, ...] = BASE) -> tuple[float, ...]:
    return tuple(value + delta for value in d)


def compare_pair(old: Record, new: Record, **fields: Any) -> Row:
    return compare_runs(make_run([old]), make_run([new]), **fields).rows[0]


def test_a_run_against_itself_is_the_same() -> None:
    noisy = make_record(d=(0.1, 0.9, 0.5))
    single = make_record("softmax/v2", d=(0.4,), speedup_low=None, speedup_high=None)
    comparison = compare_runs(make_run([noisy, single]), make_run([noisy, single]))
    assert [row.verdict for row in comparison.rows] == [Change.SAME, Change.SAME]
    assert comparison.geometric_mean_ratio is not None
    assert comparison.geometric_mean_ratio.value == 1.0


@pytest.mark.parametrize(
    ("factors", "drift"), [((0.5, 0.4, 0.9), 0.5), ((1.0, 1.0, 1.0), 1.0), ((0.5, 0.4), None)], ids=str
)
def test_how_far_the_references_moved_by_themselves(factors: tuple[float, ...], drift: float | None) -> None:
    names = [f"softmax/v{number}" for number in range(len(factors))]
    old = make_run([make_record(name) for name in names])
    new = make_run([make_record(name, reference_ms=5.9 * by) for name, by in zip(names, factors, strict=True)])
    assert compare_runs(old, new).reference_drift == (None if drift is None else pytest.approx(drift))


@pytest.mark.parametrize(
    ("delta", "verdict"),
    [
        (-0.2, Change.REGRESSED),
        (math.log(0.95), Change.REGRESSED),
        (math.log(0.951), Change.INCONCLUSIVE),
        (-0.01, Change.SAME),
        (0.0, Change.SAME),
        (0.2, Change.IMPROVED),
    ],
)
def test_verdicts_of_timed_pairs(delta: float, verdict: Change) -> None:
    row = compare_pair(make_record(), make_record(d=shifted(delta), solution_sha="new"))
    assert row.verdict is verdict
    assert row.change == pytest.approx(math.expm1(delta))
    assert row.change is not None and row.change_low is not None and row.change_high is not None
    assert row.change_low < row.change < row.change_high


def test_the_spread_is_that_of_the_replicates_that_decided_their_number() -> None:
    quiet_first = (*BASE, 0.3, 1.1, 0.2, 1.2, 0.7)
    fixed = compare_pair(make_record(d=quiet_first), make_record(d=shifted(-0.2, quiet_first), solution_sha="new"))
    wanted = compare_pair(
        make_record(d=quiet_first, deciding_replicates=5),
        make_record(d=shifted(-0.2, quiet_first), solution_sha="new", deciding_replicates=5),
    )
    assert fixed.change == pytest.approx(wanted.change)
    assert (fixed.verdict, wanted.verdict) == (Change.INCONCLUSIVE, Change.REGRESSED)


def test_a_large_change_in_large_noise_is_inconclusive() -> None:
    wide = (0.3, 0.9, 0.5, 1.1, 0.2)
    row = compare_pair(make_record(d=wide), make_record(d=shifted(-0.2, tuple(reversed(wide)))))
    assert row.verdict is Change.INCONCLUSIVE


def test_the_threshold_decides() -> None:
    old, new = make_record(), make_record(d=shifted(-0.1))
    assert compare_pair(old, new, threshold=0.05).verdict is Change.REGRESSED
    assert compare_pair(old, new, threshold=0.2).verdict is Change.SAME


def test_holm_is_over_all_rows() -> None:
    """One p = 0.02 among twenty rows is what chance gives."""
    d = (0.5, 0.55, 0.45)
    olds = [make_record(f"p/s{i}", d=d, solution_sha="old") for i in range(20)]
    news = [make_record(f"p/s{i}", d=d if i else shifted(-0.12, d), solution_sha="new") for i in range(20)]
    alone = compare_pair(olds[0], news[0])
    among = compare_runs(make_run(olds), make_run(news)).rows[0]
    assert alone.verdict is Change.REGRESSED
    assert among.verdict is Change.INCONCLUSIVE
    assert alone.p_value == pytest.approx(among.p_value)
    assert among.p_adjusted == pytest.approx(20 * (among.p_value or 0))


def test_noise_between_runs_is_learnt_from_unchanged_rows() -> None:
    """Six kernels that nobody touched moved by ±8%: that a changed one moved by 9% then means nothing."""
    moves = (0.08, -0.07, 0.075, -0.08, 0.06, -0.09)
    unchanged = [(make_record(f"p/u{i}"), make_record(f"p/u{i}", d=shifted(m))) for i, m in enumerate(moves)]
    changed = (make_record("p/c"), make_record("p/c", d=shifted(-0.09), solution_sha="new"))
    quiet = compare_pair(*changed)
    comparison = compare_runs(
        make_run([changed[0], *(old for old, _ in unchanged)]), make_run([changed[1], *(new for _, new in unchanged)])
    )
    assert quiet.verdict is Change.REGRESSED
    assert comparison.rows[0].verdict is Change.INCONCLUSIVE
    assert comparison.noise.rows == 6
    assert math.sqrt(comparison.noise.variance) == pytest.approx(0.076, abs=0.01)


def test_a_row_does_not_vouch_for_its_own_change() -> None:
    """Two of ten unchanged files became twice as slow (a new driver, say): both are found."""
    rng = random.Random(1)
    olds = [make_record(f"p/s{i}") for i in range(10)]
    news = [make_record(f"p/s{i}", d=shifted(-0.7 if i < 2 else rng.gauss(0, 0.01))) for i in range(10)]
    rows = compare_runs(make_run(olds), make_run(news)).rows
    assert [row.verdict for row in rows[:2]] == [Change.REGRESSED] * 2
    assert all(row.verdict in (Change.SAME, Change.INCONCLUSIVE) for row in rows[2:])


def test_false_alarms_are_rare_under_noise_between_runs() -> None:
    rng = random.Random(11)
    alarms = 0
    for _ in range(60):
        pairs = []
        for i in range(12):
            d = [rng.gauss(0.5, 0.01) for _ in range(5)]
            offset = rng.gauss(0, 0.03)
            e = [rng.gauss(0.5 + offset, 0.01) for _ in range(5)]
            pairs.append((make_record(f"p/s{i}", d=d), make_record(f"p/s{i}", d=e)))
        found = compare_runs(make_run([old for old, _ in pairs]), make_run([new for _, new in pairs]))
        alarms += bool(found.having(Change.REGRESSED))
    assert alarms / 60 <= 0.1


def test_many_rows_share_one_noise_estimate() -> None:
    olds = [make_record(f"p/s{i}") for i in range(150)]
    news = [make_record(f"p/s{i}", d=shifted(-0.3 if i == 7 else 0.001 * (i % 5))) for i in range(150)]
    comparison = compare_runs(make_run(olds), make_run(news))
    assert [row.solution for row in comparison.having(Change.REGRESSED)] == ["s7"]


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        (Status.CORRECT, Status.INCORRECT, Change.BROKEN),
        (Status.CORRECT, Status.TIMEOUT, Change.BROKEN),
        (Status.CORRECT, Status.REJECTED, Change.BROKEN),
        (Status.CORRECT, Status.SKIPPED, Change.NOT_MEASURED),
        (Status.CORRECT, Status.INFRA_ERROR, Change.NOT_MEASURED),
        (Status.CRASH, Status.CORRECT, Change.FIXED),
        (Status.SKIPPED, Status.CORRECT, Change.NOT_MEASURED),
        (Status.CRASH, Status.BUILD_ERROR, Change.STILL_FAILING),
        (Status.SKIPPED, Status.SKIPPED, Change.NOT_MEASURED),
    ],
)
def test_verdicts_by_status(old: Status, new: Status, verdict: Change) -> None:
    row = compare_pair(make_record(status=old), make_record(status=new))
    assert row.verdict is verdict
    assert row.change is None


def test_correct_but_not_timed() -> None:
    row = compare_pair(make_record(), make_record(speedup=None, replicate_log_ratios=()))
    assert row.verdict is Change.NOT_MEASURED
    assert row.note == "correct, but not timed"


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"problem_sha": "other"}, "problem file"),
        ({"size": "small"}, "size"),
        ({"precision": "bf16"}, "precision"),
        ({"device": "cpu"}, "device"),
        ({"environment_key": "zzz"}, "machine"),
    ],
)
def test_what_is_not_comparable(fields: dict[str, str], word: str) -> None:
    row = compare_pair(make_record(), make_record(**fields))
    assert row.verdict is Change.NOT_COMPARABLE
    assert row.note == f"different {word}"
    assert row.change is None


def test_another_gpu_of_the_same_machine_is_comparable() -> None:
    assert compare_pair(make_record(device="cuda:0"), make_record(device="cuda:1")).verdict is Change.SAME


def test_rows_are_shown_where_only_the_machines_differ() -> None:
    other = ENVIRONMENT | {"key": "other", "torch": "2.12.0"}
    new = make_run([make_record(d=shifted(-0.3), environment_key="other")], environment=other)
    comparison = compare_runs(make_run([make_record()]), new)
    assert [d.field for d in comparison.environment] == ["torch"]
    assert comparison.rows[0].verdict is Change.REGRESSED


def test_a_record_made_where_its_run_was_resumed_is_compared_with_its_own_machine_alone() -> None:
    elsewhere, updated = ENVIRONMENT | {"key": "elsewhere"}, ENVIRONMENT | {"key": "updated", "nvcc": "13.1"}
    names = ("softmax/v1", "softmax/v2")
    keys = zip(names, ("abc123", "elsewhere"), strict=True)
    old = make_run([make_record(name, environment_key=key) for name, key in keys], later_environments=(elsewhere,))
    new = make_run([make_record(name, environment_key="updated") for name in names], environment=updated)
    for comparison in (compare_runs(old, new), compare_runs(new, old)):
        assert [each.decisive for each in comparison.environment] == [False]
        assert [row.verdict for row in comparison.rows] == [Change.SAME, Change.NOT_COMPARABLE]
    assert [row.verdict for row in compare_runs(old, old).rows] == [Change.SAME, Change.SAME]


def test_without_replicates_the_interval_serves() -> None:
    old = make_record(replicate_log_ratios=())
    new = make_record(d=shifted(-0.2), replicate_log_ratios=())
    found, expected = compare_pair(old, new), compare_pair(make_record(), make_record(d=shifted(-0.2)))
    assert found.verdict is expected.verdict is Change.REGRESSED
    assert found.p_value == pytest.approx(expected.p_value)
    assert found.change_low == pytest.approx(expected.change_low)


def test_without_any_interval_nothing_is_concluded() -> None:
    bare: dict[str, Any] = {"replicate_log_ratios": (), "speedup_low": None, "speedup_high": None}
    row = compare_pair(make_record(**bare), make_record(d=shifted(-0.5), **bare))
    assert row.verdict is Change.INCONCLUSIVE
    assert row.change == pytest.approx(math.expm1(-0.5))
    assert row.p_value is row.p_adjusted is row.change_low is row.change_high is None


def test_a_speedup_its_replicates_do_not_support_is_used_and_doubted() -> None:
    old, new = make_record(), make_record(speedup=1.0, speedup_low=0.99, speedup_high=1.01)
    comparison = compare_runs(make_run([old]), make_run([new]))
    assert comparison.rows[0].verdict is Change.REGRESSED
    assert "disagree" in comparison.warnings[0]


def test_the_references_own_part() -> None:
    """The reference became 20% faster, the solution did not change: the speedup fell, the kernel did not."""
    old = make_record(reference_ms=10.0, time_ms=5.0)
    new = make_record(d=shifted(math.log(0.8)), reference_ms=8.0, time_ms=5.0)
    row = compare_pair(old, new)
    assert row.delta_ln_reference == pytest.approx(math.log(0.8))
    assert row.delta_ln_time == 0.0
    assert row.reference_share == pytest.approx(1.0)
    assert compare_pair(old, old).reference_share is None


def test_appeared_and_vanished_and_means() -> None:
    old = make_run([make_record("p/a", d=[math.log(2)] * 3), make_record("p/gone")])
    new = make_run([make_record("p/new"), make_record("p/a", d=[math.log(4)] * 3, solution_sha="x")])
    comparison = compare_runs(old, new)
    assert [record.id for record in comparison.appeared] == ["p/new"]
    assert [record.id for record in comparison.vanished] == ["p/gone"]
    assert comparison.old_geometric_mean == pytest.approx(2.0)
    assert comparison.new_geometric_mean == pytest.approx(4.0)
    assert comparison.geometric_mean_ratio is not None
    assert comparison.geometric_mean_ratio.value == pytest.approx(2.0)


def test_nothing_in_common() -> None:
    comparison: Comparison = compare_runs(make_run([make_record("p/a")]), make_run([make_record("p/b")]))
    assert comparison.rows == comparison.measured == ()
    assert comparison.geometric_mean_ratio is None


def test_wild_replicates_do_not_overflow() -> None:
    row = compare_pair(make_record(d=(0.0, 1.0)), make_record(replicate_log_ratios=(-800.0, 800.0), speedup=1e300))
    assert row.change is not None and row.change > 1e200
