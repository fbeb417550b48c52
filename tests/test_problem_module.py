"""Problem files run with a size's constants in place of their own."""

from __future__ import annotations

import textwrap
import traceback
import types
from typing import Any

import pytest

from kbench.problem_module import execute


def run(source: str, **overrides: Any) -> types.ModuleType:
    return execute(textwrap.dedent(source), path="/problems/p.py", name="kbench_test_problem", overrides=overrides)


@pytest.mark.parametrize(
    ("source", "overrides", "expected"),
    [
        ("n = 128", {"n": 4}, {"n": 4}),
        ("n: int = 128", {"n": 4}, {"n": 4}),
        ("n = 128\nm = 2 * n", {"n": 4}, {"n": 4, "m": 8}),
        ("n = 1\nm = 2 * n\nn = 3", {"n": 4}, {"n": 4, "m": 8}),
        ("n, m = 1, 2", {"m": 5}, {"n": 1, "m": 5}),
        ("(n, (m, *rest)) = 1, (2, 3)", {"m": 5}, {"n": 1, "m": 5, "rest": [3]}),
        ("n = m = 1", {"m": 5}, {"n": 1, "m": 5}),
        ("n = 128\nn *= 2", {"n": 4}, {"n": 4}),
        ("shape = (1, 2)", {"shape": [3, 4]}, {"shape": [3, 4]}),
        ("name = 'a'", {"name": "b'\"c"}, {"name": "b'\"c"}),
        ("flag = True", {"flag": None}, {"flag": None}),
        ("n = 1", {}, {"n": 1}),
    ],
)
def test_an_override_replaces_every_assignment_and_what_follows_from_it(
    source: str, overrides: dict[str, Any], expected: dict[str, Any]
) -> None:
    module = run(source, **overrides)
    assert {name: getattr(module, name) for name in expected} == expected


def test_functions_see_the_overridden_constant() -> None:
    module = run("n = 128\ndef get_inputs():\n    return [n]\n", n=4)
    assert module.get_inputs() == [4]


def test_names_that_are_not_assigned_on_top_are_left_alone() -> None:
    module = run("n: int\ndef f():\n    n = 1\n    return n\nclass C:\n    n = 2\n", n=4)
    assert (module.f(), module.C.n, hasattr(module, "n")) == (1, 2, False)


def test_a_traceback_shows_the_files_own_lines() -> None:
    module = run("n = 1\nm = (n,\n     2)\n\ndef f():\n    return n / 0  # here\n", n=4, m=5)
    with pytest.raises(ZeroDivisionError) as failed:
        module.f()
    last = traceback.extract_tb(failed.tb)[-1]
    assert (last.filename, last.lineno, last.line) == ("/problems/p.py", 6, "return n / 0  # here")


def test_an_error_on_top_is_raised_at_its_line() -> None:
    with pytest.raises(NameError) as failed:
        run("n = 1\nm = 2\nundefined\n", n=4, m=5)
    assert traceback.extract_tb(failed.tb)[-1].lineno == 3


def test_a_syntax_error_names_file_and_line() -> None:
    with pytest.raises(SyntaxError) as failed:
        run("n = 1\ndef\n")
    assert (failed.value.filename, failed.value.lineno) == ("/problems/p.py", 2)


def test_docstring_and_future_imports_stay_where_they_are() -> None:
    module = run('"""About."""\nfrom __future__ import annotations\nn = 1\ndef f(x: Missing): pass\n', n=2)
    assert (module.__doc__, module.n) == ("About.", 2)


@pytest.mark.parametrize("future", ["", "from __future__ import annotations\n"])
def test_dataclasses_work_and_annotations_are_as_the_file_wants_them(future: str) -> None:
    module = run(f"{future}import dataclasses\n@dataclasses.dataclass\nclass C:\n    n: int = 3\n")
    assert module.C(n=4).n == 4
    assert module.C.__annotations__["n"] == ("int" if future else int)


def test_the_file_knows_its_name_and_path() -> None:
    module = run("here = (__name__, __file__)")
    assert module.here == ("kbench_test_problem", "/problems/p.py")


def test_example_usage_at_the_end_does_not_run() -> None:
    run("if __name__ == '__main__':\n    raise SystemExit\n")
