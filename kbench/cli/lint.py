"""`kbench lint`: weak problems, named before anyone is judged by them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kbench.cli import screen
from kbench.config import load_options
from kbench.errors import EXIT_FAILED, EXIT_OK
from kbench.lint.model import Finding, Report, Severity
from kbench.model import SCHEMA_VERSION, Device
from kbench.plan.files import natural_key
from kbench.report.text import clean, one_line
from kbench.store.jsonl import plain

_STYLES = {Severity.ERROR: "red", Severity.WEAK: "yellow", Severity.NOTE: "dim", None: "green"}
_WORDS = {Severity.ERROR: "cannot be judged", Severity.WEAK: "weak", Severity.NOTE: "ok, with notes", None: "ok"}


@click.command("lint")
@click.argument("problems", type=click.Path(path_type=Path))
@click.option("--device", metavar="auto|cpu|cuda[:i]", help="Where to run (default: the first GPU, else the CPU).")
@click.option("--size", metavar="NAME", help="A size the problems declare (default: small on the CPU, full on CUDA).")
@click.option("-k", "select", metavar="EXPR", help="Only problems whose id matches, e.g. 'groupnorm and not 3d'.")
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0, min_open=True), default=600.0, show_default=True,
    metavar="S", help="Seconds for each problem.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def lint_command(
    problems: Path, device: str | None, size: str | None, select: str | None, timeout_s: float, as_json: bool
) -> int:
    """Say what is weak about problems: inputs and parameters that do not matter, answers that come too cheap.

    PROBLEMS is a problem file or a folder of them; they are run, so trust them. The exit code is 1 when one of them
    is weak, or cannot be judged at all; notes do not count.
    """
    from kbench.lint.survey import examine_all, find_targets
    from kbench.machine.environment import probe, resolve_device
    from kbench.machine.gpus import see_only
    from kbench.machine.inventory import take_inventory

    options = load_options({"device": device, "size": size}, os.environ, Path.cwd()).options
    inventory = take_inventory()
    kind, index = resolve_device(options.device, probe(inventory))
    if kind is Device.CUDA:
        see_only(inventory.gpus[index], os.environ, of=len(inventory.gpus))
    targets, refused = find_targets(problems, device=kind, size=options.size, select=select)
    reports = {report.problem: report for report in refused}
    for number, report in enumerate(examine_all(targets, device=kind, timeout_s=timeout_s), start=1):
        reports[report.problem] = report
        if sys.stderr.isatty():
            click.echo(f"{number} of {len(targets)}: {one_line(report.problem)}: {_WORDS[report.worst]}", err=True)
    in_order = [reports[id_] for id_ in sorted(reports, key=natural_key)]
    if as_json:
        click.echo(lint_json(in_order))
    else:
        screen.show(lint_view(in_order))
    return EXIT_OK if all(report.passes for report in in_order) else EXIT_FAILED


def lint_json(reports: Sequence[Report]) -> str:
    """All reports, under stable names."""
    data = {"schema_version": SCHEMA_VERSION, "problems": [report.to_json() for report in reports]}
    return json.dumps(plain(data), indent=2, allow_nan=False)


def lint_view(reports: Sequence[Report]) -> RenderableType:
    """Each problem with its findings, the gravest first, and the totals."""
    parts: list[RenderableType] = []
    for report in reports:
        title = Text(f"{one_line(report.problem)}  ", style="bold")
        title.append(_WORDS[report.worst], style=_STYLES[report.worst])
        title.append(f"  ({one_line(report.path)}, size {report.size}, {report.device})", style="dim")
        parts.append(title)
        if report.findings:
            parts.append(Padding(_findings(report.findings, report.path), (0, 0, 0, 2), expand=False))
    counts = [f"{sum(r.worst is worst for r in reports)} {word}" for worst, word in _WORDS.items()]
    return Group(*parts, Text(""), Text(f"{len(reports)} problems: {', '.join(counts)}"))


def _findings(findings: Sequence[Finding], path: str) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        where = "" if finding.where == path else f"{one_line(finding.where)}: "
        said = Text(f"{where}{clean(finding.detail).strip()}")
        said.append(f"\n→ {one_line(finding.remedy)}", style="dim")
        table.add_row(Text(finding.severity, style=_STYLES[finding.severity]), Text(finding.check), said)
    return table
