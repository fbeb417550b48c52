"""What a selftest says: on the terminal, as `selftest.md`, and as `selftest.json`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

import kbench
from kbench.model import SCHEMA_VERSION
from kbench.report import markdown, terminal
from kbench.report.tables import TextTable
from kbench.report.text import first_lines, one_line
from kbench.selftest.findings import Finding, Outcome, Tally, exit_code, noteworthy, tallies, tally
from kbench.selftest.specimens import Specimen
from kbench.store.jsonl import plain, write_atomically

JSON_FILE, MARKDOWN_FILE = "selftest.json", "selftest.md"
_MESSAGE_LINES, _MESSAGE_WIDTH = 3, 160


@dataclass(frozen=True, kw_only=True)
class Selftest:
    """A finished selftest."""

    run: Path
    device: str
    started: str
    seconds: float
    findings: Sequence[Finding]
    environment: Mapping[str, Any] = field(default_factory=dict)


def selftest_view(done: Selftest) -> RenderableType:
    """Counts by group, whatever a person must look at, and the answer."""
    parts: list[RenderableType] = [terminal.table(_counts(done.findings))]
    for finding in noteworthy(done.findings):
        headline = Text(f"{one_line(finding.specimen.id)}  ", style="bold")
        headline.append(one_line(finding.headline), style="red" if finding.outcome.is_surprise else "yellow")
        lines = (Padding(Text(line), (0, 0, 0, 2), expand=False) for line in _closer(finding, done.run))
        parts += [Text(""), headline, *lines]
    parts += [Text(""), Text(answer(done.findings), style="green" if exit_code(done.findings) == 0 else "red")]
    return Group(*parts)


def selftest_markdown(done: Selftest) -> str:
    """The page of a selftest: the answer, counts by group, surprises, and every file."""
    parts = [f"# Selftest on {markdown.escape(done.device)}", f"**{markdown.escape(answer(done.findings))}**"]
    if environment := markdown.environment_line(done.environment):
        parts.append(environment)
    parts.append(f"Started {markdown.escape(done.started)}, took {done.seconds:.0f} s.")
    parts.append(markdown.table(_counts(done.findings)))
    if surprising := noteworthy(done.findings):
        parts.append("## To look at")
        for finding in surprising:
            parts.append(f"### {markdown.escape(finding.specimen.id)}")
            parts.append(markdown.escape(finding.headline))
            parts.append("\n".join(f"- {markdown.escape(line)}" for line in _closer(finding, done.run)))
    parts += ["## Every file", markdown.table(_files(done.findings))]
    return "\n\n".join(parts) + "\n"


def selftest_json(done: Selftest) -> str:
    """The same as data; `ok` is null for what was not run or not decided."""
    data = {
        "schema_version": SCHEMA_VERSION,
        "kbench": kbench.__version__,
        "device": done.device,
        "started": done.started,
        "seconds": round(done.seconds, 1),
        "exit_code": exit_code(done.findings),
        "total": dataclasses.asdict(tally("total", done.findings)),
        "groups": [dataclasses.asdict(one) for one in tallies(done.findings)],
        "files": [_file(finding) for finding in done.findings],
        "environment": done.environment,
    }
    return json.dumps(plain(data), indent=2, allow_nan=False)


def write_pages(done: Selftest) -> tuple[Path, Path]:
    """Write both pages into the run's folder. Raises StoreError."""
    data, page = done.run / JSON_FILE, done.run / MARKDOWN_FILE
    write_atomically(data, selftest_json(done).encode() + b"\n")
    write_atomically(page, selftest_markdown(done).encode())
    return data, page


def answer(findings: Iterable[Finding]) -> str:
    """The whole selftest in one line."""
    findings = list(findings)
    total = tally("total", findings)
    parts = [f"{total.caught} of {total.cheats} cheats caught", f"{total.false_alarms} of {total.twins} false alarms"]
    others = [f.outcome for f in findings].count(Outcome.CAUGHT_OTHERWISE)
    parts += [f"{others} stopped for another reason than expected"] if others else []
    parts += [f"{total.undecided} not decided"] if total.undecided else []
    parts += [f"{total.not_run} not run"] if total.not_run else []
    return ", ".join(parts)


def list_view(specimens: Iterable[tuple[Specimen, str | None]]) -> RenderableType:
    """The files of a suite, each with why it will not run here, if so."""
    rows = tuple((s.group, s.id, str(s.expectation), skipped or "") for s, skipped in specimens)
    headers = ("group", "file", "expected", "not run because")
    return terminal.table(TextTable(headers=headers, rows=rows, numeric=frozenset()))


def list_json(specimens: Iterable[tuple[Specimen, str | None]]) -> str:
    """The same as data."""
    return json.dumps([{**_who(s), "skipped": skipped} for s, skipped in specimens], indent=2)


def _counts(findings: Sequence[Finding]) -> TextTable:
    headers = ("group", "caught", "cheats", "false alarms", "twins", "not decided", "not run")
    rows = [*tallies(findings), tally("total", findings)]
    return TextTable(
        headers=headers,
        rows=tuple(_count_row(row) for row in rows),
        numeric=frozenset(headers[1:]),
    )


def _count_row(row: Tally) -> tuple[str, ...]:
    counts = (row.caught, row.cheats, row.false_alarms, row.twins, row.undecided, row.not_run)
    return (row.name, *(str(count) for count in counts))


def _files(findings: Iterable[Finding]) -> TextTable:
    headers = ("group", "file", "expected", "got", "outcome", "s")
    rows = tuple(
        (
            f.specimen.group, f.specimen.id, str(f.specimen.expectation), f.got, f.outcome.value,
            "" if f.seconds is None else f"{f.seconds:.1f}",
        )
        for f in findings
    )  # fmt: skip
    return TextTable(headers=headers, rows=rows, numeric=frozenset({"s"}))


def _closer(finding: Finding, run: Path) -> list[str]:
    """Expected and got, the message, and the command that shows more."""
    lines = [f"expected: {finding.specimen.expectation}", f"got: {finding.got}"]
    lines += first_lines(finding.message, _MESSAGE_LINES, _MESSAGE_WIDTH)
    return [*lines, f"kbench show {finding.specimen.id} --run {run} --log"]


def _who(specimen: Specimen) -> dict[str, Any]:
    return {
        "problem": specimen.problem, "name": specimen.name, "group": specimen.group,
        "kind": "twin" if specimen.is_twin else "cheat", "needs_cuda": specimen.needs_cuda,
        "expected": str(specimen.expectation),
    }  # fmt: skip


def _file(finding: Finding) -> dict[str, Any]:
    decided = finding.outcome not in (Outcome.UNDECIDED, Outcome.NOT_RUN)
    return {
        **_who(finding.specimen),
        "got": finding.got,
        "outcome": finding.outcome.value,
        "ok": not finding.outcome.is_surprise if decided else None,
        "message": finding.message,
        "speedup": finding.speedup,
        "seconds": None if finding.seconds is None else round(finding.seconds, 2),
    }
