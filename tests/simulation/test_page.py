"""The figures of docs/measurement.md are those of the code as it is."""

from __future__ import annotations

import re

import pytest

from simulation import study
from simulation.fast import SEED
from simulation.gates import World

PAGE = study.PAGE.read_text(encoding="utf-8").partition("\n## Seen on ")[0]
"""What follows was measured, not drawn."""
COMMITTED = study.committed(PAGE)
FEW = study.Draws(coverage=20, stopping=20, modes=20, false_alarms=2, power=2)
QUICK = (study.coverage_table, study.stopping_table, study.modes_table)
FULL_GATE = ("100 rows, unchanged", "100 rows, one slower by 8%")
"""Those that other tests need anyway; the rest takes a minute more."""


def as_committed(cell: str, committed: str) -> bool:
    """Equal, or within three units of the last digit: another numpy may round one draw in thousands otherwise."""
    number = re.fullmatch(r"([\d.]+)%?", committed)
    if number is None or cell == committed:
        return cell == committed
    unit = 10.0 ** -len(number[1].partition(".")[2])
    return abs(float(cell.rstrip("%")) - float(number[1])) <= 3.001 * unit


def assert_as_committed(found: study.Table, committed: study.Table) -> None:
    for row, expected in zip(found.rows, committed.rows, strict=True):
        assert all(as_committed(*cells) for cells in zip(row, expected, strict=True)), (row, expected)


def test_the_page_has_the_tables_that_the_study_prints() -> None:
    printed = study.tables(FEW)
    assert [table.header for table in printed] == [table.header for table in COMMITTED]
    for few, committed in zip(printed, COMMITTED, strict=True):
        assert [row[0] for row in few.rows] == [row[0] for row in committed.rows]
    assert f"seed {SEED}" in PAGE


def test_the_figures_of_intervals_and_replicates_are_those_of_this_code() -> None:
    for make, committed in zip(QUICK, COMMITTED[: len(QUICK)], strict=True):
        assert_as_committed(make(study.FULL), committed)


def test_so_are_the_gates() -> None:
    gates = {row[0]: row for row in COMMITTED[3].rows}
    for name in FULL_GATE:
        found = study.gate_row(name, draws=study.FULL)
        assert_as_committed(
            study.Table(header=COMMITTED[3].header, rows=(found,)),
            study.Table(header=COMMITTED[3].header, rows=(gates[name],)),
        )


def test_the_pages_gate_keeps_what_it_promises() -> None:
    """Also in the rows that are not simulated again here."""
    promised = World(rows=1)
    for name, _, not_passed, found, false in COMMITTED[3].rows:
        world = study.WORLDS[name]
        if (world.replicate_sd, world.run_sd) != (promised.replicate_sd, promised.run_sd):
            continue
        assert float(false.rstrip("%")) <= 2.0
        if not world.slower_by:
            assert float(not_passed.rstrip("%")) <= 2.0
        elif world.slower_by[0] >= 0.08:
            assert float(found.rstrip("%")) >= 90.0


@pytest.mark.parametrize(
    ("cell", "committed", "same"),
    [("96.0%", "96.3%", True), ("96.0%", "96.4%", False), ("0.85%", "0.89%", False), ("", "", True), ("", "x", False)],
)
def test_what_counts_as_the_same_figure(cell: str, committed: str, same: bool) -> None:
    assert as_committed(cell, committed) is same
