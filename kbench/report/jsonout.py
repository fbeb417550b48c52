"""What `--json` prints: stable names, unrounded numbers, null for what is not known, ASCII only."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from kbench.compare.comparison import Comparison
from kbench.compare.explain import Explanation
from kbench.compare.gate import Gate
from kbench.compare.row import Row
from kbench.model import SCHEMA_VERSION, Estimate, Record
from kbench.report.explanation import needed_text, rule
from kbench.report.text import fast_p_name
from kbench.stats import LogMean
from kbench.store.jsonl import plain
from kbench.store.runs import Key, LoadedRun
from kbench.store.summary import FAST_P, RunSummary, baselines_of, fast_p, judged_problems, mean_speedup


def comparison_json(comparison: Comparison, gate: Gate | None = None) -> str:
    """A comparison; `gate` is null where none was asked for."""
    return _dumps({
        "schema_version": SCHEMA_VERSION,
        "old": str(comparison.old.path),
        "new": str(comparison.new.path),
        "threshold": comparison.threshold,
        "gate": _gate(gate),
        "rows": [_row(row) for row in comparison.rows],
        "appeared": [_brief(record) for record in comparison.appeared],
        "vanished": [_brief(record) for record in comparison.vanished],
        "environment": comparison.environment,
        "old_geometric_mean": comparison.old_geometric_mean,
        "new_geometric_mean": comparison.new_geometric_mean,
        "geometric_mean_ratio": _estimate(comparison.geometric_mean_ratio),
        "old_fast_p": _fast_p(comparison.old.records),
        "new_fast_p": _fast_p(comparison.new.records),
        "between_run_noise": {
            "sd_log_ratio": math.sqrt(comparison.noise.variance), "unchanged_rows": comparison.noise.rows,
        },
        "warnings": comparison.warnings,
    })  # fmt: skip


def run_json(run: LoadedRun) -> str:
    """A run with all its records."""
    return _dumps(
        {
            "schema_version": SCHEMA_VERSION,
            "path": str(run.path),
            "options": run.options,
            "environment": run.environment,
            "later_environments": run.later_environments,
            "geometric_mean": mean_speedup(run.records),
            "fast_p": _fast_p(run.records),
            "records": [record.to_json() for record in run.records.values()],
            "warnings": run.warnings,
        }
    )


def record_json(record: Record, *, files: Mapping[str, str], logs: Mapping[str, str] | None = None) -> str:
    """A record with the paths of what the run keeps of it and, where asked for, its logs."""
    data = record.to_json() | {"files": files}
    return _dumps(data if logs is None else data | {"logs": logs})


def list_json(runs: Sequence[RunSummary]) -> str:
    """The runs below a directory."""
    return _dumps({"schema_version": SCHEMA_VERSION, "runs": runs})


def explanation_json(explained: Explanation, gate: Gate | None = None) -> str:
    """A row as in a comparison, its two records, and in `evidence` the figures of its test."""
    row, needed = explained.row, explained.needed
    evidence = row.evidence
    return _dumps({
        "schema_version": SCHEMA_VERSION,
        "row": _row(row),
        "rule": rule(explained),
        "threshold": {
            "change": explained.threshold, "slow_delta": explained.low_bound, "fast_delta": explained.high_bound,
            "at_threshold": explained.at_threshold,
        },
        "old": explained.old.to_json(),
        "new": explained.new.to_json(),
        "evidence": evidence and {
            "old": _mean(evidence.old), "new": _mean(evidence.new),
            "noise": {
                "variance": evidence.noise.variance, "degrees": evidence.noise.degrees,
                "rows": ["/".join(key) for key in evidence.noise_rows],
                "left_out": ["/".join(evidence.noise_rows[index]) for index in evidence.noise.left_out],
            },
            "difference": evidence.difference, "p_adjusted": row.p_adjusted, "p_cutoff": explained.p_cutoff,
            "rank": evidence.rank, "tests": evidence.tests,
        },
        "needed": needed and {
            "replicates": needed.replicates, "verdict": needed.verdict, "obstacle": needed.obstacle,
            "text": needed_text(needed),
        },
        "gate": _gate(gate),
    })  # fmt: skip


def _mean(side: LogMean) -> dict[str, float | None]:
    """`variance` is that of the mean, s²/P."""
    spread = None if side.variance is None else math.sqrt(side.variance * side.replicates)
    return {"mean": side.mean, "s": spread, "variance": side.variance, "replicates": side.replicates}


def _gate(gate: Gate | None) -> dict[str, Any] | None:
    if gate is None:
        return None
    return {"outcome": gate.outcome, "exit_code": gate.exit_code, "reasons": gate.reasons}


def _fast_p(records: Mapping[Key, Record]) -> dict[str, Any]:
    """For each baseline the shares by p, and the problems they are shares of."""
    shares = {
        baseline: {fast_p_name(p): fast_p(records, p, baseline=baseline) for p in FAST_P}
        for baseline in baselines_of(records)
    }
    return {"problems": len(judged_problems(records)), "over": shares}


def _row(row: Row) -> dict[str, Any]:
    fields = {f.name: getattr(row, f.name) for f in dataclasses.fields(row) if f.name != "evidence"}
    speedups = {name: _estimate(fields[name]) for name in ("old_speedup", "new_speedup")}
    return fields | speedups | {"reference_share": row.reference_share}


def _estimate(value: Estimate | None) -> dict[str, float | None] | None:
    """An interval that nothing bounds is two nulls."""
    if value is None:
        return None
    bounded = value.low > 0 and math.isfinite(value.high)
    return {
        "value": value.value, "low": value.low if bounded else None, "high": value.high if bounded else None,
    }  # fmt: skip


def _brief(record: Record) -> dict[str, Any]:
    return {name: getattr(record, name) for name in ("problem", "solution", "status", "speedup")}


def _dumps(value: Mapping[str, Any]) -> str:
    return json.dumps(plain(value), indent=2, allow_nan=False)
