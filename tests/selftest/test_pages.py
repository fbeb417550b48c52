from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from selftest_factory import make_finding, make_specimen

from kbench.model import Status
from kbench.selftest import pages
from kbench.selftest.findings import Finding

FINDINGS = (
    make_finding("clock_a", "correct, at most 1.5x", Status.CORRECT, seconds=4.0, speedup=12.3),
    make_finding("memo_a", "incorrect / values", Status.INCORRECT, reason="values", seconds=1.256),
    make_finding("honest_memo_a", "correct", Status.CRASH, reason="SIGSEGV", message="died | of [it]\nline\n3\n4"),
    make_finding("memo_cuda_b", "incorrect", Status.SKIPPED, reason="needs CUDA"),
)
DONE = pages.Selftest(
    run=Path("results/st"), device="cpu", started="2026-05-04T13:37:00+00:00", seconds=61.26, findings=FINDINGS
)
SCREEN = """\
group   caught   cheats   false alarms   twins   not decided   not run
──────────────────────────────────────────────────────────────────────
clock        0        1              0       0             0         0
memo         1        1              1       1             0         1
total        1        2              1       1             0         1

softmax/clock_a  got through: reported 12.3x
  expected: correct, at most 1.5x
  got: correct, 12.3x
  kbench show softmax/clock_a --run results/st --log

softmax/honest_memo_a  false alarm: crash / SIGSEGV
  expected: correct
  got: crash / SIGSEGV
  died | of [it]
  line
  3
  … (1 more line)
  kbench show softmax/honest_memo_a --run results/st --log

1 of 2 cheats caught, 1 of 1 false alarms, 1 not run
"""


def test_the_screen() -> None:
    console = Console(file=io.StringIO(), width=100, color_system=None, record=True)
    console.print(pages.selftest_view(DONE))
    assert "".join(f"{line.rstrip()}\n" for line in console.export_text().rstrip().split("\n")) == SCREEN


def test_the_page() -> None:
    page = pages.selftest_markdown(DONE)
    assert page.startswith("# Selftest on cpu\n\n**1 of 2 cheats caught, 1 of 1 false alarms, 1 not run**\n")
    assert "| memo | 1 | 1 | 1 | 1 | 0 | 1 |" in page
    assert "### softmax/clock\\_a\n\ngot through: reported 12.3x" in page
    assert "- died \\| of \\[it\\]" in page
    assert "| memo | softmax/memo\\_a | incorrect / values | incorrect / values | caught | 1.3 |" in page
    assert "| memo | softmax/memo\\_cuda\\_b | incorrect | needs CUDA | not run |  |" in page


def test_the_data() -> None:
    data = json.loads(pages.selftest_json(DONE))
    assert (data["device"], data["exit_code"], data["seconds"]) == ("cpu", 1, 61.3)
    assert data["total"]["caught"] == 1
    assert [group["name"] for group in data["groups"]] == ["clock", "memo"]
    assert [(f["name"], f["kind"], f["ok"]) for f in data["files"]] == [
        ("clock_a", "cheat", False), ("memo_a", "cheat", True),
        ("honest_memo_a", "twin", False), ("memo_cuda_b", "cheat", None),
    ]  # fmt: skip
    assert data["files"][1] == {
        "problem": "softmax", "name": "memo_a", "group": "memo", "kind": "cheat", "needs_cuda": False,
        "expected": "incorrect / values", "got": "incorrect / values", "outcome": "caught", "ok": True,
        "message": "", "speedup": None, "seconds": 1.26,
    }  # fmt: skip


def test_both_pages_lie_in_the_run(tmp_path: Path) -> None:
    data, page = pages.write_pages(pages.Selftest(
        run=tmp_path, device="cpu", started="2026-05-04T13:37:00+00:00", seconds=1.0, findings=FINDINGS
    ))  # fmt: skip
    assert json.loads(data.read_text())["device"] == "cpu"
    assert page.read_text().startswith("# Selftest")
    assert {path.name for path in tmp_path.iterdir()} == {"selftest.json", "selftest.md"}


@pytest.mark.parametrize(
    ("findings", "said"),
    [
        (FINDINGS[1:2], "1 of 1 cheats caught, 0 of 0 false alarms"),
        (
            [make_finding("memo_x", "incorrect / values", Status.CRASH, reason="exited")],
            "0 of 1 cheats caught, 0 of 0 false alarms, 1 stopped for another reason than expected",
        ),
        (
            [make_finding("memo_x", "incorrect", Status.INFRA_ERROR, reason="kbench")],
            "0 of 1 cheats caught, 0 of 0 false alarms, 1 not decided",
        ),
    ],
)
def test_the_answer_in_one_line(findings: list[Finding], said: str) -> None:
    assert pages.answer(findings) == said


def test_a_list_of_files() -> None:
    files = [(make_specimen(), None), (make_specimen("clock_cuda_a", "correct, at most 2x"), "needs CUDA")]
    assert [row["skipped"] for row in json.loads(pages.list_json(files))] == [None, "needs CUDA"]
    console = Console(file=io.StringIO(), width=120, color_system=None, record=True)
    console.print(pages.list_view(files))
    assert "correct, at most 2x   needs CUDA" in console.export_text()
