"""What the tables say, as clean text; the terminal and markdown renderers draw them, each in its way."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kbench.compare.comparison import Comparison
from kbench.compare.row import Change, Row
from kbench.model import Record, Status
from kbench.report.text import (
    MISSING,
    change,
    clean,
    estimate,
    first_lines,
    one_line,
    optional,
    percent,
    ratio,
    significant,
)
from kbench.store.runs import Key
from kbench.store.summary import RunSummary, mean_speedup, speedup_of, totals

_NAME_LIMIT = 60
_NOTE_LIMIT = 80
_REFERENCE_SHARE_WORTH_SAYING = 0.5


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """Headers and rows of text; numbers are aligned right."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[str]
    """The headers of the columns that hold numbers."""
    tones: tuple[str, ...] = ()
    """For each row `good`, `bad`, `muted` or ``."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A pair without a speedup: its id, what happened, and the first lines of its message."""

    id: str
    status: Status
    headline: str
    lines: tuple[str, ...]


def in_order(records: Iterable[Record]) -> list[Record]:
    """By problem, then solution: a file has them as they ended."""
    return sorted(records, key=lambda record: record.key)


def run_table(records: Iterable[Record]) -> TextTable:
    """The speedup table of a run, with a column for each baseline any record has."""
    records = list(records)
    baselines = list(dict.fromkeys(name for record in records for name in record.baselines))
    headers = ("problem", "solution", "status", "reference ms", "solution ms", "speedup", "build s")
    further = tuple(f"vs {one_line(name, _NAME_LIMIT)}" for name in baselines)
    rows = tuple(
        (
            one_line(record.problem, _NAME_LIMIT), one_line(record.solution, _NAME_LIMIT),
            _status(record), optional(record.reference_ms), optional(record.time_ms), _speedup(record),
            optional(record.build_s),
            *(ratio(record.baselines.get(name, {}).get("speedup")) for name in baselines),
        )
        for record in records
    )  # fmt: skip
    tones = tuple(status_tone(record.status) for record in records)
    return TextTable(headers=headers + further, rows=rows, numeric=frozenset(headers[3:] + further), tones=tones)


def _status(record: Record) -> str:
    if record.status is Status.SKIPPED and record.reason:
        return one_line(f"{record.status.value}: {record.reason}", _NOTE_LIMIT)
    return record.status.value


def _speedup(record: Record) -> str:
    text = estimate(speedup_of(record))
    return f"{text} *" if record.flags and record.status is Status.CORRECT else text


def status_tone(status: Status) -> str:
    """How a status is coloured."""
    if status is Status.CORRECT:
        return "good"
    return "bad" if status.is_failure or status is Status.INFRA_ERROR else "muted"


def failures(records: Iterable[Record], *, lines: int, width: int) -> list[Failure]:
    """The pairs that were judged and are not correct, in order. What was skipped says so in its own row."""
    return [
        Failure(
            id=one_line(record.id), status=record.status,
            headline=f"{record.status}: {one_line(record.reason)}" if record.reason else record.status.value,
            lines=tuple(first_lines(record.message, lines, width)),
        )
        for record in records
        if record.status not in (Status.CORRECT, Status.SKIPPED)
    ]  # fmt: skip


def flagged(records: Iterable[Record]) -> list[str]:
    """One line for each correct pair with flags, which the table marks with an asterisk."""
    return [
        f"* {one_line(record.id)}: {', '.join(one_line(flag) for flag in record.flags)}"
        for record in records
        if record.flags and record.status is Status.CORRECT
    ]


def run_totals(records: Mapping[Key, Record]) -> str:
    """`3 correct, 1 incorrect · geometric mean 1.23x over 3`."""
    mean = mean_speedup(records)
    timed = sum(speedup_of(record) is not None for record in records.values())
    return totals(records) + (f" · geometric mean {ratio(mean)} over {timed}" if mean else "")


def comparison_table(comparison: Comparison) -> TextTable:
    """One row for each common pair."""
    headers = ("problem", "solution", "old", "new", "change", "verdict", "note")
    rows = tuple(
        (
            one_line(row.problem, _NAME_LIMIT), one_line(row.solution, _NAME_LIMIT),
            estimate(row.old_speedup) if row.old_speedup else row.old_status.value,
            estimate(row.new_speedup) if row.new_speedup else row.new_status.value,
            change(row.change, row.change_low, row.change_high), row.verdict.value.replace("_", " "),
            one_line(note_of(row), _NOTE_LIMIT),
        )
        for row in comparison.rows
    )  # fmt: skip
    tones = tuple(verdict_tone(row.verdict) for row in comparison.rows)
    return TextTable(headers=headers, rows=rows, numeric=frozenset(headers[2:5]), tones=tones)


def verdict_tone(verdict: Change) -> str:
    """How a verdict is coloured."""
    if verdict in (Change.IMPROVED, Change.FIXED):
        return "good"
    if verdict in (Change.REGRESSED, Change.BROKEN):
        return "bad"
    return "" if verdict is Change.SAME else "muted"


