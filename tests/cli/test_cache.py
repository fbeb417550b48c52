from __future__ import annotations

import json
from pathlib import Path

import pytest

from kbench.build.cache import BuildCache, cache_key
from kbench.cli.main import run_cli
from kbench.errors import EXIT_OK, EXIT_USAGE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cache of two builds that were made just now."""
    built = tmp_path / "built" / "ext"
    built.mkdir(parents=True)
    (built / "k.so").write_bytes(b"0123456789")
    cache = BuildCache(tmp_path / "cache")
    for source in ("one", "another"):
        cache.store(cache_key(source, {}), built.parent, seconds=1.0)
    return tmp_path / "cache"


def said(folder: Path, *arguments: str, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert run_cli(["cache", "--cache-dir", str(folder), "--json", *arguments]) == EXIT_OK
    data: dict[str, object] = json.loads(capsys.readouterr().out)
    return data


def test_what_is_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = said(folder, "--stats", capsys=capsys)
    assert (data["builds"], data["removed"], data["unused_for_a_day"]) == (2, 0, 0)
    assert data["size_bytes"] == sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    assert run_cli(["cache", "--cache-dir", str(folder)]) == EXIT_OK
    assert f"{folder}: 2 builds" in capsys.readouterr().out


def test_trimming_leaves_what_was_used_just_now(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(folder, "--trim", "0", capsys=capsys)["builds"] == 2


def test_clearing_leaves_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = said(folder, "--clear", capsys=capsys)
    assert (data["builds"], data["removed"], data["size_bytes"]) == (0, 2, 0)


def test_two_wishes_at_once_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["cache", "--cache-dir", str(folder), "--clear", "--trim", "1"]) == EXIT_USAGE
    assert "exclude each other" in capsys.readouterr().err
    assert said(folder, capsys=capsys)["builds"] == 2
