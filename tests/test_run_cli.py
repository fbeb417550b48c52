"""`kbench run` and `kbench build` as their user meets them: through the real command line, with real workers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from cli_process import CliProcess, leftovers, read_records
from project_factory import ALL, CPP, HONEST, PROBLEM, WRONG, Project, make_project

from kbench.machine.environment import probe

pytestmark = pytest.mark.workers


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(tmp_path, a=HONEST, b=HONEST, c=HONEST)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, int, CliProcess]:
    project = make_project(tmp_path_factory.mktemp("finished"), a=HONEST, b=WRONG)
    code, process = project.run("run", "--device", "cpu", "--out", "out", "--json")
    return project, code, process


# --- a run that ends by itself -----------------------------------------------------------------------------------


def test_stdout_holds_the_records_and_nothing_else(finished: tuple[Project, int, CliProcess]) -> None:
    project, code, process = finished
    assert code == 1
    records = [json.loads(line) for line in process.stdout.splitlines()]
    assert records == read_records(project.root / "out")
    assert [(r["solution"], r["status"], r["reason"]) for r in records] == [
        ("a", "correct", ""), ("b", "incorrect", "values"),
    ]  # fmt: skip
    project.assert_clean(process)


def test_the_run_directory_is_complete(finished: tuple[Project, int, CliProcess]) -> None:
    out = finished[0].root / "out"
    for name in ("run.yaml", "records.jsonl", "samples.jsonl", "speedups.csv", "speedups.md"):
        assert (out / name).stat().st_size > 0, name
    assert (out / "telemetry.jsonl").is_file()  # so short a run may have nothing to say in it
    assert (out / "sources" / "scale" / "a.py").read_text() == HONEST
    assert (out / "sources" / "scale.problem.py").read_text() == PROBLEM
    header = (out / "run.yaml").read_text()
    assert yaml.safe_load(header)["options"]["device"] == "cpu"
    assert str(finished[0].root) not in header


def test_an_existing_run_is_not_overwritten(finished: tuple[Project, int, CliProcess]) -> None:
    project, _, _ = finished
    before = (project.root / "out" / "records.jsonl").read_bytes()
    code, process = project.run("run", "--device", "cpu", "--out", "out")
    assert code == 2
    assert "already holds a run" in process.stderr
    assert "--resume" in process.stderr
    assert (project.root / "out" / "records.jsonl").read_bytes() == before


def test_a_complete_run_has_nothing_to_resume(finished: tuple[Project, int, CliProcess]) -> None:
    project, _, _ = finished
    out = project.root / "out"
    whole = {name: (out / name).read_bytes() for name in ("records.jsonl", "run.yaml")}
    elsewhere = yaml.safe_load(whole["run.yaml"])
    elsewhere["environment"]["key"] = "elsewhere"
    for header in (whole["run.yaml"], yaml.safe_dump(elsewhere).encode()):
        (out / "run.yaml").write_bytes(header)
        code, process = project.run("run", "--resume", "--out", "out")
        assert code == 1, process.stderr
        assert "another environment" not in process.stderr
        assert (out / "records.jsonl").read_bytes() == whole["records.jsonl"]
        assert (out / "run.yaml").read_bytes() == header
    (out / "run.yaml").write_bytes(whole["run.yaml"])


def test_a_torn_record_is_judged_again(finished: tuple[Project, int, CliProcess], tmp_path: Path) -> None:
    project, _, _ = finished
    subprocess.run(["cp", "-a", project.root / "out", tmp_path / "torn"], check=True)
    records = tmp_path / "torn" / "records.jsonl"
    whole = records.read_bytes()
    records.write_bytes(whole[: whole.index(b"\n") + 40])
    code, process = project.run("run", "--resume", "--out", tmp_path / "torn")
    assert code == 1, process.stderr
    again = read_records(tmp_path / "torn")
    assert [(r["solution"], r["status"]) for r in again] == [("a", "correct"), ("b", "incorrect")]
    assert records.read_bytes().startswith(whole[: whole.index(b"\n") + 1])


def test_what_is_resumed_elsewhere_says_so(finished: tuple[Project, int, CliProcess], tmp_path: Path) -> None:
    project, _, _ = finished
    run = tmp_path / "elsewhere"
    subprocess.run(["cp", "-a", project.root / "out", run], check=True)
    header = yaml.safe_load((run / "run.yaml").read_text())
    here = header["environment"]["key"]
    header["environment"] |= {"key": "elsewhere", "compiler": "another"}
    (run / "run.yaml").write_text(yaml.safe_dump(header))
    first, second = read_records(run)
    (run / "records.jsonl").write_text(json.dumps(first | {"environment_key": "elsewhere"}) + "\n")
    code, process = project.run("run", "--resume", "--out", run)
    assert code == 1, process.stderr
    assert f"begun in another environment: its new records carry the key of this one, {here}" in process.stderr
    assert [r["environment_key"] for r in read_records(run)] == ["elsewhere", here] and second["solution"] == "b"
    assert "1 of 2 in another environment" in (run / "speedups.md").read_text()
    later = yaml.safe_load((run / "run.yaml").read_text())["later_environments"]
    assert [each["key"] for each in later] == [here] and later[0]["compiler"] != "another"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--quick"], "--quick and --rigorous cannot be given with --resume"),
        (["--rigorous"], "--quick and --rigorous cannot be given with --resume"),
        (["--replicates", "77"], "not 77"),
    ],
    ids=str,
)
def test_a_resumed_run_keeps_its_effort(
    finished: tuple[Project, int, CliProcess], flags: list[str], says: str
) -> None:
    code, process = finished[0].run("run", "--resume", "--out", "out", *flags)
    assert code == 2
    assert process.stderr.startswith("error: ")
    assert says in process.stderr


# --- what cannot be run -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere", "solutions"], 2, "problems not found\nnowhere: "),
        (["problems", "nowhere"], 2, "solutions not found\nnowhere: "),
        (["problems", "problems"], 2, "same path"),
        (["problems", "empty"], 3, "no solutions found"),
        (["empty", "solutions"], 3, "no problems found"),
        (["--device", "tpu"], 2, "--device cannot be 'tpu'"),
        (["--device", "cpu", "-k", "nothing_like_it"], 3, "nothing matches -k 'nothing_like_it'"),
        (["--device", "cpu", "-k", "a and"], 2, "is not an expression"),
        (["--device", "cpu", "--timeout", "0"], 2, "--timeout"),
        (["--device", "cpu", "--quick", "--rigorous"], 2, "exclude each other"),
        (["--device", "cpu", "--out", "a_file"], 3, "a_file"),
        (["--device", "cpu", "--out", "a_file/below"], 3, "a_file/below"),
        (["--device", "cpu", "--out", "/proc/kbench"], 3, "/proc/kbench"),
        (["--device", "cpu", "--cache-dir", "a_file", "--out", "out"], 3, "a_file"),
        (["--resume", "--out", "nowhere"], 2, "there is no run to resume"),
        (["--resume"], 3, "no runs"),
        (["--no-such-flag"], 2, "--no-such-flag"),
    ],
)
def test_one_clear_error(project: Project, arguments: list[str], code: int, said: str) -> None:
    (project.root / "empty").mkdir()
    project.write("a_file", "in the way")
    got, process = project.run("run", *arguments)
    assert said in process.stderr
    assert got == code, process.stderr
    assert "Traceback" not in process.stderr
    assert process.stdout == ""
    assert leftovers(project.temporary) == []


def test_cuda_where_there_is_none(project: Project) -> None:
    code, process = project.run("run", "--device", "cuda", environment={"CUDA_VISIBLE_DEVICES": ""})
    assert code == 3
    assert "device 'cuda' is not available" in process.stderr
    assert "--device cpu" in process.stderr


# --- the plan -----------------------------------------------------------------------------------------------------


def test_the_plan_as_text_and_as_json(project: Project) -> None:
    code, process = project.run("run", "--device", "cpu", "--list")
    assert code == 0
    assert process.stdout.splitlines() == [f"{i}  cpu, size full" for i in ALL]
    code, process = project.run("run", "--device", "cpu", "--list", "--json", "-k", "not scale/b")
    assert code == 0
    assert [(row["problem"], row["solution"]) for row in json.loads(process.stdout)] == [("scale", "a"), ("scale", "c")]
    assert not (project.root / "results").exists()


def test_a_selection_is_all_that_runs(project: Project) -> None:
    code, process = project.run("run", "--device", "cpu", "-k", "scale/c")
    assert code == 0, process.stderr
    (run,) = (project.root / "results").iterdir()
    assert project.records(f"results/{run.name}") == {"scale/c": "correct"}
    assert f"wrote results/{run.name}" in process.stderr
    assert "wrote" not in process.stdout


# --- single files and raw responses -------------------------------------------------------------------------------


def test_one_problem_and_one_solution(project: Project) -> None:
    solution = project.write("elsewhere/fast.py", HONEST)
    code, process = project.run("run", "problems/scale.py", solution, "--device", "cpu", "--out", "out")
    assert code == 0, process.stderr
    assert project.records() == {"scale/fast": "correct"}


def test_a_raw_response(project: Project) -> None:
    broken = HONEST.replace("        return (x", "        raise RuntimeError('not yet')\n        return (x")
    response = f"Sure! Here is the kernel.\n\nIt is fast.\n\n```python{broken}```\n\nEnjoy.\n"
    line = response.splitlines().index("        raise RuntimeError('not yet')") + 1
    project.write("answer.txt", response)
    code, process = project.run("run", "problems/scale.py", "answer.txt", "--device", "cpu", "--out", "out")
    assert code == 1, process.stderr
    (record,) = read_records(project.root / "out")
    assert (record["status"], record["reason"]) == ("runtime_error", "exception")
    assert record["message"] == f"answer.txt:{line}: RuntimeError: not yet"
    project.assert_clean(process)


def test_a_worker_sees_nothing_of_the_project(project: Project) -> None:
    """Not even where single files are judged that lie above the temporary folder, and above Python for all we know."""
    seen = f"""
