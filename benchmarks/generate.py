"""A batch of different candidates to benchmark with: `python -m benchmarks.generate --out DIR`.

Writes DIR/problems, DIR/solutions and DIR/manifest.json, which says of every candidate what it must come out as. The
same seed gives the same bytes. Half of the candidates are right, the others fail in the ways that candidates do.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.recipes import RECIPES, Recipe
from benchmarks.sources import Choices, extension_text, plain_text, problem_text

MANIFEST = "manifest.json"
PER_32: Mapping[str, int] = {"correct": 14, "wrong": 6, "not_compiling": 6, "torch": 3, "other": 3}
"""How many of each kind 32 candidates are. `correct`, `wrong` and `not_compiling` bring an extension, `torch` (right)
and `other` (wrong, or failing) do not."""
_FAULTS: Mapping[str, tuple[str, ...]] = {
    "correct": ("",),
    "wrong": ("constant", "shape", "tail"),
    "not_compiling": ("syntax", "undeclared"),
}
_STATUS = {"correct": "correct", "wrong": "incorrect", "not_compiling": "build_error", "torch": "correct"}
_THREADS = {"cuda": (128, 256, 512), "cpu": (64, 128, 256, 512)}
_ROWS = {"cuda": {"element": 8192, "row": 16384}, "cpu": {"element": 512, "row": 1024}}
_COLUMNS = {"cuda": 4096, "cpu": 1024}
"""On an H200, 134 MB to read and as much to write, or 268 MB to read: about 60 us at 4.3 TB/s for a kernel that goes
over its data once, a few times as long for eager. On the CPU so little that a batch is cheap."""
_OTHERS = (
    ("runtime_error", 'raise RuntimeError("no kernel for this shape")'),
    ("incorrect", "return 1.05 * ({expression})"),
    ("load_error", "return nothing_of_this_name({arguments})"),
)
_CANNOT_LOAD = "\nfrom torch import nothing_of_this_name\n"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One solution to be written, and what is known of it."""

    problem: str
    solution: str
    kind: str
    """A key of `PER_32`."""
    status: str
    """What kbench must call it."""
    text: str

    @property
    def id(self) -> str:
        return f"{self.problem}/{self.solution}"


@dataclass(frozen=True, kw_only=True)
class Expected:
    """A candidate as the manifest knows it."""

    id: str
    """`problem/solution`."""
    kind: str
    status: str


def mix(count: int) -> dict[str, int]:
    """How many candidates of each kind `count` are: the shares of `PER_32`, the largest remainders rounded up.

    Raises ValueError for fewer than one of each kind.
    """
    if count < len(PER_32):
        raise ValueError(f"a batch has at least {len(PER_32)} candidates, one of each kind")
    exact = {kind: max(1.0, count * share / sum(PER_32.values())) for kind, share in PER_32.items()}
    counts = {kind: int(value) for kind, value in exact.items()}
    by_remainder = sorted(exact, key=lambda kind: counts[kind] - exact[kind])
    for number in range(count - sum(counts.values())):
        counts[by_remainder[number % len(by_remainder)]] += 1
    while sum(counts.values()) > count:  # where "at least one" took too many
        counts[max(counts, key=lambda kind: counts[kind])] -= 1
    return counts


def candidates(count: int, *, device: str, seed: int) -> list[Candidate]:
    """`count` different candidates for `device` (`cuda` or `cpu`), kinds and problems mixed."""
    rng = random.Random(f"{seed} {device} {count}")
    kinds = [(kind, number) for kind, share in mix(count).items() for number in range(share)]
    recipes = _in_turn(rng)
    found = [_candidate(kind, number, next(recipes), device=device, seed=seed, rng=rng) for kind, number in kinds]
    rng.shuffle(found)
    return found


def _in_turn(rng: random.Random) -> Iterator[Recipe]:
    start = rng.randrange(len(RECIPES))
    while True:
        yield from (*RECIPES[start:], *RECIPES[:start])


def _candidate(
    kind: str, number: int, recipe: Recipe, *, device: str, seed: int, rng: random.Random
) -> Candidate:
    name = f"{kind}_{number:03d}"
    label = f"{recipe.name}_{name}_{seed}"
    arguments = ", ".join("xy"[: recipe.inputs])
    status = _STATUS.get(kind, "")
    if kind in _FAULTS:
        fault = _FAULTS[kind][number % len(_FAULTS[kind])]
        choices = Choices(
            label=label, device=device, threads=rng.choice(_THREADS[device]), way=rng.randrange(6), fault=fault
        )
        text = extension_text(recipe, choices)
    elif kind == "torch":
        text = plain_text(recipe, label=label, body=f"y_ = {recipe.torch}\n        return y_")
    else:
        status, body = _OTHERS[number % len(_OTHERS)]
        body = body.format(expression=recipe.torch, arguments=arguments)
        text = plain_text(recipe, label=label, body=body)
        if status == "load_error":
            text += _CANNOT_LOAD
    return Candidate(problem=recipe.name, solution=name, kind=kind, status=status, text=text)


def write(folder: Path, batch: list[Candidate], *, device: str, times: int = 1) -> None:
    """Lay the batch and the problems it needs below `folder`, with the manifest; inputs of so many times the rows."""
    needed = {candidate.problem for candidate in batch}
    (folder / "problems").mkdir(parents=True, exist_ok=True)
    for recipe in RECIPES:
        if recipe.name in needed:
            rows = times * _ROWS[device]["element" if recipe.element else "row"]
            text = problem_text(recipe, rows=rows, columns=_COLUMNS[device])
            (folder / "problems" / f"{recipe.name}.py").write_text(text)
    for candidate in batch:
        place = folder / "solutions" / candidate.problem / f"{candidate.solution}.py"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(candidate.text)
    rows_of = [dataclasses.asdict(Expected(id=each.id, kind=each.kind, status=each.status)) for each in batch]
    (folder / MANIFEST).write_text(json.dumps({"device": device, "candidates": rows_of}, indent=1) + "\n")


def read_manifest(folder: Path) -> list[Expected]:
    """What `write` said of the batch below `folder`."""
    return [Expected(**row) for row in json.loads((folder / MANIFEST).read_text())["candidates"]]


def main() -> None:
    """Write one batch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=32)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    batch = candidates(options.count, device=options.device, seed=options.seed)
    write(options.out, batch, device=options.device)
    counts = ", ".join(f"{share} {kind}" for kind, share in mix(options.count).items())
    print(f"wrote {len(batch)} candidates to {options.out}: {counts}")


if __name__ == "__main__":
    main()
