"""A generated batch is the same for a seed, holds no candidate twice, and its manifest knows all of it."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from benchmarks import generate
from kbench.machine.environment import Available
from kbench.model import Device, Status
from kbench.plan.discover import discover

DEVICES = ("cuda", "cpu")


def written(folder: Path, *, device: str, count: int = 32, seed: int = 1) -> dict[str, str]:
    """The batch's files, by their path below the folder."""
    generate.write(folder, generate.candidates(count, device=device, seed=seed), device=device)
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("device", DEVICES)
def test_the_same_seed_writes_the_same_bytes(tmp_path: Path, device: str) -> None:
    assert written(tmp_path / "one", device=device) == written(tmp_path / "two", device=device)
    assert written(tmp_path / "one", device=device) != written(tmp_path / "other", device=device, seed=2)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("count", [5, 32, 64])
def test_no_two_candidates_are_alike(device: str, count: int) -> None:
    batch = generate.candidates(count, device=device, seed=1)
    assert len(batch) == count
    assert len({each.id for each in batch}) == count
    assert len({without_names(each.text) for each in batch}) > 0.7 * count  # renamed copies of a few would not do
    assert len({each.text for each in batch}) == count


def without_names(text: str) -> str:
    """The text with every name that is its own taken out."""
    return re.sub(r"\w+_\d{3}_\d+", "", text)


@pytest.mark.parametrize("device", DEVICES)
def test_every_file_parses(tmp_path: Path, device: str) -> None:
    sources = [text for name, text in written(tmp_path, device=device).items() if name.endswith(".py")]
    assert len(sources) > 32
    for text in sources:
        ast.parse(text)


@pytest.mark.parametrize("device", DEVICES)
def test_the_manifest_covers_every_solution(tmp_path: Path, device: str) -> None:
    found = written(tmp_path, device=device)
    expected = generate.read_manifest(tmp_path)
    assert {f"solutions/{each.id}.py" for each in expected} == {name for name in found if name.startswith("solutions/")}
    problems = {Path(name).stem for name in found if name.startswith("problems/")}
    assert {each.id.partition("/")[0] for each in expected} == problems
    assert {each.status for each in expected} <= {status.value for status in Status}
    assert json.loads(found[generate.MANIFEST])["device"] == device


def test_extensions_need_the_device_they_are_for(tmp_path: Path) -> None:
    for device in DEVICES:
        written(tmp_path / device, device=device)
        plan = discover(
            tmp_path / device / "problems", tmp_path / device / "solutions", device=Device(device), size=None,
            select=None, available=Available(torch=True, cuda=True, cuda_devices=1, nvcc=True, compiler=True),
            materialise=tmp_path,
        ).plan  # fmt: skip
        assert len(plan.jobs) == 32
        assert [job.skip_reason for job in plan.jobs if job.skip_reason] == []


@pytest.mark.parametrize("count", [5, 7, 8, 20, 32, 64, 100])
def test_a_mix_has_every_kind_and_adds_up(count: int) -> None:
    counts = generate.mix(count)
    assert sum(counts.values()) == count
    assert min(counts.values()) >= 1


def test_a_mix_of_32_is_the_one_that_is_documented() -> None:
    assert generate.mix(32) == generate.PER_32


def test_fewer_than_one_of_each_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 5"):
        generate.mix(4)


def test_every_fault_changes_the_source() -> None:
    from benchmarks.recipes import RECIPES
    from benchmarks.sources import FAULTS, Choices, extension_text

    for recipe in RECIPES:
        for device in DEVICES:
            for way in range(6):
                texts = {
                    extension_text(recipe, Choices(label="k", device=device, threads=128, way=way, fault=fault))
                    for fault in ("", *FAULTS)
                }
                assert len(texts) == 1 + len(FAULTS), (recipe.name, device, way)
