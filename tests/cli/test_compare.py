from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from run_factory import ENVIRONMENT, make_record, write_run

import kbench
from kbench.cli.compare import parse_threshold
from kbench.cli.main import run_cli
from kbench.errors import UsageError
from kbench.model import Status

SLOW = (0.38, 0.39, 0.40, 0.41, 0.39)
NO_TORCH = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise AssertionError(f"{name} was imported")
sys.meta_path.insert(0, Refuse())
from kbench.cli.main import run_cli
code = run_cli(sys.argv[1:])
assert "torch" not in sys.modules
sys.exit(code)
"""


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """old, same, slow, broken, elsewhere and other below results/ of the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    root = tmp_path / "results"
    pair = [make_record(), make_record("gelu/v1")]
    write_run(root / "old", pair)
    write_run(root / "same", pair)
    write_run(root / "slow", [make_record(d=SLOW), make_record("gelu/v1")])
    write_run(root / "broken", [make_record(status=Status.INCORRECT, reason="values"), make_record("gelu/v1")])
    write_run(root / "fewer", pair[:1])
    write_run(root / "other", [make_record("p/x")])
    elsewhere = ENVIRONMENT | {"key": "far", "torch": "2.12"}
    write_run(root / "elsewhere", [make_record(d=SLOW, environment_key="far")], environment=elsewhere)
    return root


@pytest.mark.parametrize(
    ("new", "flags", "code"),
    [
        ("same", [], 0),
        ("slow", [], 0),
        ("broken", [], 0),
        ("other", [], 0),
        ("same", ["--fail-on-regression", "5%"], 0),
        ("same", ["--fail-on-regression"], 0),
        ("slow", ["--fail-on-regression", "0.05"], 1),
        ("slow", ["--fail-on-regression", "50%"], 0),
        ("broken", ["--fail-on-regression", "50%"], 1),
        ("fewer", ["--fail-on-regression", "5%"], 1),
        ("fewer", ["--fail-on-regression", "5%", "--allow-missing"], 0),
        ("other", ["--fail-on-regression", "5%", "--allow-missing"], 3),
        ("elsewhere", ["--fail-on-regression", "5%", "--allow-missing"], 3),
        ("nowhere", [], 2),
        ("same", ["--fail-on-regression", "fast"], 2),
        ("same", ["--format", "xml"], 2),
    ],
)
@pytest.mark.usefixtures("runs")
def test_exit_codes(new: str, flags: list[str], code: int) -> None:
    assert run_cli(["compare", "results/old", f"results/{new}", *flags]) == code


@pytest.mark.usefixtures("runs")
def test_the_table_is_data_and_the_answer_talk(capsys: pytest.CaptureFixture[str]) -> None:
    run_cli(["compare", "old", "slow", "--fail-on-regression", "5%"])
    out, err = capsys.readouterr()
    assert out.startswith("old → slow\n")
    assert "softmax   v1         2.00x   1.48x   -25.9% [-27.1%, -24.7%]    Nn·····oO 39%   0.0, +35.0%" in out
    assert "\x1b" not in out
    assert all(line == line.rstrip() for line in out.splitlines())
    assert err == "gate: regression\n"


@pytest.mark.usefixtures("runs")
@pytest.mark.parametrize("flags", [["--json"], ["--format", "json"]])
def test_json(capsys: pytest.CaptureFixture[str], flags: list[str]) -> None:
    run_cli(["compare", "old", "slow", *flags])
    data = json.loads(capsys.readouterr().out)
    assert [row["verdict"] for row in data["rows"]] == ["regressed", "same"]
    assert data["gate"] is None


@pytest.mark.usefixtures("runs")
def test_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    run_cli(["compare", "old", "slow", "--format", "md", "--fail-on-regression"])
    assert capsys.readouterr().out.startswith("## kbench: old → slow\n\n**Gate: regression**\n")


@pytest.mark.usefixtures("runs")
def test_one_row_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["compare", "old", "slow", "--explain", "softmax"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("softmax/v1  regressed\n")
    assert "gelu" not in out and err == ""


@pytest.mark.usefixtures("runs")
def test_one_row_explained_as_json_and_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    run_cli(["compare", "old", "slow", "--explain", "softmax", "--json"])
    data = json.loads(capsys.readouterr().out)
    assert (data["row"]["solution"], data["row"]["verdict"], data["gate"]) == ("v1", "regressed", None)
    run_cli(["compare", "old", "slow", "--explain", "softmax", "--format", "md"])
    assert capsys.readouterr().out.startswith("## softmax/v1: regressed\n")


@pytest.mark.usefixtures("runs")
def test_an_explanation_leaves_the_gate_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["compare", "old", "slow", "--explain", "gelu", "--fail-on-regression", "5%"]) == 1
    out, err = capsys.readouterr()
    assert out.startswith("gelu/v1  same\n") and "softmax/v1 is slower" in out
    assert err == "gate: regression\n"


