from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbench import stats
from kbench.model import Estimate


def test_log_ratio_per_block_takes_medians() -> None:
    found = stats.log_ratio_per_block([[4.0, 4.0, 900.0], [6.0, 6.0]], [[2.0, 2.0, 2.0], [3.0, 1.0, 800.0]])
    assert found == pytest.approx((math.log(2), math.log(2)))


def test_replicate_log_ratio_is_the_median_over_blocks() -> None:
    reference = [[2.0], [2.0], [200.0]]
    assert stats.replicate_log_ratio(reference, [[1.0]] * 3) == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("reference", "solution", "word"),
    [
        ([], [], "0 reference blocks"),
        ([[1.0]], [[1.0], [1.0]], "1 reference blocks against 2"),
        ([[1.0], []], [[1.0], [1.0]], "block 1 of the reference has no samples"),
        ([[1.0]], [[0.0]], "block 0 of the solution"),
        ([[1.0]], [[-1.0, 2.0]], "not positive"),
        ([[math.inf]], [[1.0]], "finite"),
        ([[math.nan]], [[1.0]], "finite"),
    ],
)
def test_unusable_samples_are_named(reference: list[list[float]], solution: list[list[float]], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        stats.log_ratio_per_block(reference, solution)


def test_speedup_estimate_by_hand() -> None:
    d = [0.1, 0.2, 0.3]
    found = stats.speedup_estimate(d)
    half = 4.302652729911275 * 0.1 / math.sqrt(3)
    assert found.value == pytest.approx(math.exp(0.2))
    assert found.low == pytest.approx(math.exp(0.2 - half))
    assert found.high == pytest.approx(math.exp(0.2 + half))


def test_one_replicate_bounds_nothing() -> None:
    found = stats.speedup_estimate([math.log(2)])
    assert found.value == pytest.approx(2.0)
    assert (found.low, found.high) == (0.0, math.inf)


def test_identical_replicates_leave_no_width() -> None:
    found = stats.speedup_estimate([0.5] * 5)
    assert found.low == found.value == found.high


def test_later_replicates_narrow_the_interval_but_do_not_say_how_sure_it_is() -> None:
    d = [0.1, 0.2, 0.3]
    found = stats.speedup_estimate([*d, 0.9], first=3)
    half = 4.302652729911275 * 0.1 / math.sqrt(4)
    assert found.value == pytest.approx(math.exp(1.5 / 4))
    assert found.low == pytest.approx(math.exp(1.5 / 4 - half))
    assert stats.speedup_estimate(d, first=3) == stats.speedup_estimate(d, first=9) == stats.speedup_estimate(d)
    assert stats.speedup_estimate([*d, 0.9], first=1).high == math.inf


@pytest.mark.parametrize("first", [0, -1])
def test_the_spread_of_no_replicates_is_refused(first: int) -> None:
    with pytest.raises(ValueError, match="replicates"):
        stats.speedup_estimate([0.1, 0.2], first=first)


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=12))
def test_the_variance_is_that_of_the_standard_library(d: list[float]) -> None:
    found = stats.log_mean(d).variance
    assert found == pytest.approx(statistics.variance(d) / len(d), rel=1e-12, abs=1e-30)


# --- how many replicates ---

SPREAD = (-0.01, -0.005, 0.0, 0.005, 0.01)
"""Standard deviation 0.79%: half-width t(.975, 4) * 0.79% / sqrt(5) = 0.98%."""


def scaled(factor: float, *more: float) -> list[float]:
    return [0.4 + factor * x for x in (*SPREAD, *more)]


@pytest.mark.parametrize("count", range(5))
def test_five_replicates_are_always_wanted(count: int) -> None:
    assert stats.wants_more([0.4] * count)


@pytest.mark.parametrize(("factor", "wanted"), [(0.0, False), (1.0, False), (1.02, True), (10.0, True)])
def test_more_are_wanted_while_the_interval_is_wider_than_a_percent(factor: float, wanted: bool) -> None:
    assert stats.wants_more(scaled(factor)) is wanted
    estimate = stats.speedup_estimate(scaled(factor))
    assert (estimate.high / estimate.value > 1.01) is wanted


