"""Whatever the text, `extract` answers soon, and what it extracts parses and defines ModelNew."""

from __future__ import annotations

import ast
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kbench.extract import Extracted, NothingUsable, extract, find_blocks

F = "```"
VALID = f"""<think>
A draft first:
{F}python
class ModelNew:
    draft = True
{F}
</think>
Here's the kernel:

{F}python
import torch
source = r\"\"\"
__global__ void k(float* x) {{ x[0] = 1; }}
\"\"\"


class ModelNew(torch.nn.Module):
    '''Doc with a fence.

    {F}
    ModelNew()(x)
    {F}
    '''

    def forward(self, x):
        if x.is_cpu:
            return x
        return x + 1
{F}

Usage:

{F}
print(ModelNew()(1))
{F}
"""
PIECES = [
    *(
        F,
        F + "\n",
        "\n" + F + "python\n",
        "~~~\n",
        '"""',
        "'''",
        "'",
        "\n",
        "\r\n",
        "\r",
        "\t",
        "    ",
        "> ",
        "- ",
    ),
    *(
        "class ModelNew",
        "ModelNew = 1\n",
        ":\n    pass\n",
        "(",
        ")",
        "import torch\n",
        "def f(",
        "@",
        "#",
        "\\",
        "\f",
    ),
    *(
        "</think>",
        "<think>",
        "words of prose here\n",
        "\ufeff",
        "\0",
        "\u2028",
        "if x:\n",
        "else:\n",
        "return ",
    ),
]


def is_sound(text: str) -> None:
    result = extract(text)
    if isinstance(result, NothingUsable):
        assert result.message
        return
    assert isinstance(result, Extracted)
    assert result.explanation
    response = re.split("\r\n|\n|\r", text.removeprefix("\ufeff"))
    for number, line in enumerate(result.source.split("\n"), start=result.first_line):
        assert not line.strip() or line.strip() in response[number - 1]
    tree = ast.parse(result.source)
    bound = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    bound |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    assert "ModelNew" in bound


@given(st.text())
@settings(deadline=None)
def test_any_text(text: str) -> None:
    is_sound(text)


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
@settings(max_examples=300, deadline=None)
def test_any_mixture_of_the_pieces_of_responses(text: str) -> None:
    is_sound(text)
    for block in find_blocks(text):
        assert block.first_line >= 1 and block.text.strip()


@given(cut=st.integers(0, len(VALID)), tail=st.sampled_from(["", "\n", "\n" + F, "\nSo much for that.\n"]))
@settings(max_examples=300, deadline=None)
def test_any_cut(cut: int, tail: str) -> None:
    is_sound(VALID[:cut] + tail)


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_any_lines_dropped_doubled_and_moved(data: st.DataObject) -> None:
    lines = VALID.splitlines(keepends=True)
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(lines) - 1))
        line = data.draw(st.sampled_from([lines[at], F + "\n", F + "python\n", "", "  " + lines[at], "> " + lines[at]]))
        lines[at : at + data.draw(st.integers(0, 1))] = [line]
    is_sound("".join(lines))


GARBAGE = [
    F + "\n",
    F + "python\n",
    F + 'python\n"""\n',
    F + "text\n~~~\n",
    "````markdown\n```python\n",
    F + "python\nModelNew = 1\n" + F + "\n",
    '"""\n',
    "ModelNew = [\n",
    "ModelNew = '''\n" + F + "\n",
    "class ModelNew(\n",
    "class ModelNew:\n",
    "@x\n",
    "words about ModelNew (see\n",
    "((((",
    "x\n    ModelNew = 1\n  y\n",
    "\n",
    "- 1. * > ",
]


@pytest.mark.parametrize("piece", GARBAGE)
def test_garbage_takes_linear_time(piece: str) -> None:
    """A megabyte takes 2.5 s at worst, this 0.5 s; quadratic time would take minutes: hence the limit."""
    text = "class ModelNew: pass\n" + piece * (200_000 // len(piece))
    start = time.process_time()
    extract(text)
    assert time.process_time() - start < 10
