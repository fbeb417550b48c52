"""Candidates: Python files and raw responses."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from kbench.errors import UsageError
from kbench.model import Device
from kbench.plan.solutions import Location, read_candidate

SOURCE = "import torch\n\n\nclass ModelNew(torch.nn.Module):\n    def forward(self, x):\n        return x\n"
RESPONSE = f"Here is a faster kernel.\n\n```python\n{SOURCE}```\n\nIt is fast.\n"


def place(path: Path, text: str) -> Location:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return Location(problem_id="level1/p", name=path.stem, path=path)


def test_a_python_file_is_judged_where_it_lies(tmp_path: Path) -> None:
    location = place(tmp_path / "v1.py", SOURCE)
    solution = read_candidate(location, materialise=tmp_path / "made").solution
    assert (solution.id, solution.path, solution.shown_path) == (
        "level1/p/v1",
        location.path,
        str(location.path),
    )
    assert solution.sha == hashlib.sha256(SOURCE.encode()).hexdigest()
    assert (solution.defect, solution.line_offset, solution.devices) == (None, 0, frozenset(Device))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("suffix", [".txt", ".md", ".TXT"])
def test_the_source_in_a_response_is_written_out(tmp_path: Path, suffix: str) -> None:
    location = place(tmp_path / f"v1{suffix}", RESPONSE)
    solution = read_candidate(location, materialise=tmp_path / "made").solution
    assert solution.path == tmp_path / "made" / "level1" / "p" / "v1.py"
    assert solution.path.read_text().strip() == SOURCE.strip()
    assert solution.sha == hashlib.sha256(solution.path.read_bytes()).hexdigest()
    assert solution.shown_path == str(location.path)
    wanted = RESPONSE.splitlines().index("class ModelNew(torch.nn.Module):")
    found = solution.path.read_text().splitlines().index("class ModelNew(torch.nn.Module):")
    assert found + solution.line_offset == wanted
    assert solution.defect is None


def test_a_response_is_written_anew_on_a_second_reading(tmp_path: Path) -> None:
    location = place(tmp_path / "v1.txt", RESPONSE)
    first = read_candidate(location, materialise=tmp_path / "made").solution
    location.path.write_text(RESPONSE.replace("return x", "return x + 1"))
    second = read_candidate(location, materialise=tmp_path / "made").solution
    assert first.path == second.path
    assert first.sha != second.sha


def test_a_response_without_a_candidate_has_a_defect(tmp_path: Path) -> None:
    location = place(tmp_path / "v1.txt", "I am sorry, I cannot help with that.\n")
    solution = read_candidate(location, materialise=tmp_path / "made").solution
    assert str(solution.defect).startswith(f"{location.path}: ")
    assert solution.path == location.path
    assert solution.sha == hashlib.sha256(location.path.read_bytes()).hexdigest()
    assert not (tmp_path / "made").exists()


def test_bytes_that_are_not_text_have_a_defect(tmp_path: Path) -> None:
    location = place(tmp_path / "v1.py", "")
    location.path.write_bytes(b"\x7fELF\xff")
    candidate = read_candidate(location, materialise=tmp_path)
    assert "not UTF-8" in str(candidate.solution.defect)
    assert candidate.solution.devices == frozenset(Device)


def test_a_python_file_that_does_not_parse_is_left_to_the_worker(tmp_path: Path) -> None:
    location = place(tmp_path / "v1.py", "def broken(:\n")
    candidate = read_candidate(location, materialise=tmp_path)
    assert candidate.solution.defect is None
    assert not candidate.facts.parses


def test_a_folder_that_cannot_take_the_source_is_a_usage_error(tmp_path: Path) -> None:
    location = place(tmp_path / "v1.txt", RESPONSE)
    (tmp_path / "made").write_text("a file")
    with pytest.raises(UsageError, match="cannot write the source"):
        read_candidate(location, materialise=tmp_path / "made")
