from __future__ import annotations

import json
from pathlib import Path

import pytest
from run_factory import make_record, write_run

from kbench.cli.main import run_cli
from kbench.model import Status


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("TZ", "UTC")
    root = tmp_path / "results"
    records = [make_record(), make_record("softmax/v2", status=Status.CRASH, message="SIGSEGV")]
    write_run(root / "good", records, options={"started": "2026-05-04T13:37:00"})
    write_run(root / "empty", [], options={"started": "2026-05-03T13:37:00"})
    damaged = write_run(root / "damaged", records, options={"started": "2026-05-02T13:37:00"})
    (damaged / "records.jsonl").write_text("x\n")
    on_cpu = [make_record(device="cpu")]
    write_run(root / "nested" / "cpu", on_cpu, options={"started": "2026-05-01T13:37:00"})
    (root / "not-a-run").mkdir()
    return root


def test_all_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["list"]) == 0
    rows = [line.split("   ") for line in capsys.readouterr().out.splitlines()[2:]]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert [row[:2] for row in cells] == [
        ["good", "2026-05-04 13:37"], ["empty", "2026-05-03 13:37"], ["damaged", "2026-05-02 13:37"],
        ["nested/cpu", "2026-05-01 13:37"],
    ]  # fmt: skip
    assert cells[0][2:] == ["NVIDIA H200", "1 correct, 1 crash", "2.00x"]
    assert "the run holds no records" in cells[1][3]
    assert "a record cannot be read: not JSON" in cells[2][3]
    assert cells[3][2:] == ["Xeon 8592", "1 correct", "2.00x"]


def test_all_runs_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["list", "--json"]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert [run["name"] for run in runs] == ["good", "empty", "damaged", "nested/cpu"]
    assert runs[0]["counts"] == {"correct": 1, "crash": 1}
    assert runs[1]["geometric_mean"] is None


@pytest.mark.parametrize("named", ["good", "results/good", "results/good/records.jsonl"])
def test_the_records_of_one(capsys: pytest.CaptureFixture[str], named: str) -> None:
    assert run_cli(["list", named]) == 0
    out = capsys.readouterr().out
    assert "softmax   v1         correct" in out
    assert "softmax/v2  crash\n  SIGSEGV\n" in out


def test_the_records_of_one_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["list", "good", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["records"]) == 2


def test_elsewhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["list", "--results", str(tmp_path / "results" / "nested")]) == 0
    assert "cpu" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["nowhere"], 2), (["damaged"], 2), (["--results", "none"], 3), (["--results", "results/good/run.yaml"], 2)],
)
def test_errors(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["list", *arguments]) == code
    assert capsys.readouterr().err.startswith("error: ")


def test_no_runs_is_an_empty_list_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["list", "--results", "none", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == []


def test_columns_is_honoured_in_a_pipe(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "90")
    run_cli(["list"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 90