import os


def _files():
    return sorted(name for _, _, names in os.walk({str(project.root)!r}) for name in names if "secret" in name)
"""
    check = "        assert _files() == [], _files()\n        return (x"
    project.write("answer_secret.py", seen + HONEST.replace("        return (x", check))
    project.write("problem_secret.py", PROBLEM)
    project.write("other/secret.txt", "of another candidate")
    code, process = project.run("run", "problem_secret.py", "answer_secret.py", "--device", "cpu", "--out", "out")
    (record,) = read_records(project.root / "out")
    if record["isolation"].get("mount_namespace") != "on":
        pytest.skip("no mount namespaces here")
    assert (code, record["message"]) == (0, ""), process.stderr


@pytest.mark.parametrize("text", ["", "I cannot write that kernel.\n", "```python\nprint('hello')\n```\n", "\0\xff\0"])
def test_a_response_without_a_candidate(project: Project, text: str) -> None:
    project.write("answer.txt", text)
    code, process = project.run("run", "problems/scale.py", "answer.txt", "--device", "cpu", "--out", "out")
    assert code == 1, process.stderr
    (record,) = read_records(project.root / "out")
    assert (record["status"], record["reason"]) == ("load_error", "no_candidate")
    assert record["message"].startswith("answer.txt")
    assert record["speedup"] is None


# --- builds -------------------------------------------------------------------------------------------------------


def test_build_compiles_and_judges_nothing(project: Project) -> None:
    project.write("solutions/scale/b.py", "raise ValueError('broken on purpose')\n")
    project.write("solutions/scale/c.py", "import torch\n\nx = torch.empty(1, device='cuda')\n" + HONEST)
    code, process = project.run("build", "--device", "cpu", "--json")
    assert code == 1, process.stderr
    rows = [json.loads(line) for line in process.stdout.splitlines()]
    assert [(row["solution"], row["status"]) for row in rows] == [("a", "built"), ("b", "failed"), ("c", "skipped")]
    assert rows[1]["reason"] == "load_error"
    assert "solutions/scale/b.py:1: ValueError: broken on purpose" in rows[1]["message"]
    assert not (project.root / "results").exists()
    project.assert_clean(process)
    code, process = project.run("build", "--device", "cpu", "-k", "scale/a")
    assert code == 0, process.stderr
    assert process.stdout == "scale/a: built, cached\n"


def test_without_a_compiler(project: Project) -> None:
    project.write("solutions/scale/b.py", CPP)
    bare = project.root / "bin"
    bare.mkdir()
    environment = {"PATH": str(bare), "CXX": "", "CC": "", "CUDA_HOME": ""}
    assert probe().compiler, "this test takes away what must be there"
    code, process = project.run("run", "--device", "cpu", "--out", "out", "-k", "not scale/c", environment=environment)
    assert code == 0, process.stderr
    assert project.records() == {"scale/a": "correct", "scale/b": "skipped"}
    (skipped,) = (r for r in read_records(project.root / "out") if r["status"] == "skipped")
    assert skipped["reason"] == "needs a C++ compiler (g++)"
    code, process = project.run("run", "--device", "cpu", "-k", "scale/b", environment=environment)
    assert code == 3, process.stderr


def test_the_module_and_the_command_are_one(project: Project) -> None:
    command = Path(sys.executable).with_name("kbench")
    if not command.exists():
        pytest.skip("kbench is not installed as a command")
    environment = {**os.environ, "TMPDIR": str(project.root)}
    done = subprocess.run(
        [command, "run", "--device", "cpu", "--list"], cwd=project.root, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert done.stdout == project.run("run", "--device", "cpu", "--list")[1].stdout


@pytest.mark.parametrize("arguments", [["doctor"], ["run", "--device", "cpu", "--list"]])
def test_an_output_that_cannot_be_written_is_told(project: Project, arguments: list[str]) -> None:
    command = [sys.executable, "-m", "kbench", *arguments]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, cwd=project.root, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, "Traceback" in done.stderr) == (3, False), done.stderr
    assert "No space left on device" in done.stderr
