"""`kbench show`: one record in full."""

from __future__ import annotations

from pathlib import Path

import click

from kbench.cli import screen
from kbench.errors import StoreError
from kbench.model import Record
from kbench.report.jsonout import record_json
from kbench.store.runs import LoadedRun, find_record, load_run, newest_run, resolve_run
from kbench.store.writer import log_files, problem_source, solution_source

RESULTS = Path("results")


@click.command("show")
@click.argument("record")
@click.option(
    "--run", "run_path", type=click.Path(path_type=Path), metavar="DIR",
    help="The run it is in; by default the newest below results/.",
)  # fmt: skip
@click.option("--log", "with_logs", is_flag=True, help="Print its logs too: the compiler's, the worker's.")
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def show_command(record: str, run_path: Path | None, with_logs: bool, as_json: bool) -> None:
    """Show the record of RECORD: verdict, message, evidence, times, and where its files are.

    RECORD is <problem>/<solution>, or any part of it that fits one record only.
    """
    run = load_run(newest_run(RESULTS) if run_path is None else resolve_run(run_path, RESULTS))
    screen.warn(run.warnings)
    found = find_record(run, record)
    logs = _logs(run, found) if with_logs else None
    files = _files(run, found)
    if as_json:
        click.echo(record_json(found, files=files, logs=logs))
        return
    from kbench.report.terminal import record_view

    screen.show(record_view(found, files=files.items(), logs=logs))


def _files(run: LoadedRun, record: Record) -> dict[str, str]:
    """What the run keeps of a record, name to path, of what is there."""
    if run.directory is None:
        return {}
    paths = {
        "source": solution_source(run.directory, record.id),
        "reference source": problem_source(run.directory, record.problem),
    }
    paths |= {f"log {path.stem}": path for path in log_files(run.directory, record.id)}
    return {name: str(path) for name, path in paths.items() if path.exists()}


def _logs(run: LoadedRun, record: Record) -> dict[str, str]:
    paths = [] if run.directory is None else log_files(run.directory, record.id)
    if not paths:
        screen.warn([f"the run kept no logs of {record.id}"])
    try:
        return {path.name: path.read_bytes().decode("utf-8", "replace") for path in paths}
    except OSError as error:
        raise StoreError("a log cannot be read", where=error.filename, why=error.strerror) from error
