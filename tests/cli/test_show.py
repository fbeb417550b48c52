from __future__ import annotations

import json
from pathlib import Path

import pytest
from run_factory import ENVIRONMENT, make_record

from kbench.cli.main import run_cli
from kbench.model import Status
from kbench.store.writer import RunStore


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An old run, and a newer one with a failure and its log."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    for name, started in (("zzz-old", "2026-05-01T00:00:00"), ("new", "2026-05-02T00:00:00")):
        options = {"started": started}
        with RunStore.create(tmp_path / "results" / name, options=options, environment=ENVIRONMENT) as store:
            store.append(make_record(f"softmax/{name}-v1"))
            message = "v2.py:19: identifier is undefined\n" + "x" * 300
            store.append(make_record("softmax/v2", status=Status.BUILD_ERROR, reason="nvcc", message=message))
            store.log_path("softmax/v2", "build").write_bytes(b"nvcc \xff\x1b[31mfailed\n")
            store.save_source("softmax/v2", "class ModelNew: ...")
    return tmp_path / "results" / "new"


def test_the_newest_run_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["show", "new-v1"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("softmax/new-v1  correct\n")
    assert "speedup       2.00x [1.97, 2.03]" in out


def test_a_failure_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["show", "softmax/v2"]) == 0
    out = capsys.readouterr().out
    assert "build_error: nvcc" in out
    assert "x" * 300 in out
    assert "results/new/sources/softmax/v2.py" in out
    assert "results/new/logs/softmax/v2/build.log" in out
    assert "--- build.log" not in out


def test_another_run_and_its_logs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["show", "v2", "--run", "zzz-old", "--log"]) == 0
    out = capsys.readouterr().out
    assert "--- build.log\nnvcc \ufffdfailed\n" in out


def test_no_logs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["show", "new-v1", "--log"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("softmax/new-v1")
    assert err == "warning: the run kept no logs of softmax/new-v1\n"


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    run_cli(["show", "v2", "--json", "--log"])
    data = json.loads(capsys.readouterr().out)
    assert data["status"] == "build_error"
    assert data["files"]["source"] == "results/new/sources/softmax/v2.py"
    assert data["logs"] == {"build.log": "nvcc \ufffd\x1b[31mfailed\n"}


def test_a_bare_records_file(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["show", "v2", "--run", str(run / "records.jsonl")]) == 0
    assert "build.log" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["softmax"], 2, "2 records match 'softmax'"),
        (["nothing"], 2, "no record matches 'nothing'"),
        (["v2", "--run", "nowhere"], 2, "no such run"),
    ],
)
def test_errors(capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, words: str) -> None:
    assert run_cli(["show", *arguments]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ") and words in err and "hint: " in err


def test_no_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    assert run_cli(["show", "v2"]) == 3
    assert "hint: kbench run makes one" in capsys.readouterr().err
