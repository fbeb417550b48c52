"""What the table of a comparison says, and the lines below it, as clean text."""

from __future__ import annotations

from kbench import stats
from kbench.compare.comparison import Comparison
from kbench.compare.row import Change, Row
from kbench.model import Status
from kbench.report.strip import LEGEND, strip
from kbench.report.tables import NAME_LIMIT, NOTE_LIMIT, TextTable
from kbench.report.text import MISSING, change, fast_p_name, one_line, percent, ratio, share, some
from kbench.store.summary import FAST_P, baselines_of, fast_p, judged_problems

STRIP = "o old, n new"
TIMES = "ref, sol ms"
_REFERENCES_OWN = "half of the change or more is the reference's own"
_REFERENCE_SHARE_WORTH_SAYING = 0.5
_DRIFT_WORTH_SAYING = 1.2


def comparison_table(comparison: Comparison) -> TextTable:
    """One row for each common pair; what the figures do not say is in `notes`."""
    headers = ("problem", "solution", "old", "new", "change", STRIP, TIMES, "verdict")
    rows = tuple(
        (
            one_line(row.problem, NAME_LIMIT), one_line(row.solution, NAME_LIMIT),
            ratio(row.old_speedup.value) if row.old_speedup else row.old_status.value,
            ratio(row.new_speedup.value) if row.new_speedup else row.new_status.value,
            change(row.change, row.change_low, row.change_high), strip(row.old_log_ratios, row.new_log_ratios),
            _own_changes(row), row.verdict.value.replace("_", " "),
        )
        for row in comparison.rows
    )  # fmt: skip
    tones = tuple(verdict_tone(row.verdict) for row in comparison.rows)
    return TextTable(
        headers=headers, rows=rows, numeric=frozenset(headers[2:7]), literal=frozenset({STRIP}),
        expendable=(TIMES, STRIP), tones=tones,
    )  # fmt: skip


def _own_changes(row: Row) -> str:
    """`-20.0, +8.0%`: by how much the reference's and the solution's own times changed."""
    if row.delta_ln_reference is None or row.delta_ln_time is None:
        return MISSING
    reference, solution = (percent(stats.exp(delta) - 1) for delta in (row.delta_ln_reference, row.delta_ln_time))
    return f"{reference.removesuffix('%')}, {solution}"


def verdict_tone(verdict: Change) -> str:
    """How a verdict is coloured."""
    if verdict in (Change.IMPROVED, Change.FIXED):
        return "good"
    if verdict in (Change.REGRESSED, Change.BROKEN):
        return "bad"
    return "" if verdict is Change.SAME else "muted"


def notes(comparison: Comparison) -> list[str]:
    """`different size: softmax/v2, softmax/v3`: what the table does not show of a row, rows with one note together.

    That a run skipped a pair the table shows by its status. Where at least half of a change is the reference's
    own, the speedup says little about the solution.
    """
    found: dict[str, list[str]] = {}
    for row in comparison.rows:
        if row.note and not _shown_by_status(row):
            found.setdefault(one_line(row.note, NOTE_LIMIT), []).append(one_line(row.id))
        part = row.reference_share
        moved = row.verdict in (Change.IMPROVED, Change.REGRESSED, Change.INCONCLUSIVE)
        if moved and part is not None and part >= _REFERENCE_SHARE_WORTH_SAYING:
            found.setdefault(_REFERENCES_OWN, []).append(f"{one_line(row.id)} ({min(part, 1):.0%})")
    return [f"{note}: {some(ids)}" for note, ids in found.items()]


def _shown_by_status(row: Row) -> bool:
    decided = {row.old_status, row.new_status} <= {Status.CORRECT}
    return row.verdict is Change.NOT_MEASURED and not decided


def comparison_facts(comparison: Comparison) -> list[str]:
    """The lines below the table: counts, means, pairs on one side only, noise."""
    counts = [f"{len(comparison.having(word))} {word.replace('_', ' ')}" for word in Change if comparison.having(word)]
    legend = [LEGEND] if any(row.old_log_ratios or row.new_log_ratios for row in comparison.rows) else []
    facts = [*legend, ", ".join(counts) or "no pair in common", *notes(comparison)]
    drift, other_machine = comparison.reference_drift, any(each.decisive for each in comparison.environment)
    if drift and max(drift, 1 / drift) >= _DRIFT_WORTH_SAYING and not other_machine:
        facts.append(
            f"the references take {drift:.2f} times as long as in the old run (median): as on another machine, "
            "though nothing that is told of the environments says so"
        )
    if comparison.geometric_mean_ratio is not None:
        mean = comparison.geometric_mean_ratio
        bounded = mean.low > 0
        before, after = ratio(comparison.old_geometric_mean), ratio(comparison.new_geometric_mean)
        facts.append(
            f"geometric mean {before} → {after}, "
            f"{change(mean.value - 1, mean.low - 1 if bounded else None, mean.high - 1 if bounded else None)}"
        )
    facts += _fast_p_changes(comparison)
    for word, records in (
        ("only in the new run", comparison.appeared),
        ("only in the old run", comparison.vanished),
    ):
        if records:
            facts.append(f"{word}: {some([f'{one_line(r.id)} ({r.status})' for r in records])}")
    if comparison.noise.rows:
        sd = comparison.noise.variance**0.5
        facts.append(f"noise between the runs: {percent(sd).lstrip('+')} (from {comparison.noise.rows} unchanged rows)")
    return facts


def _fast_p_changes(comparison: Comparison) -> list[str]:
    """`fast_1 67% → 100%` for each p and baseline of both runs, over all problems of each, common or not."""
    old, new = comparison.old.records, comparison.new.records
    counts = [len(judged_problems(records)) for records in (old, new)]
    return [
        f"fast_p over {one_line(baseline, NAME_LIMIT)}: "
        + ", ".join(
            f"{fast_p_name(p)} {share(fast_p(old, p, baseline=baseline))} → {share(fast_p(new, p, baseline=baseline))}"
            for p in FAST_P
        )
        + f" ({counts[0]} and {counts[1]} problems)"
        for baseline in baselines_of(old)
        if baseline in baselines_of(new) and all(counts)
    ]


def environment_lines(comparison: Comparison) -> list[str]:
    """`gpu.name: NVIDIA H100 → NVIDIA H200`, decisive ones marked."""
    return [
        f"{each.field}: {one_line(each.old)} → {one_line(each.new)}" + (" (no gate)" if each.decisive else "")
        for each in comparison.environment
    ]
