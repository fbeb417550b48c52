"""`kbench repro`: a standalone script that shows what became of one record."""

from __future__ import annotations

from pathlib import Path

import click

from kbench.cli import screen
from kbench.errors import EXIT_OK, StoreError
from kbench.store.runs import find_record, load_run, newest_run, resolve_run

RESULTS = Path("results")


@click.command("repro")
@click.argument("record")
@click.option(
    "--run", "run_path", type=click.Path(path_type=Path), metavar="DIR",
    help="The run it is in, or its records.jsonl; by default the newest below results/.",
)  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the script there, not to stdout.")
def repro_command(record: str, run_path: Path | None, out: Path | None) -> int:
    """Write a Python script that shows the failure of RECORD with torch alone.

    RECORD is <problem>/<solution>, or any part of it that fits one record only. The script draws the failing case
    again from its seeds, calls the solution and compares it with the fp64 oracle. It exits with 1 where the solution
    fails, with 0 where it does not, with 2 where it cannot be run. It runs the solution outside of any sandbox.
    """
    run = load_run(newest_run(RESULTS) if run_path is None else resolve_run(run_path, RESULTS))
    screen.warn(run.warnings)
    found = find_record(run, record)
    from kbench.repro.script import make_script
    from kbench.repro.source import facts_of

    text = make_script(facts_of(run, found))
    if out is None:
        click.echo(text, nl=False)
        return EXIT_OK
    try:
        out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError("the script cannot be written", where=str(out), why=error.strerror) from error
    click.echo(f"wrote {out}; run it with: python {out}", err=True)
    return EXIT_OK
