"""Runs that are killed, interrupted, or run out of disk, and what `--resume` makes of them."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from cli_process import await_no_strays, leftovers, read_records, stray_processes
from project_factory import ALL, HONEST, SLOW_TO_IMPORT, Project, make_project

pytestmark = pytest.mark.workers


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path, a=HONEST, b=HONEST, c=HONEST)


def test_a_killed_run_goes_on(project: Project) -> None:
    process = project.start("run", "--device", "cpu", "--out", "out")
    process.until("scale/a: correct")
    process.process.kill()
    assert process.wait() == -signal.SIGKILL
    await_no_strays(process.marker)
    assert [name for name in leftovers(project.temporary) if not name.startswith("kbench-responses-")] == []
    assert project.records().items() >= {("scale/a", "correct")}
    first = (project.root / "out" / "records.jsonl").read_bytes()
    code, resumed = project.run("run", "--resume", "--out", "out")
    assert code == 0, resumed.stderr
    assert sorted(project.records()) == ALL
    assert (project.root / "out" / "records.jsonl").read_bytes().startswith(first)
    assert stray_processes(resumed.marker) == {}


@pytest.mark.parametrize(
    ("said", "terminated"), [("scale/b: building", False), ("scale/b: judging", True), ("scale/b: timing 1/", False)]
)
def test_an_interrupted_run_is_valid_and_goes_on(project: Project, said: str, terminated: bool) -> None:
    project.write("solutions/scale/b.py", SLOW_TO_IMPORT)
    process = project.start("run", "--device", "cpu", "--out", "out")
    process.until(said)
    if terminated:
        process.process.terminate()
    else:
        process.interrupt()
    assert process.wait(deadline_s=20) == 130, process.stderr
    assert "Traceback" not in process.stderr
    assert process.stderr.rstrip().endswith("interrupted")
    project.assert_clean(process)
    out = project.root / "out"
    assert (out / "speedups.csv").is_file()
    assert (out / "speedups.md").is_file()
    assert set(project.records()) == (set() if "building" in said else {"scale/a"})
    code, resumed = project.run("run", "--resume", "--out", "out")
    assert code == 0, resumed.stderr
    assert sorted(project.records()) == ALL
    assert "scale/c" in (out / "speedups.csv").read_text().replace(",", "/")


def test_two_runs_at_once(project: Project) -> None:
    first = project.start("run", "--device", "cpu", "--out", "out")
    first.until("scale/a: judging")
    same_code, same = project.run("run", "--device", "cpu", "--out", "out")
    second = project.start("run", "--device", "cpu", "--out", "second", "-k", "scale/a")
    second.until("waiting for another kbench run")
    third = project.start("run", "--device", "cpu", "--out", "third", "-k", "scale/a")
    third.until("waiting for another kbench run")
    third.interrupt()
    assert third.wait() == 130
    assert same_code == 3
    assert "another kbench run is writing there" in same.stderr
    assert str(first.process.pid) in same.stderr
    assert first.wait() == 0, first.stderr
    assert second.wait() == 0, second.stderr
    assert sorted(project.records()) == ALL
    assert project.records("second") == {"scale/a": "correct"}
    for process in (first, second, third):
        project.assert_clean(process)


def test_a_full_disk(project: Project) -> None:
    """Every run directory lies on a file system of a few pages: the run ends with one clear error."""
    full = project.root / "full"
    full.mkdir()
    script = f'mount -t tmpfs -o size=40k tmpfs {full} || exit 99; "$@"; code=$?; cp -a {full}/. copy; exit $code'
    (project.root / "copy").mkdir()
    prefix = ("unshare", "--mount", "sh", "-c", script, "sh")
    process = project.start("run", "--device", "cpu", "--out", full / "run", prefix=prefix)
    code = process.wait()
    if code == 99 or "unshare" in process.stderr:
        pytest.skip("no small file system can be mounted here")
    assert code == 3, process.stderr
    assert "No space left on device" in process.stderr
    assert "Traceback" not in process.stderr
    await_no_strays(process.marker)
    for record in read_records(project.root / "copy" / "run"):
        assert record["status"] == "correct"
