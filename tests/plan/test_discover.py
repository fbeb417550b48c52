"""Files → Plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kbench.errors import NothingToDo, UsageError
from kbench.machine.environment import Available
from kbench.model import Device, Job
from kbench.plan.discover import Discovery, discover

PROBLEM = "N = 8\nclass Model: pass\ndef get_inputs(): return []\ndef get_init_inputs(): return []\n"
PLAIN = "class ModelNew: pass\n"
CPP = "from torch.utils.cpp_extension import load_inline\nm = load_inline('x', cpp)\n"
CUDA = "from torch.utils.cpp_extension import load_inline\nm = load_inline('x', cpp, cu)\n"
TRITON = "import triton\n"
RESPONSE = f"Sure:\n```python\n{PLAIN}```\n"

EVERYTHING = Available(cuda=True, cuda_devices=2, nvcc=True, compiler=True, torch=True)
NO_TOOLS = Available(cuda=True, cuda_devices=1, nvcc=False, compiler=False, torch=True)


class Tree:
    """A problems and a solutions folder to fill."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.problems = root / "problems"
        self.solutions = root / "solutions"

    def add(self, files: dict[str, str]) -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def discover(self, problems: str = "problems", solutions: str = "solutions", **options: Any) -> Discovery:
        defaults: dict[str, Any] = {"device": Device.CPU, "available": EVERYTHING}
        made = self.root / "made"
        return discover(self.root / problems, self.root / solutions, materialise=made, **(defaults | options))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def ids(found: Discovery) -> list[str]:
    return [job.solution.id for job in found.plan.jobs]


def only(found: Discovery) -> Job:
    (job,) = found.plan.jobs
    return job


def test_folders_pair_by_id_in_natural_order(tree: Tree) -> None:
    tree.add(
        {
            "problems/level1/10_b.py": PROBLEM,
            "problems/level1/2_a.py": PROBLEM,
            "problems/top.py": PROBLEM,
            "problems/_helpers.py": "",
            "problems/.cache/x.py": "",
            "solutions/level1/10_b/v1.py": PLAIN,
            "solutions/level1/2_a/v10.py": PLAIN,
            "solutions/level1/2_a/v2.txt": RESPONSE,
            "solutions/level1/2_a/_draft.py": PLAIN,
            "solutions/level1/2_a/README.md": "notes",
            "solutions/level1/2_a/kernel.cu": "not a candidate",
            "solutions/top/v1.md": RESPONSE,
        }
    )
    found = tree.discover()
    assert ids(found) == ["level1/2_a/v2", "level1/2_a/v10", "level1/10_b/v1", "top/v1"]
    assert found.warnings == ()


def test_a_flat_folder_holds_one_solution_for_each_problem(tree: Tree) -> None:
    tree.add({"problems/l1/a.py": PROBLEM, "problems/l1/b.py": PROBLEM})
    tree.add({"solutions/l1/a.py": PLAIN, "solutions/l1/b.txt": RESPONSE})
    assert ids(tree.discover()) == ["l1/a/solution", "l1/b/solution"]


def test_a_pair_of_files(tree: Tree) -> None:
    tree.add({"softmax.py": PROBLEM, "mine.py": PLAIN})
    job = only(tree.discover("softmax.py", "mine.py", device=Device.CUDA))
    assert (job.problem.id, job.solution.name, job.device) == ("softmax", "mine", "cuda")


def test_a_problem_and_a_raw_response(tree: Tree) -> None:
    tree.add({"softmax.py": PROBLEM, "answer.txt": RESPONSE, "refusal.md": "No."})
    solution = only(tree.discover("softmax.py", "answer.txt")).solution
    assert solution.path == tree.root / "made/softmax/answer.py"
    assert (solution.shown_path, solution.line_offset) == (str(tree.root / "answer.txt"), 2)
    assert only(tree.discover("softmax.py", "refusal.md")).solution.defect


