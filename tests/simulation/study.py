"""How true the intervals are and how quiet the gate is, in figures: prints the tables of docs/measurement.md.

From the folder tests/: `python -m simulation.study`, which takes two to three minutes on one core.
"""

from __future__ import annotations

import math
import re
import statistics
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from kbench import stats
from kbench.compare.gate import Outcome
from simulation import stopping
from simulation.fast import SEED, Array, covered, generator, log_ratios
from simulation.gates import Answer, World, answers
from simulation.noise import SCENARIOS, Scenario
from simulation.path import pace_of, timeline_of

PAGE = Path(__file__).parents[2] / "docs" / "measurement.md"
_COVERAGE, _STOPPING, _MODES, _GATE = range(4)
"""First part of the generators' keys."""


@dataclass(frozen=True, kw_only=True)
class Draws:
    """How many there are of everything."""

    coverage: int = 2_000
    stopping: int = 20_000
    modes: int = 20_000
    false_alarms: int = 1_000
    power: int = 500


FULL = Draws()


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of figures. The first cell names its row."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __str__(self) -> str:
        rule = " | ".join(["---", *["---:"] * (len(self.header) - 1)])
        lines = [" | ".join(self.header), rule, *(" | ".join(row) for row in self.rows)]
        return "\n".join(f"| {line} |" for line in lines)


def percent(share: float) -> str:
    return f"{100 * share:.1f}%"


# --- coverage ---


@cache
def drawn(name: str, draws: int) -> Array:
    """d_p by draw and replicate, ten of each."""
    index, scenario = next((i, s) for i, s in enumerate(SCENARIOS) if s.name == name)
    timeline = timeline_of(scenario, draws=draws, replicates=stopping.MOST)
    factors = scenario.model(generator(_COVERAGE, index), timeline)
    return log_ratios(scenario, factors, timeline, calls=pace_of(scenario).calls)


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """Shares of the intervals that hold the true speedup."""

    spread: float
    """Of d_p, the median of the draws' standard deviations."""
    five: float
    """With five replicates."""
    ten: float
    stopped: float
    """With as many as `wants_more` asks for."""
    used: float
    """Replicates that it asks for, on average."""


@cache
def coverage_of(scenario: Scenario, *, draws: int) -> Coverage:
    d = drawn(scenario.name, draws)
    estimates = {count: [stats.speedup_estimate(row) for row in d[:, :count].tolist()] for count in (5, 10)}
    taken = [stopping.stopped(row) for row in d.tolist()]
    adaptive = [stats.speedup_estimate(each, first=stopping.FIRST) for each in taken]
    return Coverage(
        spread=float(np.median(d.std(axis=1, ddof=1))),
        five=covered(estimates[5], scenario.speedup),
        ten=covered(estimates[10], scenario.speedup),
        stopped=covered(adaptive, scenario.speedup),
        used=statistics.fmean(len(each) for each in taken),
    )


def coverage_table(draws: Draws) -> Table:
    found = [(scenario, coverage_of(scenario, draws=draws.coverage)) for scenario in SCENARIOS]
    return Table(
        header=("noise", "spread of d_p", "5 replicates", "10", "5 to 10, as wanted", "of which taken"),
        rows=tuple(
            (s.name, f"{100 * c.spread:.2f}%", percent(c.five), percent(c.ten), percent(c.stopped), f"{c.used:.1f}")
            for s, c in found
        ),
    )


# --- stopping ---


@cache
def worst_of(rule: stopping.Rule, *, draws: int) -> tuple[float, float]:
    """The least share of intervals that hold the truth, over spreads of replicates, and at which."""
    found = [
        (float(rule(_normal(draws, index)).covered.mean()), spread) for index, spread in enumerate(stopping.SPREADS)
    ]
    return min(found)


def _normal(draws: int, index: int) -> Array:
    return generator(_STOPPING, index).normal(0.0, stopping.SPREADS[index], (draws, stopping.MOST))


def stopping_table(draws: Draws) -> Table:
    one_percent = generator(_STOPPING, len(stopping.SPREADS)).normal(0.0, 0.01, (draws.stopping, stopping.MOST))
    rows = []
    for name, rule in stopping.RULES.items():
        worst, spread = worst_of(rule, draws=draws.stopping)
        typical = rule(one_percent)
        rows.append((
            name, percent(worst), f"{100 * spread:.1f}%", f"{typical.used.mean():.1f}",
            f"{100 * typical.half.mean():.2f}%",
        ))  # fmt: skip
    header = ("rule", "coverage at worst", "at a spread of", "replicates at 1%", "half-width at 1%")
    return Table(header=header, rows=tuple(rows))


# --- two modes ---

MODES_APART, MODE_SD = 0.05, 0.005
SIZES = (5, 7, 10, 20)


@cache
def false_flags(size: int, *, draws: int) -> float:
    """The share of normal samples that are called bimodal, however near the modes."""
    values = generator(_MODES, size).normal(0.0, MODE_SD, (draws, size))
    return statistics.fmean(stats.is_bimodal(row, least_apart=0.0) for row in values.tolist())


def two_modes(size: int, *, draws: int) -> Array:
    """Log-ratios that come from either of two modes with equal chance."""
    rng = generator(_MODES, size, 1)
    return rng.normal(0.0, MODE_SD, (draws, size)) + MODES_APART * rng.integers(0, 2, (draws, size))


