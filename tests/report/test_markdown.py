from __future__ import annotations

import pytest
from markdown_it import MarkdownIt
from run_factory import ENVIRONMENT, make_record, make_run

from kbench.compare.comparison import compare_runs
from kbench.compare.explain import explain
from kbench.compare.gate import gate
from kbench.model import Status
from kbench.report.markdown import comparison_markdown, escape, explanation_markdown, run_markdown, table
from kbench.report.tables import TextTable

HOSTILE = [
    "a|b", "<script>alert(1)</script>", "[link](http://evil)", "`code` *bold* _it_ ~~x~~", "a\nb\r\n# heading",
    "@maintainer see http://evil.example and www.evil.example", "\\| \\", "&lt;b&gt; $x$", "\x1b[31mred",
    "![image](http://evil/x.png)", "| --- | --- |", "#12",
]  # fmt: skip


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_reads_as_itself(hostile: str) -> None:
    page = MarkdownIt("gfm-like", {"linkify": False}).render(f"| h |\n| --- |\n| {escape(hostile)} |\n")
    assert page.count("<td>") == 1
    assert not any(tag in page for tag in ("<a ", "<script", "<img", "<em>", "<strong>", "<code>", "<s>", "<h1"))


def test_mentions_and_bare_links_are_broken() -> None:
    escaped = escape("@user http://x.example www.x.example")
    assert "@" not in escaped and "://" not in escaped and "www." not in escaped


def test_a_run_page() -> None:
    run = make_run([
        make_record(baselines={"compile": {"time_ms": 2.5, "speedup": 0.85}}),
        make_record("softmax/v2", status=Status.INCORRECT, reason="values", message="worst [3]:\n  -1 not 1"),
    ])  # fmt: skip
    assert (
        run_markdown(run)
        == """\
# Speedups: run

NVIDIA H200 (driver 580.1) · Xeon 8592 (16 cores) · torch 2.11.0 · cuda 13.0 · python 3.11.7 · compiler g++ 13.2 · \
kbench 0.1.0

| problem | solution | status | reference ms | solution ms | speedup | build s | vs compile |
| --- | --- | --- | ---: | ---: | ---: | ---: | ---: |
| softmax | v1 | correct | 5.90 | 2.95 | 2.00x \\[1.97, 2.03\\] | 25.0 | 0.850x |
| softmax | v2 | incorrect | – | – | – | – | – |

1 correct, 1 incorrect · geometric mean 2.00x over 1

fast\\_p over eager: fast\\_0 100%, fast\\_1 100%, fast\\_1.5 100%, fast\\_2 100% (1 problem)

fast\\_p over compile: fast\\_0 100%, fast\\_1 0%, fast\\_1.5 0%, fast\\_2 0% (1 problem)

## Not correct

### softmax/v2

incorrect: values

```text
worst [3]:
  -1 not 1
```
"""
    )


def test_a_message_cannot_close_its_block() -> None:
    run = make_run([make_record(status=Status.CRASH, message="```\n# Owned\n````")])
    page = MarkdownIt("commonmark").render(run_markdown(run))
    assert "<h1>Owned" not in page
    assert page.count("<pre>") == 1


def test_how_many_were_made_in_another_environment_is_said() -> None:
    made_in = {"a": "abc123", "b": "x", "c": "x"}
    records = [make_record(solution=name, environment_key=key) for name, key in made_in.items()]
    later = (ENVIRONMENT | {"key": "x", "torch": "2.99"}, ENVIRONMENT | {"key": "unused"})
    page = run_markdown(make_run(records, later_environments=later))
    (line,) = (line for line in page.splitlines() if "another environment" in line)
    assert line.startswith("2 of 3 in another environment: ") and "torch 2.99" in line


def test_an_unknown_environment_says_nothing() -> None:
    page = run_markdown(make_run([make_record()], environment={}))
    assert page.startswith("# Speedups: run\n\n| problem")


def test_an_explanation_is_a_page_of_its_own() -> None:
    old, new = make_record(flags=("a|b",)), make_record(d=(0.38, 0.39, 0.40, 0.41, 0.39))
    comparison = compare_runs(make_run([old]), make_run([new]))
    page = explanation_markdown(explain(comparison, "softmax"), gate(comparison))
    html = MarkdownIt("gfm-like", {"linkify": False}).render(page)
    assert page.startswith("## softmax/v1: regressed\n\n**Gate: regression**\n")
    assert "<td>flags</td>" in html and html.count("<table>") == 1 and "a|b" in html
    assert "<li>p, Holm-adjusted: " in html


@pytest.mark.parametrize("cell", ["`", "a|b", "a\\b", "a\nb"])
def test_a_literal_cell_cannot_leave_its_code(cell: str) -> None:
    content = TextTable(headers=("h",), rows=((cell,),), numeric=frozenset(), literal=frozenset({"h"}))
    page = MarkdownIt("gfm-like", {"linkify": False}).render(table(content))
    assert page.count("<td>") == 1 and "<code>" not in page


def test_a_comparison_page() -> None:
    old = make_run([make_record(), make_record("softmax/v2")], path="results/old")
    new = make_run(
        [make_record(d=(0.38, 0.39, 0.40, 0.41, 0.39)), make_record("softmax/v2", status=Status.CRASH)],
        path="results/new", environment=ENVIRONMENT | {"key": "x", "gpu": None},
    )  # fmt: skip
    comparison = compare_runs(old, new)
    assert (
        comparison_markdown(comparison, gate(comparison))
        == """\
## kbench: old → new

**Gate: regression**

- softmax/v2 was correct and is not any more (crash)
- softmax/v1 is slower: its speedup changed by -25.9%

The environments differ:

- gpu: NVIDIA H200 → none (no gate)

| problem | solution | old | new | change | o old, n new | ref, sol ms | verdict |
| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |
| softmax | v1 | 2.00x | 1.48x | -25.9% \\[-27.1%, -24.7%\\] | `Nn·····oO 39%` | 0.0, +35.0% | regressed |
| softmax | v2 | 2.00x | crash | – | `o··O·o··o 3.0%` | – | broken |

- o, n: replicates of the old, the new run, from slowest to fastest (so far apart); capitals: several; \\*: both
- 1 regressed, 1 broken
- geometric mean 2.00x → 1.48x, -25.9% \\[-27.1%, -24.7%\\]
- fast\\_p over eager: fast\\_0 100% → 100%, fast\\_1 100% → 100%, fast\\_1.5 100% → 0%, fast\\_2 100% → 0% \
(1 and 1 problems)
"""
    )


def test_what_is_advised_is_on_the_page_and_is_only_text() -> None:
    page = run_markdown(make_run([make_record(flags=("gpu_shared",), advice=("<b>2</b> other @processes",))]))
    assert "gpu\\_shared; \\<b\\>2\\</b\\> other &#64;processes" in page
