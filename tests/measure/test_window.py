"""Claims held against the judge's own clock."""

from __future__ import annotations

import dataclasses
import random
import statistics
from typing import Any

import pytest

from kbench.measure.window import CPU_SLACK, CUDA_SLACK, Slack, bound_by_window, flags_of
from kbench.model import Sample

MS = 1e6
OVERHEAD_NS = 400_000.0
REPLICATES, BLOCKS, PER_BLOCK = 5, 10, 6


def sample(
    side: str,
    *,
    claimed_ns: float,
    window_ns: float,
    calls: int = 1,
    replicate: int = 0,
    block: int = 0,
    flags: tuple[str, ...] = (),
) -> Sample:
    return Sample(
        replicate=replicate, block=block, position=0, side=side, calls=calls, claimed_ns=claimed_ns,
        enqueue_ns=1.0, window_ns=window_ns, time_ns=claimed_ns, flags=flags,
    )  # fmt: skip


def side(
    name: str,
    *,
    true_ns: float,
    claimed_ns: float | None = None,
    calls: int = 1,
    liar_in: float = 1.0,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> list[Sample]:
    """A side that takes `true_ns` a call, as its windows show, and says it took `claimed_ns` in a share of its blocks.

    The noise is an H200's: 20 us from sample to sample, 6 us from process to process.
    """
    noise = random.Random(f"{name}{seed}")
    samples = []
    for replicate in range(replicates):
        drift_ns = noise.gauss(0, 6e3)
        for block in range(BLOCKS):
            lies = claimed_ns is not None and block < liar_in * BLOCKS
            for _ in range(PER_BLOCK):
                excess_ns = OVERHEAD_NS + drift_ns + noise.gauss(0, 2e4)
                samples.append(
                    sample(
                        name,
                        claimed_ns=claimed_ns if lies and claimed_ns is not None else true_ns,
                        window_ns=true_ns + excess_ns / calls,
                        calls=calls,
                        replicate=replicate,
                        block=block,
                    )
                )
    return samples


def bounded(*sides: list[Sample], slack: Slack = CUDA_SLACK) -> list[Sample]:
    return [s for s in bound_by_window([s for part in sides for s in part], slack) if s.side == "solution"]


def typical_ns(samples: list[Sample]) -> float:
    return statistics.median(s.time_ns for s in samples)


@pytest.mark.parametrize("replicates", [3, 5, 10])
def test_honest_sides_are_left_alone_nearly_always(replicates: int) -> None:
    flagged = 0
    for seed in range(60):
        for true_ns, calls in ((2 * MS, 1), (0.2 * MS, 10)):
            eager = side("eager", true_ns=2 * MS, seed=seed, replicates=replicates)
            own = side("solution", true_ns=true_ns, calls=calls, seed=seed, replicates=replicates)
            flagged += bool(flags_of(bounded(eager, own), "solution"))
    assert flagged <= 2  # of 120


@pytest.mark.parametrize("claimed_ns", [0.0, 1.0, 1 * MS, 12 * MS])
def test_a_side_that_hides_most_of_its_time_is_held_to_the_window(claimed_ns: float) -> None:
    samples = bounded(side("eager", true_ns=20 * MS), side("solution", true_ns=20 * MS, claimed_ns=claimed_ns))
    assert all(s.flags == ("clock_mismatch",) for s in samples)
    assert typical_ns(samples) == pytest.approx(20 * MS, rel=0.01)
    assert flags_of(samples, "solution") == ("clock_mismatch",)


@pytest.mark.parametrize("liar_in", [1.0, 0.6, 0.4])
@pytest.mark.parametrize(("true_ns", "calls"), [(0.2 * MS, 10), (1 * MS, 2), (2 * MS, 1), (20 * MS, 1)])
def test_no_lie_gains_more_than_the_documented_slack(true_ns: float, calls: int, liar_in: float) -> None:
    """For calls of 200 us and more: 2% + 5 us each, of which the window alone accounts for 0.5% + 10 us a sample."""
    for seed, hidden in enumerate((1.0, 0.5, 0.1, 0.05, 0.03, 0.02, 0.01, 0.005)):
        eager = side("eager", true_ns=2 * MS, seed=seed)
        lying = side(
            "solution", true_ns=true_ns, claimed_ns=(1 - hidden) * true_ns, calls=calls, liar_in=liar_in, seed=seed
        )
        noise_ns = 2e4 / calls
        assert typical_ns(bounded(eager, lying)) >= true_ns - (0.02 * true_ns + 5e3) - noise_ns


def test_a_lie_in_one_replicate_only_is_held_there() -> None:
    honest, lying = side("solution", true_ns=2 * MS), side("solution", true_ns=2 * MS, claimed_ns=1.8 * MS)
    mixed = [b if b.replicate == 3 else a for a, b in zip(honest, lying, strict=True)]
    samples = bounded(side("eager", true_ns=2 * MS), mixed)
    assert statistics.median(s.time_ns for s in samples if s.replicate == 3) == pytest.approx(2 * MS, rel=0.03)


def test_the_cpus_slack_is_wider_and_holds_all_the_same() -> None:
    eager = side("eager", true_ns=8 * MS)
    assert not flags_of(bounded(eager, side("solution", true_ns=8 * MS), slack=CPU_SLACK), "solution")
    for share in (0.0, 0.5, 0.9):
        lying = bounded(eager, side("solution", true_ns=8 * MS, claimed_ns=share * 8 * MS), slack=CPU_SLACK)
        assert typical_ns(lying) == pytest.approx(8 * MS, rel=0.02)


def test_replicates_are_held_to_their_own_overhead() -> None:
    def late(samples: list[Sample]) -> list[Sample]:
        return [dataclasses.replace(s, window_ns=s.window_ns + 5 * MS) if s.replicate == 1 else s for s in samples]

    judged = bounded(late(side("eager", true_ns=2 * MS)), late(side("solution", true_ns=MS)))
    assert all(s.flags == () for s in judged)


def test_a_few_interrupted_samples_are_marked_and_the_side_is_not() -> None:
    samples = side("solution", true_ns=2 * MS)
    for at, window_ns in ((3, 14 * MS), (30, 9 * MS)):
        samples[at] = dataclasses.replace(samples[at], window_ns=window_ns)
    judged = bounded(side("eager", true_ns=2 * MS), samples)
    assert sum(s.flags == ("clock_mismatch",) for s in judged) == 2
    assert flags_of(judged, "solution") == ()


def test_trusted_sides_are_never_bounded() -> None:
    trusted = [*side("eager", true_ns=2 * MS, claimed_ns=0.1 * MS), *side("compile", true_ns=2 * MS, claimed_ns=1.0)]
    judged = bound_by_window(trusted, CUDA_SLACK)
    assert judged == trusted


def test_without_a_trusted_side_the_whole_window_counts() -> None:
    judged = bounded(side("solution", true_ns=20 * MS, claimed_ns=1.0))
    assert all(s.time_ns == s.window_ns for s in judged)


def test_order_and_raw_figures_stay() -> None:
    before = [*side("eager", true_ns=2 * MS), *side("solution", true_ns=20 * MS, claimed_ns=1.0)]
    after = bound_by_window(before, CUDA_SLACK)
    assert [(s.side, s.claimed_ns, s.window_ns) for s in after] == [(s.side, s.claimed_ns, s.window_ns) for s in before]


def test_other_flags_stay() -> None:
    flagged = sample("solution", claimed_ns=1.0, window_ns=20 * MS, flags=("odd",))
    assert bounded([flagged])[0].flags == ("odd", "clock_mismatch")


@pytest.mark.parametrize(("marked", "named"), [(0, False), (2, False), (3, True), (10, True)])
def test_a_flag_is_the_sides_when_more_than_a_fifth_carry_it(marked: int, named: bool) -> None:
    fields: dict[str, Any] = {"claimed_ns": 1.0, "window_ns": 1.0}
    samples = [sample("solution", **fields, flags=("odd",) if n < marked else ()) for n in range(10)]
    samples += [sample("eager", **fields, flags=("other",)) for _ in range(10)]
    assert flags_of(samples, "solution") == (("odd",) if named else ())
    assert flags_of([], "solution") == ()
