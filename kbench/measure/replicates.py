"""Measure a pair: replicates of fresh sides, as many as its interval needs. Knows sides by their protocol only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kbench import stats
from kbench.machine.telemetry import PlacedReading
from kbench.measure.backend import AnySide, Backend, Side
from kbench.measure.sampling import Budget, in_step, samples_of, take_replicate, warm_up
from kbench.measure.summary import Taken, log_ratios
from kbench.measure.window import SOLUTION, TRUSTED_SIDE, Slack, bound_by_window
from kbench.model import Sample


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How many pairs of fresh processes to measure."""

    replicates: int
    most_replicates: int
    """Where the interval is still wide (`stats.wants_more`). No more than `replicates`: their number is fixed."""


def take_samples(
    backend: Backend[AnySide],
    names: Sequence[str],
    *,
    effort: Effort,
    budget: Budget,
    slack: Slack,
    progress: Callable[[int, int], None],
) -> Taken:
    """All replicates' samples of the sides `names` (the solution's, eager's, further baselines'), bounded.

    Which side starts first alternates. `progress(replicate, of)` is told before each. Raises what the backend and
    its follower raise.
    """
    samples: list[Sample] = []
    wall_ns: dict[str, list[float]] = {name: [] for name in names}
    readings: list[PlacedReading] = []
    verified, replicate = 0, 0

    def visited(side: Side, block: int, position: int) -> None:
        if (reading := backend.read()) is not None:
            readings.append(
                PlacedReading(replicate=replicate, block=block, position=position, side=side.name, reading=reading)
            )

    while _goes_on(samples, replicate, effort, slack):
        progress(replicate, effort.replicates if replicate < effort.replicates else effort.most_replicates)
        order = list(names) if replicate % 2 == 0 else list(reversed(names))
        with backend.staffed(order) as sides:
            paces = in_step({side.name: warm_up(side, budget, trusted=side.name != SOLUTION) for side in sides})
            pace = paces[SOLUTION]
            follower = backend.follow(sides, samples=samples_of(pace, budget), calls=pace.calls)
            found = take_replicate(
                replicate, sides, paces=paces, budget=budget, after=follower.after, visited=visited
            )
            samples += found.samples
            for name, times in found.wall_ns.items():
                wall_ns[name] += times
            verified += follower.verified
        replicate += 1
    bounded = bound_by_window(samples, slack)
    timed = sum(sample.calls for sample in bounded if sample.side == SOLUTION)
    deciding = stats.FIRST_REPLICATES if effort.most_replicates > effort.replicates else None
    return Taken(
        samples=tuple(bounded), wall_ns=wall_ns, timed_calls=timed, verified_calls=verified, deciding=deciding,
        readings=tuple(readings),
    )  # fmt: skip


def _goes_on(samples: Sequence[Sample], taken: int, effort: Effort, slack: Slack) -> bool:
    if taken < effort.replicates or taken >= effort.most_replicates:
        return taken < effort.replicates
    d = log_ratios(bound_by_window(samples, slack), TRUSTED_SIDE)
    return stats.wants_more(d, most=effort.most_replicates)
