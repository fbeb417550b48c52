"""The replicates of two runs on one line of text, so that a lone outlier is seen and not averaged away."""

from __future__ import annotations

import math
from collections.abc import Sequence

from kbench.report.text import MISSING, significant

LEGEND = "o, n: replicates of the old, the new run, from slowest to fastest (so far apart); capitals: several; *: both"
_CELLS = 9
_MARKS = {(0, 0): "·", (1, 0): "o", (2, 0): "O", (0, 1): "n", (0, 2): "N"}


def strip(old: Sequence[float], new: Sequence[float]) -> str:
    """`O·o···nNn 8.3%`: the d_p (natural log-ratios) of both runs on one axis, and how far it reaches.

    The axis goes from the least d_p of both runs to the largest, in equal steps of log-ratio; the figure is the
    ratio of the two ends less one. A dash where neither run has any.
    """
    if not old and not new:
        return MISSING
    low, high = min([*old, *new]), max([*old, *new])
    cells = [[0, 0] for _ in range(_CELLS)]
    for side, values in enumerate((old, new)):
        for value in values:
            cells[_cell(value, low, high)][side] += 1
    drawn = "".join(_MARKS.get((min(before, 2), min(after, 2)), "*") for before, after in cells)
    return f"{drawn} {_reach(high - low)}"


def _cell(value: float, low: float, high: float) -> int:
    if high == low:
        return _CELLS // 2
    return round((value - low) / (high - low) * (_CELLS - 1))


def _reach(span: float) -> str:
    ratio = math.expm1(min(span, 10.0))
    return f"{significant(100 * ratio, 2)}%" if ratio < 10 else ">10x"