def test_ten_are_enough() -> None:
    assert stats.wants_more(scaled(10, 0, 0, 0, 0))
    assert not stats.wants_more(scaled(10, 0, 0, 0, 0, 0))
    assert stats.wants_more(scaled(10, 0, 0, 0, 0, 0), most=11)
    assert not stats.wants_more([0.4], most=1)


def test_the_width_asked_for_counts() -> None:
    assert not stats.wants_more(scaled(3), half_width=0.05)
    assert stats.wants_more(scaled(0.5), half_width=0.001)


@given(st.lists(st.floats(-1, 1), min_size=5, max_size=9), st.floats(-3, 3))
def test_neither_the_speedup_nor_a_later_value_is_looked_at(later: list[float], shift: float) -> None:
    """Only the spread of the first five and the number of replicates: what else would bend the interval."""
    d = scaled(1.2, *(0.0 for _ in later[5:]))
    other = [x + shift for x in d[:5]] + later[5:]
    assert stats.wants_more(other) is stats.wants_more(d)


def test_more_replicates_are_wanted_only_until_they_suffice() -> None:
    wanted = [stats.wants_more(scaled(1.25, *[0.0] * more)) for more in range(5)]
    assert wanted == [True, True, True, False, False]  # 1.25 * 0.98% * sqrt(5 / 8) < 1%


def test_replicates_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        stats.wants_more([math.nan] * 5)


# --- two modes ---

TWO_MODES = (0.400, 0.401, 0.402, 0.399, 0.450, 0.451, 0.449, 0.452)


def test_two_modes_are_seen_in_any_order() -> None:
    assert stats.is_bimodal(TWO_MODES)
    assert stats.is_bimodal([*TWO_MODES[::2], *TWO_MODES[1::2]])
    assert stats.is_bimodal([-x for x in TWO_MODES])


@pytest.mark.parametrize(
    "values",
    [
        (),
        (0.4, 0.4, 0.5, 0.5),
        (0.4,) * 10,
        (0.40, 0.41, 0.42, 0.43, 0.44, 0.45, 0.46, 0.47),
        (*TWO_MODES[:4], 0.398, 0.400, 0.9),
    ],
    ids=["none", "too few", "all the same", "evenly spread", "one outlier"],
)
def test_what_is_not_two_modes(values: tuple[float, ...]) -> None:
    assert not stats.is_bimodal(values)


