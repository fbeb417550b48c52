"""The text of a standalone script: the facts of one record, the two sources, the judge's functions, a loader."""

from __future__ import annotations

import ast
import pprint
from collections.abc import Mapping

from kbench.repro.bundle import bundle
from kbench.repro.facts import Facts

_ENTRY = {"kbench.repro.program": ("main",), "kbench.repro.facts": ("Facts",)}
_WIDTH = 110

_TEMPLATE = '''\
#!/usr/bin/env python3
"""{title}

{summary}

Needs Python 3.11 and torch with numpy, nothing of kbench. Run it:

    python {name}

It draws the failing case's inputs and parameters from their seeds, calls the solution in a child process, computes
the reference in fp64 and compares. It runs the solution as you, without a sandbox: read the solution first.

Exit code: 1 the solution fails here (`reproduced`), 0 it does not, 2 this cannot be run here.
Options: --timeout S; --call DIR only calls the solution, for a debugger or a sanitizer around it.
"""

import importlib.abc
import importlib.util
import linecache
import sys
from pathlib import Path

inf, nan = float("inf"), float("nan")

# ---- what was judged, and how --------------------------------------------------------------------------------------

FACTS = {facts}

PROBLEM = {problem}

SOLUTION = {solution}

# ---- the judge's own functions, by module --------------------------------------------------------------------------

MODULES = {{}}

{modules}

# ---- running them --------------------------------------------------------------------------------------------------


class Embedded(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports the modules above, and the packages around them, from their text."""

    def find_spec(self, name, path=None, target=None):
        packages = {{m.rpartition(".")[0] for m in MODULES}} | {{m.partition(".")[0] for m in MODULES}}
        if name not in MODULES and name not in packages:
            return None
        return importlib.util.spec_from_loader(name, self, is_package=name not in MODULES)

    def exec_module(self, module):
        source, path = MODULES.get(module.__name__, ""), f"<{{module.__name__}}>"
        linecache.cache[path] = (len(source), None, source.splitlines(keepends=True), path)
        exec(compile(source, path, "exec"), module.__dict__)


if __name__ == "__main__":
    sys.meta_path.insert(0, Embedded())
    from kbench.repro.facts import Facts
    from kbench.repro.program import main

    facts = Facts(problem_source=PROBLEM, solution_source=SOLUTION, **FACTS)
    sys.exit(main(facts, Path(__file__).resolve(), sys.argv[1:]))
'''


def make_script(facts: Facts) -> str:
    """A Python script that shows what `facts` tell of; `kbench.repro.program` is what it does."""
    stated = {name: value for name, value in vars(facts).items() if not name.endswith("_source")}
    stated = {name: dict(value) if isinstance(value, Mapping) else value for name, value in stated.items()}
    outcome = f"{facts.status} / {facts.reason}" if facts.reason else facts.status
    modules = [f"MODULES[{name!r}] = {literal(text)}" for name, text in bundle(_ENTRY).items()]
    return _TEMPLATE.format(
        title=_plain(f"Shows what became of {facts.id}: {outcome}."),
        summary=_plain(facts.message or "Its comparison passes."),
        name=script_name(facts.problem, facts.solution),
        facts=pprint.pformat(stated, width=_WIDTH, sort_dicts=False),
        problem=literal(facts.problem_source),
        solution=literal(facts.solution_source),
        modules="\n\n".join(modules),
    )


def script_name(problem: str, solution: str) -> str:
    """A file name for the script of one pair."""
    return f"repro_{problem}_{solution}.py".replace("/", "_")


def literal(text: str) -> str:
    """A Python string literal that means exactly `text`, as readable as its content allows."""
    for candidate in (f"r'''{text}'''", f'r"""{text}"""', _escaped(text)):
        try:
            if ast.literal_eval(candidate) == text:
                return candidate
        except (SyntaxError, ValueError, UnicodeEncodeError):
            continue
    return ascii(text)


def _escaped(text: str) -> str:
    safe = text.replace("\\", "\\\\").replace("'''", "\\'\\'\\'")
    return f"'''\\\n{safe}'''"


def _plain(text: str) -> str:
    """Text for a docstring: what a solution said may hold quotes, escapes and control characters of its own."""
    shown = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in text)
    return shown.replace("\\", "\\\\").replace('"', "'")
