"""Cutting modules down to what is needed, and text to literals."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kbench.repro.bundle import bundle
from kbench.repro.script import literal


@pytest.fixture(scope="module")
def compared() -> dict[str, str]:
    return bundle({"kbench.judge.tolerance": ("compare",)})


def test_only_what_is_mentioned_comes_along(compared: dict[str, str]) -> None:
    tree = ast.parse(compared["kbench.judge.tolerance"])
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert {"compare", "_compare_nonfinite"} <= defined
    assert "bracket" not in defined
    assert not {"kbench.judge.reference", "kbench.judge.cases"} & set(compared)


def test_a_kept_function_is_the_original_to_the_letter(compared: dict[str, str]) -> None:
    import inspect

    from kbench.judge import tolerance

    assert inspect.getsource(tolerance.compare) in compared["kbench.judge.tolerance"]


def test_decorators_and_documentation_of_constants_stay(compared: dict[str, str]) -> None:
    text = compared["kbench.judge.tolerance"]
    assert "@dataclass(frozen=True, kw_only=True)\nclass " in "".join(compared.values())
    assert '_TINY_SPREAD' not in text  # only `bracket` needs it
    found = bundle({"kbench.judge.tolerance": ("bracket",)})["kbench.judge.tolerance"]
    assert '_TINY_SPREAD = 1e-3\n"""' in found


def test_names_of_other_modules_are_followed() -> None:
    found = bundle({"kbench.repro.program": ("main",)})
    assert {"kbench.judge.reference", "kbench.layout", "kbench.problem_module", "kbench.errors"} <= set(found)


def test_nothing_that_needs_more_than_torch_is_embedded() -> None:
    found = bundle({"kbench.repro.program": ("main",)})
    roots = {
        name.partition(".")[0]
        for text in found.values()
        for node in ast.walk(ast.parse(text))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        )
    }  # fmt: skip
    import sys

    assert roots - set(sys.stdlib_module_names) == {"kbench", "torch", "numpy"}


def test_an_unknown_module_is_an_error() -> None:
    with pytest.raises(ImportError):
        bundle({"kbench.no_such_module": ("main",)})


AWKWARD = st.text(alphabet=st.one_of(st.sampled_from("'\"\\\nrn{}\r\0\ud800"), st.characters()), max_size=40)


@given(AWKWARD)
def test_a_literal_means_its_text(text: str) -> None:
    assert ast.literal_eval(literal(text)) == text


def test_ordinary_source_stays_readable() -> None:
    source = 'x = """a\\n"""\nprint(x)\n'
    assert source in literal(source)
