"""`kbench lint` as a command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kbench.cli.main import cli, run_cli
from kbench.lint import survey
from kbench.lint.model import Finding, Report, Severity

PROBLEM = "class Model: ...\ndef get_inputs(): ...\ndef get_init_inputs(): ...\n"
WEAK = Finding(severity=Severity.WEAK, check="flat", detail="a [detail]\nof two lines", remedy="mend it", where="x.py")
NOTE = Finding(severity=Severity.NOTE, check="short", detail="little", remedy="nothing to do", where="x.py")


@pytest.fixture
def problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two problems, of which an examiner that runs nothing finds b as it is told below."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.py").write_text(PROBLEM)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def finding(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    def examine_all(targets: list[survey.Target], *, device: str, **_: object) -> Iterator[Report]:
        for target in targets:
            problem = target.problem
            yield Report(
                problem=problem.id, path=str(problem.path), size=target.size, device=device,
                findings=findings if problem.id == "b" else (),
            )  # fmt: skip

    monkeypatch.setattr(survey, "examine_all", examine_all)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["lint", *arguments, "--device", "cpu"])


def test_notes_pass_and_weaknesses_do_not(problems: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for findings, expected in (((), 0), ((NOTE,), 0), ((NOTE, WEAK), 1)):
        finding(monkeypatch, *findings)
        assert run_cli(["lint", str(problems), "--device", "cpu"]) == expected


def test_usage_and_nothing_matched(problems: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finding(monkeypatch)
    assert run_cli(["lint", "nowhere", "--device", "cpu"]) == 2
    assert run_cli(["lint", str(problems), "--device", "cpu", "-k", "nothing"]) == 3
    assert run_cli(["lint", str(problems), "--device", "abacus"]) == 2
    assert run_cli(["lint"]) == 2


def test_the_list_shows_every_finding_with_its_remedy(problems: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finding(monkeypatch, WEAK, NOTE)
    result = run(str(problems))
    lines = [line.strip() for line in result.stdout.splitlines()]
    assert lines[0].startswith("a  ok  (")
    assert lines[1].startswith("b  weak  (")
    assert lines[2].split(maxsplit=2) == ["weak", "flat", "x.py: a [detail]"]
    assert lines[3:5] == ["of two lines", "→ mend it"]
    assert "note  short" in lines[5]
    assert lines[-1] == "2 problems: 0 cannot be judged, 1 weak, 0 ok, with notes, 1 ok"
    assert "\x1b" not in result.stdout
    assert result.stderr == ""


def test_json_has_stable_names(problems: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finding(monkeypatch, WEAK)
    data = json.loads(run(str(problems), "--json", "-k", "b").stdout)
    assert set(data) == {"schema_version", "problems"}
    (problem,) = data["problems"]
    assert set(problem) == {"problem", "path", "size", "device", "findings", "measured", "worst"}
    assert problem["worst"] == "weak"
    assert problem["findings"] == [
        {"severity": "weak", "check": "flat", "detail": WEAK.detail, "remedy": "mend it", "where": "x.py"}
    ]
