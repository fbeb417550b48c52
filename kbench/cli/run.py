"""`kbench run`: the main job."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from kbench.cli import screen
from kbench.cli.progress import listening
from kbench.config import load_options
from kbench.errors import EXIT_FAILED, EXIT_OK, EXIT_UNDECIDED, UsageError
from kbench.model import Record, Status

_PASSIVE = "OMP_WAIT_POLICY"
"""The judge's own threads must sleep, not spin, while a worker on the same cores is timed."""


@click.command("run")
@click.argument("problems", required=False, type=click.Path(path_type=Path))
@click.argument("solutions", required=False, type=click.Path(path_type=Path))
@click.option("--device", metavar="auto|cpu|cuda[:i]", help="Where to run (default: the first GPU, else the CPU).")
@click.option("--gpus", metavar="N|all", help="GPUs to share the work among, from the device's on (default: 1).")
@click.option("--size", metavar="NAME", help="A size the problems declare (default: small on the CPU, full on CUDA).")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The run's directory.")
@click.option("--resume", is_flag=True, default=None, help="Complete the run in --out (default: the newest).")
@click.option("-k", "select", metavar="EXPR", help="Only pairs whose id matches, e.g. 'groupnorm and not naive'.")
@click.option("--list", "list_only", is_flag=True, help="Show the plan and stop.")
@click.option("--baseline", "baselines", metavar="NAMES", help="eager (always), compile, compile-max-autotune.")
@click.option("--quick", is_flag=True, default=None, help="3 replicates (or --replicates), of half as many blocks.")
@click.option(
    "--rigorous", is_flag=True, default=None,
    help="10 replicates (default: 5, and 5 more where the interval is wider than 1% to either side).",
)  # fmt: skip
@click.option("--replicates", type=int, metavar="N", help="So many replicates, whatever they show.")
@click.option("--jobs", type=int, metavar="N", help="Builds at once.")
@click.option("--timeout", "timeout_s", type=float, metavar="S", help="Seconds for each call and import.")
@click.option("--build-timeout", "build_timeout_s", type=float, metavar="S", help="Seconds for each build.")
@click.option("--memory-limit", "memory_limit_gb", type=float, metavar="GB", help="Host memory of one worker.")
@click.option("--require-isolation", is_flag=True, default=None, help="Refuse to run without every sandbox layer.")
@click.option("--sanitize", is_flag=True, default=None, help="Then run them under compute-sanitizer (CUDA).")
@click.option("--seed", type=int, metavar="N", help="Draw inputs from this seed instead of a fresh secret one.")
@click.option("--cache-dir", type=click.Path(path_type=Path), metavar="DIR", help="Where builds are kept.")
@click.option("--json", "as_json", is_flag=True, help="Print the records as JSON lines.")
def run_command(list_only: bool, as_json: bool, **flags: Any) -> int:
    """Judge and time every solution of every problem, and write a speedup table.

    PROBLEMS is a problem file or a folder of them, SOLUTIONS a solution, a raw model response, or a folder
    laid out as SOLUTIONS/<problem>/<name>.py. Without them: problems/ and solutions/.
    """
    os.environ.setdefault(_PASSIVE, "passive")
    from kbench.engine.prepare import prepare
    from kbench.engine.run import execute, open_store

    options, path, started = _resolve(flags)
    with prepare(options) as prepared:
        screen.warn(prepared.discovery.warnings)
        if list_only:
            _show_plan(prepared.jobs, as_json=as_json)
            return EXIT_OK
        with open_store(prepared, path=path, started=started) as store:
            with listening(total=len(prepared.jobs), done=len(store.records)) as listener:
                listener.note(f"{len(prepared.jobs)} pairs on {prepared.device.value}; run directory {path}")
                execute(prepared, store, listener)
            records = store.records
    _show_records(records, as_json=as_json)
    click.echo(f"wrote {path}", err=True)
    return exit_code(records)


def _resolve(flags: dict[str, Any]) -> tuple[Any, Path, str]:
    """The options, the run's directory, and when it starts. A resumed run's own options come before the defaults."""
    from kbench.engine.run import default_run_path
    from kbench.store.runs import newest_run

    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    options = load_options(flags, os.environ, Path.cwd()).options
    if not options.resume:
        return options, options.out or default_run_path(options.results, started), started
    path = options.out or newest_run(options.results)
    stored = dict(load_run_header(path))
    given = {name: value for name, value in flags.items() if value is not None}
    if "quick" in given or "rigorous" in given:
        raise UsageError("--quick and --rigorous cannot be given with --resume", hint="the run keeps its own")
    stored.pop("started", None)
    return load_options({**stored, **given}, os.environ, Path.cwd()).options, path, started


def load_run_header(path: Path) -> Mapping[str, Any]:
    """The options a run was begun with. Raises UsageError where there is no run."""
    from kbench.store.runs import RUN_FILE, read_header

    if not (path / RUN_FILE).is_file():
        raise UsageError("there is no run to resume", where=str(path), hint="leave --resume out to begin one")
    options: Mapping[str, Any] = read_header(path / RUN_FILE)["options"]
    return options


def _show_plan(jobs: Any, *, as_json: bool) -> None:
    rows = [
        {"problem": j.problem.id, "solution": j.solution.name, "device": j.device.value, "size": j.size,
         "skipped": j.skip_reason}
        for j in jobs
    ]  # fmt: skip
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        state = f"skipped: {row['skipped']}" if row["skipped"] else f"{row['device']}, size {row['size']}"
        click.echo(f"{row['problem']}/{row['solution']}  {state}")


def _show_records(records: Mapping[Any, Record], *, as_json: bool) -> None:
    if as_json:
        for record in records.values():
            click.echo(json.dumps(record.to_json(), allow_nan=False))
        return
    from kbench.report.terminal import run_view

    screen.show(run_view(records))


def exit_code(records: Mapping[Any, Record]) -> int:
    """0 when something was judged and all is well, 1 when a solution failed, 3 when nothing could be decided."""
    statuses = [record.status for record in records.values()]
    if any(status.is_failure for status in statuses):
        return EXIT_FAILED
    if Status.INFRA_ERROR in statuses or Status.CORRECT not in statuses:
        return EXIT_UNDECIDED
    return EXIT_OK
