"""The `-k` expression."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbench.errors import UsageError
from kbench.plan.select import compile_selection

ID = "level1/21_conv-norm/v3.fast"


@pytest.mark.parametrize(
    ("expression", "selected"),
    [
        ("conv", True),
        ("CONV-Norm/V3.FAST", True),
        ("softmax", False),
        ("not softmax", True),
        ("not not conv", True),
        ("conv and fast", True),
        ("conv and slow", False),
        ("slow or fast", True),
        ("slow or conv and softmax", False),
        ("(slow or conv) and not softmax", True),
        ("not (slow or conv)", False),
        ("not slow and not softmax", True),
        ("((conv))", True),
        ("(conv)and(fast)", True),
        ("android or conv", True),
        ("  conv  ", True),
    ],
)
def test_expressions_select_as_in_pytest(expression: str, selected: bool) -> None:
    assert compile_selection(expression)(ID) is selected


@pytest.mark.parametrize(
    ("expression", "column", "why"),
    [
        ("", 1, "ends"),
        ("conv and", 9, "ends"),
        ("conv fast", 6, "before 'fast'"),
        ("or conv", 1, "found 'or'"),
        ("(conv", 6, "expected ')'"),
        ("conv)", 5, "before ')'"),
        ("()", 2, "found ')'"),
        ("not", 4, "ends"),
        ("(" * 99 + "a" + ")" * 99, 52, "nest deeper"),
    ],
)
def test_a_bad_expression_names_its_position(expression: str, column: int, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        compile_selection(expression)
    assert caught.value.where == f"column {column}"
    assert why in str(caught.value.why)
    assert caught.value.hint


@given(st.text(alphabet="ab()/ \tnotandor", max_size=60))
def test_any_text_is_an_expression_or_a_usage_error(expression: str) -> None:
    try:
        matcher = compile_selection(expression)
    except UsageError:
        return
    assert matcher(ID) in (True, False)


def test_long_expressions_do_not_recurse() -> None:
    expression = " or ".join(["nothing"] * 20_000 + ["conv"])
    assert compile_selection(expression)(ID)
    assert not compile_selection("not " * 20_001 + "conv")(ID)
