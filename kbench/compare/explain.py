"""Why one row of a comparison got its verdict, and what it would take to decide it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from kbench import stats
from kbench.compare.comparison import Comparison
from kbench.compare.needed import Needed, replicates_needed
from kbench.compare.row import ROUNDING, SIGNIFICANCE, Change, Row
from kbench.errors import UsageError
from kbench.model import Record
from kbench.store.runs import match_id


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A row with all that entered its verdict; `row.evidence` holds the figures of the test."""

    row: Row
    old: Record
    new: Record
    threshold: float
    p_cutoff: float | None
    """The row is significant below this p-value, the other rows' p-values being what they are (Holm)."""
    needed: Needed | None
    """Only of an inconclusive row."""

    @property
    def low_bound(self) -> float:
        """The threshold as a log-ratio on the slow side: D at or below it is a slowdown that matters."""
        return math.log1p(-self.threshold)

    @property
    def high_bound(self) -> float:
        """The same on the fast side."""
        return math.log1p(self.threshold)

    @property
    def at_threshold(self) -> bool:
        """The change is the threshold itself, so which side it is on no measurement of this D can say."""
        change = self.row.change
        return change is not None and self.threshold > 0 and abs(abs(change) - self.threshold) <= ROUNDING


def explain(comparison: Comparison, name: str) -> Explanation:
    """Explain the row that `name` means: its `problem/solution`, or a part of it that fits one pair only.

    Raises UsageError unless exactly one pair answers to the name, and where only one run has it.
    """
    rows = {row.id: row for row in comparison.rows}
    alone = {record.id: "old" for record in comparison.vanished}
    alone |= {record.id: "new" for record in comparison.appeared}
    found = match_id([*rows, *alone], name, where=f"{comparison.old.path} and {comparison.new.path}")
    if found in alone:
        raise UsageError(
            "there is nothing to compare", where=found, why=f"only the {alone[found]} run has it",
            hint="kbench show prints a record of one run",
        )  # fmt: skip
    row = rows[found]
    others = [each.p_value for each in comparison.rows if each.p_value is not None and each.key != row.key]
    return Explanation(
        row=row, old=comparison.old.records[row.key], new=comparison.new.records[row.key],
        threshold=comparison.threshold,
        p_cutoff=None if row.p_value is None else stats.holm_cutoff(others, SIGNIFICANCE),
        needed=replicates_needed(row.evidence, others, threshold=comparison.threshold)
        if row.evidence is not None and row.verdict is Change.INCONCLUSIVE else None,
    )  # fmt: skip
