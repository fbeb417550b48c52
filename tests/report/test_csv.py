from __future__ import annotations

import io

import pandas as pd
from run_factory import make_record, make_run

from kbench.model import Status
from kbench.report.csv import run_csv


def test_csv_reads_back() -> None:
    run = make_run([
        make_record(baselines={"compile": {"time_ms": 2.5, "speedup": 0.85}}, flags=("a", "b")),
        make_record("softmax/v2", status=Status.CRASH, message='=cmd|"x",\n\x1b[31my'),
    ])  # fmt: skip
    frame = pd.read_csv(io.StringIO(run_csv(run)))
    first, second = frame.to_dict("records")
    assert first["speedup"] == make_record().speedup
    assert (first["compile_time_ms"], first["compile_speedup"], first["flags"]) == (2.5, 0.85, "a b")
    assert (first["cached"], first["replicates"]) == (False, 5)
    assert pd.isna(second["speedup"]) and pd.isna(second["compile_time_ms"])
    assert second["message"] == '\'=cmd|"x", y'


def test_an_empty_run_has_a_header() -> None:
    assert run_csv(make_run([])).startswith("problem,solution,device,size,")
