"""What a table does on a screen that is too narrow for it."""

from __future__ import annotations

import io

from rich.cells import cell_len
from rich.console import Console

from kbench.report.grid import Grid
from kbench.report.tables import TextTable

TABLE = TextTable(
    headers=("name", "verdict", "figure", "extra"),
    rows=(
        ("a_name_of_some_length/v1", "not comparable", "1.2345", "more figures"),
        ("b", "same", "2.5", "none"),
    ),
    numeric=frozenset({"figure", "extra"}), expendable=("extra",), tones=("bad", ""),
)  # fmt: skip


def draw(width: int, content: TextTable = TABLE) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    console.print(Grid(content=content, toned=frozenset({"verdict"}), styles={"bad": "red", "": ""}))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_with_room() -> None:
    assert [line.rstrip() for line in draw(100)] == [
        "name                       verdict          figure          extra",
        "─" * 65,
        "a_name_of_some_length/v1   not comparable   1.2345   more figures",
        "b                          same                2.5           none",
    ]


def test_names_fold_first() -> None:
    assert [line.rstrip() for line in draw(50)] == [
        "name           verdict       figure          extra",
        "─" * 50,
        "a_name_of_so   not           1.2345   more figures",
        "me_length/v1   comparable",
        "b              same             2.5           none",
    ]


def test_then_goes_what_is_expendable() -> None:
    drawn = draw(40)
    assert "extra" not in drawn[0] and "1.2345" in drawn[2]
    assert max(map(len, drawn)) <= 40


def test_a_figure_is_cut_last_and_shows_it() -> None:
    assert draw(20)[:4:2] == ["name   verd…   figu…", "a_na   not     1.23…"]
    assert not any("…" in line for line in draw(30))


def test_wide_characters_keep_the_columns_straight() -> None:
    wide = TextTable(headers=("name", "figure"), rows=(("宽宽", "1"), ("ab", "2")), numeric=frozenset({"figure"}))
    drawn = draw(40, wide)
    assert {cell_len(line) for line in drawn[2:]} == {cell_len(drawn[0])}
    assert max(map(cell_len, draw(8, wide))) <= 8


def test_colour_only_where_it_belongs() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system="standard")
    console.print(Grid(content=TABLE, toned=frozenset({"verdict"}), styles={"bad": "red", "": ""}))
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().count("\x1b[31m") == 1


def test_a_table_without_rows() -> None:
    empty = TextTable(headers=("a", "b"), rows=(), numeric=frozenset())
    assert draw(20, empty) == ["a   b", "─────"]
