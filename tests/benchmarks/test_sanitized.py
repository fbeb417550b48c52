"""What the sanitizer's page says of what was found, with the device and the tool made up."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import sanitized
from kbench.build.service import Build
from kbench.errors import InfraError
from kbench.model import Status, Verdict
from kbench.sanitize.check import Sanitized

CLEAN = Sanitized(verdict=Verdict(status=Status.CORRECT))
RACES = Sanitized(verdict=Verdict(status=Status.INCORRECT, reason="race", message="racecheck: a race"))
WARNED = Sanitized(verdict=Verdict(status=Status.CORRECT), flags=("sanitize_warnings:racecheck:2",))


def _page(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, found: dict[str, Any]
) -> tuple[int, str]:
    jobs = [SimpleNamespace(solution=SimpleNamespace(id=name)) for name in found]
    prepared = SimpleNamespace(jobs=jobs, gpus=(1, 2))

    def settled(job: Any) -> Verdict | None:
        its = found[job.solution.id]
        return its if isinstance(its, Verdict) and its.status is Status.SKIPPED else None

    def build_job(job: Any, *_: object) -> Build:
        its = found[job.solution.id]
        return Build(failure=its if isinstance(its, Verdict) else None)

    def sanitize(_hiring: object, job: Any, **_: object) -> Sanitized:
        its = found[job.solution.id]
        if isinstance(its, Exception):
            raise its
        assert isinstance(its, Sanitized)
        return its

    monkeypatch.setattr(sanitized, "prepare", lambda _options: contextlib.nullcontext(prepared))
    monkeypatch.setattr(sanitized, "_staff", lambda _prepared, _stack: iter([(None, None), (None, None)]))
    monkeypatch.setattr(sanitized, "settled", settled)
    monkeypatch.setattr(sanitized, "build_job", build_job)
    monkeypatch.setattr(sanitized, "sanitize", sanitize)
    monkeypatch.setattr("sys.argv", ["sanitized", "--work", str(tmp_path)])
    return sanitized.main(), capsys.readouterr().out


def test_all_clean(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert _page(monkeypatch, capsys, tmp_path, {"a/b": CLEAN, "a/c": CLEAN}) == (0, "2 of 2 are clean\n")


def test_what_is_not_clean_is_told_and_so_are_warnings(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    broken = Verdict(status=Status.BUILD_ERROR, reason="compile", message="no such name")
    found = {"a/b": CLEAN, "a/c": RACES, "a/d": WARNED, "a/e": broken, "a/f": InfraError("the fork server is gone")}
    code, page = _page(monkeypatch, capsys, tmp_path, found)
    assert code == 1
    assert page.splitlines() == [
        "a/c: incorrect, racecheck: a race",
        "a/d: correct, sanitize_warnings:racecheck:2, no error",
        "a/e: build_error, no such name",
        "a/f: infra_error, the fork server is gone",
        "2 of 5 are clean",
    ]


@pytest.mark.parametrize("found", [{}, {"a/b": CLEAN, "a/c": Verdict(status=Status.SKIPPED, reason="needs two GPUs")}])
def test_what_was_not_looked_at_is_not_clean(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, found: dict[str, Any]
) -> None:
    code, page = _page(monkeypatch, capsys, tmp_path, found)
    assert code == 1 and page.endswith(f"{len(found) // 2} of {len(found)} are clean\n")
