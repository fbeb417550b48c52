"""Pairs of runs for the gate, as records that a run would have left, and what the gate makes of them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from run_factory import ENVIRONMENT
from scipy.special import stdtrit  # type: ignore[import-untyped, unused-ignore]

from kbench.compare.comparison import compare_runs
from kbench.compare.gate import Outcome, gate
from kbench.compare.row import Change
from kbench.model import Record, Status
from kbench.store.runs import LoadedRun

_SPEEDUP = 1.5
_REFERENCE_MS = 5.9


@dataclass(frozen=True, kw_only=True)
class World:
    """Two runs of the same solutions, and what happened in between."""

    rows: int
    slower_by: tuple[float, ...] = ()
    """The first rows' times grew by these shares: 0.08 is a kernel that takes 1.08 times as long."""
    replicate_sd: float = 0.005
    """Of log-ratios, from replicate to replicate of a run (H200: 0.1 to 1.3%)."""
    run_sd: float = 0.01
    """tau: of a row's difference of two runs, beyond what its replicates show."""
    replicates: int = 5


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the gate said of a pair of runs."""

    outcome: Outcome
    regressed: frozenset[int]
    """Numbers of the rows that it called slower."""
    fell: int
    """How many rows' speedups were at least 5% lower, significantly or not."""


def answers(world: World, rng: np.random.Generator, *, pairs: int) -> Iterator[Answer]:
    """The gate's answers, at its default threshold of 5%, to so many pairs of runs."""
    shape = (2, world.rows, world.replicates)
    slowdown = np.zeros(world.rows)
    slowdown[: len(world.slower_by)] = np.log1p(world.slower_by)
    for _ in range(pairs):
        d = math.log(_SPEEDUP) + rng.normal(0.0, world.replicate_sd, shape)
        d += rng.normal(0.0, world.run_sd / math.sqrt(2), (2, world.rows, 1))
        d[1] -= slowdown[:, None]
        old, new = run_of(d[0], "old"), run_of(d[1], "new")
        comparison = compare_runs(old, new)
        regressed = frozenset(int(row.solution) for row in comparison.having(Change.REGRESSED))
        fell = sum(row.change is not None and row.change <= -comparison.threshold for row in comparison.rows)
        yield Answer(outcome=gate(comparison).outcome, regressed=regressed, fell=fell)


def run_of(d: NDArray[np.float64], name: str) -> LoadedRun:
    """A run of one problem whose solutions have these log-ratios, by row and replicate."""
    replicates = d.shape[1]
    mean = d.mean(axis=1)
    half = stdtrit(replicates - 1, 0.975) * d.std(axis=1, ddof=1) / math.sqrt(replicates)
    figures = zip(d.tolist(), np.exp(mean).tolist(), np.exp(mean - half).tolist(), np.exp(mean + half).tolist(),
                  strict=True)  # fmt: skip
    records = [
        Record(
            problem="p", solution=str(row), device="cuda", size="full", precision="fp32", status=Status.CORRECT,
            speedup=speedup, speedup_low=low, speedup_high=high, time_ms=_REFERENCE_MS / speedup,
            reference_ms=_REFERENCE_MS, replicates=replicates, replicate_log_ratios=tuple(logs),
            problem_sha="p" * 8, solution_sha="s" * 8, environment_key=ENVIRONMENT["key"],
        )
        for row, (logs, speedup, low, high) in enumerate(figures)
    ]  # fmt: skip
    return LoadedRun(
        path=Path(name), records={record.key: record for record in records}, environment=ENVIRONMENT,
        options={"replicates": replicates},
    )  # fmt: skip
