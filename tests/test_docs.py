"""No claim without its test: everything that docs/trust.md names as evidence exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TRUST = ROOT / "docs" / "trust.md"
COLUMNS = ["defence", "what it stops", "what remains possible", "shown by"]
TABLES = [
    [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "| ---" not in line]
    for table in re.findall(r"(?:^\|.*\n)+", TRUST.read_text(encoding="utf-8"), re.MULTILINE)
]
EVIDENCE = [table for table in TABLES if table[0] == COLUMNS]
CLAIMS = [row for table in EVIDENCE for row in table[1:]]
NAMED = sorted({name for row in CLAIMS for name in re.findall(r"`([^`]+)`", row[-1])})


def exists(name: str) -> bool:
    """`name` is a file's path in the repository, or the name of one file of the red-team suite."""
    if "/" in name:
        return (ROOT / name).is_file()
    return len(list((ROOT / "tests" / "evil" / "solutions").glob(f"*/{name}.py"))) == 1


def test_every_row_of_evidence_is_complete() -> None:
    assert len(EVIDENCE) >= 4
    assert all(len(row) == len(COLUMNS) and all(row) for row in CLAIMS)


@pytest.mark.parametrize("row", CLAIMS, ids=lambda row: row[0][:40])
def test_every_defence_is_shown_by_something(row: list[str]) -> None:
    assert re.fullmatch(r"`[^`]+`(?: `[^`]+`)*", row[-1])


@pytest.mark.parametrize("name", NAMED)
def test_the_evidence_exists(name: str) -> None:
    assert exists(name)


def test_a_name_that_is_nowhere_does_not_exist() -> None:
    assert not exists("clock_of_no_file")
    assert not exists("tests/test_of_nothing.py")
