from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from run_factory import ENVIRONMENT, make_reading, make_record, make_sample

from kbench.errors import StoreError, UsageError
from kbench.model import Status
from kbench.store.writer import RunStore, load_run, log_files, problem_source, solution_source

EVIDENCE = ("samples.jsonl", "telemetry.jsonl")
FILES = ("records.jsonl", *EVIDENCE)
OPTIONS = {"started": "2026-05-04T13:37:00+00:00", "out": Path("results/x"), "device": "cuda"}


def create(path: Path) -> RunStore:
    return RunStore.create(path, options=OPTIONS, environment=ENVIRONMENT)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_create_writes_the_header(tmp_path: Path) -> None:
    with create(tmp_path / "deep" / "run") as store:
        header = yaml.safe_load((store.path / "run.yaml").read_text())
    assert header["schema_version"] == 1
    assert header["kbench"] == "0.1.0"
    assert header["options"] == {"started": OPTIONS["started"], "out": "results/x", "device": "cuda"}
    assert header["environment"] == ENVIRONMENT


def test_each_environment_that_a_run_goes_on_in_is_described_once(tmp_path: Path) -> None:
    with create(tmp_path) as store:
        assert store.environment_key == ENVIRONMENT["key"]
    for key in ("other", ENVIRONMENT["key"], "other", "third"):
        with RunStore.resume(tmp_path) as store:
            store.go_on_in(dict(ENVIRONMENT, key=key))
            assert store.environment_key == key and store.environment == ENVIRONMENT
    header = yaml.safe_load((tmp_path / "run.yaml").read_text())
    assert header["environment"] == ENVIRONMENT
    assert header["later_environments"] == [dict(ENVIRONMENT, key=key) for key in ("other", "third")]


@pytest.mark.parametrize("damaged", ["later_environments: 3", "later_environments: [3]"])
def test_a_description_of_other_things_than_environments_is_damaged(tmp_path: Path, damaged: str) -> None:
    create(tmp_path).close()
    (tmp_path / "run.yaml").write_text(damaged)
    with pytest.raises(StoreError, match="description is damaged"):
        RunStore.resume(tmp_path)


def test_a_second_run_in_the_same_place_is_refused(tmp_path: Path) -> None:
    create(tmp_path).close()
    with pytest.raises(UsageError) as caught:
        create(tmp_path)
    assert caught.value.where == str(tmp_path)
    assert "--resume" in (caught.value.hint or "") and "--out" in (caught.value.hint or "")


