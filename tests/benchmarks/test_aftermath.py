"""What a completed run is looked over for, on runs with a known fault."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from benchmarks import aftermath, killed
from benchmarks.generate import Expected

EXPECTED = (
    Expected(id="p/right", kind="correct", status="correct"), Expected(id="p/wrong", kind="wrong", status="incorrect"),
)  # fmt: skip
RIGHT = {"problem": "p", "solution": "right", "status": "correct", "replicates": 2}
WRONG = {"problem": "p", "solution": "wrong", "status": "incorrect", "replicates": 0}


def written(folder: Path, records: list[dict[str, Any]], replicates: dict[str, int]) -> Path:
    """A run with these records, and samples of so many replicates by solution."""
    folder.mkdir(exist_ok=True)
    (folder / "records.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    samples = [{"problem": "p", "solution": n, "replicate": i} for n, many in replicates.items() for i in range(many)]
    (folder / "samples.jsonl").write_text("".join(json.dumps(each) + "\n" for each in samples))
    return folder


def test_a_whole_run_has_no_fault(tmp_path: Path) -> None:
    run = written(tmp_path, [RIGHT, WRONG], {"right": 2})
    assert aftermath.record_faults(run, EXPECTED) == []
    assert aftermath.sample_faults(run) == []


def test_missing_double_strange_and_changed_records_are_named(tmp_path: Path) -> None:
    run = written(tmp_path, [RIGHT, RIGHT, {**WRONG, "solution": "other"}], {"right": 2})
    assert aftermath.record_faults(run, EXPECTED) == [
        "p/right has 2 records", "p/wrong has 0 records", "p/other was not asked for",
    ]  # fmt: skip
    run = written(tmp_path, [RIGHT, {**WRONG, "status": "correct"}], {"right": 2})
    assert aftermath.record_faults(run, EXPECTED) == ["p/wrong is correct, not incorrect"]


def test_samples_must_be_those_of_the_records(tmp_path: Path) -> None:
    run = written(tmp_path, [RIGHT, WRONG], {"right": 1, "gone": 1})
    assert aftermath.sample_faults(run) == [
        "p/right has samples of replicates [0], not of 2", "samples of p/gone without a record",
    ]  # fmt: skip


def entry(cache: Path, key: str, library: bytes) -> None:
    folder = cache / "builds" / key[:2] / key
    (folder / "libraries" / "ext").mkdir(parents=True)
    (folder / "build.json").write_text('{"seconds": 2.5}')
    (folder / "libraries" / "ext" / "ext.so").write_bytes(library)


def test_a_fingerprint_is_of_every_library_and_tells_damage(tmp_path: Path) -> None:
    entry(tmp_path, "ab01", b"one")
    entry(tmp_path, "ab02", b"two")
    before = aftermath.fingerprints(tmp_path)
    assert set(before) == {"ab01", "ab02"}
    assert before["ab01"] != before["ab02"]
    (tmp_path / "builds/ab/ab01/build.json").write_text('{"seco')
    assert aftermath.fingerprints(tmp_path)["ab01"][0].startswith("unreadable")
    (tmp_path / "builds/ab/ab02/libraries/ext/ext.so").write_bytes(b"tw")
    assert aftermath.fingerprints(tmp_path)["ab02"] != before["ab02"]


def test_an_evicted_build_is_gone_and_the_others_stay(tmp_path: Path) -> None:
    entry(tmp_path, "ab01", b"one")
    entry(tmp_path, "ab02", b"two")
    assert aftermath.build_seconds(tmp_path, "ab01") == 2.5
    aftermath.evict(tmp_path, "ab01")
    assert set(aftermath.fingerprints(tmp_path)) == {"ab02"}


def test_random_endings_of_names_are_counted_together() -> None:
    names = ["kbench-responses-a1b2c3d4", "kbench-responses-zzzz_999", "torchinductor_root"]
    assert aftermath.counted(names) == ["kbench-responses-* (2)", "torchinductor_root (1)"]


def test_moments_cover_the_whole_run_and_are_the_seeds_own() -> None:
    drawn = killed.moments(20, random.Random(3))
    assert drawn == killed.moments(20, random.Random(3))
    assert [int(share * 20) for share in sorted(drawn)] == list(range(20))
    assert drawn != sorted(drawn)
