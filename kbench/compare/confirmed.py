"""A comparison some of whose rows were measured again: the fresh figures decide about them."""

from __future__ import annotations

from dataclasses import replace

from kbench.compare.comparison import Comparison
from kbench.compare.gate import may_be_slower
from kbench.compare.row import Change, Row
from kbench.store.runs import Key


def suspects(comparison: Comparison, *, strict: bool = False) -> tuple[Key, ...]:
    """The rows to measure again: those that regressed and, with `strict`, those that may have."""
    rows = comparison.having(Change.REGRESSED)
    if strict:
        rows += tuple(row for row in comparison.having(Change.INCONCLUSIVE) if may_be_slower(row, comparison.threshold))
    return tuple(row.key for row in rows)


def with_fresh_rows(comparison: Comparison, fresh: Comparison) -> Comparison:
    """`comparison` with the rows of `fresh` in the place of its own, each saying what the runs had said."""
    again = {row.key: row for row in fresh.rows}
    return replace(
        comparison, rows=tuple(_noted(again[row.key], row) if row.key in again else row for row in comparison.rows)
    )


def _noted(fresh: Row, row: Row) -> Row:
    said = f"{row.verdict.value}, {row.change:+.1%}" if row.change is not None else row.verdict.value
    note = f"measured again (the runs said {said})"
    return replace(fresh, unchanged=row.unchanged, note=f"{fresh.note}; {note}" if fresh.note else note)
