from __future__ import annotations

from typing import Any

import pytest
from selftest_factory import make_finding, make_specimen, record_of

from kbench.model import Status
from kbench.selftest.findings import (
    Finding,
    Outcome,
    Tally,
    examine,
    examine_all,
    exit_code,
    noteworthy,
    tallies,
    tally,
)

CAUGHT = make_finding("memo_a", "incorrect / values", "incorrect", reason="values")
THROUGH = make_finding("memo_b", "incorrect / values", "correct")
OTHERWISE = make_finding("clock_a", "incorrect / values", "crash", reason="SIGSEGV")
ACCEPTED = make_finding("honest_memo_a", "correct", "correct")
ALARM = make_finding("honest_memo_b", "correct", "incorrect", reason="values")
UNDECIDED = make_finding("memo_c", "incorrect", "infra_error", reason="kbench")
NOT_RUN = make_finding("memo_cuda_a", "incorrect", "skipped", reason="needs CUDA")


@pytest.mark.parametrize(
    ("name", "expect", "got", "outcome"),
    [
        ("memo_a", "incorrect / values", {"status": "incorrect", "reason": "values"}, Outcome.CAUGHT),
        ("memo_a", "incorrect", {"status": "incorrect", "reason": "shape"}, Outcome.CAUGHT),
        ("memo_a", "incorrect / values", {"status": "incorrect", "reason": "shape"}, Outcome.CAUGHT_OTHERWISE),
        ("memo_a", "incorrect / values", {"status": "crash", "reason": "values"}, Outcome.CAUGHT_OTHERWISE),
        ("memo_a", "incorrect / values", {"status": "correct"}, Outcome.GOT_THROUGH),
        ("memo_a", "incorrect", {"status": "infra_error", "reason": "kbench"}, Outcome.UNDECIDED),
        ("memo_a", "incorrect", {"status": "skipped", "reason": "needs CUDA"}, Outcome.NOT_RUN),
        ("clock_a", "correct, at most 1.5x", {"status": "correct", "speedup": 1.5}, Outcome.CAUGHT),
        ("clock_a", "correct, at most 1.5x", {"status": "correct", "speedup": 1.51}, Outcome.GOT_THROUGH),
        ("clock_a", "correct, at most 1.5x", {"status": "correct", "speedup": None}, Outcome.UNDECIDED),
        ("clock_a", "correct, at most 1.5x", {"status": "rejected"}, Outcome.CAUGHT_OTHERWISE),
        ("honest_memo_a", "correct", {"status": "correct", "speedup": 30.0}, Outcome.ACCEPTED),
        ("honest_memo_a", "correct", {"status": "timeout", "reason": "call"}, Outcome.FALSE_ALARM),
        ("honest_memo_a", "correct", {"status": "infra_error"}, Outcome.UNDECIDED),
        ("honest_memo_a", "correct", {"status": "skipped", "reason": "CPU only"}, Outcome.NOT_RUN),
    ],
)
def test_a_record_is_held_against_its_file(name: str, expect: str, got: dict[str, Any], outcome: Outcome) -> None:
    specimen = make_specimen(name, expect)
    assert examine(specimen, record_of(specimen, **got)).outcome is outcome


def test_a_file_without_a_record_is_not_decided() -> None:
    assert examine(make_specimen(), None).outcome is Outcome.UNDECIDED


def test_findings_come_in_the_order_of_the_files() -> None:
    specimens = [make_specimen("memo_b"), make_specimen("memo_a")]
    record = record_of(specimens[1], Status.INCORRECT, reason="values")
    found = examine_all(specimens, {record.key: record}, {specimens[1].id: 2.5})
    assert [(f.specimen.name, f.outcome, f.seconds) for f in found] == [
        ("memo_b", Outcome.UNDECIDED, None), ("memo_a", Outcome.CAUGHT, 2.5),
    ]  # fmt: skip


def test_headlines_say_what_is_surprising() -> None:
    lie = make_finding("clock_b", "correct, at most 1.5x", Status.CORRECT, speedup=12.34)
    assert lie.headline == "got through: reported 12.3x"
    assert THROUGH.headline == "got through: correct, 2.00x"
    assert OTHERWISE.headline == "caught, but as crash / SIGSEGV instead of incorrect / values"
    assert ALARM.headline == "false alarm: incorrect / values"
    assert UNDECIDED.headline == "not decided: infra_error / kbench"


def test_counts_leave_out_what_was_not_run() -> None:
    memo = [CAUGHT, THROUGH, ACCEPTED, ALARM, UNDECIDED, NOT_RUN]
    expected = Tally(name="memo", caught=1, cheats=3, false_alarms=1, twins=2, undecided=1, not_run=1)
    assert tally("memo", memo) == expected
    assert tallies([*memo, OTHERWISE]) == (
        Tally(name="clock", caught=0, cheats=1, false_alarms=0, twins=0, undecided=0, not_run=0), expected,
    )  # fmt: skip


def test_what_a_person_must_look_at() -> None:
    everything = [CAUGHT, THROUGH, OTHERWISE, ACCEPTED, ALARM, UNDECIDED, NOT_RUN]
    assert noteworthy(everything) == (THROUGH, OTHERWISE, ALARM, UNDECIDED)


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([CAUGHT, ACCEPTED], 0),
        ([CAUGHT, ACCEPTED, NOT_RUN], 0),
        ([CAUGHT, THROUGH], 1),
        ([CAUGHT, OTHERWISE], 1),
        ([CAUGHT, ALARM], 1),
        ([ALARM, UNDECIDED], 1),
        ([CAUGHT, UNDECIDED], 3),
        ([NOT_RUN], 3),
        ([], 3),
    ],
)
def test_the_exit_code(findings: list[Finding], code: int) -> None:
    assert exit_code(findings) == code
