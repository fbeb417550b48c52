"""`kbench build`: compile solutions, judge and time nothing."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import click

from kbench.cli import screen
from kbench.cli.progress import listening
from kbench.config import load_options
from kbench.errors import EXIT_FAILED, EXIT_OK, EXIT_UNDECIDED


@click.command("build")
@click.argument("problems", required=False, type=click.Path(path_type=Path))
@click.argument("solutions", required=False, type=click.Path(path_type=Path))
@click.option("--device", metavar="cpu|cuda", help="Which solutions; cuda needs nvcc, but no GPU.")
@click.option("--arch", metavar="CC", help="Compute capability to compile for (default: the GPU's, else 9.0).")
@click.option("-k", "select", metavar="EXPR", help="Only pairs whose id matches.")
@click.option("--jobs", type=int, metavar="N", help="Builds at once.")
@click.option("--build-timeout", "build_timeout_s", type=float, metavar="S", help="Seconds for each build.")
@click.option("--cache-dir", type=click.Path(path_type=Path), metavar="DIR", help="Where builds are kept.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per solution.")
def build_command(arch: str | None, as_json: bool, **flags: Any) -> int:
    """Build every solution in a confined process, and report success or the compiler's error for each."""
    from kbench.engine.prepare import prepare
    from kbench.engine.run import build_only

    options = load_options(flags, os.environ, Path.cwd()).options
    with tempfile.TemporaryDirectory(prefix="kbench-logs-") as logs, prepare(options, to_build=True) as prepared:
        screen.warn(prepared.discovery.warnings)
        with listening(total=len(prepared.jobs), done=0) as listener:
            builds = build_only(prepared, logs=Path(logs), arch=arch, listener=listener)
        rows = [_row(job, builds.get(job.solution.id)) for job in prepared.jobs]
    for row in rows:
        click.echo(json.dumps(row) if as_json else _line(row))
    if any(row["status"] == "failed" for row in rows):
        return EXIT_FAILED
    return EXIT_OK if any(row["status"] in ("built", "compiled") for row in rows) else EXIT_UNDECIDED


def _row(job: Any, build: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"problem": job.problem.id, "solution": job.solution.name}
    if build is None:
        return {**row, "status": "skipped", "message": job.skip_reason or job.solution.defect}
    if build.failure is not None:
        return {**row, "status": "failed", "reason": build.failure.status.value, "message": build.failure.message}
    status = "compiled" if build.compile_only else "built"
    return {**row, "status": status, "seconds": round(build.seconds, 3), "cached": build.cached, "message": ""}


def _line(row: dict[str, Any]) -> str:
    name = f"{row['problem']}/{row['solution']}"
    if row["status"] in ("built", "compiled"):
        how = "cached" if row["cached"] else f"{row['seconds']:.1f} s"
        more = " (compiled; this torch has no CUDA to link against)" if row["status"] == "compiled" else ""
        return f"{name}: {row['status']}, {how}{more}"
    reason = f" {row['reason']}" if row.get("reason") else ""
    return f"{name}: {row['status']}{reason}: {row['message']}"
