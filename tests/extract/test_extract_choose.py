"""Raw responses of every form we have met, each with the exact source that must come out, or the reason."""

from __future__ import annotations

import ast
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest
from extract_responses import (
    ASSIGNED,
    BODY,
    CUDA,
    DOCSTRING,
    HEAD,
    INLINE,
    SPLIT_BODY,
    SPLIT_CLASS,
    TYPED,
    UNDER_IF,
    USAGE,
    A,
    B,
    F,
    fence,
    quoted,
)

from kbench.extract import Extracted, extract


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """A response whose source must be exactly `source`, with `says` in the explanation."""

    text: str
    source: str
    says: str = ""


CHOSEN = {
    "plain": Chosen(text=f"Here it is.\n\n{fence(B)}\nEnjoy.\n", source=B, says="the only block"),
    "last of two drafts": Chosen(text=f"{fence(A)}Better:\n{fence(B)}", source=B, says="the last of 2 blocks"),
    "capital label": Chosen(text=fence(B, "Python"), source=B),
    "py label": Chosen(text=fence(B, "py"), source=B),
    "python3 label and attributes": Chosen(text=fence(B, 'python3 title="a.py" {1,3}'), source=B),
    "pandoc label": Chosen(text=fence(B, " {.python .numberLines}"), source=B),
    "unknown label": Chosen(text=fence(B, "triton"), source=B, says="triton"),
    "unlabelled": Chosen(text=f"Words.\n{fence(B, '')}Words.", source=B, says="no label"),
    "tildes": Chosen(text=fence(B, marker="~~~"), source=B),
    "longer fence": Chosen(text=fence(B, marker="`````"), source=B),
    "longer closing fence": Chosen(text=f"{F}python\n{B}{F}``\nWords.\n", source=B),
    "indented fence": Chosen(text=textwrap.indent(fence(B), "    "), source=B),
    "tab-indented fence": Chosen(text=textwrap.indent(fence(B), "\t"), source=B),
    "code deeper than its fence": Chosen(text=fence(textwrap.indent(B, "  ")), source=B),
    "in a list": Chosen(text=f"1. {F}python\n{textwrap.indent(B, '   ')}   {F}\n2. Done.\n", source=B),
    "under a bullet": Chosen(text="- The kernel:\n\n" + textwrap.indent(fence(B), "  "), source=B),
    "in a quote": Chosen(text="He said:\n" + quoted(fence(B)) + "Words.\n", source=B),
    "quote that ends without a fence": Chosen(
        text=quoted(f"{F}python\n{B}") + "\nAnd so on.\n", source=B, says="closing fence is missing"
    ),
    "opening fence behind words": Chosen(text=f"The code: {F}python\n{B}{F}\n", source=B),
    "closing fence behind code": Chosen(text=f"{F}python\n{B.rstrip()}{F}\nWords.\n", source=B),
    "closing fence before words": Chosen(text=f"{F}python\n{B}{F} That is all of it.\n", source=B),
    "code span is no fence": Chosen(text=f"Use {F}x{F} or\n{F}a b{F}\nthen\n{fence(B)}", source=B),
    "closing fence missing": Chosen(text=f"Words.\n{F}python\n{B}", source=B, says="closing fence is missing"),
    "closing fence missing, last newline too": Chosen(text=f"{F}python\n{B.rstrip()}", source=B),
    "closing fence missing before another block": Chosen(
        text=f"{F}python\n{B}\n{fence('print(1)' + chr(10))}",
        source=B,
        says="closing fence is missing",
    ),
    "closing fence missing before prose": Chosen(
        text=f"{F}python\n{B}\nThis kernel is fast, isn't it?\n", source=B, says="run of lines"
    ),
    "closing fence missing before prose and an unlabelled block": Chosen(
        text=f"{F}python\n{B}\nIt prints the following:\n{F}\n1.0 2.0\n{F}\n", source=B, says="run of lines"
    ),
    "opening fence missing": Chosen(text=f"{B}{F}\nThat is the whole kernel.\n", source=B, says="run of lines"),
    "stray fence in front": Chosen(text=f"{F}\nSome words here.\n{F}\n{B}{F}\nMore words here.\n", source=B),
    "stray fence at the end": Chosen(text=f"{fence(B)}\n{F}\n", source=B),
    "stray labelled fence in front": Chosen(text=f"{F}cpp\n\nSorry, once more:\n{fence(B)}", source=B),
    "markdown container of the same length": Chosen(text=fence(f"# T\n{fence(B)}", "markdown"), source=B),
    "markdown container of a longer fence": Chosen(text=fence(f"T\n{fence(B)}", "md", marker=F + "`"), source=B),
    "tilde container": Chosen(text=fence(f"T\n{fence(B)}", "", marker="~~~"), source=B),
    "fences in a docstring": Chosen(text=f"{fence(DOCSTRING)}Words.\n", source=DOCSTRING),
    "fences in a docstring, unclosed": Chosen(text=f"{F}python\n{DOCSTRING}", source=DOCSTRING),
    "fences in a docstring, no fence": Chosen(text=f"Here you go, then:\n{DOCSTRING}", source=DOCSTRING),
    "draft with an unfinished string": Chosen(
        text=f"{fence('s = r' + chr(34) * 3 + chr(10))}So:\n{fence(B)}", source=B
    ),
    "kernel in a string": Chosen(text=fence(INLINE), source=INLINE),
    "example usage stays": Chosen(text=fence(USAGE), source=USAGE, says="does not define: example_input"),
    "usage in a later block": Chosen(
        text=f"{fence(B)}Usage:\n{fence('ModelNew()(1)' + chr(10))}",
        source=B,
        says="parses but does not define",
    ),
    "later block without ModelNew": Chosen(
        text=f"{fence(B)}\n{fence('pip install x' + chr(10), 'bash')}",
        source=B,
        says="does not define ModelNew",
    ),
    "later block that does not parse": Chosen(
        text=f"{fence(B)}{fence('class ModelNew(:' + chr(10))}", source=B, says="does not parse: line 12"
    ),
    "later ModelNew only under main": Chosen(
        text=fence(B) + fence('if __name__ == "__main__":\n    class ModelNew: pass\n'), source=B
    ),
    "later ModelNew inside a function": Chosen(text=fence(B) + fence("def f():\n    class ModelNew: pass\n"), source=B),
    "cut off after a draft": Chosen(
        text=f"{fence(A)}Faster:\n{F}python\n{B[:-20]}", source=A, says="passed over: cut off"
    ),
    "cut off at a statement after a draft": Chosen(
        text=f"{fence(A)}{F}python\n{B.replace('return ', 'y = ')}",
        source=A,
        says="forward ends without a return",
    ),
    "cut off before forward after a draft": Chosen(
        text=f"{fence(A)}{F}python\n{HEAD}class ModelNew(nn.Module):\n    size = 1\n",
        source=A,
        says="no forward yet",
    ),
    "C++ block after it": Chosen(text=f"{fence(B)}The kernel alone:\n{fence(CUDA, 'cpp')}", source=B),
    "C++ block before it": Chosen(text=f"{fence(CUDA, 'cuda')}\n{fence(B)}", source=B),
    "Python labelled as CUDA": Chosen(text=fence(B, "cuda"), source=B, says="labelled 'cuda'"),
    "assigned": Chosen(text=fence(ASSIGNED), source=ASSIGNED),
    "assigned with a type": Chosen(text=fence(TYPED), source=TYPED),
    "under if": Chosen(text=fence(UNDER_IF), source=UNDER_IF),
    "imports in a block of their own": Chosen(
        text=f"Imports:\n{fence(HEAD)}Class:\n{fence(BODY)}",
        source=f"{HEAD}\n\n\n{BODY}",
        says="joined behind the earlier block(s) at line 3",
    ),
    "drafts are not joined": Chosen(text=fence(A) + fence(BODY), source=BODY, says="does not define: nn, torch"),
    "usage does not join": Chosen(
        text=fence("example_input = 1\n") + fence(USAGE), source=USAGE, says="does not define: example_input"
    ),
    "class in two blocks": Chosen(
        text=f"{fence(SPLIT_CLASS)}{fence(SPLIT_BODY)}",
        source=f"{SPLIT_CLASS}\n\n{SPLIT_BODY}",
        says="only together",
    ),
    "no fence": Chosen(text=B, source=B, says="no code fence"),
    "no fence, words around": Chosen(
        text=f"Sure! Here's the code (it is fast):\n\n{INLINE}\nNote: it needs a GPU.\n- It's in-place\n",
        source=INLINE,
        says="lines 3 to 16",
    ),
    "no fence, two drafts": Chosen(text=f"{A}\nOr, better still, this:\n\n{B}", source=B, says="the last of 2 runs"),
    "no fence, indented": Chosen(text=f"Like so:\n\n{textwrap.indent(B, '    ')}\nThat is it.\n", source=B),
    "CRLF": Chosen(text=fence(B).replace("\n", "\r\n"), source=B),
    "CR": Chosen(text=fence(B).replace("\n", "\r"), source=B),
    "BOM before the fence": Chosen(text="\ufeff" + fence(B), source=B),
    "BOM before bare code": Chosen(text="\ufeff" + B, source=B),
    "form feed in the code": Chosen(text=fence("x = 1\f\n" + B), source="x = 1\f\n" + B),
    "draft in the reasoning": Chosen(text=f"<think>\n{fence(A)}</think>\n{fence(B)}", source=B, says="the only block"),
    "unclosed draft in the reasoning": Chosen(text=f"<think>\n{F}python\n{A}</think>\n{fence(B)}", source=B),
    "unfenced answer after the reasoning": Chosen(text=f"{fence(A)}</think>\n{B}", source=B),
    "answer on the line of the tag": Chosen(text=f"<think>hm</think>{F}python\n{B}{F}", source=B),
    "only the reasoning has code": Chosen(
        text=f"<think>\n{fence(A)}</think>\nDone as asked.\n", source=A, says="taken from the reasoning"
    ),
}