def test_neighbouring_readings_of_a_clock_are_no_modes() -> None:
    values = [0.4000, 0.4006] * 5
    assert not stats.is_bimodal(values)
    assert stats.is_bimodal(values, least_apart=0.0005)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_modes_of_what_is_not_finite(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        stats.is_bimodal([0.1, 0.2, 0.1, 0.2, bad])


@given(st.lists(st.floats(-1, 1), min_size=5, max_size=60), st.floats(-5, 5))
def test_modes_do_not_depend_on_the_speedup(values: list[float], shift: float) -> None:
    gap = 0.2
    apart = [*values, *(x + 100 for x in values)]
    assert stats.is_bimodal(apart, least_apart=gap) == stats.is_bimodal([x + shift for x in apart], least_apart=gap)


def test_two_wild_replicates_do_not_overflow() -> None:
    assert stats.speedup_estimate([-300.0, 300.0]).high == math.inf


@pytest.mark.parametrize("d", [[], [math.nan, 1.0], [math.inf]])
def test_speedup_estimate_refuses(d: list[float]) -> None:
    with pytest.raises(ValueError, match="replicate"):
        stats.speedup_estimate(d)


@pytest.mark.parametrize("replicates", [3, 5, 10])
def test_interval_covers_the_truth_with_process_noise(replicates: int) -> None:
    """Each replicate is a fresh process with an offset of its own; its blocks' noise is smaller (facts.md)."""
    rng = random.Random(20_260_504 + replicates)
    truth, trials, covered = math.log(1.3), 800, 0
    for _ in range(trials):
        d = [_replicate(rng, truth) for _ in range(replicates)]
        found = stats.speedup_estimate(d)
        covered += found.low <= 1.3 <= found.high
    assert covered / trials == pytest.approx(0.95, abs=0.025)


def _replicate(rng: random.Random, truth: float) -> float:
    process = rng.gauss(truth, 0.0126)
    reference = [[math.exp(rng.gauss(process, 0.006)) for _ in range(3)] for _ in range(4)]
    solution = [[math.exp(rng.gauss(0.0, 0.006)) for _ in range(3)] for _ in range(4)]
    return stats.replicate_log_ratio(reference, solution)


def test_treating_blocks_as_independent_would_under_cover() -> None:
    """Why the interval is over replicates: pooling the blocks of five processes claims far too much."""
    rng = random.Random(7)
    covered = 0
    for _ in range(300):
        offsets = [rng.gauss(0.0, 0.0126) for _ in range(5)]
        blocks = [rng.gauss(offset, 0.002) for offset in offsets for _ in range(10)]
        found = stats.speedup_estimate(blocks)
        covered += found.low <= 1.0 <= found.high
    assert covered / 300 < 0.6


def test_geometric_mean() -> None:
    assert stats.geometric_mean([0.5, 2.0, 8.0]) == pytest.approx(2.0)


@pytest.mark.parametrize("values", [[], [1.0, 0.0], [-1.0], [math.inf]])
def test_geometric_mean_refuses(values: list[float]) -> None:
    with pytest.raises(ValueError):
        stats.geometric_mean(values)


def test_pooled_ratio_of_equal_parts_is_tighter_than_each() -> None:
    part = stats.log_mean([0.1, 0.12, 0.08, 0.11, 0.09])
    one, many = stats.pooled_ratio([part]), stats.pooled_ratio([part] * 9)
    assert one == stats.speedup_estimate([0.1, 0.12, 0.08, 0.11, 0.09])
    assert many.value == pytest.approx(one.value)
    assert math.log(many.high / many.low) < math.log(one.high / one.low) / 3


def test_pooled_ratio_knows_what_it_does_not_know() -> None:
    found = stats.pooled_ratio([stats.log_mean([0.1, 0.2]), stats.log_mean([0.3])])
    assert (found.low, found.high) == (0.0, math.inf)


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=12))
def test_an_interval_gives_its_standard_error_back(d: list[float]) -> None:
    known = stats.log_mean(d)
    recovered = stats.log_mean_from_interval(stats.speedup_estimate(d), len(d))
    assert recovered.mean == pytest.approx(known.mean, abs=1e-9)
    if recovered.variance is not None:
        assert recovered.variance == pytest.approx(known.variance, rel=1e-6, abs=1e-12)


def test_an_unbounded_interval_gives_none() -> None:
    assert stats.log_mean_from_interval(Estimate(value=2.0, low=0.0, high=math.inf), 1).variance is None


def test_difference_agrees_with_welch() -> None:
    from scipy.stats import ttest_ind

    old, new = [0.1, 0.13, 0.09, 0.12, 0.1], [0.2, 0.28, 0.22]
    found = stats.difference(stats.log_mean(old), stats.log_mean(new))
    expected = ttest_ind(new, old, equal_var=False)
    assert found.p_value == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval()
    assert found.low == pytest.approx(interval.low)
    assert found.high == pytest.approx(interval.high)


def test_noise_between_runs_widens_the_difference() -> None:
    old, new = stats.log_mean([0.1, 0.11, 0.09]), stats.log_mean([0.2, 0.21, 0.19])
    noise = stats.RunNoise(variance=0.01, degrees=6.0, rows=10)
    assert (stats.difference(old, new).p_value or 0) < 1e-3 < 0.1 < (stats.difference(old, new, noise).p_value or 0)


def test_one_replicate_borrows_the_other_sides_spread() -> None:
    known = stats.log_mean([0.1, 0.12, 0.08])
    found = stats.difference(known, stats.log_mean([0.5]))
    assert found.degrees == 2
    assert found.variance == pytest.approx(0.02**2 * (1 / 3 + 1))


