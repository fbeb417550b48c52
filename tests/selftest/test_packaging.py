"""Everything travels in the wheel: built from a copy of this tree, unpacked elsewhere, found there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from selftest_factory import solution

ROOT = Path(__file__).parents[2]
BROKEN = '"""expect: load_error / import\n\nNot Python."""\ndef (\n'
_BUILD = "import sys; from setuptools import build_meta; print(build_meta.build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of a copy of the repository, with one honest file and one that is no Python in its suite."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    tree.mkdir()
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, tree / name)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "kbench", tree / "kbench", symlinks=True, ignore=ignored)
    shutil.copytree(ROOT / "tests" / "evil", tree / "tests" / "evil", ignore=ignored)
    solutions = tree / "tests" / "evil" / "solutions" / "softmax"
    solutions.mkdir(parents=True, exist_ok=True)
    (solutions / "breakage_of_the_packaging_test.py").write_text(BROKEN)
    (solutions / "honest_breakage_of_the_packaging_test.py").write_text(solution("correct"))
    built = subprocess.run([sys.executable, "-c", _BUILD, str(folder)], cwd=tree, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr[-2000:]
    return folder / built.stdout.split()[-1]


def test_the_wheel_holds_every_file_of_the_suite_once(wheel: Path) -> None:
    evil = wheel.parent / "tree" / "tests" / "evil"
    wanted = {p.relative_to(evil).as_posix() for p in evil.rglob("*") if p.suffix in (".py", ".yaml")}
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    inside = [name.removeprefix("kbench/selftest/suite/") for name in names if "/suite/" in name]
    assert sorted(inside) == sorted(wanted)


def test_the_wheel_holds_all_of_kbench_itself(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    files = {p.relative_to(ROOT).as_posix() for p in (ROOT / "kbench").rglob("*") if p.is_file()}
    wanted = {name for name in files if "__pycache__" not in name and "/suite/" not in name}
    assert "kbench/build/include/host/torch/extension.h" in wanted
    assert wanted - inside == set()


def test_an_installed_kbench_finds_its_suite(wheel: Path, tmp_path: Path) -> None:
    installed = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    arguments = ["selftest", "--device", "cpu", "--list", "--json", "-k", "of_the_packaging_test"]
    listed = subprocess.run(
        [sys.executable, "-m", "kbench", *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert listed.returncode == 0, listed.stderr
    assert {(f["name"], f["expected"]) for f in json.loads(listed.stdout)} == {
        ("breakage_of_the_packaging_test", "load_error / import"),
        ("honest_breakage_of_the_packaging_test", "correct"),
    }
