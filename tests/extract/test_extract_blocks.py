"""The fence scanner by itself: what it calls a block, and where it says the block stands."""

from __future__ import annotations

import pytest

from kbench.extract import Block, find_blocks

F = "```"


def fenced(language: str, text: str, first_line: int, *, closed: bool = True) -> Block:
    return Block(language=language, text=text, first_line=first_line, closed=closed, origin="fence")


BLOCKS: dict[str, tuple[str, list[Block]]] = {
    "none": ("words\n", []),
    "two": (
        f"a\n{F}python\nx = 1\n{F}\nb\n{F}cpp\nint x;\n{F}\n",
        [fenced("python", "x = 1\n", 3), fenced("cpp", "int x;\n", 7)],
    ),
    "labels are normalised": (
        f"{F}Py\n1\n{F}\n{F} C++ file=a.cpp\n2\n{F}\n{F}{{.python3 #id}}\n3\n{F}\n",
        [fenced("python", "1\n", 2), fenced("c++", "2\n", 5), fenced("python", "3\n", 8)],
    ),
    "unclosed": (f"{F}\nx\n\n", [fenced("", "x\n", 2, closed=False)]),
    "blank content": (f"{F}python\n\n{F}\n", []),
    "indentation of the fence only": (
        f"  {F}\n  a\n    b\n c\n\n  {F}\n",
        [fenced("", "a\n  b\nc\n\n", 2)],
    ),
    "tab and spaces alike": (f"\t{F}\n    a\n\t\tb\n\t{F}\n", [fenced("", "a\n\tb\n", 2)]),
    "quote within a quote": (f"> > {F}\n> > a > b\n>>\n> > {F}\n", [fenced("", "a > b\n\n", 2)]),
    "a shorter fence is content": (
        f"{F}``python\na\n{F}\nb\n{F}``\n",
        [fenced("python", f"a\n{F}\nb\n", 2)],
    ),
    "another char is content": (f"{F}python\na\n~~~\nb\n{F}\n", [fenced("python", "a\n~~~\nb\n", 2)]),
    "a missing closing fence": (
        f"{F}python\na\n{F}cpp\nb\n{F}\n",
        [fenced("python", "a\n", 2, closed=False), fenced("cpp", "b\n", 4)],
    ),
    "</think> ends a block": (f"{F}python\na\n</think>\nb\n", [fenced("python", "a\n", 2, closed=False)]),
    "fence in a string": (
        f'{F}python\ns = """\n{F}\n"""\n{F}\n',
        [fenced("python", f's = """\n{F}\n"""\n', 2)],
    ),
    "fence in a comment closes": (f'{F}python\na  # """\n{F}\nb\n', [fenced("python", 'a  # """\n', 2)]),
    "fence in an escaped quote": (
        f"{F}python\ns = '\\'\"\"\"'\n{F}\nb\n",
        [fenced("python", "s = '\\'\"\"\"'\n", 2)],
    ),
    "a string that never ends": (f'{F}python\ns = """\n{F}\nwords\n', [fenced("python", 's = """\n', 2)]),
    "one line": (f"{F}python x = 1{F}\n", []),
    "prose behind a stray fence": (f"{F} and so it goes on\nwords\n", []),
}


@pytest.mark.parametrize(("text", "expected"), BLOCKS.values(), ids=BLOCKS.keys())
def test_find_blocks(text: str, expected: list[Block]) -> None:
    assert list(find_blocks(text)) == expected


def test_unfenced_code_is_a_block_of_its_own_origin() -> None:
    text = "Here is what I wrote:\n\nclass ModelNew:\n    pass\n\nThat is all of it.\n"
    (block,) = find_blocks(text)
    assert block == Block(
        language="python", text="class ModelNew:\n    pass\n", first_line=3, closed=False, origin="unfenced"
    )
    assert block.last_line == 4
