"""Markdown pages: `speedups.md` of a run, and a comparison fit for a CI job's summary."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from kbench.compare.comparison import Comparison
from kbench.compare.explain import Explanation
from kbench.compare.gate import Gate
from kbench.report import changes, explanation, tables
from kbench.report.tables import TextTable
from kbench.report.text import one_line
from kbench.store.runs import LoadedRun

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!&$])")
_MESSAGE_LINES = 8
_MESSAGE_WIDTH = 300


def escape(text: str) -> str:
    """Text as one line of markdown that reads as itself: no table cell, link, HTML or emphasis comes of it.

    An entity stands for what GitHub would act on without markup: @mentions and bare links.
    """
    escaped = _SPECIAL.sub(r"\\\1", one_line(text)).replace("@", "&#64;").replace("://", "&#58;//")
    return re.sub(r"\bwww\.", "www&#46;", escaped)


def run_markdown(run: LoadedRun) -> str:
    """The page of a run: environment, table, failures."""
    records = tables.in_order(run.records.values())
    parts = [f"# Speedups: {escape(run.name)}"]
    environment = environment_line(run.environment)
    if environment:
        parts.append(environment)
    for later in run.later_environments:
        made = sum(record.environment_key == later.get("key") for record in records)
        if made:
            parts.append(f"{made} of {len(records)} in another environment: {environment_line(later)}")
    parts.append(table(tables.run_table(records)))
    parts += [escape(line) for line in tables.flagged(records)]
    parts.append(escape(tables.run_totals(run.records)))
    parts += [escape(line) for line in tables.fast_p_lines(run.records)]
    failed = tables.failures(records, lines=_MESSAGE_LINES, width=_MESSAGE_WIDTH)
    if failed:
        parts.append("## Not correct")
    for failure in failed:
        parts.append(f"### {escape(failure.id)}")
        parts.append(escape(failure.headline))
        if failure.lines:
            parts.append(_fenced(failure.lines))
    return "\n\n".join(parts) + "\n"


def comparison_markdown(comparison: Comparison, gate: Gate | None = None) -> str:
    """A comparison, the gate's answer first where it was asked."""
    parts = [f"## kbench: {escape(comparison.old.name)} → {escape(comparison.new.name)}"]
    parts += _gate(gate)
    differences = changes.environment_lines(comparison)
    if differences:
        parts.append("The environments differ:\n\n" + "\n".join(f"- {escape(line)}" for line in differences))
    if comparison.rows:
        parts.append(table(changes.comparison_table(comparison)))
    parts.append("\n".join(f"- {escape(fact)}" for fact in changes.comparison_facts(comparison)))
    return "\n\n".join(parts) + "\n"


def explanation_markdown(explained: Explanation, gate: Gate | None = None) -> str:
    """Why a row got its verdict, the gate's answer first where it was asked."""
    row = explained.row
    parts = [f"## {escape(row.id)}: {escape(row.verdict.value.replace('_', ' '))}", *_gate(gate)]
    parts += [escape(explanation.rule(explained)), table(explanation.runs_table(explained))]
    found = [f"- {escape(name)}: {escape(value)}" for name, value in explanation.facts(explained)]
    return "\n\n".join([*parts, *(["\n".join(found)] if found else [])]) + "\n"


def _gate(gate: Gate | None) -> list[str]:
    if gate is None:
        return []
    return [f"**Gate: {gate.outcome}**", "\n".join(f"- {escape(reason)}" for reason in gate.reasons)]


def environment_line(environment: Mapping[str, Any]) -> str:
    """GPU, CPU, torch, CUDA, … of a run, on one line; empty where nothing is known."""
    gpu, machine = environment.get("gpu"), environment.get("machine")
    parts = []
    if isinstance(gpu, Mapping):
        parts.append(f"{gpu.get('name')} (driver {gpu.get('driver')})")
    if isinstance(machine, Mapping):
        parts.append(f"{machine.get('cpu_model')} ({machine.get('cores')} cores)")
    for name in ("torch", "cuda", "python", "compiler", "kbench"):
        if environment.get(name):
            parts.append(f"{name} {environment[name]}")
    return " · ".join(escape(part) for part in parts)


def table(content: TextTable) -> str:
    """A table whose cells read as themselves; those of a `literal` column as code."""
    marks = ("---:" if header in content.numeric else "---" for header in content.headers)
    lines = [tuple(escape(header) for header in content.headers), tuple(marks)]
    literal = [header in content.literal for header in content.headers]
    lines += [
        tuple(_code(cell) if code else escape(cell) for cell, code in zip(row, literal, strict=True))
        for row in content.rows
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _code(cell: str) -> str:
    """A code span; text that would end it or the cell is escaped instead."""
    return f"`{cell}`" if cell.isprintable() and not set("`|\\") & set(cell) else escape(cell)


def _fenced(lines: tuple[str, ...]) -> str:
    """A code block with a fence longer than any run of backticks in it."""
    longest = max((len(run) for line in lines for run in re.findall(r"`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return "\n".join([f"{fence}text", *lines, fence])
