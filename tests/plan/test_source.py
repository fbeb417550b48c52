"""What can be read off a file's text."""

from __future__ import annotations

from pathlib import Path

import pytest

from kbench.model import Device
from kbench.plan.source import read_facts

BOTH = frozenset(Device)


def test_names_bound_at_module_level_are_found_wherever_they_stand() -> None:
    facts = read_facts(
        "import os.path, numpy as np\n"
        "from a import b as c\n"
        "x = y = 1\n"
        "(p, q), r = (1, 2), 3\n"
        "z: int = 4\n"
        "unbound: int\n"
        "x += 1\n"
        "if x:\n    class Model: pass\nelse:\n    def get_inputs(): pass\n"
        "try:\n    inner = 1\nexcept Exception:\n    other = 2\n"
        "for i in range(3):\n    in_loop = i\n"
        "async def later(): local = 1\n"
    )
    assert facts.defined == {
        *("os", "np", "c", "x", "y", "p", "q", "r", "z", "Model", "get_inputs"),
        *("inner", "other", "i", "in_loop", "later"),
    }


def test_only_top_level_assignments_can_be_overridden_by_a_size() -> None:
    facts = read_facts("batch = 16\ndim: int = 2 * batch\nif True:\n    nested = 1\ndef f(): local = 1\n")
    assert facts.assigned == {"batch", "dim"}


def test_constants_hold_the_last_literal() -> None:
    facts = read_facts("a = 1\nb = (1, 2)\nc = 2 * a\nd = 'text'\nd = open\n")
    assert facts.constants == {"a": 1, "b": (1, 2)}


def test_lacks_names_what_is_missing_unless_a_star_import_may_provide_it() -> None:
    assert read_facts("class Model: pass").lacks("Model", "get_inputs") == ("get_inputs",)
    assert read_facts("from base import *").lacks("Model") == ()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("x = 1\ndef broken(:\n", 2),
        ("x = '\0'\n", 1),
        ("x = " + "(" * 5000 + ")" * 5000, 1),
        ("x = " + "-" * 200_000 + "1", 1),
        ("\n".join(" " * i + "if 1:" for i in range(120)), 100),
    ],
    ids=["syntax", "null byte", "parentheses", "unary", "indentation"],
)
def test_text_that_does_not_parse_is_a_fact_not_an_exception(text: str, line: int) -> None:
    facts = read_facts(text)
    assert not facts.parses
    assert facts.syntax_error is not None
    assert facts.syntax_error[0] >= min(line, 1)
    assert facts.devices == BOTH


def test_a_syntax_error_has_its_line() -> None:
    facts = read_facts("x = 1\ny = (\n  1,\n  2 3\n)\n")
    assert facts.syntax_error is not None
    assert facts.syntax_error[0] == 4


def test_deep_but_valid_nesting_is_read_without_recursion() -> None:
    facts = read_facts("x = " + "+".join(["1"] * 900) + "\nModel = 1\n")
    assert facts.parses
    assert "Model" in facts.defined


def test_reading_runs_nothing(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    read_facts(f"open({str(marker)!r}, 'w')\nimport nonexistent_module\n")
    assert not marker.exists()


def test_an_invalid_escape_in_a_candidate_is_not_our_warning(recwarn: pytest.WarningsRecorder) -> None:
    assert read_facts("x = '\\d'\n").parses
    assert not recwarn.list
