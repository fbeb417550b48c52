"""Slow one copied solution down and break another; later, check that the gate names each for what it is."""

from __future__ import annotations

import json
import sys
from pathlib import Path

SLOWED = "depthwise_conv2d_hardswish"
BROKEN = "groupnorm_silu"
_SLOW = """

class _Slow(ModelNew):
    def forward(self, *inputs):
        super().forward(*inputs)
        return super().forward(*inputs)


ModelNew = _Slow
"""
_WRONG = """

class _Wrong(ModelNew):
    def forward(self, *inputs):
        return super().forward(*inputs) * 0.5


ModelNew = _Wrong
"""


def spoil(solutions: Path) -> None:
    """Append to the copies: the one computes everything twice, the other half of what it should."""
    for problem, addition in ((SLOWED, _SLOW), (BROKEN, _WRONG)):
        path = solutions / problem / "cpu_fused.py"
        path.write_text(path.read_text() + addition)


def check(report: Path) -> None:
    """Exit with a message unless the comparison calls the one regressed and the other broken."""
    verdicts = {row["problem"]: row["verdict"] for row in json.loads(report.read_text())["rows"]}
    expected = {SLOWED: "regressed", BROKEN: "broken"}
    if verdicts != expected:
        sys.exit(f"the gate said {verdicts}, not {expected}")


if __name__ == "__main__":
    if sys.argv[1] == "--check":
        check(Path(sys.argv[2]))
    else:
        spoil(Path(sys.argv[1]))
