"""Generated scripts, run as a user would: in an interpreter of its own that knows nothing of kbench."""

from __future__ import annotations

import contextlib
import io
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_process import start
from click.testing import CliRunner

from kbench.cli.main import cli
from kbench.judge.cases import CASE_NAMES, make_case
from kbench.judge.oracle import expect
from kbench.judge.tolerance import compare
from kbench.model import Record
from kbench.repro.candidate import make_reference
from kbench.repro.facts import Facts
from kbench.repro.program import main
from kbench.repro.script import make_script
from kbench.store.runs import load_run
from kbench.store.writer import problem_source, solution_source

pytestmark = pytest.mark.workers

ROOT = Path(__file__).resolve().parents[2]
BROKEN = Path("tests/broken")
PROBLEM = (ROOT / BROKEN / "problems" / "linear_relu.py").read_text()
SOLUTION = '''
import torch


class ModelNew(torch.nn.Module):
    def __init__(self, features):
        super().__init__()
        self.linear = torch.nn.Linear(features, features)

    def forward(self, x):
        return torch.relu(self.linear(x)) * {factor}
'''


def run_script(text: str, folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and output of a script, run outside the repository with nothing on its path."""
    script = folder / "script.py"
    script.write_text(text)
    command = [sys.executable, "-P", str(script), "--timeout", "60", *arguments]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "PYTHONWARNINGS": "error"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.stderr == "", done.stdout + done.stderr
    return done.returncode, done.stdout


def run_here(text: str, folder: Path) -> tuple[int, str]:
    """The same with the script's parent process being this one, which has imported torch already."""
    script = folder / "script.py"
    script.write_text(text)
    parts = runpy.run_path(str(script), run_name="script")
    made = Facts(problem_source=parts["PROBLEM"], solution_source=parts["SOLUTION"], **parts["FACTS"])
    with contextlib.redirect_stdout(io.StringIO()) as said:
        code = main(made, script, ["--timeout", "20"])
    return code, said.getvalue()


def facts(**given: Any) -> Facts:
    basis: dict[str, Any] = {
        "problem": "linear_relu", "solution": "v1", "device": "cpu", "size": "tiny", "precision": "fp32",
        "overrides": {"batch_size": 8, "features": 32}, "problem_source": PROBLEM,
        "solution_source": SOLUTION.format(factor="1.0"),
    }  # fmt: skip
    return Facts(**(basis | given))


@pytest.mark.parametrize("name", CASE_NAMES)
def test_every_case_is_drawn_again_to_the_very_element(name: str, tmp_path: Path) -> None:
    wrong = facts(status="incorrect", reason="values", solution_source=SOLUTION.format(factor="1.01"))
    reference = make_reference(wrong, tmp_path)
    case = make_case(reference, name, 77)
    expected = expect(reference, case)
    parameters = case.state["linear.weight"], case.state["linear.bias"]
    with torch.no_grad():
        got = torch.relu(torch.nn.functional.linear(case.inputs.tensors[0], *parameters)) * 1.01
    mismatch = compare(got, expected.oracle[0], expected.eager[0], expected.budgets[0])
    assert mismatch is not None
    evidence = {"case": name, "seed": 77, **mismatch.evidence}
    recorded = facts(**{**vars(wrong), "evidence": evidence, "message": mismatch.message})
    code, said = run_here(make_script(recorded), tmp_path)
    assert code == 1, said
    assert said.splitlines()[-1] == "reproduced"
    assert f"worst element {mismatch.evidence['index']}: expected {mismatch.evidence['expected']}" in said
    assert "by itself:" in said


def test_a_correct_solution_passes_every_case(tmp_path: Path) -> None:
    code, said = run_script(make_script(facts(left_out=CASE_NAMES[2:-1])), tmp_path)
    assert (code, said.splitlines()[-1]) == (0, "passes, as recorded")
    assert said.count("within the budget") + said.count("cannot do it") == len(CASE_NAMES)


def test_what_is_right_now_is_not_reproduced(tmp_path: Path) -> None:
    evidence = {"case": "as_given", "seed": 5, "index": [0, 0], "tolerance": 1e-6}
    code, said = run_here(make_script(facts(status="incorrect", reason="values", evidence=evidence)), tmp_path)
    assert (code, said.splitlines()[-1]) == (0, "not reproduced")


def test_a_seed_that_is_another_shows_another_element(tmp_path: Path) -> None:
    evidence = {"case": "as_given", "seed": 5, "index": [99, 99]}
    wrong = facts(
        status="incorrect", reason="values", evidence=evidence, solution_source=SOLUTION.format(factor="1.01")
    )
    code, said = run_here(make_script(wrong), tmp_path)
    assert code == 1
    assert said.splitlines()[-1] == "reproduced, at another element than the recorded [99, 99]"


def test_a_cuda_record_says_that_the_cpu_will_not_do(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    code, said = run_here(make_script(facts(device="cuda")), tmp_path)
    assert code == 2
    assert "no CUDA device" in said


def test_only_calling_leaves_an_outcome_and_says_nothing(tmp_path: Path) -> None:
    loud = "print('hello')\n" + SOLUTION.format(factor="1.0")
    (tmp_path / "work").mkdir()
    arguments = ("--call", str(tmp_path / "work"))
    assert run_script(make_script(facts(solution_source=loud)), tmp_path, *arguments) == (0, "")
    assert (tmp_path / "work" / "outcome.json").read_text() == '{"stage": "done"}'


def test_hostile_words_stay_words(tmp_path: Path) -> None:
    words = 'x"""\nimport os; os._exit(9)\n\'\'\' \\N{no} {braces} \0'
    code, said = run_here(make_script(facts(message=words, solution_source=words)), tmp_path)
    assert code == 1, said
    assert "SyntaxError" in said


STALE = SOLUTION.format(factor="1.0").replace(
    "return torch.relu(self.linear(x))",
    "if not hasattr(self, 'packed'): self.packed = self.linear.weight.detach().clone()\n"
    "        return torch.relu(torch.nn.functional.linear(x, self.packed, self.linear.bias))",
)


def test_what_fails_only_after_earlier_cases_is_found_there(tmp_path: Path) -> None:
    evidence = {"case": "randomised_parameters", "seed": 5}
    stale = facts(status="incorrect", reason="values", evidence=evidence, solution_source=STALE)
    code, said = run_here(make_script(stale), tmp_path)
    assert code == 1, said
    assert "after the cases before it" in said


def test_a_failed_build_is_shown(tmp_path: Path) -> None:
    broken = "from torch.utils.cpp_extension import load_inline\n\n" + (
        "load_inline('broken', 'int f( {', no_implicit_headers=True)\n"
    )
    code, said = run_here(make_script(facts(status="build_error", solution_source=broken)), tmp_path)
    assert (code, said.splitlines()[-1]) == (1, "reproduced"), said
    assert "main.cpp:1:" in said


FAILING = (
    "unwritten_output", "wrong_shape", "input_mutated", "nondeterministic", "parameters_dtype",
    "import_exception", "syntax_error", "first_forward_raises", "abort", "sleeps_in_constructor",
    "counter_not_updated",
)  # fmt: skip


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real run of solutions that fail, one for each way that a script shows."""
    folder = tmp_path_factory.mktemp("judged")
    arguments: list[str | Path] = [
        "run", BROKEN / "problems", BROKEN / "solutions", "--out", folder / "run", "--device", "cpu",
        "-k", " or ".join(FAILING), "--timeout", "5", "--cache-dir", folder / "cache", "--jobs", "2",
    ]  # fmt: skip
    process = start(arguments, cwd=ROOT, temporary=folder / "tmp", environment={"KBENCH_REPLICATES": "1"})
    assert process.wait(deadline_s=600) == 1, process.stderr
    return folder / "run"


def record_of(run: Path, name: str) -> Record:
    (found,) = (record for record in load_run(run).records.values() if record.solution == name)
    return found


@pytest.mark.parametrize("name", FAILING)
def test_a_recorded_failure_is_shown(judged: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the sources must come from the run
    script = tmp_path / "made.py"
    result = CliRunner().invoke(cli, ["repro", f"/{name}", "--run", str(judged), "--out", str(script)])
    assert result.exit_code == 0, result.output
    code, said = run_here(script.read_text(), tmp_path)
    assert code == 1, said
    record = record_of(judged, name)
    if name != "nondeterministic":  # the second call of a run is the first that is compared here
        assert said.splitlines()[-1] == "reproduced", said
    if "index" in record.evidence:
        assert f"worst element {record.evidence['index']}: expected {record.evidence['expected']}" in said


def test_the_runs_own_copy_is_what_counts(judged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(judged, copy)
    record = record_of(judged, "unwritten_output")
    monkeypatch.chdir(ROOT)
    arguments = ["repro", record.id, "--run", str(copy)]
    solution_source(copy, record.id).unlink()
    assert CliRunner().invoke(cli, arguments).exit_code == 0  # from where the run found it
    problem_source(copy, record.problem).write_text("changed = True\n")
    assert CliRunner().invoke(cli, arguments).exit_code == 0
    monkeypatch.chdir(tmp_path)
    problem_source(copy, record.problem).write_text("changed = True\n")
    from kbench.cli.main import run_cli

    assert run_cli(arguments) == 2


def test_a_sidecar_is_kept_with_its_problem(judged: Path) -> None:
    record = record_of(judged, "counter_not_updated")
    kept = problem_source(judged, record.problem).with_suffix(".yaml")
    assert kept.read_bytes() == (ROOT / BROKEN / "problems" / f"{record.problem}.yaml").read_bytes()
