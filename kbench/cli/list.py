"""`kbench list`: the runs there are, or the records of one."""

from __future__ import annotations

from pathlib import Path

import click

from kbench.cli import screen
from kbench.errors import NothingToDo, UsageError
from kbench.report.jsonout import list_json, run_json
from kbench.store.runs import find_runs, load_run, resolve_run
from kbench.store.summary import summarise


@click.command("list")
@click.argument("run", type=click.Path(path_type=Path), required=False)
@click.option(
    "--results", type=click.Path(path_type=Path), default=Path("results"), show_default=True, metavar="DIR",
    help="Where the runs are.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(run: Path | None, results: Path, as_json: bool) -> None:
    """List the runs below results/, newest first; or, given RUN, the records of that run."""
    if run is None:
        _list_runs(results, as_json=as_json)
    else:
        _list_records(resolve_run(run, results), as_json=as_json)


def _list_runs(results: Path, *, as_json: bool) -> None:
    if results.exists() and not results.is_dir():
        raise UsageError("--results is not a directory", where=str(results), why="a file is there")
    runs = [summarise(path, results) for path in find_runs(results)]
    if as_json:
        click.echo(list_json(runs))
        return
    if not runs:
        raise NothingToDo("no runs", where=str(results), why="there is none below it", hint="kbench run makes one")
    from kbench.report.terminal import list_view

    screen.show(list_view(runs))


def _list_records(path: Path, *, as_json: bool) -> None:
    loaded = load_run(path)
    screen.warn(loaded.warnings)
    if as_json:
        click.echo(run_json(loaded))
        return
    from kbench.report.terminal import run_view

    screen.show(run_view(loaded.records))
