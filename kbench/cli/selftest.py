"""`kbench selftest`: does the judge hold on this machine?"""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kbench.cli import screen
from kbench.cli.progress import listening
from kbench.errors import EXIT_OK
from kbench.model import Record

if TYPE_CHECKING:
    from kbench.engine.prepare import Prepared
    from kbench.selftest.pages import Selftest
    from kbench.selftest.specimens import Specimen

_PASSIVE = "OMP_WAIT_POLICY"
"""As for `kbench run`: the judge's threads must sleep, not spin, while a worker on the same cores is timed."""


@click.command("selftest")
@click.option("--device", default="auto", metavar="auto|cpu|cuda[:i]", help="Where to run (default: the first GPU).")
@click.option("--gpus", metavar="N|all", help="GPUs to share the work among (default: 1).")
@click.option("-k", "select", metavar="EXPR", help="Only files whose id matches, e.g. 'clock or honest_memo'.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="DIR",
    help="The run's directory (default: results/selftest-<device>-<date>).",
)  # fmt: skip
@click.option("--list", "list_only", is_flag=True, help="Show the files and what they must come to, and stop.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--suite", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="DIR",
    help="Another suite than kbench's own, laid out like tests/evil.",
)  # fmt: skip
def selftest_command(
    device: str, gpus: str | None, select: str | None, out: Path | None, list_only: bool, as_json: bool,
    suite: Path | None,
) -> int:
    """Run the red-team suite: cheats that must be caught, each with its status, and honest twins that must pass.

    Exit code 0: all caught, no false alarm. 1: a cheat got through, or an honest solution did not.
    3: something could not be decided.
    """
    os.environ.setdefault(_PASSIVE, "passive")
    from kbench.selftest import pages
    from kbench.selftest.findings import exit_code
    from kbench.selftest.run import prepare_suite, selftest_options
    from kbench.selftest.specimens import find_suite, read_suite

    root = find_suite() if suite is None else suite.resolve()
    options = selftest_options(
        root, device=device, gpus=gpus, select=select, out=out, environment=os.environ, cwd=Path.cwd()
    )
    with prepare_suite(options, read_suite(root)) as (prepared, chosen):
        screen.warn(prepared.discovery.warnings)
        if list_only:
            skipped = {job.key: job.skip_reason for job in prepared.jobs}
            files = [(specimen, skipped[specimen.key]) for specimen in chosen]
            if as_json:
                click.echo(pages.list_json(files))
            else:
                screen.show(pages.list_view(files))
            return EXIT_OK
        done = _run(prepared, chosen)
    pages.write_pages(done)
    if as_json:
        click.echo(pages.selftest_json(done))
    else:
        screen.show(pages.selftest_view(done))
    click.echo(f"wrote {done.run}", err=True)
    return exit_code(done.findings)


def _run(prepared: Prepared, chosen: Sequence[Specimen]) -> Selftest:
    from kbench.engine.run import execute, open_store
    from kbench.selftest.findings import examine_all
    from kbench.selftest.pages import Selftest
    from kbench.selftest.run import Stopwatch, run_path

    started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    path = prepared.options.out or run_path(prepared.options.results, prepared.device, started)
    begun = time.monotonic()
    with (
        open_store(prepared, path=path, started=started) as store,
        listening(total=len(chosen), done=0, summary=_surprise_of(chosen), stages=False) as listener,
    ):
        stopwatch = Stopwatch(listener, time.monotonic)
        listener.note(f"{len(chosen)} files on {prepared.device.value}; run directory {path}")
        execute(prepared, store, stopwatch)
        findings = examine_all(chosen, store.records, stopwatch.seconds)
        environment = store.environment
    return Selftest(
        run=path, device=prepared.device.value, started=started, seconds=time.monotonic() - begun,
        findings=findings, environment=environment,
    )  # fmt: skip


def _surprise_of(chosen: Sequence[Specimen]) -> Callable[[Record], str]:
    """What to say when a file has ended: nothing where it came to what it must."""
    from kbench.selftest.findings import examine, noteworthy

    known = {specimen.key: specimen for specimen in chosen}

    def said(record: Record) -> str:
        surprising = noteworthy([examine(known[record.key], record)])
        return f"{record.id}: {surprising[0].headline}" if surprising else ""

    return said
