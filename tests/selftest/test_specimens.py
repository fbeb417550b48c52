from __future__ import annotations

from pathlib import Path

import pytest
from selftest_factory import PROBLEM, solution, write_suite

from kbench.errors import InfraError
from kbench.selftest import specimens
from kbench.selftest.specimens import GROUPS, Specimen, find_suite, read_suite

EVIL = Path(__file__).parents[1] / "evil"
CHEAT = solution("incorrect / values")


def read(tmp_path: Path, **files: str) -> dict[str, Specimen]:
    return {s.name: s for s in read_suite(write_suite(tmp_path / "suite", files))}


def test_names_say_what_a_file_is(tmp_path: Path) -> None:
    found = read(
        tmp_path, memo_by_pointer=CHEAT, honest_memo_weights=solution("correct"), clock_cuda_events=CHEAT,
        honest_hiding_cuda_stream=solution("correct"), numerics_cuda=CHEAT,
    )  # fmt: skip
    facts = {name: (s.group, s.is_twin, s.needs_cuda) for name, s in found.items()}
    assert facts == {
        "memo_by_pointer": ("memo", False, False),
        "honest_memo_weights": ("memo", True, False),
        "clock_cuda_events": ("clock", False, True),
        "honest_hiding_cuda_stream": ("hiding", True, True),
        "numerics_cuda": ("numerics", False, False),
    }
    assert found["memo_by_pointer"].id == "double/memo_by_pointer"


def test_files_come_by_group_cheats_first(tmp_path: Path) -> None:
    names = list(
        read(tmp_path, breakage_a=CHEAT, honest_clock_a=solution("correct"), clock_z=CHEAT, clock_b=CHEAT)
    )
    assert names == ["clock_b", "clock_z", "honest_clock_a", "breakage_a"]


def test_a_problem_may_lie_in_a_folder(tmp_path: Path) -> None:
    root = write_suite(tmp_path, {})
    for part, name, text in (("problems", "level1/softmax", PROBLEM), ("solutions", "level1/softmax/memo_a", CHEAT)):
        path = root / part / f"{name}.py"
        path.parent.mkdir(parents=True)
        path.write_text(text)
    assert [s.id for s in read_suite(root)] == ["level1/softmax/memo_a"]


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("memo_a", "import os\n", "does not begin with"),
        ("memo_a", solution("incorrekt"), "'incorrekt' is no status"),
        ("memo_a", solution("correct"), "needs a bound"),
        ("honest_memo_a", solution("incorrect"), "a benign twin must expect 'correct'"),
        ("honest_memo_a", solution("correct, at most 2x"), "a benign twin must expect 'correct'"),
        ("memos_a", CHEAT, "one of the groups"),
        ("memo", CHEAT, "one of the groups"),
        ("honest", CHEAT, "one of the groups"),
    ],
)
def test_a_file_that_is_not_as_it_must_be_is_named(tmp_path: Path, name: str, text: str, why: str) -> None:
    with pytest.raises(InfraError, match="not usable") as error:
        read(tmp_path, clock_fine=CHEAT, **{name: text})
    assert f"{name}.py: " in str(error.value)
    assert why in str(error.value)
    assert "clock_fine" not in str(error.value)


def test_all_defects_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InfraError) as error:
        read(tmp_path, clock_a="", clock_b=CHEAT, clock_c="")
    assert str(error.value).count("does not begin with") == 2


def test_a_solution_of_no_problem_is_a_defect(tmp_path: Path) -> None:
    root = write_suite(tmp_path, {"memo_a": CHEAT})
    (root / "problems" / "double.py").unlink()
    with pytest.raises(InfraError, match="there is no problem 'double'"):
        read_suite(root)


def test_a_name_may_be_used_once_over_all_problems(tmp_path: Path) -> None:
    root = write_suite(tmp_path, {"memo_a": CHEAT})
    (root / "problems" / "other.py").write_text(PROBLEM)
    (root / "solutions" / "other").mkdir()
    (root / "solutions" / "other" / "memo_a.py").write_text(CHEAT)
    with pytest.raises(InfraError, match="memo_a: 2 files have this name"):
        read_suite(root)


def test_an_empty_suite_is_no_suite(tmp_path: Path) -> None:
    with pytest.raises(InfraError, match="empty"):
        read_suite(write_suite(tmp_path, {}))


def test_a_missing_suite_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(specimens, "__file__", str(tmp_path / "specimens.py"))
    with pytest.raises(InfraError, match="missing") as error:
        find_suite()
    assert str(tmp_path) in str(error.value)
    assert error.value.hint is not None


def test_the_suite_of_this_repository_is_whole() -> None:
    assert find_suite() == EVIL
    found = read_suite(find_suite())
    cheats = [s for s in found if not s.is_twin]
    assert len(cheats) >= 60
    assert len(found) - len(cheats) >= 30
    assert {s.group for s in cheats} == set(GROUPS)
