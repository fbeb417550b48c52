"""Records and runs for tests: the least that is valid, with what a test is about given by name."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from kbench.machine.reading import Reading
from kbench.machine.telemetry import PlacedReading
from kbench.model import Record, Sample, Status
from kbench.stats import speedup_estimate
from kbench.store.runs import LoadedRun

ENVIRONMENT: dict[str, Any] = {
    "key": "abc123",
    "machine": {"cpu_model": "Xeon 8592", "cores": 16, "memory_gb": 128, "kernel": "6.8"},
    "gpu": {"name": "NVIDIA H200", "driver": "580.1", "memory_gb": 139},
    "python": "3.11.7",
    "torch": "2.11.0",
    "cuda": "13.0",
    "compiler": "g++ 13.2",
    "nvcc": "13.0",
    "kbench": "0.1.0",
}


def make_record(identity: str = "softmax/v1", **fields: Any) -> Record:
    """A record; without `status` a correct one whose figures follow from `d` (log-ratios of the replicates)."""
    problem, _, solution = identity.rpartition("/")
    status = fields.pop("status", Status.CORRECT)
    d = tuple(fields.pop("d", (0.68, 0.69, 0.70, 0.71, 0.69)))
    basis: dict[str, Any] = {
        "problem": problem, "solution": solution, "device": "cuda", "size": "full", "precision": "fp32",
        "status": status, "problem_sha": "p" * 8, "solution_sha": "s" * 8, "environment_key": "abc123",
    }  # fmt: skip
    if status is Status.CORRECT:
        speedup = speedup_estimate(d)
        basis |= {
            "speedup": speedup.value, "speedup_low": speedup.low, "speedup_high": speedup.high,
            "reference_ms": 5.9, "time_ms": 5.9 / speedup.value, "build_s": 25.0, "cached": False,
            "replicates": len(d), "replicate_log_ratios": d,
        }  # fmt: skip
    return Record(**(basis | fields))


def make_sample(**fields: Any) -> Sample:
    basis = Sample(
        replicate=0, block=0, position=0, side="solution", claimed_ns=1e6, enqueue_ns=1e4, window_ns=1.1e6, calls=1,
        time_ns=1e6,
    )  # fmt: skip
    return dataclasses.replace(basis, **fields)


def make_reading(**figures: Any) -> PlacedReading:
    basis: dict[str, Any] = {"sm_clock_mhz": 1980, "reasons": ("sw_power_cap",)}
    return PlacedReading(replicate=0, block=0, position=0, side="solution", reading=Reading(**(basis | figures)))


def make_run(records: Iterable[Record], path: str = "results/run", **fields: Any) -> LoadedRun:
    basis: dict[str, Any] = {"environment": ENVIRONMENT}
    return LoadedRun(path=Path(path), records={record.key: record for record in records}, **(basis | fields))


def write_run(
    path: Path,
    records: Iterable[Record],
    *,
    environment: Mapping[str, Any] = ENVIRONMENT,
    options: Mapping[str, Any] | None = None,
) -> Path:
    """A run directory as `RunStore` leaves it, written by other means."""
    path.mkdir(parents=True)
    header = {"schema_version": 1, "options": dict(options or {}), "environment": dict(environment)}
    (path / "run.yaml").write_text(yaml.safe_dump(header))
    (path / "records.jsonl").write_text("".join(json.dumps(record.to_json()) + "\n" for record in records))
    return path