@dataclass(frozen=True, kw_only=True)
class Modes:
    """Shares of the draws of two modes."""

    found: float
    covered: float
    """The interval holds the middle between the modes, which is the mean over many processes."""
    unseen: float
    """It does not, and nothing is found either."""


@cache
def modes_found(size: int | None, *, draws: int) -> Modes:
    """Of `size` replicates; None: of as many as `wants_more` asks for."""
    rows = two_modes(size or stopping.MOST, draws=draws).tolist()
    taken = rows if size else [stopping.stopped(row) for row in rows]
    found = [stats.is_bimodal(row) for row in taken]
    estimates = [stats.speedup_estimate(row, first=None if size else stopping.FIRST) for row in taken]
    holds = [each.low <= math.exp(MODES_APART / 2) <= each.high for each in estimates]
    return Modes(
        found=statistics.fmean(found),
        covered=statistics.fmean(holds),
        unseen=statistics.fmean(not (seen or held) for seen, held in zip(found, holds, strict=True)),
    )


def modes_table(draws: Draws) -> Table:
    rows = []
    for size in (*SIZES, None):
        modes = modes_found(size, draws=draws.modes)
        rows.append((
            str(size) if size else "5 to 10, as wanted",
            percent(false_flags(size, draws=draws.modes)) if size else "",
            percent(modes.found), percent(modes.covered), percent(modes.unseen),
        ))  # fmt: skip
    header = ("replicates", "called bimodal without cause", "two modes found", "covered", "neither")
    return Table(header=header, rows=tuple(rows))


# --- the gate ---

_NOISY = 0.02
WORLDS: dict[str, World] = {
    "100 rows, unchanged": World(rows=100),
    "30 rows, unchanged": World(rows=30),
    "10 rows, unchanged": World(rows=10),
    "3 rows, unchanged": World(rows=3),
    "100 rows, unchanged, noise 2% and 2%": World(rows=100, replicate_sd=_NOISY, run_sd=_NOISY),
    "100 rows, one slower by 5%": World(rows=100, slower_by=(0.05,)),
    "100 rows, one slower by 6%": World(rows=100, slower_by=(0.06,)),
    "100 rows, one slower by 8%": World(rows=100, slower_by=(0.08,)),
    "100 rows, one slower by 10%": World(rows=100, slower_by=(0.10,)),
    "30 rows, one slower by 8%": World(rows=30, slower_by=(0.08,)),
    "10 rows, one slower by 8%": World(rows=10, slower_by=(0.08,)),
    "3 rows, one slower by 8%": World(rows=3, slower_by=(0.08,)),
    "100 rows, one slower by 10%, noise 2% and 2%": World(
        rows=100, slower_by=(0.10,), replicate_sd=_NOISY, run_sd=_NOISY
    ),
    "100 rows, two slower by 20%": World(rows=100, slower_by=(0.2, 0.2)),
    "10 rows, two slower by 20%": World(rows=10, slower_by=(0.2, 0.2)),
}


@dataclass(frozen=True, kw_only=True)
class GateFigures:
    """Shares of the pairs of runs."""

    pairs: int
    not_passed: float
    found: float
    """Every row that became slower was called so."""
    false: float
    """A row that did not was called slower."""


@cache
def gate_figures(name: str, *, draws: Draws) -> GateFigures:
    world = WORLDS[name]
    pairs = draws.power if world.slower_by else draws.false_alarms
    said = list(answers(world, generator(_GATE, list(WORLDS).index(name)), pairs=pairs))
    slower = frozenset(range(len(world.slower_by)))

    def share(those: Iterable[bool]) -> float:
        return sum(those) / pairs

    def false(answer: Answer) -> bool:
        return bool(answer.regressed - slower)

    return GateFigures(
        pairs=pairs,
        not_passed=share(answer.outcome is not Outcome.PASSED for answer in said),
        found=share(answer.regressed >= slower for answer in said),
        false=share(false(answer) for answer in said),
    )


def gate_row(name: str, *, draws: Draws) -> tuple[str, ...]:
    found = gate_figures(name, draws=draws)
    power = percent(found.found) if WORLDS[name].slower_by else ""
    return (name, str(found.pairs), percent(found.not_passed), power, percent(found.false))


def gate_table(draws: Draws) -> Table:
    header = ("runs", "pairs", "gate not passed", "slower rows found", "another row called slower")
    return Table(header=header, rows=tuple(gate_row(name, draws=draws) for name in WORLDS))


# --- all of it ---


def tables(draws: Draws = FULL) -> tuple[Table, ...]:
    return (coverage_table(draws), stopping_table(draws), modes_table(draws), gate_table(draws))


def committed(text: str) -> tuple[Table, ...]:
    """The tables of figures of the page, those with a column of numbers."""
    found = []
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        header, rule, *rows = [_cells(line) for line in block.splitlines()]
        if rule[-1] == "---:":
            found.append(Table(header=header, rows=tuple(rows)))
    return tuple(found)


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|"))


def main(arguments: Sequence[str]) -> int:
    if arguments:
        sys.stderr.write("usage: python -m simulation.study\n")
        return 2
    sys.stdout.write(f"Seed {SEED}.\n\n" + "\n\n".join(str(table) for table in tables()) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