def test_two_single_replicates_say_nothing() -> None:
    found = stats.difference(stats.log_mean([0.1]), stats.log_mean([0.5]))
    assert found.p_value is None
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_no_variance_at_all() -> None:
    flat = stats.log_mean([0.5] * 5)
    assert stats.difference(flat, flat).p_value == 1.0
    assert stats.difference(flat, stats.log_mean([0.4] * 5)).p_value == 0.0


def test_holm_by_hand() -> None:
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert stats.holm([]) == ()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_keeps_order_and_bounds(p_values: list[float]) -> None:
    adjusted = stats.holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    ranked = [adjusted[i] for i in sorted(range(len(p_values)), key=lambda i: p_values[i])]
    assert ranked == sorted(ranked)


@given(st.floats(0, 1), st.lists(st.one_of(st.floats(0, 0.06), st.floats(0, 1)), max_size=8))
def test_the_cutoff_is_where_holm_begins_to_reject(p: float, others: list[float]) -> None:
    cutoff = stats.holm_cutoff(others, 0.05)
    if not math.isclose(p, cutoff, rel_tol=1e-9):
        assert (p < cutoff) == (stats.holm([p, *others])[0] < 0.05)


def test_deviations_are_ratios_around_the_geometric_mean() -> None:
    d = [math.log(1.1), math.log(1 / 1.1), 0.0]
    assert stats.deviations(d) == pytest.approx((1 / 1.1 - 1, 0.0, 0.1))
    assert stats.deviations([]) == ()


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=10))
def test_log_mean_has_the_variance_of_the_mean(d: list[float]) -> None:
    assert stats.log_mean(d).variance == pytest.approx(statistics.variance(d) / len(d), rel=1e-9, abs=1e-25)


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_holm_refuses(p: float) -> None:
    with pytest.raises(ValueError):
        stats.holm([0.5, p])


def test_run_noise_needs_rows() -> None:
    assert stats.run_noise([0.1] * 3, [0.0] * 3) == stats.RunNoise()
    with pytest.raises(ValueError):
        stats.run_noise([0.1], [])


def test_run_noise_finds_the_variance_and_ignores_rows_that_moved() -> None:
    rng = random.Random(3)
    found, disturbed = [], []
    for _ in range(300):
        deltas = [rng.gauss(0, math.hypot(0.02, 0.01)) for _ in range(30)]
        found.append(stats.run_noise(deltas, [1e-4] * 30).variance)
        disturbed.append(stats.run_noise([*deltas, 0.5, -0.7], [1e-4] * 32).variance)
    assert math.sqrt(statistics.fmean(found)) == pytest.approx(0.02, rel=0.1)
    assert math.sqrt(statistics.fmean(disturbed)) == pytest.approx(0.02, rel=0.1)


def test_run_noise_names_the_rows_that_moved() -> None:
    deltas = [0.01, -0.01, 0.5, 0.012, -0.009]
    assert stats.run_noise(deltas, [1e-6] * 5).left_out == (2,)
    assert stats.run_noise(deltas[:2] + deltas[3:], [1e-6] * 4).left_out == ()


def test_run_noise_is_never_negative() -> None:
    assert stats.run_noise([0.0] * 5, [0.01] * 5).variance == 0.0


def test_the_variance_of_a_mean_leads_back_to_the_spread_that_decided_the_number() -> None:
    d = [0.1, 0.12, 0.08, 0.11, 0.09, 0.3, -0.2]
    fixed, wanted = stats.log_mean(d), stats.log_mean(d, first=5)
    assert (fixed.replicates, wanted.replicates, wanted.degrees) == (7, 7, 4)
    assert wanted.variance is not None and fixed.variance is not None
    assert wanted.variance * wanted.replicates == pytest.approx(statistics.variance(d[:5]))
    assert fixed.variance * fixed.replicates == pytest.approx(statistics.variance(d))
