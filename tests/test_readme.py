"""The README's examples: each command exists as written, and those that are quick are run."""

from __future__ import annotations

import json
import re
import shlex
import statistics
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from kbench.cli.main import cli
from kbench.plan.problems import read_problem

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
COMMANDS = [
    line.removeprefix("$ ").partition("#")[0].strip()
    for block in re.findall(r"```console\n(.*?)```", README, flags=re.DOTALL)
    for line in block.splitlines()
    if line.startswith("$ ")
]
KBENCH = [command for command in COMMANDS if command.startswith("kbench ")]


@pytest.mark.parametrize("command", KBENCH)
def test_every_kbench_command_parses(command: str) -> None:
    name, *arguments = shlex.split(command)[1:]
    context = click.Context(cli)
    subcommand = cli.get_command(context, name)
    assert subcommand is not None
    with subcommand.make_context(name, arguments, parent=context, resilient_parsing=False) as parsed:
        assert parsed.command is subcommand


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = [command.split()[1] for command in COMMANDS if command.startswith("make ")]
    assert {"run", "test"} <= set(targets)
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in targets)


@pytest.mark.parametrize(
    "command", [c for c in KBENCH if re.search(r"--list|kbench (list|show)\b", c) and "--device" not in c]
)
def test_quick_commands_run_in_the_repository(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    result = CliRunner().invoke(cli, shlex.split(command)[1:])
    assert result.exit_code == 0, result.output
    assert result.output.strip()


def test_the_sidecar_example_is_a_valid_one(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", README, flags=re.DOTALL)
    assert set(yaml.safe_load(example)) == {"sizes", "precision", "mode", "floor"}
    source = "batch_size = 8\nheight = 32\nclass Model: ...\ndef get_inputs(): ...\ndef get_init_inputs(): ...\n"
    (tmp_path / "p.py").write_text(source)
    (tmp_path / "p.yaml").write_text(example)
    problem = read_problem("p", tmp_path / "p.py")
    assert problem.sizes["small"] == {"batch_size": 4, "height": 64}
    assert problem.floor == {"bytes": 1e9, "flops": 2e9}


def _table(run: str) -> list[str]:
    page = (ROOT / "results" / run / "speedups.md").read_text()
    return [line for line in page.splitlines() if line.startswith("|") and "| skipped: " not in line]


def test_the_cpu_table_is_that_of_the_committed_run() -> None:
    table = _table("cpu")
    assert len(table) > 2
    assert "\n".join(table) in README


def test_the_h200_table_has_the_fastest_of_each_problem() -> None:
    records = [json.loads(line) for line in (ROOT / "results" / "h200" / "records.jsonl").read_text().splitlines()]
    fastest = {record["problem"]: record["solution"] for record in sorted(records, key=lambda r: float(r["speedup"]))}
    starts = tuple(f"| {p} | {s} |".replace("_", "\\_") for p, s in fastest.items())
    heading, rule, *rows = _table("h200")
    shown = [row for row in rows if row.startswith(starts)]
    assert len(shown) == len(fastest)
    assert "\n".join([heading, rule, *shown]) in README


def test_the_h200_means_are_those_of_the_committed_run() -> None:
    records = [json.loads(line) for line in (ROOT / "results" / "h200" / "records.jsonl").read_text().splitlines()]
    fastest = {r["problem"]: r for r in sorted(records, key=lambda r: float(r["speedup"]))}.values()
    eager = statistics.geometric_mean(r["speedup"] for r in fastest)
    compiled = statistics.geometric_mean(r["baselines"]["compile"]["speedup"] for r in fastest)
    assert f"Geometric mean {eager:.2f}x over eager and {compiled:.2f}x over torch.compile" in README
    assert f"holds {len(records)} solutions, every one correct" in README
    assert {r["status"] for r in records} == {"correct"}
