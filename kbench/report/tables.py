"""What the tables say, as clean text; the terminal and markdown renderers draw them, each in its way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kbench import stats
from kbench.model import Record, Status
from kbench.report.text import (
    MISSING,
    clean,
    estimate,
    fast_p_name,
    first_lines,
    one_line,
    optional,
    percent,
    ratio,
    share,
    significant,
)
from kbench.store.runs import Key
from kbench.store.summary import (
    FAST_P,
    RunSummary,
    baselines_of,
    fast_p,
    judged_problems,
    mean_speedup,
    speedup_of,
    totals,
)

NAME_LIMIT = 60
NOTE_LIMIT = 80


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """Headers and rows of text; numbers are aligned right."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[str]
    """The headers of the columns that hold numbers."""
    literal: frozenset[str] = frozenset()
    """The headers of the columns that need a font of one width."""
    expendable: tuple[str, ...] = ()
    """The headers of the columns that a screen without room for them leaves out, the first one first."""
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
    further = tuple(f"vs {one_line(name, NAME_LIMIT)}" for name in baselines)
    rows = tuple(
        (
            one_line(record.problem, NAME_LIMIT), one_line(record.solution, NAME_LIMIT),
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
        return one_line(f"{record.status.value}: {record.reason}", NOTE_LIMIT)
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
    """One line for each correct pair with flags, which the table marks with an asterisk, and what is advised of it."""
    return [
        "; ".join([
            f"* {one_line(record.id)}: {', '.join(one_line(flag) for flag in record.flags)}",
            *(one_line(sentence) for sentence in record.advice),
        ])
        for record in records
        if record.flags and record.status is Status.CORRECT
    ]


def kernel_lines(record: Record) -> list[str]:
    """Of each kernel that the solution built, `normalise: 32 registers, 0 B stack, 192 B static shared memory`."""
    return [
        f"{one_line(str(kernel.get('name', '?')))}: {kernel.get('registers', '?')} registers, "
        f"{kernel.get('stack_bytes', '?')} B stack, {kernel.get('shared_bytes', '?')} B static shared memory"
        for kernel in record.kernels
    ]


def run_totals(records: Mapping[Key, Record]) -> str:
    """`3 correct, 1 incorrect · geometric mean 1.23x over 3`."""
    mean = mean_speedup(records)
    timed = sum(speedup_of(record) is not None for record in records.values())
    return totals(records) + (f" · geometric mean {ratio(mean)} over {timed}" if mean else "")


def fast_p_lines(records: Mapping[Key, Record]) -> list[str]:
    """`fast_p over eager: fast_0 100%, fast_1 67%, … (3 problems)`, and the same for each further baseline."""
    problems = len(judged_problems(records))
    return [
        f"fast_p over {one_line(baseline, NAME_LIMIT)}: "
        + ", ".join(f"{fast_p_name(p)} {share(fast_p(records, p, baseline=baseline))}" for p in FAST_P)
        + f" ({problems} problem{'s' if problems > 1 else ''})"
        for baseline in baselines_of(records)
        if problems
    ]


def list_table(runs: Sequence[RunSummary]) -> TextTable:
    """One row for each run."""
    headers = ("run", "date", "device", "pairs", "geometric mean")
    rows = tuple(
        (
            one_line(run.name, NAME_LIMIT), run.started, one_line(run.device, NAME_LIMIT) or MISSING,
            ", ".join(f"{count} {status}" for status, count in run.counts.items())
            or one_line(run.trouble, NOTE_LIMIT),
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
        "build": _build(record), "replicates": _replicates(record),
        "verified calls": str(record.verified_calls or MISSING), "flags": ", ".join(record.flags) or MISSING,
    }  # fmt: skip
    for name, baseline in record.baselines.items():
        facts[f"baseline {name}"] = f"{_ms(baseline.get('time_ms'))}, {ratio(baseline.get('speedup'))} over it"
    for name, spent in record.host.items():
        words = {"wall": spent.get("wall_ms"), "enqueue": spent.get("enqueue_ms")}
        facts[f"host {name}"] = ", ".join(f"{word} {_ms(ms)}" for word, ms in words.items() if ms is not None)
    facts |= {f"isolation {layer}": str(state) for layer, state in record.isolation.items()}
    facts |= {
        "problem sha": record.problem_sha or MISSING, "solution sha": record.solution_sha or MISSING,
        "environment": record.environment_key or MISSING,
    }  # fmt: skip
    return [(one_line(name), one_line(value)) for name, value in facts.items() if value != MISSING]


def _replicates(record: Record) -> str:
    """`5, at -0.4% 0.0% 0.0% +0.1% +0.3% of their mean`, ascending."""
    around = stats.deviations(record.replicate_log_ratios)
    if len(around) < 2:
        return str(record.replicates or MISSING)
    return f"{record.replicates}, at {' '.join(percent(value) for value in around)} of their mean"


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
