from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from run_factory import make_record
from selftest_factory import solution, write_suite

from kbench.errors import NothingToDo, UsageError
from kbench.model import Device, Record
from kbench.selftest.run import OPTIONS, Stopwatch, on_its_device, prepare_suite, run_path, selftest_options
from kbench.selftest.specimens import read_suite

CHEAT = solution("incorrect / values")


def options_of(suite: Path, **given: Any) -> Any:
    basis: Any = {"device": "cpu", "gpus": None, "select": None, "out": None, "environment": {}, "cwd": suite}
    return selftest_options(suite, **(basis | given))


def test_the_options_are_fixed(tmp_path: Path) -> None:
    (tmp_path / "kbench.yaml").write_text("replicates: 9\n")
    environment = {"KBENCH_BLOCKS": "9", "KBENCH_TIMEOUT_S": "9", "KBENCH_NONSENSE": "9"}
    options = options_of(tmp_path / "suite", environment=environment, cwd=tmp_path)
    assert (options.replicates, options.blocks, options.timeout_s) == (1, 4, 20.0)
    assert options.baselines == ("eager",)
    assert set(OPTIONS) <= set(vars(options))
    assert options.memory_limit_gb < 6  # what the suite's memory bombs want


def test_what_belongs_to_the_machine_may_come_from_the_environment(tmp_path: Path) -> None:
    options = options_of(tmp_path, environment={"KBENCH_CACHE_DIR": "/somewhere", "KBENCH_JOBS": "7"})
    assert (options.cache_dir, options.jobs) == (Path("/somewhere"), 7)


def test_a_suite_below_the_working_folder_is_shown_from_there(tmp_path: Path) -> None:
    assert options_of(tmp_path / "a" / "b", cwd=tmp_path).problems == Path("a/b/problems")
    assert options_of(tmp_path / "a", cwd=tmp_path / "c").solutions == tmp_path / "a" / "solutions"


def test_an_unknown_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--device cannot be 'tpu'"):
        options_of(tmp_path, device="tpu")


def test_a_file_for_cuda_is_skipped_whatever_its_text_says(tmp_path: Path) -> None:
    root = write_suite(tmp_path, {"memo_a": CHEAT, "memo_cuda_a": CHEAT, "clock_a": CHEAT})
    with prepare_suite(options_of(root, select="memo"), read_suite(root)) as (prepared, chosen):
        skipped = {job.solution.name: job.skip_reason for job in prepared.jobs}
    assert skipped == {"memo_a": None, "memo_cuda_a": "needs CUDA"}
    assert [specimen.name for specimen in chosen] == ["memo_a", "memo_cuda_a"]


def test_a_file_for_the_cpu_alone_is_skipped_on_a_gpu(tmp_path: Path) -> None:
    root = write_suite(tmp_path, {"memo_a": CHEAT, "memo_b": solution("incorrect / values; CPU only")})
    specimens = {specimen.name: specimen for specimen in read_suite(root)}
    with prepare_suite(options_of(root), read_suite(root)) as (prepared, _):
        jobs = {job.solution.name: job for job in prepared.jobs}
    assert {name: job.skip_reason for name, job in jobs.items()} == {"memo_a": None, "memo_b": None}
    on_a_gpu = [on_its_device(dataclasses.replace(jobs[name], device=Device.CUDA), specimens[name]) for name in jobs]
    assert [job.skip_reason for job in on_a_gpu] == [None, "needs the CPU"]


def test_files_beside_the_suites_own_are_not_run(tmp_path: Path) -> None:
    root = write_suite(tmp_path, {"memo_a": CHEAT})
    (root / "solutions" / "double" / "response.txt").write_text("a raw response")
    with prepare_suite(options_of(root), read_suite(root)) as (prepared, _):
        assert [job.solution.name for job in prepared.jobs] == ["memo_a"]


def test_a_selection_of_nothing_is_told(tmp_path: Path) -> None:
    root = write_suite(tmp_path, {"memo_a": CHEAT})
    with pytest.raises(NothingToDo, match="nothing matches"), prepare_suite(
        options_of(root, select="clock"), read_suite(root)
    ):
        pass


def test_the_default_folder_names_device_and_start() -> None:
    path = run_path(Path("results"), Device.CUDA, "2026-05-04T13:37:00+00:00")
    assert path == Path("results/selftest-cuda-2026-05-04T133700Z")


class Heard:
    def __init__(self) -> None:
        self.all: list[str] = []

    def stage(self, pair: str, stage: str) -> None:
        self.all.append(f"{pair} {stage}")

    def ended(self, record: Record) -> None:
        self.all.append(f"{record.id} ended")

    def note(self, text: str) -> None:
        self.all.append(text)


def ticks(*times: float) -> Iterator[float]:
    yield from times


def test_the_stopwatch_leaves_out_the_wait_between_build_and_judging() -> None:
    heard, times = Heard(), ticks(0.0, 2.0, 100.0, 105.0)
    watch = Stopwatch(heard, lambda: next(times))
    watch.note("go")
    for stage in ("building", "built", "judging", "timing 1/2"):
        watch.stage("p/a", stage)
    watch.ended(make_record("p/a"))
    watch.ended(make_record("p/never_started"))
    assert watch.seconds == {"p/a": 7.0}
    assert heard.all == [
        "go", "p/a building", "p/a built", "p/a judging", "p/a timing 1/2", "p/a ended", "p/never_started ended",
    ]  # fmt: skip
