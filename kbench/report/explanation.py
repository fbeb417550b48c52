"""The words and figures of `kbench compare --explain`, as clean text for the renderers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kbench import stats
from kbench.compare.explain import Explanation
from kbench.compare.needed import MOST_REPLICATES, Needed, Obstacle
from kbench.compare.row import ROUNDING, SIGNIFICANCE, Change, Evidence, Row
from kbench.model import Record
from kbench.report.tables import TextTable
from kbench.report.text import MISSING, change, estimate, one_line, percent, significant, some
from kbench.store.summary import speedup_of

_BY_STATUS = {
    Change.BROKEN: "It was correct and fails now, which is a regression whatever the threshold.",
    Change.FIXED: "It failed and is correct now; there is no time to compare with.",
    Change.STILL_FAILING: "It fails in both runs, so there is no time to compare.",
    Change.NOT_MEASURED: "At least one run says nothing about it, so nothing follows.",
    Change.NOT_COMPARABLE: "What was measured is not the same in both runs, so their times are not compared.",
}

_OBSTACLES = {
    Obstacle.NOISE: "no number of replicates would: the noise between runs alone is larger",
    Obstacle.UNKNOWN_SPREAD: "no number can be given: neither run has two replicates, so their spread is not known",
    Obstacle.THRESHOLD: "no number of replicates would: D is the threshold itself",
    None: MISSING,
}


def rule(explanation: Explanation) -> str:
    """The rule that decided the row, in words and with the figures it was applied to."""
    row, limit = explanation.row, _share(explanation.threshold)
    if row.evidence is None or row.change is None:
        said = _BY_STATUS[row.verdict]
        return f"{said} ({one_line(row.note)}.)" if row.note else said
    if row.verdict in (Change.REGRESSED, Change.IMPROVED):
        which = "slowdown" if row.verdict is Change.REGRESSED else "speedup"
        return (
            f"The change of {percent(row.change)} is a {which} of at least the threshold, {limit}, and its "
            f"Holm-adjusted p-value {_p(row.p_adjusted)} is below {SIGNIFICANCE}."
        )
    if row.verdict is Change.SAME:
        if row.evidence.old == row.evidence.new:
            return "Both runs hold the same figures to the last digit: one measurement, seen twice."
        return f"The whole 95% interval {_interval(row)} lies within ±{limit}."
    return _undecided(row, limit, beyond=abs(row.change) >= explanation.threshold - ROUNDING)


def _undecided(row: Row, limit: str, *, beyond: bool) -> str:
    if row.p_value is None:
        return "Neither run has two replicates, so nothing is known about the noise and nothing follows."
    if beyond:
        return (
            f"The change of {percent(row.change)} is as large as the threshold, {limit}, or larger, but its "
            f"Holm-adjusted p-value {_p(row.p_adjusted)} is not below {SIGNIFICANCE}: chance may have done it."
        )
    return (
        f"The change of {percent(row.change)} is smaller than the threshold, {limit}, so it is no regression and no "
        f"improvement; but the 95% interval {_interval(row)} reaches past ±{limit}, so it is not the same either."
    )


def runs_table(explanation: Explanation) -> TextTable:
    """Both runs' figures side by side, each replicate's d_p in the order it was taken."""
    old, new = explanation.old, explanation.new
    rows: list[tuple[str, str, str]] = [
        ("status", old.status.value, new.status.value),
        ("reason", one_line(old.reason) or MISSING, one_line(new.reason) or MISSING),
        ("speedup", estimate(speedup_of(old)), estimate(speedup_of(new))),
        ("reference", _ms(old.reference_ms), _ms(new.reference_ms)),
        ("solution", _ms(old.time_ms), _ms(new.time_ms)),
        ("flags", _flags(old), _flags(new)),
    ]
    rows += [(name, one_line(before), one_line(after)) for name, before, after in _identity(old, new)]
    before, after = _replicates(old.replicate_log_ratios), _replicates(new.replicate_log_ratios)
    for index in range(max(len(before), len(after))):
        rows.append((f"d_{index + 1}", _at(before, index), _at(after, index)))
    evidence = explanation.row.evidence
    if evidence is not None:
        rows += [
            (name, figure(evidence.old), figure(evidence.new))
            for name, figure in (("mean d", _mean), ("s", _spread), ("P", _count), ("s²/P", _variance))
        ]
    kept = tuple(row for row in rows if row[1:] != (MISSING, MISSING))
    return TextTable(headers=("", "old", "new"), rows=kept, numeric=frozenset({"old", "new"}))


def facts(explanation: Explanation) -> list[tuple[str, str]]:
    """The test's figures in the order they are computed, name and value, and last what would decide the row."""
    row, evidence = explanation.row, explanation.row.evidence
    found: list[tuple[str, str]] = []
    if evidence is not None:
        found += _test(explanation, evidence)
    if row.delta_ln_reference is not None and row.delta_ln_time is not None:
        found += [
            ("reference's own change", f"{percent(stats.exp(row.delta_ln_reference) - 1)} in time"),
            ("solution's own change", f"{percent(stats.exp(row.delta_ln_time) - 1)} in time"),
        ]
    if explanation.at_threshold:
        found.append(("at the threshold", "D is the threshold itself: which side the truth is on, it cannot say"))
    if explanation.needed is not None:
        found.append(("would decide it", needed_text(explanation.needed)))
    return found


