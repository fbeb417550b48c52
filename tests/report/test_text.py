from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbench.model import Estimate
from kbench.report import text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5.9, "5.90"), (0.1372, "0.137"), (1234.5, "1230"), (9.996, "10.0"), (0.9996, "1.00"), (0.0, "0"),
        (123.4, "123"), (0.00012345, "0.000123"), (1.2345e-6, "1.23e-06"), (-2.5, "-2.50"), (math.inf, "inf"),
    ],
)  # fmt: skip
def test_significant(value: float, expected: str) -> None:
    assert text.significant(value) == expected


@given(st.floats(1e-4, 1e9))
def test_significant_is_close(value: float) -> None:
    assert float(text.significant(value)) == pytest.approx(value, rel=0.00501)


def test_estimates() -> None:
    assert text.estimate(Estimate(value=1.23, low=1.21, high=1.25)) == "1.23x [1.21, 1.25]"
    assert text.estimate(Estimate(value=1.23, low=0.0, high=math.inf)) == "1.23x"
    assert text.estimate(None) == text.ratio(None) == text.optional(None) == "–"


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.012, "+1.2%"), (-0.2, "-20.0%"), (0.0, "0.0%"), (-0.0001, "0.0%"), (None, "–"), (99.0, "9900%")],
)
def test_percent(value: float | None, expected: str) -> None:
    assert text.percent(value) == expected


def test_change() -> None:
    assert text.change(-0.05, -0.061, -0.039) == "-5.0% [-6.1%, -3.9%]"
    assert text.change(-0.05, None, None) == "-5.0%"


@pytest.mark.parametrize(
    ("hostile", "expected"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]52;c;never ends", ""),
        ("\x9b2Jx", "x"),
        ("\x1bcx", "x"),
        ("a\x1b", "a"),
        ("a\x00\x07\x08b", "ab"),
        ("over\rwrite\r\nx\u2028y", "over\nwrite\nx\ny"),
        ("\u202eevil\u2066\u200b", "evil"),
        ("\ud800x", "x"),
        ("a\tb", "a   b"),
        ("é ünï → 日本", "é ünï → 日本"),
    ],
)
def test_clean(hostile: str, expected: str) -> None:
    assert text.clean(hostile) == expected


@given(st.text())
def test_clean_leaves_nothing_that_acts(hostile: str) -> None:
    cleaned = text.clean(hostile)
    assert all(char == "\n" or char.isprintable() or char.isspace() for char in cleaned)
    assert "\x1b" not in cleaned and "\r" not in cleaned
    cleaned.encode()


def test_one_line_and_first_lines() -> None:
    assert text.one_line(" a\n\n b\tc ") == "a b c"
    assert text.one_line("abcdef", 4) == "abc…"
    assert text.first_lines("a\n\nb\nc\nd", 2, 80) == ["a", "b", "… (2 more lines)"]
    assert text.first_lines("a\nb\nc", 2, 80) == ["a", "b", "… (1 more line)"]
    assert text.first_lines("abcdef\n", 2, 4) == ["abc…"]
    assert text.first_lines("", 2, 4) == []
