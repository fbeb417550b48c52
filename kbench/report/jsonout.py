"""What `--json` prints: stable names, unrounded numbers, null for what is not known, ASCII only."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from kbench.compare.comparison import Comparison
from kbench.compare.gate import Gate
from kbench.compare.row import Row
from kbench.model import SCHEMA_VERSION, Estimate, Record
from kbench.store.jsonl import plain
from kbench.store.runs import LoadedRun
from kbench.store.summary import RunSummary, mean_speedup


def comparison_json(comparison: Comparison, gate: Gate | None = None) -> str:
    """A comparison; `gate` is null where none was asked for."""
    return _dumps({
        "schema_version": SCHEMA_VERSION,
        "old": str(comparison.old.path),
        "new": str(comparison.new.path),
        "threshold": comparison.threshold,
        "gate": gate and {
            "outcome": gate.outcome, "exit_code": gate.exit_code, "reasons": gate.reasons,
        },
        "rows": [_row(row) for row in comparison.rows],
        "appeared": [_brief(record) for record in comparison.appeared],
        "vanished": [_brief(record) for record in comparison.vanished],
        "environment": comparison.environment,
        "old_geometric_mean": comparison.old_geometric_mean,
        "new_geometric_mean": comparison.new_geometric_mean,
        "geometric_mean_ratio": _estimate(comparison.geometric_mean_ratio),
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
            "geometric_mean": mean_speedup(run.records),
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


def _row(row: Row) -> dict[str, Any]:
    fields = {f.name: getattr(row, f.name) for f in dataclasses.fields(row)}
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