def note_of(row: Row) -> str:
    """The row's note and, where it explains much of a change, what the reference itself did."""
    parts = [row.note] if row.note else []
    share, delta = row.reference_share, row.delta_ln_reference
    moved = row.verdict in (Change.IMPROVED, Change.REGRESSED, Change.INCONCLUSIVE)
    if moved and share is not None and delta is not None and share >= _REFERENCE_SHARE_WORTH_SAYING:
        parts.append(f"{min(share, 1):.0%} of it is the reference, whose time changed by {percent(math.expm1(delta))}")
    return "; ".join(parts)


def comparison_facts(comparison: Comparison) -> list[str]:
    """The lines below the table: counts, means, pairs on one side only, noise."""
    counts = [f"{len(comparison.having(word))} {word.replace('_', ' ')}" for word in Change if comparison.having(word)]
    facts = [", ".join(counts) or "no pair in common"]
    if comparison.geometric_mean_ratio is not None:
        mean = comparison.geometric_mean_ratio
        bounded = mean.low > 0
        before, after = ratio(comparison.old_geometric_mean), ratio(comparison.new_geometric_mean)
        facts.append(
            f"geometric mean {before} → {after}, "
            f"{change(mean.value - 1, mean.low - 1 if bounded else None, mean.high - 1 if bounded else None)}"
        )
    for word, records in (
        ("only in the new run", comparison.appeared),
        ("only in the old run", comparison.vanished),
    ):
        if records:
            facts.append(f"{word}: " + ", ".join(f"{one_line(r.id)} ({r.status})" for r in records))
    if comparison.noise.rows:
        sd = comparison.noise.variance**0.5
        facts.append(f"noise between the runs: {percent(sd).lstrip('+')} (from {comparison.noise.rows} unchanged rows)")
    return facts


def environment_lines(comparison: Comparison) -> list[str]:
    """`gpu.name: NVIDIA H100 → NVIDIA H200`, decisive ones marked."""
    return [
        f"{each.field}: {one_line(each.old)} → {one_line(each.new)}" + (" (no gate)" if each.decisive else "")
        for each in comparison.environment
    ]


def list_table(runs: Sequence[RunSummary]) -> TextTable:
    """One row for each run."""
    headers = ("run", "date", "device", "pairs", "geometric mean")
    rows = tuple(
        (
            one_line(run.name, _NAME_LIMIT), run.started, one_line(run.device, _NAME_LIMIT) or MISSING,
            ", ".join(f"{count} {status}" for status, count in run.counts.items())
            or one_line(run.trouble, _NOTE_LIMIT),
            ratio(run.geometric_mean),
        )
        for run in runs
    )  # fmt: skip
    tones = tuple("muted" if run.trouble else "" for run in runs)
    return TextTable(headers=headers, rows=rows, numeric=frozenset({"geometric mean"}), tones=tones)


def record_facts(record: Record) -> list[tuple[str, str]]:
    """The figures of a record, name and value, without those it does not have."""
    facts = {
        "device": record.device, "size": record.size, "precision": record.precision,
        "speedup": estimate(speedup_of(record)), "solution": _ms(record.time_ms),
        "reference": _ms(record.reference_ms), "floor": _ms(record.floor_ms),
        "speed of light": MISSING if record.sol_fraction is None else f"{record.sol_fraction:.1%}",
        "build": _build(record), "replicates": str(record.replicates or MISSING),
        "verified calls": str(record.verified_calls or MISSING), "flags": ", ".join(record.flags) or MISSING,
    }  # fmt: skip
    for name, baseline in record.baselines.items():
        facts[f"baseline {name}"] = f"{_ms(baseline.get('time_ms'))}, {ratio(baseline.get('speedup'))} over it"
    facts |= {f"isolation {layer}": str(state) for layer, state in record.isolation.items()}
    facts |= {
        "problem sha": record.problem_sha or MISSING, "solution sha": record.solution_sha or MISSING,
        "environment": record.environment_key or MISSING,
    }  # fmt: skip
    return [(one_line(name), one_line(value)) for name, value in facts.items() if value != MISSING]


def _ms(value: float | None) -> str:
    return MISSING if value is None else f"{significant(value)} ms"


def _build(record: Record) -> str:
    if record.build_s is None:
        return MISSING
    return f"{significant(record.build_s)} s" + (" (cached)" if record.cached else "")


def evidence_lines(record: Record) -> list[str]:
    """The evidence as `name: value` lines; values that have parts are indented below their name."""
    return _described(record.evidence, "")


def _described(value: Mapping[str, object], indent: str) -> list[str]:
    lines: list[str] = []
    for name, item in value.items():
        if isinstance(item, Mapping):
            lines += [f"{indent}{one_line(str(name))}:", *_described(item, indent + "  ")]
        elif isinstance(item, float):
            lines.append(f"{indent}{one_line(str(name))}: {item:.6g}")
        elif isinstance(item, str) and "\n" in item:
            body = [f"{indent}  {line}" for line in clean(item).split("\n")]
            lines += [f"{indent}{one_line(str(name))}:", *body]
        else:
            lines.append(f"{indent}{one_line(str(name))}: {one_line(str(item))}")
    return lines
