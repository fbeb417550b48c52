"""Files → Plan: which solution belongs to which problem, and which pairs can run here."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from kbench.errors import NothingToDo, UsageError
from kbench.machine.environment import Available
from kbench.model import Device, Job, Plan, Problem
from kbench.plan.files import id_below, natural_key, real_path, walk
from kbench.plan.problems import FULL_SIZE, SMALL_SIZE, read_problem, sidecar_of
from kbench.plan.select import compile_selection
from kbench.plan.solutions import SUFFIXES, Candidate, Location, read_candidate

_FLAT_NAME = "solution"
_LISTED = 10


@dataclass(frozen=True, kw_only=True)
class Discovery:
    """The plan, and what was found beside it that its user should hear about."""

    plan: Plan
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Found:
    """Every problem file by id, every solution's place, and what fits neither."""

    problems: Mapping[str, Path]
    locations: tuple[Location, ...]
    warnings: tuple[str, ...] = ()


def discover(
    problems: Path,
    solutions: Path,
    *,
    device: Device,
    size: str | None = None,
    select: str | None = None,
    available: Available,
    materialise: Path,
) -> Discovery:
    """Plan one job for every solution found, whether or not it can run here (see `Job.skip_reason`).

    `problems` is a problem file or a folder of them; `solutions` a solution file (with one problem) or a
    folder. `size` None means `small` on the CPU where a problem declares it, else `full`. `materialise` is
    the folder that takes the sources found in raw responses; it is created only if there are any.

    Raises UsageError for paths, sidecars and selections that cannot be used as given, NothingToDo where
    nothing is left to plan.
    """
    matches = compile_selection(select) if select is not None else None
    found = _find(problems, solutions)
    chosen = [location for location in found.locations if matches is None or matches(location.id)]
    if not chosen:
        raise _nothing_chosen(found, solutions, select)
    read = {id_: read_problem(id_, found.problems[id_]) for id_ in {c.problem_id: None for c in chosen}}
    jobs = []
    for location in chosen:
        problem, candidate = read[location.problem_id], read_candidate(location, materialise=materialise)
        job_size = size or _default_size(problem, device)
        jobs.append(
            Job(
                problem=problem,
                solution=candidate.solution,
                device=device,
                size=job_size,
                skip_reason=_skip_reason(
                    problem, candidate, device=device, size=job_size, available=available
                ),
            )
        )
    return Discovery(plan=Plan(jobs=tuple(jobs)), warnings=found.warnings)


def _default_size(problem: Problem, device: Device) -> str:
    return SMALL_SIZE if device is Device.CPU and SMALL_SIZE in problem.sizes else FULL_SIZE


def _skip_reason(
    problem: Problem, candidate: Candidate, *, device: Device, size: str, available: Available
) -> str | None:
    facts = candidate.facts
    if device not in candidate.solution.devices:
        return "needs CUDA" if device is Device.CPU else "CPU only"
    if device is Device.CUDA and facts.uses_nvcc and not available.nvcc:
        return "needs nvcc"
    if facts.uses_extension and not available.compiler:
        return "needs a C++ compiler (g++)"
    if size not in problem.sizes:
        return f"size {size!r} is not declared (has: {', '.join(problem.sizes)})"
    return None


def _nothing_chosen(found: _Found, solutions: Path, select: str | None) -> NothingToDo:
    if not found.locations:
        hint = "a solution is <solutions>/<problem id>/<name>.py"
        why = f"problems: {_listing(found.problems)}" + "".join(f"\n{w}" for w in found.warnings)
        return NothingToDo("no solutions found", where=str(solutions), why=why, hint=hint)
    return NothingToDo(
        f"nothing matches -k {select!r}", why=f"there is: {_listing(f.id for f in found.locations)}"
    )


def _find(problems: Path, solutions: Path) -> _Found:
    for what, path in (("problems", problems), ("solutions", solutions)):
        if not path.exists():
            raise UsageError(f"{what} not found", where=str(path), why="no such file or folder")
    if real_path(problems) == real_path(solutions):
        hint = "name two places: kbench run PROBLEMS SOLUTIONS"
        raise UsageError("problems and solutions are the same path", where=str(problems), hint=hint)
    if problems.is_file() and problems.suffix != ".py":
        raise UsageError("a problem is a Python file", where=str(problems), hint="rename it to end in .py")
    if problems.is_dir():
        return _find_in_folders(problems, solutions)
    locations = tuple(_beside(problems, solutions) if solutions.is_dir() else [_alone(problems, solutions)])
    return _Found(problems={problems.stem: problems}, locations=_checked(locations))