@pytest.mark.parametrize("folder", ["answers", "answers/softmax"])
def test_a_problem_and_a_folder_of_its_solutions(tree: Tree, folder: str) -> None:
    tree.add({"softmax.py": PROBLEM, f"{folder}/b.py": PLAIN, f"{folder}/a.txt": RESPONSE})
    tree.add({f"{folder}/deeper/c.py": PLAIN})
    assert ids(tree.discover("softmax.py", "answers")) == ["softmax/a", "softmax/b"]


def test_a_problem_beside_its_solutions_is_not_one_of_them(tree: Tree) -> None:
    tree.add({"all/softmax.py": PROBLEM, "all/mine.py": PLAIN})
    assert ids(tree.discover("all/softmax.py", "all")) == ["softmax/mine"]


@pytest.mark.parametrize(("problems", "solutions"), [("all", "all/solutions"), ("all/problems", "all")])
def test_one_folder_inside_the_other_is_left_out_of_it(tree: Tree, problems: str, solutions: str) -> None:
    tree.add({f"{problems}/a.py": PROBLEM, f"{solutions}/a/v1.py": PLAIN})
    found = tree.discover(problems, solutions)
    assert ids(found) == ["a/v1"]
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("problems", "solutions", "says"),
    [
        ("gone", "solutions", "problems not found"),
        ("problems", "gone", "solutions not found"),
        ("problems", "problems", "same path"),
        ("problems", "problems/../problems", "same path"),
        ("problems", "solutions/a/v1.py", "one solution cannot serve"),
        ("notes.txt", "solutions", "a problem is a Python file"),
        ("problems/a.py", "data.json", "not a solution file"),
    ],
)
def test_paths_that_cannot_be_used(tree: Tree, problems: str, solutions: str, says: str) -> None:
    tree.add({"problems/a.py": PROBLEM, "solutions/a/v1.py": PLAIN, "notes.txt": "", "data.json": "{}"})
    with pytest.raises(UsageError, match=says) as caught:
        tree.discover(problems, solutions)
    assert caught.value.where


def test_empty_folders_leave_nothing_to_do(tree: Tree) -> None:
    tree.add({"empty/readme.md": "", "problems/a.py": PROBLEM})
    with pytest.raises(NothingToDo, match="no problems found"):
        tree.discover("empty", "problems")
    with pytest.raises(NothingToDo, match="no solutions found") as caught:
        tree.discover("problems", "empty")
    assert "problems: a" in str(caught.value.why)
    with pytest.raises(NothingToDo, match="no solutions found"):
        tree.discover("problems/a.py", "empty")


@pytest.mark.parametrize(
    "files", [["a/v1.py", "a/v1.txt"], ["a.py", "a.md"], ["a.py", "a/solution.py"]], ids=str
)
def test_two_files_with_one_id_are_an_error(tree: Tree, files: list[str]) -> None:
    tree.add({"problems/a.py": PROBLEM, **{f"solutions/{name}": RESPONSE for name in files}})
    with pytest.raises(UsageError, match="two files are solution 'a/"):
        tree.discover()


def test_a_name_that_would_write_to_the_terminal_is_an_error(tree: Tree) -> None:
    tree.add({"problems/a.py": PROBLEM, "solutions/a/v1\x1b[2J.py": PLAIN})
    with pytest.raises(UsageError, match="cannot be printed") as caught:
        tree.discover()
    assert "\x1b" not in str(caught.value)


def test_what_belongs_to_nothing_is_a_warning(tree: Tree) -> None:
    tree.add(
        {"problems/a.py": PROBLEM, "problems/b.py": PROBLEM, "problems/A.yaml": "", "problems/a.yml": ""}
    )
    tree.add({"solutions/a/v1.py": PLAIN, "solutions/c/v1.py": PLAIN, "solutions/a/deep/er.py": PLAIN})
    strays, unserved, ignored = tree.discover().warnings
    assert "(2)" in strays
    assert "c/v1.py" in strays
    assert "deep/er.py" in strays
    assert unserved == "problems without a solution (1 of 2): b"
    assert "A.yaml" in ignored
    assert "a.yml" in ignored


