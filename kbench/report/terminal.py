"""Screens, as rich renderables. Text goes in as `Text`, never as markup: `[red]` stays `[red]`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from kbench.compare.comparison import Comparison
from kbench.compare.explain import Explanation
from kbench.compare.gate import Gate, Outcome
from kbench.model import Record, Status
from kbench.report import changes, explanation, tables
from kbench.report.grid import Grid
from kbench.report.tables import TextTable
from kbench.report.text import clean, one_line
from kbench.store.runs import Key
from kbench.store.summary import RunSummary

_STYLES = {"good": "green", "bad": "red", "muted": "dim", "": ""}
_TONED = frozenset({"status", "verdict", "pairs"})
"""The columns that carry a row's tone; a wholly coloured row is harder to read."""
_MESSAGE_LINES = 4
_MESSAGE_WIDTH = 160


def run_view(records: Mapping[Key, Record]) -> RenderableType:
    """The table of a run, the failures below it, and the totals."""
    values = tables.in_order(records.values())
    parts: list[RenderableType] = [table(tables.run_table(values))]
    parts += [Text(line, style="yellow") for line in tables.flagged(values)]
    for failure in tables.failures(values, lines=_MESSAGE_LINES, width=_MESSAGE_WIDTH):
        headline = Text(f"{failure.id}  ", style="bold")
        headline.append(failure.headline, style=_STYLES[tables.status_tone(failure.status)])
        parts += [Text(""), headline, *_indented(failure.lines)]
    parts += [Text(""), Text(tables.run_totals(records))]
    parts += [Text(line) for line in tables.fast_p_lines(records)]
    return Group(*parts)


def comparison_view(comparison: Comparison, gate: Gate | None = None) -> RenderableType:
    """The table, what holds for the two runs as a whole, and the gate's answer where it was asked."""
    heading = Text(f"{one_line(comparison.old.name)} → {one_line(comparison.new.name)}", style="bold")
    parts: list[RenderableType] = [heading]
    differences = changes.environment_lines(comparison)
    if differences:
        parts += [Text("the environments differ", style="yellow"), *_indented(differences)]
    if comparison.rows:
        parts += [table(changes.comparison_table(comparison)), Text("")]
    parts += [Text(line) for line in changes.comparison_facts(comparison)]
    return Group(*parts, *_gate(gate))


def _gate(gate: Gate | None) -> list[RenderableType]:
    if gate is None:
        return []
    style = "green" if gate.outcome is Outcome.PASSED else "red"
    return [Text(""), Text(f"gate: {gate.outcome}", style=f"bold {style}"), *_indented(gate.reasons)]


def explanation_view(explained: Explanation, gate: Gate | None = None) -> RenderableType:
    """Why a row got its verdict: the rule, both runs' figures, the test, and what would decide it."""
    row = explained.row
    title = Text(f"{one_line(row.id)}  ", style="bold")
    title.append(row.verdict.value.replace("_", " "), style=_STYLES[changes.verdict_tone(row.verdict)])
    parts: list[RenderableType] = [title, *_indented([explanation.rule(explained)]), Text("")]
    parts.append(table(explanation.runs_table(explained)))
    found = explanation.facts(explained)
    if found:
        parts += [Text(""), _facts(found)]
    return Group(*parts, *_gate(gate))


def record_view(
    record: Record, *, files: Iterable[tuple[str, str]] = (), logs: Mapping[str, str] | None = None
) -> RenderableType:
    """A record in full. `files` are (name, path) of what the run keeps of it, `logs` name to content."""
    tone = tables.status_tone(record.status)
    title = Text(f"{one_line(record.id)}  ", style="bold")
    title.append(_headline(record), style=_STYLES[tone])
    parts: list[RenderableType] = [title]
    if record.message:
        parts.append(Padding(Text(clean(record.message).strip("\n")), (0, 0, 0, 2), expand=False))
    parts += [Text(""), _facts([*tables.record_facts(record), *((name, one_line(path)) for name, path in files)])]
    if record.advice:
        parts += [Text(""), Text("advice", style="bold"), *_indented(one_line(sentence) for sentence in record.advice)]
    if record.kernels:
        parts += [Text(""), Text("kernels, by ptxas' account", style="bold"), *_indented(tables.kernel_lines(record))]
    if record.evidence:
        parts += [Text(""), Text("evidence", style="bold"), *_indented(tables.evidence_lines(record))]
    for name, content in (logs or {}).items():
        parts += [Text(""), Text(f"--- {one_line(name)}", style="bold"), Text(clean(content).strip("\n"))]
    return Group(*parts)


def _facts(content: Iterable[tuple[str, str]]) -> Table:
    """Names and values in two columns."""
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(no_wrap=True, style="dim")
    facts.add_column(overflow="fold")
    for name, value in content:
        facts.add_row(Text(name), Text(value))
    return facts


def _headline(record: Record) -> str:
    if record.status is Status.CORRECT or not record.reason:
        return record.status.value
    return f"{record.status}: {one_line(record.reason)}"


def list_view(runs: Sequence[RunSummary]) -> RenderableType:
    """The runs below a directory."""
    return table(tables.list_table(runs))


def table(content: TextTable) -> Grid:
    """A table in the one look that all screens have."""
    return Grid(content=content, toned=_TONED, styles=_STYLES)


def _indented(lines: Iterable[str]) -> list[RenderableType]:
    return [Padding(Text(line), (0, 0, 0, 2), expand=False) for line in lines]