def needed_text(needed: Needed) -> str:
    """How many replicates would decide, as a sentence."""
    if needed.verdict is None:
        return _OBSTACLES[needed.obstacle]
    word = needed.verdict.value
    if needed.replicates is None:
        return f"more than {MOST_REPLICATES} replicates in each run; it would then be {word}"
    return (
        f"{needed.replicates} replicates in each run; it would then be {word}, if D, s and τ² stay what they are"
    )


def _test(explanation: Explanation, evidence: Evidence) -> list[tuple[str, str]]:
    row, difference = explanation.row, evidence.difference
    found = [("D, new mean − old mean", f"{difference.delta:+.5f}, a change of {percent(row.change)}")]
    if difference.variance is None:
        return [*found, ("variance of D", "unknown: one replicate in each run")]
    parts = " + ".join(
        "unknown" if side.variance is None else f"{side.variance:.3g}" for side in (evidence.old, evidence.new)
    )
    half = (difference.high - difference.low) / 2
    found += [
        ("variance of D", f"v_old + v_new + τ² = {parts} + {evidence.noise.variance:.3g} = {difference.variance:.3g}"),
        ("τ², noise between runs", _noise(evidence)),
        ("degrees of freedom", f"{difference.degrees:.3g} (Welch and Satterthwaite)"),
        ("95% interval of D", f"D ± {half:.5f} = [{difference.low:+.5f}, {difference.high:+.5f}]"),
        ("95% interval of the change", _interval(row)),
        ("p, two-sided", _p(row.p_value)),
        ("p, Holm-adjusted", f"{_p(row.p_adjusted)}, rank {evidence.rank} of {evidence.tests}"),
        ("significant at", f"p below {_p(explanation.p_cutoff)}, the other rows being what they are"),
        (
            "threshold",
            f"{_share(explanation.threshold)}: D at or below {explanation.low_bound:+.5f}, "
            f"or at or above {explanation.high_bound:+.5f}",
        ),
    ]
    if None in (evidence.old.variance, evidence.new.variance):
        found.insert(2, ("unknown variance", "that run has one replicate: the other's s² stands in for its own"))
    return found


def _noise(evidence: Evidence) -> str:
    noise = evidence.noise
    if not noise.rows:
        return f"0: fewer than {stats.MIN_UNCHANGED_ROWS} other rows are unchanged, so none is known"
    outliers = [evidence.noise_rows[index] for index in noise.left_out]
    named = [key for key in evidence.noise_rows if key not in outliers]
    text = f"{noise.variance:.3g} ({_share(math.sqrt(noise.variance))}), {noise.degrees:.3g} degrees of freedom, "
    text += f"from {len(named)} unchanged rows: {_names(named)}"
    return text + (f"; left out as outliers: {_names(outliers)}" if outliers else "")


def _names(keys: Sequence[tuple[str, str]]) -> str:
    return some([one_line("/".join(key)) for key in keys])


def _identity(old: Record, new: Record) -> list[tuple[str, str, str]]:
    """What makes two records comparable, where it differs."""
    names = {
        "size": "size", "precision": "precision", "device": "device", "problem_sha": "problem sha",
        "solution_sha": "solution sha", "environment_key": "environment",
    }  # fmt: skip
    pairs = [(word, getattr(old, name), getattr(new, name)) for name, word in names.items()]
    return [(word, before[:12] or MISSING, after[:12] or MISSING) for word, before, after in pairs if before != after]


def _replicates(d: Sequence[float]) -> list[str]:
    """Each d_p with its distance from the mean: `+0.68000  -1.4%`."""
    mean = sum(d) / len(d) if d else 0.0
    return [f"{value:+.5f} {percent(stats.exp(value - mean) - 1):>6}" for value in d]


def _at(values: Sequence[str], index: int) -> str:
    return values[index] if index < len(values) else MISSING


def _flags(record: Record) -> str:
    return ", ".join(one_line(flag) for flag in record.flags) or MISSING


def _mean(side: stats.LogMean) -> str:
    return f"{side.mean:+.5f}"


def _count(side: stats.LogMean) -> str:
    return str(side.replicates)


def _spread(side: stats.LogMean) -> str:
    """s, the standard deviation of one replicate."""
    return MISSING if side.variance is None else f"{math.sqrt(side.variance * side.replicates):.5f}"


def _variance(side: stats.LogMean) -> str:
    return MISSING if side.variance is None else f"{side.variance:.3g}"


def _interval(row: Row) -> str:
    _, _, text = change(row.change, row.change_low, row.change_high).partition(" ")
    return text or "that nothing bounds"


def _share(value: float) -> str:
    return f"{100 * value:.3g}%"


def _p(value: float | None) -> str:
    return MISSING if value is None else f"{value:.3g}"


def _ms(value: float | None) -> str:
    return MISSING if value is None else f"{significant(value)} ms"
