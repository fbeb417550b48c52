from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from run_factory import ENVIRONMENT, make_record, make_run, write_run

from kbench.errors import NothingToDo, StoreError, UsageError
from kbench.store.runs import find_record, find_runs, load_run, newest_run, parse_record, resolve_run


def line(identity: str = "p/a", **fields: Any) -> str:
    return json.dumps(make_record(identity).to_json() | fields) + "\n"


def test_a_run_directory_or_its_records_file(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [make_record()], options={"quick": True})
    by_directory, by_file = load_run(run), load_run(run / "records.jsonl")
    assert by_directory.records == by_file.records
    assert by_directory.environment == by_file.environment == ENVIRONMENT
    assert by_directory.options == {"quick": True}
    assert (by_directory.name, by_file.name) == ("run", "run/records.jsonl")


def test_a_bare_records_file(tmp_path: Path) -> None:
    path = tmp_path / "baseline.jsonl"
    path.write_text(line())
    found = load_run(path)
    assert found.environment == {}
    assert found.directory is None
    assert found.warnings == ()


def test_an_unfinished_last_line_is_left_out_and_said(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(line() + line("p/b")[:-30])
    before = path.read_bytes()
    found = load_run(path)
    assert list(found.records) == [("p", "a")]
    assert found.warnings == (f"{path}:2: the last line is unfinished and was left out",)
    assert path.read_bytes() == before


def test_a_last_line_without_its_newline_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(line().rstrip())
    assert load_run(path).warnings == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("garbage\n", "not JSON (Expecting value at column 1)"),
        ("[]\n", "a JSON list, not an object"),
        ('{"speedup": NaN}\n', "not JSON (NaN is not JSON)"),
        ("{}\n", "missing field 'problem'"),
        (line(speedup="fast"), "field 'speedup' is not a number"),
        (line(status="splendid"), "'splendid' is not a valid Status"),
        (line(evidence=3), "field 'evidence' is not an object"),
        (line(baselines={"compile": 3}), "baseline 'compile' holds something that is not a number"),
        (line(baselines={"compile": {"time_ms": "x"}}), "baseline 'compile' holds something that is not a number"),
        (line(flags="x"), "field 'flags' is not a list"),
        (line(flags=[1]), "field 'flags' holds something that is not text"),
        (line(advice="x"), "field 'advice' is not a list"),
        (line(advice=[None]), "field 'advice' holds something that is not text"),
        (line(replicate_log_ratios=[None]), "'replicate_log_ratios' holds something that is not a finite"),
        (line(replicates="5"), "field 'replicates' is not a whole number"),
        (line(message=None), "field 'message' is not text"),
        (line(speedup=-1.0), "field 'speedup' is not positive"),
        (line().replace('"time_ms": ', '"time_ms": 1e999, "x": '), "field 'time_ms' is not finite"),
    ],
)
def test_damage_is_named_by_file_and_line(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(line() + text + line("p/c"))
    with pytest.raises(UsageError) as caught:
        load_run(path)
    assert caught.value.where == f"{path}:2"
    assert why in (caught.value.why or "")
    assert "remove that line" in (caught.value.hint or "")


def test_a_second_record_is_said(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(line() + line(speedup=9.0))
    found = load_run(path)
    assert found.records[("p", "a")].speedup != 9.0
    assert "a second record of p/a" in found.warnings[0]


def test_a_newer_writer_is_said(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_text(line(schema_version=99, sparkle=True))
    assert "newer kbench" in load_run(path).warnings[0]


def test_no_such_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such run"):
        load_run(tmp_path / "x")


def test_a_directory_of_runs_is_not_a_run(tmp_path: Path) -> None:
    write_run(tmp_path / "one", [make_record()])
    with pytest.raises(UsageError, match="not a run directory") as caught:
        load_run(tmp_path)
    assert caught.value.hint == "it has runs below it: one"


@pytest.mark.parametrize("content", ["", "\n", None, '{"prob'])
def test_a_run_without_records(tmp_path: Path, content: str | None) -> None:
    run = write_run(tmp_path / "run", [])
    (run / "records.jsonl").unlink()
    if content is not None:
        (run / "records.jsonl").write_text(content)
    with pytest.raises(UsageError, match="holds no records"):
        load_run(run)


def test_a_damaged_description(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [make_record()])
    (run / "run.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(StoreError, match="description is damaged"):
        load_run(run)
    found = load_run(run / "records.jsonl")  # What the error's hint says.
    assert found.environment == {}
    assert "environment is not known" in found.warnings[0]


@pytest.mark.parametrize("content", ["- 1\n", "options: 3\n", "environment: text\n"])
def test_a_description_of_the_wrong_shape(tmp_path: Path, content: str) -> None:
    run = write_run(tmp_path / "run", [make_record()])
    (run / "run.yaml").write_text(content)
    with pytest.raises(StoreError):
        load_run(run)


def test_runs_are_found_newest_first(tmp_path: Path) -> None:
    write_run(tmp_path / "a", [make_record()], options={"started": "2026-05-04T10:00:00+00:00"})
    write_run(tmp_path / "deep" / "b", [make_record()], options={"started": "2026-05-06T10:00:00+00:00"})
    undated = write_run(tmp_path / "c", [make_record()])
    os.utime(undated / "run.yaml", (1.0, 1.0))
    write_run(tmp_path / "d", [make_record()], options={"started": 1_600_000_000})
    assert [run.name for run in find_runs(tmp_path)] == ["b", "a", "d", "c"]
    assert newest_run(tmp_path).name == "b"
    with pytest.raises(NothingToDo):
        newest_run(tmp_path / "nowhere")


def test_resolve_run(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", [])
    assert resolve_run(Path("a"), tmp_path) == run
    assert resolve_run(run, tmp_path) == run
    assert resolve_run(Path("zzz"), tmp_path) == Path("zzz")


def test_find_record() -> None:
    run = make_run([make_record("l1/softmax/v1"), make_record("l1/softmax/v10"), make_record("l1/gelu/best")])
    assert find_record(run, "l1/softmax/v1").id == "l1/softmax/v1"
    assert find_record(run, "softmax/v1").id == "l1/softmax/v1"
    assert find_record(run, "v10").id == "l1/softmax/v10"
    assert find_record(run, "gel").id == "l1/gelu/best"
    with pytest.raises(UsageError, match="2 records match 'softmax'"):
        find_record(run, "softmax")
    with pytest.raises(UsageError) as caught:
        find_record(run, "l1/gelu/bset")
    assert caught.value.hint == "did you mean l1/gelu/best?"
    with pytest.raises(UsageError) as caught:
        find_record(run, "~~~")
    assert caught.value.hint == "kbench list RUN shows them"


def test_parse_record_ignores_what_it_does_not_know() -> None:
    data = make_record().to_json() | {"flags": ["a"], "replicate_log_ratios": [0.5], "later": 1}
    assert parse_record(json.loads(json.dumps(data))).flags == ("a",)
