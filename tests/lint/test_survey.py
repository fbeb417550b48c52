"""Finding problems, and the process that examines them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kbench.errors import NothingToDo, UsageError
from kbench.lint.model import Finding, Report, Severity
from kbench.lint.pipe import read_lines
from kbench.lint.survey import examine_all, find_targets
from kbench.model import Device

FINE = "class Model: ...\nn = 8\ndef get_inputs(): ...\ndef get_init_inputs(): ...\n"


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


def names(problems: Path, **options: object) -> list[str]:
    defaults: dict[str, object] = {"device": Device.CPU, "size": None, "select": None}
    return [t.problem.id for t in find_targets(problems, **{**defaults, **options})[0]]  # type: ignore[arg-type]


def test_a_folder_a_file_and_a_selection(tmp_path: Path) -> None:
    write(tmp_path, a10__py=FINE, a9__py=FINE, _helper__py=FINE, note__txt="")
    assert names(tmp_path) == ["a9", "a10"]
    assert names(tmp_path / "a9.py") == ["a9"]
    assert names(tmp_path, select="not a9") == ["a10"]


def test_nothing_to_examine_and_paths_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(NothingToDo):
        names(tmp_path)
    write(tmp_path, a__py=FINE, b__txt="")
    with pytest.raises(NothingToDo, match="no problems"):
        names(tmp_path, select="nowhere")
    for wrong in ("b.txt", "missing"):
        with pytest.raises(UsageError):
            names(tmp_path / wrong)
    with pytest.raises(UsageError):
        names(tmp_path, select="(")


def test_small_is_the_default_on_the_cpu_where_it_is_declared(tmp_path: Path) -> None:
    write(tmp_path, a__py=FINE, a__yaml="sizes:\n  small: {n: 2}\n", b__py=FINE)
    (on_cpu, _), (on_cuda, _) = (
        find_targets(tmp_path, device=device, size=None, select=None) for device in (Device.CPU, Device.CUDA)
    )
    assert [target.size for target in on_cpu] == ["small", "full"]
    assert [target.size for target in on_cuda] == ["full", "full"]


def test_what_the_text_already_shows_is_reported_without_running_it(tmp_path: Path) -> None:
    write(tmp_path, a__py="class Model: ...", b__py="def", c__py=FINE, c__yaml="colour: red", d__py=FINE)
    targets, refused = find_targets(tmp_path, device=Device.CPU, size="small", select=None)
    assert targets == []
    checks = {report.problem: report.findings[0] for report in refused}
    assert {name: finding.check for name, finding in checks.items()} == {
        "a": "file", "b": "file", "c": "sidecar", "d": "size",
    }  # fmt: skip
    assert "c.yaml:1" in checks["c"].where
    assert "colour" in checks["c"].detail
    assert all(report.worst is Severity.ERROR for report in refused)


def test_a_problem_that_hangs_is_reported_and_ends_with_its_process(tmp_path: Path) -> None:
    hangs = "import os\nr, w = os.pipe()\nos.read(r, 1)\n" + FINE
    targets, _ = find_targets(write(tmp_path, a__py=hangs), device=Device.CPU, size=None, select=None)
    (report,) = examine_all(targets, device=Device.CPU, timeout_s=0.01)
    assert [finding.check for finding in report.findings] == ["timeout"]


def test_lines_arrive_whole_and_end_with_the_stream_or_with_silence() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"one\ntwo\nthr")
    assert list(read_lines(reader, timeout_s=0.01)) == [b"one", b"two"]
    os.write(writer, b"four\n")
    os.close(writer)
    assert list(read_lines(reader, timeout_s=500)) == [b"four"]
    os.close(reader)


def test_a_report_survives_its_journey() -> None:
    finding = Finding(severity=Severity.WEAK, check="flat", detail="d", remedy="r", where="w")
    report = Report(
        problem="p", path="p.py", size="small", device="cpu", findings=(finding,), measured={"eager_ms": 1.0}
    )  # fmt: skip
    assert Report.from_json(report.to_json()) == report
    assert report.to_json()["worst"] == "weak"