def test_a_problem_with_a_defect_does_not_stop_the_others(tree: Tree) -> None:
    tree.add({"problems/a.py": "x = (", "problems/b.py": PROBLEM})
    tree.add({"solutions/a/v1.py": PLAIN, "solutions/b/v1.py": PLAIN})
    broken, sound = tree.discover().plan.jobs
    assert str(broken.problem.defect).startswith(f"{tree.problems / 'a.py'}:1: ")
    assert sound.problem.defect is None


@pytest.mark.parametrize(
    ("source", "device", "available", "reason"),
    [
        (PLAIN, Device.CPU, NO_TOOLS, None),
        (PLAIN, Device.CUDA, NO_TOOLS, None),
        (CUDA, Device.CPU, EVERYTHING, "needs CUDA"),
        (TRITON, Device.CPU, EVERYTHING, "needs CUDA"),
        (CPP, Device.CUDA, EVERYTHING, "CPU only"),
        (CUDA, Device.CUDA, EVERYTHING, None),
        (CUDA, Device.CUDA, NO_TOOLS, "needs nvcc"),
        (TRITON, Device.CUDA, NO_TOOLS, None),
        (CPP, Device.CPU, EVERYTHING, None),
        (CPP, Device.CPU, NO_TOOLS, "needs a C++ compiler (g++)"),
        ("def broken(:", Device.CPU, NO_TOOLS, None),
    ],
)
def test_what_cannot_run_here_is_planned_and_skipped(
    tree: Tree, source: str, device: Device, available: Available, reason: str | None
) -> None:
    tree.add({"p.py": PROBLEM, "s.py": source})
    assert only(tree.discover("p.py", "s.py", device=device, available=available)).skip_reason == reason


@pytest.mark.parametrize(
    ("sidecar", "device", "asked", "size", "skipped"),
    [
        ("", Device.CPU, None, "full", None),
        ("sizes: {small: {N: 4}}", Device.CPU, None, "small", None),
        ("sizes: {small: {N: 4}}", Device.CUDA, None, "full", None),
        ("sizes: {small: {N: 4}}", Device.CPU, "full", "full", None),
        ("sizes: {small: {N: 4}}", Device.CUDA, "small", "small", None),
        ("", Device.CPU, "small", "small", "size 'small' is not declared (has: full)"),
        (
            "sizes: {small: {N: 4}}",
            Device.CPU,
            "huge",
            "huge",
            "size 'huge' is not declared (has: full, small)",
        ),
    ],
)
def test_sizes(
    tree: Tree, sidecar: str, device: Device, asked: str | None, size: str, skipped: str | None
) -> None:
    tree.add({"p.py": PROBLEM, "p.yaml": sidecar, "s.py": PLAIN})
    job = only(tree.discover("p.py", "s.py", device=device, size=asked))
    assert (job.size, job.skip_reason) == (size, skipped)


def test_selection_keeps_matching_ids_and_reads_no_others(tree: Tree) -> None:
    tree.add({"problems/a.py": PROBLEM, "problems/b.py": PROBLEM, "problems/b.yaml": "nonsense: 1\n"})
    tree.add({"solutions/a/v1.py": PLAIN, "solutions/a/v2.py": PLAIN, "solutions/b/v1.txt": RESPONSE})
    assert ids(tree.discover(select="a/ and not v2")) == ["a/v1"]
    assert not (tree.root / "made").exists()
    with pytest.raises(UsageError, match="nonsense"):
        tree.discover()


def test_a_selection_that_matches_nothing_lists_what_there_is(tree: Tree) -> None:
    tree.add({"problems/a.py": PROBLEM, **{f"solutions/a/v{i}.py": PLAIN for i in range(12)}})
    with pytest.raises(NothingToDo, match="nothing matches -k 'softmax'") as caught:
        tree.discover(select="softmax")
    assert str(caught.value.why).endswith("a/v9 and 2 more")
    assert caught.value.exit_code == 3


def test_a_bad_selection_fails_before_anything_is_read(tree: Tree) -> None:
    with pytest.raises(UsageError, match="not an expression"):
        tree.discover("gone", "gone", select="(")
