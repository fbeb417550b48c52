"""Finding and reading source files."""

from __future__ import annotations

from pathlib import Path

import pytest

from kbench.errors import UsageError
from kbench.plan import files
from kbench.plan.files import natural_key, read_source, walk


def test_walk_is_in_natural_order_and_leaves_out_hidden_names(tmp_path: Path) -> None:
    for name in (
        "10_a.py",
        "2_b.py",
        "_private.py",
        ".hidden.py",
        "notes.txt",
        "sub/1.py",
        "__pycache__/2_b.py",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = [p.relative_to(tmp_path).as_posix() for p in walk(tmp_path, suffixes=(".py",))]
    assert found == ["2_b.py", "10_a.py", "sub/1.py"]


def test_walk_survives_rings_of_links_and_links_to_nowhere(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.py").touch()
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "self.py").symlink_to(tmp_path / "self.py")
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere.py")
    assert [p.name for p in walk(tmp_path, suffixes=(".py",))] == ["x.py"]


def test_walk_leaves_out_a_tree_it_is_told_to(tmp_path: Path) -> None:
    for name in ("a/x.py", "b/y.py"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    assert [p.name for p in walk(tmp_path, suffixes=(".py",), without=tmp_path / "b")] == ["x.py"]


def test_walk_names_a_folder_it_cannot_list(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot list"):
        list(walk(tmp_path / "gone", suffixes=(".py",)))


def test_natural_keys_order_numbers_by_value_and_never_fail() -> None:
    names = ["b", "a10", "a9", "a", "10", "9", "²", "١"]
    assert sorted(names, key=natural_key)[:2] == ["9", "10"]
    assert sorted(["a10", "a9", "a"], key=natural_key) == ["a", "a9", "a10"]


def test_text_is_read_without_its_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(b"\xef\xbb\xbfx = 1\n")
    assert read_source(path).text == "x = 1\n"
    assert read_source(path).defect is None


@pytest.mark.parametrize(
    ("data", "defect"), [(b"x = 1\n\xff", "not UTF-8 text (byte 6)"), (b"\x7fELF\0\0", "null byte")]
)
def test_bytes_that_are_not_text_are_a_defect(tmp_path: Path, data: bytes, defect: str) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(data)
    file = read_source(path)
    assert defect in str(file.defect)
    assert file.text == ""


def test_a_file_too_large_to_be_source_is_a_defect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_SOURCE_BYTES", 10)
    path = tmp_path / "a.py"
    path.write_bytes(b"#" * 11)
    assert "larger than" in str(read_source(path).defect)


def test_an_unreadable_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read") as caught:
        read_source(tmp_path / "gone.py")
    assert caught.value.why == "No such file or directory"
