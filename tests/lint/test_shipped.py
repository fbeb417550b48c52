"""The problems of this repository, through the whole of `kbench lint`."""

from __future__ import annotations

from pathlib import Path

from kbench.lint.survey import examine_all, find_targets
from kbench.model import Device

PROBLEMS = Path(__file__).parents[2] / "problems"


def test_they_pass_and_say_what_the_cases_make_up_for() -> None:
    targets, refused = find_targets(PROBLEMS, device=Device.CPU, size=None, select=None)
    assert not refused
    shipped = {report.problem: report for report in examine_all(targets, device=Device.CPU, timeout_s=500)}
    assert set(shipped) == {path.stem for path in PROBLEMS.glob("*.py")}
    assert {name: report.findings for name, report in shipped.items() if not report.passes} == {}
    assert all(report.size == "small" and report.measured["eager_ms"] > 0 for report in shipped.values())
    notes = {f.check: f.detail for f in shipped["conv2d_groupnorm_scale_maxpool_clamp"].findings}
    assert "scale (all 1)" in notes["special_parameter"]
    assert "exactly 1 or 0" in notes["saturated"]
