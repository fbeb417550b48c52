"""Counting what a folder and a tree of processes use, and removing what they leave."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from kbench.sandbox import watch
from kbench.sandbox.confine import Limits, missing
from kbench.sandbox.removal import remove_folder

LIMITS = Limits(memory_bytes=1 << 30, scratch_files=20)
KB = 1 << 10


def nest(folder: Path, *, depth: int) -> None:
    """Folders in folders, deeper than any path can be long."""
    here = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


@pytest.mark.parametrize(("bytes_left", "over"), [(64 * KB, True), (256 * KB, False)])
def test_bytes_count_wherever_they_lie(tmp_path: Path, bytes_left: int, over: bool) -> None:
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "file").write_bytes(os.urandom(100 * KB))
    assert watch.exceeds(str(tmp_path), bytes_left=bytes_left, limits=LIMITS) is over


def test_many_names_of_one_file_count_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(os.urandom(100 * KB))
    for number in range(10):
        (tmp_path / f"link{number}").hardlink_to(tmp_path / "file")
    assert not watch.exceeds(str(tmp_path), bytes_left=256 * KB, limits=LIMITS)


def test_a_hole_takes_no_room_and_a_link_is_not_followed(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.truncate(1 << 40)
    (tmp_path / "link").symlink_to("/usr")
    assert not watch.exceeds(str(tmp_path), bytes_left=256 * KB, limits=LIMITS)


def test_empty_files_count_too(tmp_path: Path) -> None:
    for number in range(21):
        (tmp_path / str(number)).touch()
    assert watch.exceeds(str(tmp_path), bytes_left=1 << 30, limits=LIMITS)


def test_nothing_is_used_where_nothing_is(tmp_path: Path) -> None:
    assert not watch.exceeds(str(tmp_path / "none"), bytes_left=0, limits=LIMITS)


def test_a_folder_deeper_than_paths_are_long_is_too_much_and_can_be_removed(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    nest(tmp_path / "deep", depth=2500)
    lenient = dataclasses.replace(LIMITS, scratch_files=1 << 20)
    assert watch.exceeds(str(tmp_path), bytes_left=1 << 40, limits=lenient)
    remove_folder(tmp_path / "deep")
    assert not (tmp_path / "deep").exists()


def test_memory_that_no_mapping_shows_is_found_and_what_the_judge_gave_is_not(tmp_path: Path) -> None:
    with os.fdopen(os.memfd_create("own"), "wb") as own, os.fdopen(os.memfd_create("given"), "wb") as given:
        own.write(bytes(8 << 20))
        given.write(bytes(64 << 20))
        own.flush()
        given.flush()
        known = watch.given([given.fileno()])
        assert known.size_bytes == 64 << 20
        peaks = []
        for gifts in (watch.given([]), known, watch.given([own.fileno(), given.fileno()])):
            gauge = watch.Gauge(os.getpid(), str(tmp_path), LIMITS, gifts)
            gauge.exceeded()
            peaks.append(gauge.peak_bytes)
    assert peaks[0] - peaks[1] > 56 << 20
    assert peaks[1] - peaks[2] > 4 << 20


def test_a_layer_is_missing_when_it_is_off() -> None:
    layers = {"uid": "on", "user_namespace": "not needed: a uid", "seccomp": "off: not installed"}
    assert missing(layers) == {"seccomp": "off: not installed"}
