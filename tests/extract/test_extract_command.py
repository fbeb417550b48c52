"""`kbench extract` through click's runner: what goes to stdout, what to stderr, and the exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from kbench.cli.extract import extract_command
from kbench.errors import UsageError

CANDIDATE = "class ModelNew:\n    pass\n"
RESPONSE = f"Here:\n```python\n{CANDIDATE}```\n"


@pytest.fixture
def responses(tmp_path: Path) -> Path:
    folder = tmp_path / "responses"
    folder.mkdir()
    (folder / "bad.txt").write_text("I cannot.\n")
    (folder / "good.txt").write_text(RESPONSE)
    return folder


def test_one_response_goes_to_stdout() -> None:
    result = CliRunner().invoke(extract_command, ["-"], input=RESPONSE)
    assert result.exit_code == 0
    assert result.stdout == CANDIDATE
    assert result.stderr == "stdin: the only block that parses and defines ModelNew (line 3, python)\n"


def test_one_response_without_a_candidate_leaves_stdout_empty() -> None:
    result = CliRunner().invoke(extract_command, ["-"], input="I cannot.\n")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == "stdin: no candidate: no_code: there is no code in the response\n"


def test_folder_to_folder(responses: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(extract_command, [str(responses), "--out", str(out)])
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "bad: no candidate: no_code: there is no code in the response",
        f"good -> {out / 'good.py'}  (the only block that parses and defines ModelNew (line 3, python))",
    ]
    assert result.stderr == "1 of 2 responses hold a candidate\n"
    assert (out / "good.py").read_text() == CANDIDATE
    assert not (out / "bad.py").exists()


def test_all_extracted_is_exit_code_0(responses: Path, tmp_path: Path) -> None:
    arguments = [str(responses / "good.txt"), "--out", str(tmp_path / "out")]
    for _ in range(2):
        assert CliRunner().invoke(extract_command, arguments).exit_code == 0


def test_json(responses: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(extract_command, [str(responses), "--json", "--out", str(out)])
    assert result.exit_code == 1
    bad, good = json.loads(result.stdout)
    assert bad == {
        "name": "bad",
        "status": "no_candidate",
        "reason": "no_code",
        "message": "there is no code in the response",
        "path": None,
        "explanation": None,
        "first_line": None,
        "rejected": [],
    }
    assert good == {
        "name": "good",
        "status": "extracted",
        "reason": None,
        "message": None,
        "path": str(out / "good.py"),
        "explanation": "the only block that parses and defines ModelNew (line 3, python)",
        "first_line": 3,
        "rejected": [],
    }


def test_json_without_out_writes_nothing(responses: Path) -> None:
    result = CliRunner().invoke(extract_command, [str(responses), "--json"])
    assert [record["path"] for record in json.loads(result.stdout)] == [None, None]


def test_stdin_that_is_not_utf8() -> None:
    result = CliRunner().invoke(extract_command, ["-"], input=b"\xff\n" + RESPONSE.encode())
    assert result.exit_code == 0
    assert result.stdout == CANDIDATE
    assert "not UTF-8" in result.stderr


def test_usage_errors(responses: Path, tmp_path: Path) -> None:
    runner = CliRunner()
    assert runner.invoke(extract_command, []).exit_code == 2
    several = runner.invoke(extract_command, [str(responses)])
    missing = runner.invoke(extract_command, [str(tmp_path / "none")])
    no_folder = runner.invoke(extract_command, ["-", "--out", str(responses / "good.txt")], input=RESPONSE)
    for result in (several, missing, no_folder):
        assert isinstance(result.exception, UsageError)
        assert result.stdout == ""


def test_force(responses: Path, tmp_path: Path) -> None:
    (tmp_path / "good.py").write_text("mine")
    arguments = [str(responses / "good.txt"), "--out", str(tmp_path)]
    refused = CliRunner().invoke(extract_command, arguments)
    assert isinstance(refused.exception, UsageError)
    assert (tmp_path / "good.py").read_text() == "mine"
    assert CliRunner().invoke(extract_command, [*arguments, "--force"]).exit_code == 0
    assert (tmp_path / "good.py").read_text() == CANDIDATE
