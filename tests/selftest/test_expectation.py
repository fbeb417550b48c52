from __future__ import annotations

import pytest

from kbench.model import Status
from kbench.selftest.expectation import Expectation, outcome_text, parse_expectation, read_expectation


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("incorrect / values", Expectation(status=Status.INCORRECT, reason="values")),
        ("crash / signal 40", Expectation(status=Status.CRASH, reason="signal 40")),
        ("crash / SIGSEGV", Expectation(status=Status.CRASH, reason="SIGSEGV")),
        ("incorrect", Expectation(status=Status.INCORRECT)),
        ("correct", Expectation(status=Status.CORRECT)),
        ("correct, at most 1.5x", Expectation(status=Status.CORRECT, at_most=1.5)),
        ("correct, at most 2x", Expectation(status=Status.CORRECT, at_most=2.0)),
    ],
)
def test_each_form_is_read_and_written_back(text: str, expected: Expectation) -> None:
    assert parse_expectation(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "'' is no status"),
        ("wrong", "'wrong' is no status"),
        ("Correct", "'Correct' is no status"),
        ("skipped / needs CUDA", "never a solution's doing"),
        ("infra_error / problem", "never a solution's doing"),
        ("incorrect / ", "'' is no reason"),
        ("incorrect / values | crash", "no reason"),
        ("incorrect | crash", "no status"),
        ("incorrect/values", "no status"),
        ("correct / values", "'correct' has no reason"),
        ("correct, at most 1.5", "is no bound"),
        ("correct, at most -2x", "is no bound"),
        ("correct, at most 0x", "is no bound"),
        ("correct, at most infx", "is no bound"),
        ("correct, ", "is no bound"),
        ("incorrect, at most 2x", "is no bound"),
        ("incorrect / values, at most 2x", "is no bound"),
    ],
)
def test_anything_else_is_refused_with_a_reason(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_expectation(text)


@pytest.mark.parametrize("tail", ["\n\nWhy.\n", '"""\ndef ('])
@pytest.mark.parametrize("head", ['"""', 'r"""', '\ufeff"""'])
def test_the_first_line_of_a_file_decides(head: str, tail: str) -> None:
    found = read_expectation(f"{head}expect: crash / exited{tail}")
    assert found == Expectation(status=Status.CRASH, reason="exited")


def test_a_file_may_be_for_the_cpu_alone() -> None:
    found = read_expectation('"""expect: correct, at most 2x; CPU only\n\nWhy.\n"""')
    assert found == Expectation(status=Status.CORRECT, at_most=2.0, cpu_only=True)
    assert str(found) == "correct, at most 2x"


@pytest.mark.parametrize(
    "text", ["", "import os\n", '\n"""expect: correct\n"""', '"""Expect: correct\n"""', "'''expect: correct\n'''"]
)
def test_a_file_that_begins_otherwise_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="does not begin with"):
        read_expectation(text)


def test_outcomes_read_like_expectations() -> None:
    assert outcome_text(Status.INCORRECT, "values", None) == "incorrect / values"
    assert outcome_text(Status.TIMEOUT, "", None) == "timeout"
    assert outcome_text(Status.CORRECT, "", 1.234) == "correct, 1.23x"
    assert outcome_text(Status.CORRECT, "", None) == "correct"
