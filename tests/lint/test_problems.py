"""Problems that are weak in one way each, and their twins, through the whole of `kbench lint`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from kbench.lint.model import Report, Severity
from kbench.lint.survey import examine_all, find_targets
from kbench.model import Device

FOLDER = Path(__file__).parent / "problems"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))
_EXPECTED = re.compile(r'"""expect: (clean|[a-z_, ]+?)( \(note\))?\n')


def examined(folder: Path) -> dict[str, Report]:
    targets, refused = find_targets(folder, device=Device.CPU, size=None, select=None)
    return {report.problem: report for report in (*refused, *examine_all(targets, device=Device.CPU, timeout_s=500))}


@pytest.fixture(scope="module")
def reports() -> Mapping[str, Report]:
    return examined(FOLDER)


@pytest.mark.parametrize("name", NAMES)
def test_each_is_named_for_its_own_weakness_and_no_other(name: str, reports: Mapping[str, Report]) -> None:
    match = _EXPECTED.match((FOLDER / f"{name}.py").read_text())
    assert match, f"{name}.py does not begin with what to expect"
    wanted = set() if match[1] == "clean" else set(match[1].split(", "))
    findings = reports[name].findings
    grave = {finding.check for finding in findings if finding.severity is not Severity.NOTE}
    if match[2]:
        assert not grave
        assert wanted <= {finding.check for finding in findings}
    else:
        assert grave == wanted, [finding.detail for finding in findings]
    assert reports[name].passes == (not grave)
    assert all(finding.where for finding in findings)


def test_each_twin_has_one() -> None:
    good = [name for name in NAMES if name.startswith("good_")]
    assert len(good) >= 10
    assert len(NAMES) - len(good) >= 25


def test_the_ones_that_end_the_process_end_only_themselves(reports: Mapping[str, Report]) -> None:
    assert set(reports) == set(NAMES)
    assert "SIGABRT" in reports["aborts"].findings[0].detail
    assert "exit code 0" in reports["leaves"].findings[0].detail
