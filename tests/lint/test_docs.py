"""docs/lint.md explains every check there is, and no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kbench.lint.model import CHECKS, Finding, Severity

DOCS = Path(__file__).parents[2] / "docs" / "lint.md"


def test_the_tables_have_every_check() -> None:
    rows = [line for line in DOCS.read_text().splitlines() if line.startswith("| `")]
    assert {name for row in rows for name in re.findall(r"`([a-z_]+)`", row.split("|")[1])} - set(Severity) == CHECKS


def test_a_finding_of_no_known_check_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="no such check"):
        Finding(severity=Severity.NOTE, check="typo", detail="", remedy="")
