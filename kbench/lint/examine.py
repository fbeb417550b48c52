"""One problem to its report: measure, then judge."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from kbench.judge.cases import SeedSource
from kbench.judge.reference import Reference
from kbench.lint import rules
from kbench.lint.form import read_form, stage
from kbench.lint.model import Finding, Report, Unfit
from kbench.lint.probe import probe
from kbench.lint.values import Seen
from kbench.measure.physics import Ceilings
from kbench.model import Problem

_SEED = 20
"""Fixed: nobody is judged here, and a finding should come back when it is looked for again."""


def examine(problem: Problem, *, size: str, device: torch.device, ceilings: Ceilings) -> Report:
    """Everything that is weak about a problem at one size. Runs its file in this process; never raises ProblemError."""
    report = Report(problem=problem.id, path=str(problem.path), size=size, device=str(device))
    where = str(problem.path)
    seeds = SeedSource(_SEED)
    found: list[Finding] = []
    measured: dict[str, Any] = {}
    try:
        with stage("runs"):
            reference = Reference(problem, size=size, device=device)
        form = read_form(reference, seeds)
        found = list(rules.judge_form(form))
        seen = probe(reference, form, seeds, ceilings)
        found, measured = rules.judge(seen), figures(seen)
    except Unfit as unfit:
        found.insert(0, unfit.finding(where))
    placed = tuple(dataclasses.replace(finding, where=finding.where or where) for finding in found)
    return dataclasses.replace(report, findings=placed, measured=measured)


def figures(seen: Seen) -> dict[str, Any]:
    """What was measured, for a reader of the JSON. Times in ms."""
    return {
        "eager_ms": seen.timing.eager_ms,
        "enqueue_ms": seen.timing.enqueue_ms,
        "floor_ms": seen.timing.floor_ms,
        "cases": {
            case.name: {
                "usable": case.usable,
                "finite_share": [output.finite_share for output in case.outputs],
                "top_share": [output.top_share for output in case.outputs],
                "precision_ratio": list(case.precision_ratios),
            }
            for case in seen.cases
        },
    }
