"""`kbench doctor`: what this machine can and cannot do for a run."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kbench.config import load_options
from kbench.errors import EXIT_OK, EXIT_UNDECIDED, KbenchError
from kbench.machine import gpu_gauge
from kbench.machine.diagnose import Check, State, Storage, can_run, diagnose
from kbench.machine.inventory import free_memory_gb, take_inventory

_STYLES = {State.OK: "green", State.DEGRADED: "yellow", State.MISSING: "red"}


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
@click.pass_context
def doctor_command(context: click.Context, as_json: bool) -> None:
    """Check what a run needs: tools, GPU, space and isolation.

    Each line that is not ok says how to mend it. The exit code is 0 when runs work on the CPU at least,
    else 3.
    """
    options = load_options({}, os.environ, Path.cwd()).options
    inventory = take_inventory()
    untold = gpu_gauge.untold(inventory.gpus[0].uuid) if inventory.gpus else None
    checks = diagnose(inventory, _look_at_storage(options.cache_dir), _probe_layers(), untold=untold)
    if as_json:
        checks_json = [dataclasses.asdict(check) for check in checks]
        click.echo(json.dumps({"can_run": can_run(checks), "checks": checks_json}, indent=2))
    else:
        _print_table(checks)
    context.exit(EXIT_OK if can_run(checks) else EXIT_UNDECIDED)


def _probe_layers() -> dict[str, str]:
    from kbench.sandbox.probe import probe_layers

    try:
        return probe_layers()
    except (KbenchError, OSError) as error:  # the other checks may say why not even a process starts
        return {"sandbox": f"off: {error}"}


def _look_at_storage(cache_dir: Path) -> Storage:
    """Nothing is created: the nearest folder that exists decides."""
    present = next(
        (folder for folder in (cache_dir, *cache_dir.absolute().parents) if folder.exists()), Path("/")
    )
    try:
        free_disk_gb = round(shutil.disk_usage(present).free / 2**30, 1)
    except OSError:
        free_disk_gb = None
    writable = present.is_dir() and os.access(present, os.W_OK | os.X_OK)
    return Storage(
        cache_dir=str(cache_dir),
        writable=writable,
        free_disk_gb=free_disk_gb,
        free_memory_gb=free_memory_gb(),
    )


def _print_table(checks: Sequence[Check]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in ("check", "state", "detail", "fix"):
        table.add_column(heading, overflow="fold")
    for check in checks:
        state = Text(check.state, style=_STYLES[check.state])
        # Text, not markup: a path or a reason may hold brackets.
        table.add_row(Text(check.name), state, Text(check.detail), Text(check.fix))
    Console().print(table)