@pytest.mark.parametrize("case", CHOSEN.values(), ids=CHOSEN.keys())
def test_chosen(case: Chosen) -> None:
    result = extract(case.text)
    assert isinstance(result, Extracted), result
    assert result.source == case.source
    assert case.says in result.explanation


@pytest.mark.parametrize("case", CHOSEN.values(), ids=CHOSEN.keys())
def test_source_lines_stand_where_first_line_says(case: Chosen) -> None:
    result = extract(case.text)
    assert isinstance(result, Extracted)
    response = case.text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    for offset, line in enumerate(result.source.split("\n")):
        if line.strip():
            assert line.strip() in response[result.first_line - 1 + offset]


def test_rejected_blocks_are_listed_with_their_places() -> None:
    result = extract(f"{fence(A)}{fence(CUDA, 'cpp')}{fence(B)}{fence('print(ModelNew)' + chr(10))}")
    assert isinstance(result, Extracted)
    assert [(each.first_line, each.last_line, each.language, each.why) for each in result.rejected] == [
        (2, 9, "python", "an earlier candidate"),
        (12, 14, "cpp", "does not parse: line 12: invalid syntax"),
        (27, 27, "python", "parses but does not define ModelNew"),
    ]


def test_nothing_is_executed(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    hostile = f"open({str(trace)!r}, 'w').write('ran')\nraise SystemExit(3)\n"
    result = extract(fence(hostile + B + hostile))
    assert isinstance(result, Extracted)
    assert result.source == hostile + B + hostile
    assert not trace.exists()


def test_warnings_of_the_candidate_are_its_own(recwarn: pytest.WarningsRecorder) -> None:
    source = B + "pattern = '\\d'\n"
    assert isinstance(extract(fence(source)), Extracted)
    assert not recwarn.list


def test_first_line_finds_a_compiler_error() -> None:
    text = f"Words.\n\n{fence(INLINE)}"
    result = extract(text)
    assert isinstance(result, Extracted)
    line = next(i for i, each in enumerate(result.source.split("\n"), start=1) if "x[0] < 0" in each)
    assert "x[0] < 0" in text.split("\n")[result.first_line + line - 2]
    assert ast.parse(result.source)
