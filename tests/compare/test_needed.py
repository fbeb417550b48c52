"""How many replicates would decide: checked against a comparison of two runs that have that many."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import pytest
from run_factory import make_record, make_run

from kbench import stats
from kbench.compare.comparison import compare_runs
from kbench.compare.needed import MOST_REPLICATES, Needed, Obstacle, replicates_needed
from kbench.compare.row import Change, Evidence, Row

SHAPE = (-1.2, -0.5, 0.1, 0.4, 1.2)


def spread(mean: float, sd: float, count: int = 5) -> tuple[float, ...]:
    """`count` log-ratios with exactly this mean and standard deviation."""
    raw = [SHAPE[i % len(SHAPE)] + 0.01 * i for i in range(count)]
    centre, scale = statistics.fmean(raw), statistics.stdev(raw)
    return tuple(mean + sd * (value - centre) / scale for value in raw)


def row_of(old: Sequence[float], new: Sequence[float], noise: Sequence[float] = ()) -> Row:
    """The first row of two runs; `noise` are the changes of further pairs, whose files did not change."""
    olds, news = [make_record("p/x", d=old)], [make_record("p/x", d=new, solution_sha="new")]
    for index, move in enumerate(noise):
        olds.append(make_record(f"p/u{index}", d=spread(0.5, 1e-4)))
        news.append(make_record(f"p/u{index}", d=spread(0.5 + move, 1e-4)))
    return compare_runs(make_run(olds), make_run(news)).rows[0]


def needed_of(row: Row, others: Sequence[float] = (), threshold: float = 0.05) -> Needed:
    assert row.verdict is Change.INCONCLUSIVE and row.evidence is not None
    return replicates_needed(row.evidence, others, threshold=threshold)


@pytest.mark.parametrize(
    ("change", "sd", "verdict"),
    [(-0.03, 0.02, Change.SAME), (0.03, 0.02, Change.SAME), (-0.1, 0.1, Change.REGRESSED), (0.1, 0.1, Change.IMPROVED)],
)
def test_so_many_replicates_decide_and_one_fewer_does_not(change: float, sd: float, verdict: Change) -> None:
    found = needed_of(row_of(spread(0.5, sd), spread(0.5 + change, sd)))
    assert found.verdict is verdict and found.replicates is not None and found.replicates > 5
    for count, expected in ((found.replicates, verdict), (found.replicates - 1, Change.INCONCLUSIVE)):
        assert row_of(spread(0.5, sd, count), spread(0.5 + change, sd, count)).verdict is expected


def test_noise_between_runs_counts_and_replicates_do_not_reduce_it() -> None:
    old, new = spread(0.5, 0.02), spread(0.47, 0.02)
    quiet, some = (needed_of(row_of(old, new, noise)) for noise in ((), (0.006, -0.005, 0.004, -0.006, 0.005, 0.0)))
    assert quiet.replicates is not None and some.replicates is not None and some.replicates > quiet.replicates
    loud = needed_of(row_of(old, new, (0.03, -0.03, 0.02, -0.03, 0.03, -0.02)))
    assert loud == Needed(verdict=None, obstacle=Obstacle.NOISE)


def test_the_other_rows_p_values_count() -> None:
    row = row_of(spread(0.5, 0.1), spread(0.4, 0.1))
    alone, among = needed_of(row), needed_of(row, others=[0.5] * 50)
    assert alone.replicates is not None and among.replicates is not None
    assert among.replicates > alone.replicates


def test_nobody_measures_so_often() -> None:
    found = needed_of(row_of(spread(0.5, 0.02), spread(0.5 + math.log(0.9501), 0.02)))
    assert found == Needed(verdict=Change.SAME)
    assert MOST_REPLICATES >= 1000


def test_without_a_spread_there_is_no_answer() -> None:
    assert needed_of(row_of([0.5], [0.3])).obstacle is Obstacle.UNKNOWN_SPREAD


def test_one_runs_spread_stands_in_for_the_others() -> None:
    both = needed_of(row_of(spread(0.5, 0.02), spread(0.47, 0.02)))
    one = needed_of(row_of(spread(0.5, 0.02), [0.47]))
    assert one == both


def test_at_a_threshold_of_zero_no_change_is_never_decided() -> None:
    same = stats.log_mean(spread(0.5, 0.02))
    evidence = Evidence(
        old=same, new=same, noise=stats.RunNoise(), noise_rows=(), difference=stats.difference(same, same),
        rank=1, tests=1,
    )  # fmt: skip
    assert replicates_needed(evidence, [], threshold=0.0) == Needed(verdict=None, obstacle=Obstacle.THRESHOLD)