@pytest.mark.usefixtures("runs")
def test_a_row_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["compare", "old", "slow", "--explain", "v1"]) == 2
    assert "2 records match 'v1'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("new", "flags", "code"),
    [
        ("same", [], 0),
        ("slow", [], 1),
        ("noisy", [], 3),
        ("flagged", [], 3),
        ("more", [], 1),
        ("fewer", [], 1),
        ("fewer", ["--allow-missing"], 0),
    ],
)
def test_a_strict_gate(runs: Path, new: str, flags: list[str], code: int) -> None:
    pair = [make_record(), make_record("gelu/v1")]
    write_run(runs / "noisy", [make_record(d=(0.66, 0.59, 0.70, 0.66, 0.64)), pair[1]])
    write_run(runs / "flagged", [make_record(flags=("clock_mismatch",)), pair[1]])
    write_run(runs / "more", [*pair, make_record("relu/v1", status=Status.CRASH)])
    usual = {"noisy": 0, "flagged": 0, "more": 0}
    arguments = ["compare", "old", new, "--fail-on-regression", "5%", *flags]
    assert run_cli(arguments) == usual.get(new, code)
    assert run_cli([*arguments, "--strict"]) == code


@pytest.mark.usefixtures("runs")
def test_strict_without_a_gate_would_pass_anything(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_cli(["compare", "old", "slow", "--strict"]) == 2
    assert "hint: add --fail-on-regression" in capsys.readouterr().err


def test_warnings_are_talk(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (runs / "same" / "records.jsonl").open("a") as stream:
        stream.write('{"problem"')
    assert run_cli(["compare", "old", "same", "--json"]) == 0
    out, err = capsys.readouterr()
    json.loads(out)
    assert err == "warning: results/same/records.jsonl:3: the last line is unfinished and was left out\n"


def test_damage_is_named(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (runs / "same" / "records.jsonl").write_text("nonsense\n")
    assert run_cli(["compare", "old", "same"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: a record cannot be read\nresults/same/records.jsonl:1: not JSON")


def test_compare_works_without_torch(runs: Path) -> None:
    compare = ["compare", "old", "slow"]
    for arguments in (
        compare, [*compare, "--format", "md"], [*compare, "--json"], [*compare, "--explain", "softmax"],
        [*compare, "--explain", "softmax", "--json"], [*compare, "--fail-on-regression", "70%", "--strict"],
        ["list"], ["list", "slow"], ["show", "softmax", "--run", "slow"], ["show", "gelu", "--run", "slow", "--json"],
    ):  # fmt: skip
        found = subprocess.run(
            [sys.executable, "-c", NO_TORCH, *arguments], capture_output=True, text=True, cwd=runs.parent
        )
        assert found.returncode == 0, found.stderr
        assert found.stdout


def test_no_report_needs_torch() -> None:
    rooms = sorted(path.stem for path in (Path(kbench.__file__).parent / "report").glob("[a-z]*.py"))
    assert {"tables", "changes", "explanation", "csv"} <= set(rooms)
    code = NO_TORCH.partition("from kbench")[0] + "".join(f"import kbench.report.{room}\n" for room in rooms)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr


def test_compare_loads_nothing_heavy(runs: Path) -> None:
    code = NO_TORCH.replace('== "torch"', 'in ("torch", "pandas") or name == "scipy.stats"')
    found = subprocess.run(
        [sys.executable, "-c", code, "compare", "old", "slow"], capture_output=True, text=True, cwd=runs.parent
    )
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize(("text", "value"), [("5%", 0.05), ("0.05", 0.05), (" 2.5% ", 0.025), ("0", 0.0)])
def test_thresholds(text: str, value: float) -> None:
    assert parse_threshold(text) == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [("5", "5% perhaps?"), *((text, "for example") for text in ("x", "", "-1%", "nan", "100%", "500"))],
)
def test_what_is_no_threshold(text: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_threshold(text)
    assert hint in (caught.value.hint or "")
