"""The store of builds, filled from folders that a candidate could write to."""

from __future__ import annotations

import errno
import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from kbench.build.cache import BuildCache, cache_key
from kbench.errors import StoreError

KEY = cache_key("source", {"torch": "2.13"})


@pytest.fixture
def cache(tmp_path: Path) -> BuildCache:
    return BuildCache(tmp_path / "cache")


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A build's folder with one good library in it."""
    folder = tmp_path / "built" / "ext"
    folder.mkdir(parents=True)
    (folder / "k.so").write_bytes(b"library")
    return folder.parent


def taken(cache: BuildCache, built: Path) -> list[str]:
    libraries = cache.store(KEY, built, seconds=1.0).libraries
    return sorted(str(path.relative_to(libraries)) for path in libraries.rglob("*") if not path.is_dir())


def test_the_account_is_taken_of_the_copies_and_kept(cache: BuildCache, built: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.so"
    secret.write_bytes(b"somebody else's")
    (built / "ext" / "planted.so").symlink_to(secret)
    (built / "planted").symlink_to(tmp_path)
    seen: dict[str, bytes] = {}

    def account(libraries: Path) -> list[dict[str, Any]]:
        assert not libraries.is_relative_to(built)
        seen.update({str(path.relative_to(libraries)): path.read_bytes() for path in libraries.rglob("*.so")})
        return [{"name": "k", "registers": 16}]

    assert cache.store(KEY, built, seconds=1.0, account=account).kernels == [{"name": "k", "registers": 16}]
    assert seen == {"ext/k.so": b"library"}
    found = cache.find(KEY)
    assert found is not None and found.kernels == [{"name": "k", "registers": 16}]


def leftovers(tmp_path: Path) -> list[Path]:
    return list((tmp_path / "cache").rglob(".staging-*"))


def test_the_key_follows_from_the_text_and_every_fact_of_the_toolchain() -> None:
    facts = {"torch": "2.13", "nvcc": "13.0"}
    keys = {
        cache_key("a", facts),
        cache_key("b", facts),
        cache_key("a", {**facts, "nvcc": "13.1"}),
        cache_key("a", {"torch": "2.13"}),
        cache_key("a", {}),
    }
    assert len(keys) == 5
    assert cache_key("a", dict(reversed(facts.items()))) in keys


def test_what_was_stored_is_found_with_its_bytes_and_seconds(cache: BuildCache, built: Path) -> None:
    assert cache.find(KEY) is None
    stored = cache.store(KEY, built, seconds=2.5)
    assert cache.find(KEY) == stored
    assert stored.seconds == 2.5
    assert (stored.libraries / "ext" / "k.so").read_bytes() == b"library"


FAILURE = {"status": "build_error", "reason": "compile", "message": "k.cu:3: no", "evidence": {"text": "error: no"}}


def test_a_failure_is_kept_with_its_log(cache: BuildCache, tmp_path: Path) -> None:
    (tmp_path / "build.log").write_text("nvcc k.cu\nk.cu:3: no\n")
    cache.store_failure(KEY, FAILURE, log=tmp_path / "build.log", seconds=3.0)
    found = cache.find(KEY)
    assert found is not None and (found.failure, found.seconds) == (FAILURE, 3.0)
    assert found.log.read_text() == "nvcc k.cu\nk.cu:3: no\n"
    assert not stat.S_IMODE(found.log.stat().st_mode) & 0o222


def test_a_log_without_end_is_cut(cache: BuildCache, tmp_path: Path) -> None:
    (tmp_path / "build.log").write_bytes(b"x" * (3 << 20))
    assert cache.store_failure(KEY, FAILURE, log=tmp_path / "build.log", seconds=3.0).log.stat().st_size == 1 << 20


def test_a_log_that_is_gone_is_an_error_and_no_entry(cache: BuildCache, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="could not be kept"):
        cache.store_failure(KEY, FAILURE, log=tmp_path / "none.log", seconds=3.0)
    assert cache.find(KEY) is None and not leftovers(tmp_path)


def aged(cache: BuildCache, built: Path, **ages_s: float) -> dict[str, str]:
    """Entries of ten bytes each and their manifest, last used so many seconds before NOW."""
    keys = {}
    for name, age_s in ages_s.items():
        (built / "ext" / "k.so").write_bytes(b"0123456789")
        keys[name] = cache_key(name, {})
        entry = cache.store(keys[name], built, seconds=1.0)
        os.utime(entry.libraries.parent / "build.json", (NOW - age_s, NOW - age_s))
    return keys


NOW = 2e9
DAY_S = 86400.0


def kept(keys: dict[str, str], tmp_path: Path) -> set[str]:
    return {name for name, key in keys.items() if (tmp_path / "cache" / "builds" / key[:2] / key).exists()}


def test_the_least_recently_used_go_first(cache: BuildCache, built: Path, tmp_path: Path) -> None:
    keys = aged(cache, built, young=2 * DAY_S, old=9 * DAY_S, middle=5 * DAY_S)
    one = cache.stock(NOW).size_bytes / 3
    assert cache.trim(2.5 * one, NOW) == 1
    assert kept(keys, tmp_path) == {"young", "middle"}
    assert cache.trim(2.5 * one, NOW) == 0


def test_what_a_run_may_be_using_stays(cache: BuildCache, built: Path, tmp_path: Path) -> None:
    keys = aged(cache, built, now=0.0, old=2 * DAY_S)
    assert cache.stock(NOW).removable == 1
    assert cache.trim(0.0, NOW) == 1
    assert kept(keys, tmp_path) == {"now"}


def test_to_be_found_is_to_be_used(cache: BuildCache, built: Path) -> None:
    manifest = cache.store(KEY, built, seconds=1.0).libraries.parent / "build.json"
    os.utime(manifest, (1000.0, 1000.0))
    assert cache.find(KEY) is not None
    assert manifest.stat().st_mtime > 1000.0


def test_everything_can_be_cleared(cache: BuildCache, built: Path, tmp_path: Path) -> None:
    keys = aged(cache, built, now=0.0, old=2 * DAY_S)
    assert cache.clear() == 2
    assert kept(keys, tmp_path) == set() and cache.stock(NOW).entries == 0
    assert taken(cache, built) == ["ext/k.so"]  # and filled anew


def test_an_entry_is_sealed(cache: BuildCache, built: Path) -> None:
    libraries = cache.store(KEY, built, seconds=1.0).libraries
    for path in (libraries, libraries / "ext", libraries / "ext" / "k.so", libraries.parent / "build.json"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o222


def test_a_build_without_libraries_is_an_entry_too(cache: BuildCache, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert taken(cache, tmp_path / "empty") == []


def test_only_libraries_one_folder_deep_are_taken(cache: BuildCache, built: Path) -> None:
    (built / "top.so").touch()
    (built / "ext" / "main.cpp").touch()
    (built / "ext" / "k.so.txt").touch()
    (built / "ext" / "deeper").mkdir()
    (built / "ext" / "deeper" / "d.so").touch()
    (built / "ext" / "folder.so").mkdir()
    assert taken(cache, built) == ["ext/k.so"]


def test_links_fifos_and_sockets_are_not_followed(cache: BuildCache, built: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "s.so").write_bytes(b"secret")
    (built / "ext" / "file.so").symlink_to(secret / "s.so")
    (built / "ext" / "dangling.so").symlink_to("/nowhere")
    (built / "ext" / "ring.so").symlink_to("ring.so")
    (built / "linked").symlink_to(secret)
    os.link(secret / "s.so", built / "ext" / "hard.so")
    os.mkfifo(built / "ext" / "fifo.so")
    assert taken(cache, built) == ["ext/k.so"]


def test_what_is_too_large_is_not_taken(cache: BuildCache, built: Path) -> None:
    with (built / "ext" / "huge.so").open("wb") as huge:
        huge.truncate((1 << 30) + 1)  # sparse: costs nothing
    assert taken(cache, built) == ["ext/k.so"]


def test_no_more_libraries_are_taken_than_a_build_could_need(cache: BuildCache, built: Path) -> None:
    for number in range(100):
        (built / "ext" / f"{number}.so").touch()
    assert len(taken(cache, built)) == 64


def test_what_cannot_be_read_is_not_taken_and_is_no_failure_of_ours(
    cache: BuildCache, built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unreadable files are the candidate's doing. (Modes alone would not stop a judge that runs as root.)"""
    (built / "closed").mkdir()
    (built / "ext" / "locked.so").touch()
    open_, scandir = os.open, os.scandir

    def refuse(path: Any, *args: Any, **options: Any) -> int:
        if str(path).endswith("locked.so"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return open_(path, *args, **options)

    def refuse_folder(path: Any) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "scandir", refuse_folder)
    assert taken(cache, built) == ["ext/k.so"]


def test_a_second_store_of_one_key_keeps_the_first(cache: BuildCache, built: Path, tmp_path: Path) -> None:
    first = cache.store(KEY, built, seconds=1.0)
    (built / "ext" / "k.so").write_bytes(b"other")
    assert cache.store(KEY, built, seconds=9.0) == first
    assert (first.libraries / "ext" / "k.so").read_bytes() == b"library"
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("manifest", ["", "{", "[]", "3", "{}", '{"seconds": null}', '{"seconds": "fast"}', None])
def test_a_damaged_entry_does_not_count_and_is_replaced(cache: BuildCache, built: Path, manifest: str | None) -> None:
    folder = cache.store(KEY, built, seconds=1.0).libraries.parent
    (folder / "build.json").unlink()
    if manifest is not None:
        (folder / "build.json").write_text(manifest)
    assert cache.find(KEY) is None
    assert cache.store(KEY, built, seconds=3.0).seconds == 3.0


def test_an_entry_without_its_libraries_does_not_count(cache: BuildCache, built: Path) -> None:
    folder = cache.store(KEY, built, seconds=1.0).libraries.parent
    (folder / "libraries").rename(folder / "gone")
    assert cache.find(KEY) is None


def test_a_cache_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="cannot be used") as error:
        BuildCache(tmp_path / "file")
    assert error.value.hint == "--cache-dir DIR"


def test_a_full_disk_is_said_and_nothing_half_written_stays(
    cache: BuildCache, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("shutil.copyfileobj", full)
    with pytest.raises(StoreError, match="could not be kept"):
        cache.store(KEY, built, seconds=1.0)
    assert cache.find(KEY) is None
    assert leftovers(tmp_path) == []


def test_the_manifest_names_no_folder(cache: BuildCache, built: Path) -> None:
    folder = cache.store(KEY, built, seconds=1.25).libraries.parent
    assert json.loads((folder / "build.json").read_text()) == {"seconds": 1.25, "kernels": []}


def test_what_a_killed_maker_left_is_swept(cache: BuildCache, built: Path) -> None:
    entry = cache.store(KEY, built, seconds=1.0).libraries.parent
    old, new = entry.parent / ".staging-old", entry.parent / ".staging-new"
    making = cache.headers / ".making-key-old"
    for folder in (old, new, making):
        folder.mkdir(parents=True)
    for folder in (old, making):
        os.utime(folder, (0, 0))
    assert cache.trim(1 << 40, time.time()) == 0
    assert (old.exists(), making.exists(), new.exists(), entry.exists()) == (False, False, True, True)
    cache.clear()
    assert not new.exists()