def test_records_without_a_header_are_a_run_too(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").write_text("{}\n")
    with pytest.raises(UsageError, match="already holds a run"):
        create(tmp_path)


@pytest.mark.parametrize("open_again", [create, RunStore.resume])
def test_a_run_in_progress_is_locked(tmp_path: Path, open_again: object) -> None:
    assert callable(open_again)
    with create(tmp_path), pytest.raises(StoreError, match="another kbench run is writing there") as caught:
        open_again(tmp_path)
    assert caught.value.why == f"process {os.getpid()} holds its lock"
    RunStore.resume(tmp_path).close()


def test_another_process_is_locked_out_but_may_read(tmp_path: Path) -> None:
    code = "import sys, pathlib; from kbench.store.writer import RunStore; RunStore.resume(pathlib.Path(sys.argv[1]))"
    with create(tmp_path) as store:
        store.append(make_record())
        other = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
        assert "another kbench run is writing there" in other.stderr
        assert len(load_run(tmp_path).records) == 1


def test_the_lock_is_not_inherited_over_exec(tmp_path: Path) -> None:
    store = create(tmp_path)
    child = subprocess.Popen(
        [sys.executable, "-c", "print('up', flush=True); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False,
    )  # fmt: skip
    assert child.stdout is not None
    child.stdout.readline()
    os.close(store._lock)  # As a kill would: no unlocking.
    try:
        RunStore.resume(tmp_path).close()
    finally:
        child.communicate(b"\n")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_neither_keeps_nor_takes_the_lock(tmp_path: Path) -> None:
    store = create(tmp_path)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        os.read(reader, 1)
        store.close()
        os._exit(0)
    store.close()
    try:
        again = RunStore.resume(tmp_path)
    finally:
        os.close(writer)
        os.waitpid(child, 0)
        os.close(reader)
    with pytest.raises(StoreError, match="another kbench run"):
        RunStore.resume(tmp_path)
    again.close()


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    for path in (tmp_path / "run", tmp_path / "run" / "below"):
        with pytest.raises(StoreError, match="cannot write") as caught:
            create(path)
        assert caught.value.where == str(path)
        assert "--out" in (caught.value.hint or "")


def test_a_directory_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StoreError) as caught:
        create(tmp_path)
    assert caught.value.why == "Permission denied"
    assert "you may write to" in (caught.value.hint or "")


def test_append_writes_samples_and_record(tmp_path: Path) -> None:
    record = make_record(evidence={"worst": {"index": (1, 2)}}, baselines={"compile": {"time_ms": 2.5}})
    with create(tmp_path) as store:
        kept = store.append(record, [make_sample(), make_sample(side="eager", flags=("clock_mismatch",))])
        assert store.records == {("softmax", "v1"): kept}
    assert lines(tmp_path / "records.jsonl")[0]["speedup"] == record.speedup
    samples = lines(tmp_path / "samples.jsonl")
    assert samples[0] == {"problem": "softmax", "solution": "v1"} | dataclasses.asdict(make_sample()) | {"flags": []}
    assert samples[1]["side"] == "eager"
    loaded = load_run(tmp_path)
    assert loaded.records[("softmax", "v1")] == kept
    assert loaded.environment == ENVIRONMENT


def test_readings_are_kept_with_the_visit_they_belong_to(tmp_path: Path) -> None:
    with create(tmp_path) as store:
        store.append(make_record(advice=("a", "b")), [make_sample()], [make_reading(), make_reading(reasons=None)])
    found = lines(tmp_path / "telemetry.jsonl")
    assert found[0] == {
        "problem": "softmax", "solution": "v1", "replicate": 0, "block": 0, "position": 0, "side": "solution",
        "sm_clock_mhz": 1980, "reasons": ["sw_power_cap"],
    }  # fmt: skip
    assert "reasons" not in found[1]
    assert load_run(tmp_path).records[("softmax", "v1")].advice == ("a", "b")


def test_a_run_from_before_there_was_telemetry_is_read_and_goes_on(tmp_path: Path) -> None:
    full_run(tmp_path)
    (tmp_path / "telemetry.jsonl").unlink()
    old = tmp_path / "records.jsonl"
    old.write_bytes(old.read_bytes().replace(b'"advice":[],', b""))
    assert b"advice" not in old.read_bytes()
    assert {record.advice for record in load_run(tmp_path).records.values()} == {()}
    with RunStore.resume(tmp_path) as store:
        store.append(make_record("p/c"), [make_sample()], [make_reading()])
    assert [line["solution"] for line in lines(tmp_path / "telemetry.jsonl")] == ["c"]


def test_what_is_not_finite_is_never_written(tmp_path: Path) -> None:
    record = make_record(d=(0.5,), evidence={"worst": math.nan}, sol_fraction=math.inf)
    with create(tmp_path) as store:
        kept = store.append(record)
    assert (kept.speedup_low, kept.speedup_high, kept.sol_fraction) == (None, None, None)
    assert kept.evidence == {"worst": "nan"}
    text = (tmp_path / "records.jsonl").read_text()
    assert "NaN" not in text and "Infinity" not in text


def test_log_ratios_that_are_not_finite_are_our_own_fault(tmp_path: Path) -> None:
    with create(tmp_path) as store, pytest.raises(StoreError, match="cannot be stored"):
        store.append(make_record(replicate_log_ratios=(math.nan,)))


def test_a_hostile_message_stays_one_line(tmp_path: Path) -> None:
    message = 'a\nb\r\u2028{"problem": "x"}\n\x00\x1b[2J\ud800'
    with create(tmp_path) as store:
        store.append(make_record(status=Status.CRASH, message=message))
    assert (tmp_path / "records.jsonl").read_bytes().count(b"\n") == 1
    assert load_run(tmp_path).records[("softmax", "v1")].message == message.replace("\ud800", "\ufffd")


def test_a_pair_is_recorded_once(tmp_path: Path) -> None:
    with create(tmp_path) as store:
        store.append(make_record())
        with pytest.raises(StoreError, match="twice"):
            store.append(make_record(status=Status.CRASH))
    with RunStore.resume(tmp_path) as store, pytest.raises(StoreError, match="twice"):
        store.append(make_record())
    assert len(lines(tmp_path / "records.jsonl")) == 1


@pytest.mark.parametrize("failing", range(1, 6))
def test_a_full_disk_leaves_nothing_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: int) -> None:
    """Of one append's five lines the n-th fails after half of it was taken."""
    real, count = os.write, 0

    def write(descriptor: int, data: memoryview) -> int:
        nonlocal count
        count += 1
        if count == failing:
            return real(descriptor, data[: len(data) // 2])
        if count > failing:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data)

    with create(tmp_path) as store:
        store.append(make_record("p/first"), [make_sample()], [make_reading()])
        before = [(tmp_path / name).read_bytes() for name in FILES]
        monkeypatch.setattr(os, "write", write)
        with pytest.raises(StoreError) as caught:
            store.append(make_record("p/second"), [make_sample()] * 2, [make_reading()] * 2)
        monkeypatch.undo()
        assert "--resume" in (caught.value.hint or "")
        assert [(tmp_path / name).read_bytes() for name in FILES] == before
        assert list(store.records) == [("p", "first")]
        store.append(make_record("p/second"), [make_sample()] * 3)
    assert list(load_run(tmp_path).records) == [("p", "first"), ("p", "second")]


def full_run(path: Path) -> bytes:
    with create(path) as store:
        for name in ("a", "b"):
            samples = [make_sample(), make_sample(block=1)]
            store.append(make_record(f"p/{name}", message="é" * 5), samples, [make_reading()])
    return (path / "records.jsonl").read_bytes()


@pytest.mark.parametrize("cut", [1, 2, 50, 400])
def test_a_run_killed_in_mid_write_goes_on(tmp_path: Path, cut: int) -> None:
    whole = full_run(tmp_path)
    (tmp_path / "records.jsonl").write_bytes(whole[:-cut])
    with RunStore.resume(tmp_path) as store:
        assert store.options["device"] == "cuda"
        if cut > 1:
            assert list(store.records) == [("p", "a")]
            store.append(make_record("p/b", message="é" * 5), [make_sample()])
    assert list(load_run(tmp_path).records) == [("p", "a"), ("p", "b")]
    damaged = sorted(tmp_path.glob("*.damaged-*"))
    if cut == 1:  # Only the newline was missing.
        assert damaged == []
        assert len(lines(tmp_path / "samples.jsonl")) == 4
    else:
        assert [path.name for path in damaged] == ["records.jsonl.damaged-1"]
        assert whole.endswith(damaged[0].read_bytes() + whole[-cut:])
        assert len(lines(tmp_path / "samples.jsonl")) == 3


def test_every_possible_cut_of_the_last_line_can_be_resumed(tmp_path: Path) -> None:
    whole = full_run(tmp_path)
    first = whole.index(b"\n") + 1
    for length in range(first, len(whole)):
        (tmp_path / "records.jsonl").write_bytes(whole[:length])
        with RunStore.resume(tmp_path) as store:
            assert ("p", "a") in store.records
        (tmp_path / "records.jsonl.damaged-1").unlink(missing_ok=True)


def test_damage_is_kept_under_new_names(tmp_path: Path) -> None:
    full_run(tmp_path)
    for _ in range(2):
        with (tmp_path / "records.jsonl").open("ab") as stream:
            stream.write(b"\x00" * 20)
        RunStore.resume(tmp_path).close()
    assert (tmp_path / "records.jsonl.damaged-2").read_bytes() == b"\x00" * 20


def test_a_corrupt_last_line_is_set_aside(tmp_path: Path) -> None:
    full_run(tmp_path)
    with (tmp_path / "records.jsonl").open("ab") as stream:
        stream.write(b'{"problem": "p", "sol\n')
    with RunStore.resume(tmp_path) as store:
        assert len(store.records) == 2
    assert (tmp_path / "records.jsonl.damaged-1").read_bytes() == b'{"problem": "p", "sol'


def test_damage_in_the_middle_is_an_error(tmp_path: Path) -> None:
    whole = full_run(tmp_path)
    (tmp_path / "records.jsonl").write_bytes(b"garbage\n" + whole)
    with pytest.raises(UsageError) as caught:
        RunStore.resume(tmp_path)
    assert caught.value.where == f"{tmp_path}/records.jsonl:1"
    assert (tmp_path / "records.jsonl").read_bytes() == b"garbage\n" + whole
    with pytest.raises(UsageError):  # Not "locked": the first try let go.
        RunStore.resume(tmp_path)


@pytest.mark.parametrize("name", EVIDENCE)
def test_samples_and_readings_without_a_record_are_dropped(tmp_path: Path, name: str) -> None:
    full_run(tmp_path)
    path = tmp_path / name
    whole = path.read_bytes()
    path.write_bytes(whole + whole.splitlines(keepends=True)[0].replace(b'"a"', b'"c"') + b'{"problem":"p","solu')
    RunStore.resume(tmp_path).close()
    assert path.read_bytes() == whole
    assert (tmp_path / f"{name}.damaged-1").exists()


@pytest.mark.parametrize("name", EVIDENCE)
def test_damaged_evidence_in_the_middle_is_an_error(tmp_path: Path, name: str) -> None:
    full_run(tmp_path)
    path = tmp_path / name
    path.write_bytes(b"x\n" + path.read_bytes())
    with pytest.raises(UsageError) as caught:
        RunStore.resume(tmp_path)
    assert caught.value.where == f"{path}:1"


def test_of_two_records_the_first_counts(tmp_path: Path) -> None:
    full_run(tmp_path)
    path = tmp_path / "records.jsonl"
    second = json.dumps(make_record("p/a", status=Status.CRASH).to_json()).encode()
    path.write_bytes(path.read_bytes() + second + b"\n")
    with RunStore.resume(tmp_path) as store:
        assert store.records[("p", "a")].status is Status.CORRECT


@pytest.mark.parametrize("begun", [False, True])
def test_what_a_killed_write_left_is_removed(tmp_path: Path, begun: bool) -> None:
    if begun:
        create(tmp_path).close()
    for name in (".run.yaml.123.tmp", ".speedups.md.123.tmp"):
        (tmp_path / name).write_text("half of")
    others = {".notes.tmp", "kept.123.tmp", ".run.yaml.123"}
    for name in others:
        (tmp_path / name).touch()
    (RunStore.resume if begun else create)(tmp_path).close()
    left = {path.name for path in tmp_path.iterdir()}
    assert {name for name in left if "tmp" in name or "123" in name} == others


def test_resume_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no run to resume"):
        RunStore.resume(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_damaged_header(tmp_path: Path) -> None:
    full_run(tmp_path)
    (tmp_path / "run.yaml").write_text("options: [1\n: x")
    with pytest.raises(StoreError) as caught:
        RunStore.resume(tmp_path)
    assert (caught.value.where or "").startswith(f"{tmp_path}/run.yaml:")


def test_logs_and_sources(tmp_path: Path) -> None:
    original = tmp_path / "v1.py"
    original.write_bytes(b"x = '\xff'\r\n")
    with create(tmp_path / "run") as store:
        store.log_path("level1/softmax/v1", "build").write_text("ok")
        store.log_path("level1/softmax/v1", "worker").write_text("ok")
        assert store.save_source("level1/softmax/v1", original).read_bytes() == original.read_bytes()
        assert store.save_problem_source("level1/softmax", "class Model: ...").read_text() == "class Model: ..."
    run = tmp_path / "run"
    assert (run / "logs/level1/softmax/v1/build.log").is_file()
    assert [path.name for path in log_files(run, "level1/softmax/v1")] == ["build.log", "worker.log"]
    assert log_files(run, "level1/softmax/v2") == []
    assert solution_source(run, "level1/softmax/v1") == run / "sources/level1/softmax/v1.py"
    assert problem_source(run, "a/b") != solution_source(run, "a/b")


@pytest.mark.parametrize("identity", ["../v1", "a//b", "/etc/x", "a/..", "", "a\0b", "."])
def test_names_that_lead_out_are_refused(tmp_path: Path, identity: str) -> None:
    with create(tmp_path / "run") as store:
        with pytest.raises(StoreError):
            store.log_path(identity, "build")
        if identity not in ("", "."):
            with pytest.raises(StoreError):
                store.save_source(f"{identity}/..", "")
    with pytest.raises(StoreError):
        solution_source(tmp_path, f"../{identity}")


def test_a_name_too_long_for_the_disk(tmp_path: Path) -> None:
    with create(tmp_path) as store, pytest.raises(StoreError, match="cannot write"):
        store.log_path("x" * 300, "build")


def test_write_tables(tmp_path: Path) -> None:
    with create(tmp_path) as store:
        store.append(make_record())
        store.append(make_record("softmax/v2", status=Status.INCORRECT, reason="values", message="off by 3"))
        table, page = store.write_tables()
    assert table.read_text().startswith("problem,solution,device,")
    assert len(table.read_text().splitlines()) == 3
    assert "off by 3" in page.read_text()
    assert not list(tmp_path.glob(".*.tmp"))
