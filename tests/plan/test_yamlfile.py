"""Reading hand-written YAML."""

from __future__ import annotations

from pathlib import Path

import pytest

from kbench.errors import UsageError
from kbench.plan.yamlfile import read_yaml, unknown_name


def test_values_come_with_the_lines_of_their_keys(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("# a comment\nb: 1\nc:\n  d: 2\n")
    file = read_yaml(path)
    assert file.values == {"b": 1, "c": {"d": 2}}
    assert file.where("c") == f"{path}:3"


def test_an_empty_file_is_an_empty_mapping(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("# nothing\n")
    assert read_yaml(path).values == {}


@pytest.mark.parametrize(
    ("data", "where", "says"),
    [
        (b"a: [1\nb: 2\n", ":2", "not valid YAML"),
        (b"- a\n- b\n", "", "not a mapping"),
        (b"1: a\n", "", "not a mapping"),
        (b"just text\n", "", "not a mapping"),
        (b"a: 1\nb: 2\na: 3\n", ":3", "given twice"),
        (b"\xff\xfe\xff", "", "not valid YAML"),
        (b"a: 2024-99-99\n", "", "not valid YAML"),
        (b"a: !!python/object/apply:os.getcwd []\n", ":1", "not valid YAML"),
    ],
)
def test_anything_else_is_a_usage_error_that_says_where(
    tmp_path: Path, data: bytes, where: str, says: str
) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=says) as caught:
        read_yaml(path)
    assert caught.value.where == f"{path}{where}"


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        read_yaml(tmp_path / "a.yaml")


def test_an_unknown_name_lists_what_is_allowed_and_the_closest() -> None:
    error = unknown_name("key", "Replicate", ["replicates", "BLOCKS"], where="x:1")
    assert error.why == "allowed: BLOCKS, replicates"
    assert error.hint == "did you mean 'replicates'?"
    assert unknown_name("key", "zzz", ["replicates"], where="x").hint is None
