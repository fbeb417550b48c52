from __future__ import annotations

import io

from rich.console import Console
from rich.progress import Progress
from run_factory import make_record

from kbench.cli.progress import Live


def test_only_pairs_under_way_have_a_line() -> None:
    progress = Progress(console=Console(file=io.StringIO()))
    live = Live(progress, lambda _record: "", total=3, done=0)
    for pair, stage in (("p/a", "building"), ("p/b", "building"), ("p/a", "built"), ("p/c", "judging")):
        live.stage(pair, stage)
    assert [task.description for task in progress.tasks] == ["0 of 3 pairs", "p/b: building", "p/c: judging"]
    live.ended(make_record("p/c"))
    assert [task.description for task in progress.tasks] == ["1 of 3 pairs", "p/b: building"]


def test_an_empty_summary_says_nothing() -> None:
    said = io.StringIO()
    progress = Progress(console=Console(file=said))
    live = Live(progress, lambda record: "" if record.id == "p/a" else "look", total=2, done=0)
    live.ended(make_record("p/a"))
    assert said.getvalue() == ""
    live.ended(make_record("p/b"))
    assert "look" in said.getvalue()