def _alone(problem: Path, solution: Path) -> Location:
    if solution.suffix.lower() not in SUFFIXES:
        hint = f"a solution ends in {', '.join(SUFFIXES)}"
        raise UsageError("not a solution file", where=str(solution), why="unknown kind of file", hint=hint)
    return Location(problem_id=problem.stem, name=solution.stem, path=solution)


def _beside(problem: Path, folder: Path) -> Iterable[Location]:
    """One problem's solutions: the files in `<folder>/<problem id>` where that exists, else in `folder`."""
    own = folder / problem.stem
    root = own if own.is_dir() else folder
    for path in walk(root, suffixes=SUFFIXES, without=problem):
        if path.parent == root and not _is_note(path):
            yield _alone(problem, path)


def _find_in_folders(problems: Path, solutions: Path) -> _Found:
    if not solutions.is_dir():
        hint = "give one problem file, or a folder of solutions and -k"
        raise UsageError("one solution cannot serve a folder of problems", where=str(solutions), hint=hint)
    files = {id_below(path, problems): path for path in walk(problems, suffixes=(".py",), without=solutions)}
    if not files:
        raise NothingToDo("no problems found", where=str(problems), why="there is no .py file below it")
    placed, strays = [], []
    for path in walk(solutions, suffixes=SUFFIXES, without=problems):
        if _is_note(path):
            continue
        location = _place(path, id_below(path, solutions), files)
        if location is None:
            strays.append(str(path))
        else:
            placed.append(location)
    placed.sort(key=lambda location: (natural_key(location.problem_id), natural_key(location.name)))
    return _Found(
        problems=files,
        locations=_checked(placed),
        warnings=tuple(_folder_warnings(problems, solutions, files, placed, strays)),
    )


def _place(path: Path, id_: str, problems: Collection[str]) -> Location | None:
    """`<problem id>/<name>`, or a flat `<problem id>` as KernelBench's runs lay their outputs out."""
    parent, _, name = id_.rpartition("/")
    if parent in problems:
        return Location(problem_id=parent, name=name, path=path)
    return Location(problem_id=id_, name=_FLAT_NAME, path=path) if id_ in problems else None


def _is_note(path: Path) -> bool:
    """Meant for people: a README among raw responses is none."""
    return path.stem.lower() == "readme"


def _checked(locations: Iterable[Location]) -> tuple[Location, ...]:
    """Each id once, and fit for a terminal, a table and a path. Raises UsageError."""
    seen: dict[str, Location] = {}
    for location in locations:
        if not location.id.isprintable():
            where = ascii(str(location.path))
            raise UsageError(
                "a file name holds characters that cannot be printed", where=where, hint="rename it"
            )
        if (other := seen.get(location.id)) is not None:
            raise UsageError(
                f"two files are solution {location.id!r}",
                where=str(location.path),
                why=f"so is {other.path}",
                hint="rename one of them",
            )
        seen[location.id] = location
    return tuple(seen.values())


def _folder_warnings(
    problems: Path,
    solutions: Path,
    files: Mapping[str, Path],
    placed: Iterable[Location],
    strays: Collection[str],
) -> Iterable[str]:
    if strays:
        yield f"not solutions of any problem here ({len(strays)}): {_listing(strays)}"
    served = {location.problem_id for location in placed}
    if unserved := [id_ for id_ in files if id_ not in served]:
        yield f"problems without a solution ({len(unserved)} of {len(files)}): {_listing(unserved)}"
    sidecars = {sidecar_of(path) for path in files.values()}
    ignored = [p for p in walk(problems, suffixes=(".yaml", ".yml"), without=solutions) if p not in sidecars]
    if ignored:
        yield f"not read, for no problem has this name with .yaml: {_listing(map(str, ignored))}"


def _listing(names: Iterable[str]) -> str:
    shown = list(itertools.islice(iterator := iter(names), _LISTED))
    rest = sum(1 for _ in iterator)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")
