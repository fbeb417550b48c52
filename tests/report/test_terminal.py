"""Screens as snapshots: rendered at a fixed width, without colour."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console, RenderableType
from run_factory import ENVIRONMENT, make_record, make_run

from kbench.compare.comparison import compare_runs
from kbench.compare.explain import explain
from kbench.compare.gate import gate
from kbench.model import Status
from kbench.report import terminal
from kbench.store.summary import RunSummary

SLOW = (0.38, 0.39, 0.40, 0.41, 0.39)
NOISY = (0.48, 0.66, 0.56, 0.67, 0.505)


SCREENS = Path(__file__).parent / "screens"


def render(view: RenderableType, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, color_system=None, record=True)
    console.print(view)
    return "".join(line.rstrip() + "\n" for line in console.export_text().rstrip("\n").split("\n"))


def expected(name: str) -> str:
    return (SCREENS / f"{name}.txt").read_text(encoding="utf-8")


def test_run() -> None:
    records = make_run([
        make_record(baselines={"compile": {"time_ms": 2.5, "speedup": 0.85}}, flags=("clock_mismatch",)),
        make_record("softmax/v2", status=Status.INCORRECT, reason="values", message="a\nb\n\nc\nd\ne\nf"),
        make_record("softmax/v3", status=Status.SKIPPED, reason="needs CUDA"),
    ]).records  # fmt: skip
    assert render(terminal.run_view(records)) == expected("run")


def test_comparison() -> None:
    old = make_run(
        [make_record(reference_ms=10.0), make_record("softmax/v2"), make_record("p/gone")],
        path="results/monday",
    )
    new = make_run(
        [make_record(d=SLOW, reference_ms=8.0), make_record("softmax/v2", size="small")],
        path="results/tuesday", environment=ENVIRONMENT | {"key": "x", "nvcc": "13.1"},
    )  # fmt: skip
    comparison = compare_runs(old, new)
    assert render(terminal.comparison_view(comparison, gate(comparison)), width=150) == expected("comparison")


def test_explanation() -> None:
    """A row that is inconclusive, among unchanged ones of which one leapt."""
    old, new = [make_record(flags=("clock_mismatch",))], [make_record(d=NOISY, solution_sha="new", reference_ms=6.0)]
    for index, move in enumerate((0.01, -0.012, 0.009, -0.01, 0.011, 0.6)):
        old.append(make_record(f"u/{index}"))
        new.append(make_record(f"u/{index}", d=[d + move for d in SLOW]))
    old[1:] = [make_record(record.id, d=SLOW) for record in old[1:]]
    comparison = compare_runs(make_run(old), make_run(new))
    view = terminal.explanation_view(explain(comparison, "softmax"), gate(comparison, strict=True))
    assert render(view, width=110) == expected("explanation")


def test_a_comparison_fits_120_columns_and_loses_no_figure() -> None:
    names = ("conv2d_groupnorm_scale_maxpool_clamp/cuda_fused", "level1/23_Softmax/v1", "level3/43_MinGPT/best_of_8")
    old = make_run([make_record(name) for name in names])
    new = make_run([make_record(name, d=NOISY, reference_ms=6.1) for name in names])
    shown = render(terminal.comparison_view(compare_runs(old, new)), 120)
    assert max(map(len, shown.splitlines())) <= 120
    assert "…" not in shown and shown.count("-11.2% [-20.3%, -1.1%]   nn·n··n*O 26%   +3.4, +12.6%   inconclusive") == 3


def test_references_that_all_moved_are_told_where_the_environments_say_nothing() -> None:
    names = ("softmax/v1", "softmax/v2", "conv/v1")
    old = [make_record(name) for name in names]
    said = "the references take 0.40 times as long as in the old run (median): as on another machine"

    def shown(reference_ms: float, environment: dict[str, object]) -> str:
        new = make_run([make_record(name, reference_ms=reference_ms) for name in names], environment=environment)
        return " ".join(render(terminal.comparison_view(compare_runs(make_run(old), new))).split())

    assert said in shown(0.4 * 5.9, ENVIRONMENT)
    assert "the references take" not in shown(1.1 * 5.9, ENVIRONMENT)
    assert said in shown(0.4 * 5.9, {**ENVIRONMENT, "key": "other", "nvcc": "13.1"})
    assert "the references take" not in shown(0.4 * 5.9, {**ENVIRONMENT, "key": "other", "torch": "2.99"})


def test_record() -> None:
    record = make_record(
        "level1/softmax/v2", status=Status.INCORRECT, reason="values",
        message="worst element [3, 4]:\n  got 1, expected a number that makes this line too long for the screen",
        evidence={"rms": 0.123456789, "worst": {"index": [3, 4]}, "note": "a\nb"}, isolation={"network": "on"},
    )  # fmt: skip
    view = terminal.record_view(record, files=[("source", "run/sources/v2.py")], logs={"build.log": "g++ …\nok\n"})
    assert render(view, width=60) == expected("record")


def test_correct_record() -> None:
    record = make_record(
        floor_ms=0.31, sol_fraction=0.105, baselines={"compile": {"time_ms": 2.56, "speedup": 0.87}},
        flags=("launch_bound",), cached=True, verified_calls=12,
        host={"solution": {"wall_ms": 2.71, "enqueue_ms": 2.65}, "eager": {"wall_ms": 5.95}},
    )  # fmt: skip
    assert render(terminal.record_view(record), width=60) == expected("correct_record")


def test_what_is_advised_stands_on_the_line_of_its_flags_and_in_the_record() -> None:
    said = ("the clock fell\n1980→1755 MHz", "[red]others[/red] took 25%")
    record = make_record(flags=("clock_fell", "machine_busy"), advice=said)
    shown = render(terminal.run_view(make_run([record]).records), 160).splitlines()
    assert shown[2].endswith(" *      25.0")  # the table is as wide as without
    assert shown[3] == (
        "* softmax/v1: clock_fell, machine_busy; the clock fell 1980→1755 MHz; [red]others[/red] took 25%"
    )
    full = render(terminal.record_view(record))
    assert "\nadvice\n  the clock fell 1980→1755 MHz\n  [red]others[/red] took 25%\n" in full


def test_each_kernel_that_was_built_has_a_line() -> None:
    kernel = {"name": "sum<float>(float*)", "registers": 40, "stack_bytes": 8, "local_bytes": 0, "shared_bytes": 192}
    shown = render(terminal.record_view(make_record(kernels=(kernel,))))
    assert "  sum<float>(float*): 40 registers, 8 B stack, 192 B static shared memory\n" in shown
    assert "ptxas" not in render(terminal.record_view(make_record()))


def test_list() -> None:
    summaries = [
        RunSummary(
            name="tuesday", path=Path("results/tuesday"), started="2026-05-05 13:37", device="NVIDIA H200",
            counts={Status.CORRECT: 3, Status.CRASH: 1}, geometric_mean=1.234,
        ),
        RunSummary(
            name="monday", path=Path("results/monday"), started="2026-05-04 09:00",
            trouble="the run holds no records",
        ),
    ]  # fmt: skip
    assert render(terminal.list_view(summaries)) == expected("list")


HOSTILE = "[red]markup[/red] [/] \x1b[2J\x1b]0;owned\x07 [link=http://x]y[/link] :smile:"


def test_hostile_text_is_shown_not_obeyed() -> None:
    record = make_record("p/[bold]v", status=Status.CRASH, reason=HOSTILE, message=HOSTILE, evidence={"[red]": HOSTILE})
    run = make_run([record])
    views = [
        terminal.run_view(run.records),
        terminal.comparison_view(compare_runs(run, run)),
        terminal.record_view(record, logs={"build.log": HOSTILE}),
    ]
    for view in views:
        console = Console(file=io.StringIO(), width=200, force_terminal=True, color_system="truecolor")
        console.print(view)
        assert isinstance(console.file, io.StringIO)
        raw = console.file.getvalue()
        assert "[bold]v" in raw
        assert "\x1b[2J" not in raw and "\x1b]" not in raw and "\x07" not in raw
    shown = render(views[0], width=200)
    assert "[red]markup[/red] [/]" in shown and ":smile:" in shown


def test_a_narrow_terminal_folds_names_not_numbers() -> None:
    shown = render(terminal.run_view(make_run([make_record("a-problem-with-a-long-name/v1")]).records), 90)
    assert max(map(len, shown.split("\n"))) <= 90
    assert "2.00x [1.97, 2.03]" in shown


def test_a_number_without_room_shows_that_it_was_cut() -> None:
    shown = render(terminal.run_view(make_run([make_record()]).records), 50)
    assert "…" in shown.split("\n")[2]
