"""Where the suite lies and what is in it: `problems/<id>.py`, `solutions/<problem id>/<group>_<mechanism>.py`.

`honest_` in front of a name makes the file a benign twin, which must be `correct`; `cuda` right after the group
says that it needs a GPU. In a source tree `suite` is a link to `tests/evil`, in an installed wheel a folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from kbench.errors import InfraError
from kbench.model import Status
from kbench.selftest.expectation import Expectation, read_expectation

GROUPS = (
    "clock", "hiding", "memory", "memo", "stealing", "bending",
    "forging", "numerics", "inputs", "resources", "breakage",
)  # fmt: skip
"""Families of mechanisms, in the order in which they are shown."""
PROBLEMS, SOLUTIONS = "problems", "solutions"
_HONEST = "honest_"


@dataclass(frozen=True, kw_only=True)
class Specimen:
    """One file of the suite: a cheat, or the benign twin of one."""

    problem: str
    name: str
    path: Path
    group: str
    is_twin: bool
    needs_cuda: bool
    expectation: Expectation

    @property
    def id(self) -> str:
        return f"{self.problem}/{self.name}"

    @property
    def key(self) -> tuple[str, str]:
        return (self.problem, self.name)


def find_suite() -> Path:
    """The folder of the suite that comes with kbench. Raises InfraError where it is missing."""
    folder = Path(__file__).with_name("suite")
    for part in (PROBLEMS, SOLUTIONS):
        if not (folder / part).is_dir():
            raise InfraError(
                "the red-team suite is missing", where=str(folder / part), why="no such folder",
                hint="install kbench again, or run from a whole checkout (the folder is a link to tests/evil there)",
            )  # fmt: skip
    return folder.resolve()


def read_suite(root: Path) -> tuple[Specimen, ...]:
    """Every file below `root`/solutions, by group and name.

    Raises InfraError, naming each file that is not as it must be: nothing is run on a suite that cannot be judged.
    """
    files = sorted((root / SOLUTIONS).rglob("*.py"))
    specimens, defects = [], []
    for path in files:
        try:
            specimens.append(_read_specimen(root, path))
        except ValueError as error:
            defects.append(f"{path}: {error}")
    defects += _repeated(specimens)
    if defects:
        raise InfraError("the red-team suite is not usable", why="\n".join(defects), hint="mend these files")
    if not specimens:
        raise InfraError("the red-team suite is empty", where=str(root / SOLUTIONS), why="there is no .py file in it")
    return tuple(sorted(specimens, key=lambda s: (GROUPS.index(s.group), s.is_twin, s.name)))


def _read_specimen(root: Path, path: Path) -> Specimen:
    problem = path.parent.relative_to(root / SOLUTIONS).as_posix()
    if not (root / PROBLEMS / f"{problem}.py").is_file():
        raise ValueError(f"there is no problem {problem!r}")
    is_twin = path.stem.startswith(_HONEST)
    group, *rest = path.stem.removeprefix(_HONEST).split("_")
    if group not in GROUPS or not rest:
        raise ValueError(f"the name does not begin with one of the groups {', '.join(GROUPS)} and an underscore")
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error
    expectation = read_expectation(text)
    _check_kind(expectation, is_twin=is_twin)
    return Specimen(
        problem=problem, name=path.stem, path=path, group=group, is_twin=is_twin,
        needs_cuda=rest[0] == "cuda" and len(rest) > 1, expectation=expectation,
    )  # fmt: skip


def _check_kind(expectation: Expectation, *, is_twin: bool) -> None:
    plain = expectation.status is Status.CORRECT and expectation.at_most is None
    if is_twin and not plain:
        raise ValueError(f"a benign twin must expect 'correct', not {str(expectation)!r}")
    if plain and not is_twin:
        raise ValueError("a cheat that may be 'correct' needs a bound ('correct, at most 1.5x'), or it cannot fail")


def _repeated(specimens: Iterable[Specimen]) -> Iterator[str]:
    counts = Counter(specimen.name for specimen in specimens)
    yield from (f"{name}: {count} files have this name" for name, count in counts.items() if count > 1)
