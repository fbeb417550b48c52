"""Problem files and their sidecars."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from kbench.errors import UsageError
from kbench.model import Precision
from kbench.plan.problems import read_problem

SOURCE = """\
batch_size = 16
eps = 1e-5
kernel = (3, 3)
name = "relu"
hidden = 2 * batch_size
class Model: pass
def get_inputs(): return []
def get_init_inputs(): return []
"""


@pytest.fixture
def problem(tmp_path: Path) -> Path:
    path = tmp_path / "p.py"
    path.write_text(SOURCE)
    return path


def declare(problem: Path, sidecar: str) -> Path:
    problem.with_suffix(".yaml").write_text(sidecar)
    return problem


def test_a_file_alone_has_the_defaults(problem: Path) -> None:
    read = read_problem("level1/p", problem)
    assert (read.id, read.path, read.sidecar, read.defect) == ("level1/p", problem, None, None)
    assert read.sizes == {"full": {}}
    assert (read.precision, read.mode, dict(read.floor)) == (Precision.FP32, None, {})
    assert read.sha == hashlib.sha256(problem.read_bytes()).hexdigest()


def test_a_sidecar_declares_the_rest(problem: Path) -> None:
    declare(
        problem,
        "sizes: {small: {batch_size: 4, eps: 1, hidden: 8, kernel: [5, 5]}, tiny: }\n"
        "precision: bf16\nmode: eval\nfloor: {bytes: 1024, flops: 2.5e+9}\n",
    )
    read = read_problem("p", problem)
    assert read.sizes == {
        "full": {},
        "small": {"batch_size": 4, "eps": 1, "hidden": 8, "kernel": (5, 5)},
        "tiny": {},
    }
    assert (read.precision, read.mode) == (Precision.BF16, "eval")
    assert read.floor == {"bytes": 1024.0, "flops": 2.5e9}
    assert read.sidecar == problem.with_suffix(".yaml")


def test_the_sidecar_is_part_of_the_hash(problem: Path) -> None:
    alone = read_problem("p", problem).sha
    first = read_problem("p", declare(problem, "mode: eval\n")).sha
    second = read_problem("p", declare(problem, "mode: train\n")).sha
    assert len({alone, first, second}) == 3


@pytest.mark.parametrize(
    ("source", "defect"),
    [
        ("x = (\n1,\n2 3)\n", ":3: "),
        ("class Model: pass\n", ":1: does not define get_inputs, get_init_inputs"),
        ("def get_inputs(): pass\ndef get_init_inputs(): pass\n", ":1: does not define Model"),
        ("", "does not define Model"),
    ],
)
def test_what_the_text_lacks_is_a_defect_with_its_place(tmp_path: Path, source: str, defect: str) -> None:
    path = tmp_path / "p.py"
    path.write_text(source)
    assert f"{path}" in str(read_problem("p", path).defect)
    assert defect in str(read_problem("p", path).defect)


def test_bytes_that_are_not_text_are_a_defect(tmp_path: Path) -> None:
    path = tmp_path / "p.py"
    path.write_bytes(b"\xff\xff")
    assert "not UTF-8" in str(read_problem("p", path).defect)


def test_a_star_import_may_bring_anything(tmp_path: Path) -> None:
    path = tmp_path / "p.py"
    path.write_text("from base import *\n")
    declare(path, "sizes: {small: {whatever: 4}}\n")
    assert read_problem("p", path).defect is None


@pytest.mark.parametrize(
    ("sidecar", "line", "says"),
    [
        ("size: {}\n", 1, ["unknown key 'size'", "allowed: floor, mode, precision, sizes", "'sizes'"]),
        ("mode: eval\nprecision: fp8\n", 2, ["'fp8'", "fp32, tf32, fp16, bf16"]),
        ("precision: [fp32]\n", 1, ["fp32, tf32"]),
        ("mode: training\n", 1, ["allowed: train, eval"]),
        ("mode:\n", 1, ["allowed: train, eval"]),
        ("sizes: 3\n", 1, ["whole number, not a mapping"]),
        ("sizes: {small: 3}\n", 1, ["'small' is whole number"]),
        ("sizes: {1: {}}\n", 1, ["1 is whole number, not text"]),
        ("sizes: {small: {batch: 4}}\n", 1, ["constant in sizes.small 'batch'", "allowed: batch_size,"]),
        ("sizes: {small: {Model: 4}}\n", 1, ["unknown constant", "'Model'"]),
        ("sizes: {small: {4: 4}}\n", 1, ["not a constant's name"]),
        ("sizes: {small: {batch_size: 4.5}}\n", 1, ["is number, but the problem's is whole number (16)"]),
        ("sizes: {small: {batch_size: true}}\n", 1, ["is yes/no"]),
        ("sizes: {small: {eps: 1e-3}}\n", 1, ["is text", "write 1.0e-03"]),
        ("sizes: {small: {kernel: 3}}\n", 1, ["is whole number, but"]),
        ("sizes: {small: {hidden: {a: 1}}}\n", 1, ["is mapping"]),
        ("sizes: {full: {batch_size: 4}}\n", 1, ["overrides nothing"]),
        ("floor: {byte: 1}\n", 1, ["unknown key in floor 'byte'", "allowed: bytes, flops"]),
        ("floor: {bytes: 1e9}\n", 1, ["'1e9', not a number", "write 1.0e+09"]),
        ("floor: {bytes: -1}\n", 1, ["at least 0"]),
        ("floor: {flops: .nan}\n", 1, ["at least 0"]),
        ("mode: [\n", 2, ["not valid YAML"]),
    ],
)
def test_a_sidecar_it_does_not_understand_is_a_usage_error(
    problem: Path, sidecar: str, line: int, says: list[str]
) -> None:
    declare(problem, sidecar)
    with pytest.raises(UsageError) as caught:
        read_problem("p", problem)
    assert caught.value.where == f"{problem.with_suffix('.yaml')}:{line}"
    for part in says:
        assert part in str(caught.value)


def test_constants_of_a_file_that_does_not_parse_are_not_checked(tmp_path: Path) -> None:
    path = tmp_path / "p.py"
    path.write_text("def broken(:\n")
    declare(path, "sizes: {small: {batch_size: 4}}\n")
    assert ":1: " in str(read_problem("p", path).defect)
