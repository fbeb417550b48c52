"""`kbench repro` up to the script's text; tests/repro runs what it writes."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path

import pytest
from run_factory import make_record, make_run

from kbench.cli.main import run_cli
from kbench.errors import UsageError
from kbench.model import Record, Status
from kbench.plan.problems import read_problem
from kbench.repro.source import facts_of
from kbench.store.runs import LoadedRun
from kbench.store.writer import RunStore

PROBLEM = "rows = 8\nclass Model: ...\ndef get_inputs(): ...\ndef get_init_inputs(): ...\n"
SIDECAR = "sizes: {small: {rows: 2}}\nmode: train\n"
SOLUTION = "class ModelNew: ...\n"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    for name, text in {"p/m.py": PROBLEM, "p/m.yaml": SIDECAR, "s/m/v1.py": SOLUTION}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def record(sources: Path, **fields: object) -> Record:
    import hashlib

    sha = hashlib.sha256(SOLUTION.encode()).hexdigest()
    problem = read_problem("m", sources / "p/m.py")
    basis = {"status": Status.INCORRECT, "reason": "values", "size": "small", "device": "cpu", "solution_sha": sha}
    return make_record("m/v1", **{**basis, "problem_sha": problem.sha, **fields})


def stored(sources: Path, found: Record) -> Path:
    out = sources / "run"
    with RunStore.create(out, options={"problems": "p", "solutions": "s"}, environment={}) as store:
        store.save_problem_source("m", sources / "p/m.py")
        store.save_sidecar("m", sources / "p/m.yaml")
        store.save_source("m/v1", sources / "s/m/v1.py")
        store.append(found)
    return out


def test_a_script_comes_from_the_runs_own_copies(sources: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = stored(sources, record(sources))
    assert run_cli(["repro", "m/v1", "--run", str(out)]) == 0
    script = ast.parse(capsys.readouterr().out)
    values = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in script.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    assert (values["PROBLEM"], values["SOLUTION"]) == (PROBLEM, SOLUTION)
    assert (values["FACTS"]["overrides"], values["FACTS"]["mode"]) == ({"rows": 2}, "train")


def test_a_records_file_serves_as_well(sources: Path, tmp_path: Path) -> None:
    out = stored(sources, record(sources))
    script = tmp_path / "made.py"
    assert run_cli(["repro", "v1", "--run", str(out / "records.jsonl"), "--out", str(script)]) == 0
    assert "SOLUTION" in script.read_text()


def test_without_copies_the_files_are_read_where_the_run_found_them(sources: Path) -> None:
    options = {"problems": str(sources / "p"), "solutions": str(sources / "s")}
    run = make_run([record(sources)], path=str(sources / "nowhere"), options=options)
    assert facts_of(run, record(sources)).solution_source == SOLUTION


def test_a_changed_source_is_an_error_that_says_so(sources: Path) -> None:
    options = {"problems": str(sources / "p" / "m.py"), "solutions": str(sources / "s")}
    run = make_run([record(sources)], path=str(sources / "nowhere"), options=options)
    for changed, what in (("problem_sha", "problem 'm' is not what was judged"), ("solution_sha", "solution 'm/v1'")):
        with pytest.raises(UsageError, match=what):
            facts_of(run, dataclasses.replace(record(sources), **{changed: "0" * 64}))  # type: ignore[arg-type]


def test_a_missing_source_names_where_it_was_looked_for(tmp_path: Path, sources: Path) -> None:
    run = LoadedRun(path=tmp_path / "none", records={}, options={"problems": "lost"})
    with pytest.raises(UsageError, match="cannot be found") as caught:
        facts_of(run, record(sources))
    assert "lost/m.py" in str(caught.value)


@pytest.mark.parametrize("status", [Status.SKIPPED, Status.INFRA_ERROR])
def test_what_was_not_judged_has_nothing_to_show(sources: Path, status: Status) -> None:
    run = make_run([record(sources)])
    with pytest.raises(UsageError, match="no failure of m/v1 to show"):
        facts_of(run, record(sources, status=status, reason="needs CUDA"))


def test_cases_that_were_left_out_are_known(sources: Path) -> None:
    options = {"problems": str(sources / "p"), "solutions": str(sources / "s")}
    left_out = ("case_not_finite:recentred",)
    run = make_run([record(sources)], path=str(sources / "nowhere"), options=options)
    assert facts_of(run, record(sources, cases_left_out=left_out)).left_out == ("recentred",)
