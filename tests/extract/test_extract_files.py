"""Reading responses from files and folders, and writing candidates."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from kbench.errors import UsageError
from kbench.extract import Extracted, NothingUsable, Reason, extract_paths, write_solution

CANDIDATE = "class ModelNew:\n    pass\n"
RESPONSE = f"Here:\n```python\n{CANDIDATE}```\n"
EXTRACTED = Extracted(source=CANDIDATE, first_line=3, explanation="")


def test_folder_is_read_recursively_in_order(tmp_path: Path) -> None:
    (tmp_path / "softmax").mkdir()
    for name in ("b.md", "softmax/a.txt", "c.response", "ignored.log"):
        (tmp_path / name).write_text(RESPONSE)
    found = extract_paths([tmp_path])
    assert [name for name, _ in found] == ["b", "c", "softmax/a"]
    assert all(isinstance(extraction, Extracted) for _, extraction in found)


def test_a_named_file_is_read_whatever_its_suffix(tmp_path: Path) -> None:
    path = tmp_path / "v1.2.log"
    path.write_text(RESPONSE)
    ((name, extraction),) = extract_paths([path])
    assert name == "v1.2" and isinstance(extraction, Extracted)


def test_stdin() -> None:
    ((name, extraction),) = extract_paths([Path("-")], stdin=RESPONSE)
    assert name == "stdin" and isinstance(extraction, Extracted)


@pytest.mark.parametrize("field", ["response", "text", "completion", "content"])
def test_json_fields(tmp_path: Path, field: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps({field: RESPONSE, "id": 7}))
    ((name, extraction),) = extract_paths([path])
    assert name == "7" and isinstance(extraction, Extracted)


def test_json_list_and_lines_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([{"text": RESPONSE}, {"text": RESPONSE, "name": "mine"}]))
    lines = [
        json.dumps({"text": "x", "response": RESPONSE}),
        "",
        json.dumps({"text": RESPONSE, "id": "mine"}),
    ]
    (tmp_path / "b.jsonl").write_text("\r\n".join(lines))
    found = extract_paths([tmp_path])
    assert [name for name, _ in found] == ["a-1", "mine", "b-1", "mine-2"]
    assert all(isinstance(extraction, Extracted) for _, extraction in found)


def test_a_faulty_record_does_not_stop_the_others(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text('{"response": null}\n[]\n7\n{"response": "cla\n' + json.dumps({"response": RESPONSE}))
    found = [extraction for _, extraction in extract_paths([path])]
    reasons = [each.reason for each in found if isinstance(each, NothingUsable)]
    assert reasons == [Reason.EMPTY, Reason.EMPTY, Reason.EMPTY, Reason.DOES_NOT_PARSE]
    assert isinstance(found[3], NothingUsable) and "line 4 of the file is not JSON" in found[3].message
    assert isinstance(found[4], Extracted)


def test_a_name_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    names = ["../../etc/x", "/abs", "..", "a b:c", "", ".hidden"]
    path.write_text("\n".join(json.dumps({"response": RESPONSE, "id": name}) for name in names))
    found = extract_paths([path])
    assert [name for name, _ in found] == ["etc/x", "abs", "response", "a_b_c", "r-5", "hidden"]


def test_bytes_that_are_not_utf8_are_replaced_and_mentioned(tmp_path: Path) -> None:
    path = tmp_path / "r.txt"
    path.write_bytes(RESPONSE.replace("Here", "Voil\xe0").encode("latin-1"))
    ((_, extraction),) = extract_paths([path])
    assert isinstance(extraction, Extracted) and "not UTF-8" in extraction.explanation
    path.write_bytes(b"\xff\xfe\x00")
    ((_, extraction),) = extract_paths([path])
    assert isinstance(extraction, NothingUsable) and "not UTF-8" in extraction.message


def test_missing_path_and_empty_folder_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as missing:
        extract_paths([tmp_path / "none.txt"])
    assert missing.value.where == str(tmp_path / "none.txt")
    with pytest.raises(UsageError, match="no responses"):
        extract_paths([tmp_path])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
def test_permissions(tmp_path: Path) -> None:
    (tmp_path / "r.txt").write_text(RESPONSE)
    (tmp_path / "r.txt").chmod(0)
    with pytest.raises(UsageError, match="cannot read"):
        extract_paths([tmp_path / "r.txt"])
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="cannot write"):
        write_solution(EXTRACTED, tmp_path, "a")


def test_write_creates_folders_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = write_solution(EXTRACTED, tmp_path / "out", "softmax/v1")
    assert path == tmp_path / "out" / "softmax" / "v1.py"
    assert path.read_text() == CANDIDATE
    assert list(path.parent.iterdir()) == [path]
    assert path.stat().st_mode & 0o044 == 0o044, "a worker under another uid must be able to read it"


def test_write_keeps_a_different_file_unless_forced(tmp_path: Path) -> None:
    path = write_solution(EXTRACTED, tmp_path, "a")
    assert write_solution(EXTRACTED, tmp_path, "a") == path
    path.write_text("mine")
    with pytest.raises(UsageError, match="overwrite") as refused:
        write_solution(EXTRACTED, tmp_path, "a")
    assert refused.value.hint is not None and "--force" in refused.value.hint
    assert path.read_text() == "mine"
    write_solution(EXTRACTED, tmp_path, "a", force=True)
    assert path.read_text() == CANDIDATE


def test_write_below_a_file_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        write_solution(EXTRACTED, tmp_path / "file", "a")


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError) as failed:
        write_solution(EXTRACTED, tmp_path, "a")
    assert failed.value.why == "No space left on device"
    assert list(tmp_path.iterdir()) == []
