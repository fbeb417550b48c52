"""`kbench doctor` through click's runner."""

from __future__ import annotations

import dataclasses
import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from inventory_factory import CPU_ONLY

from kbench.cli import doctor
from kbench.errors import InfraError


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine of known tools, whose sandbox needs no processes."""
    monkeypatch.setattr(doctor, "take_inventory", lambda: CPU_ONLY)
    install_probe(monkeypatch, {"network": "on", "uid": "off: not [root]"})
    monkeypatch.setenv("KBENCH_CACHE_DIR", str(tmp_path / "cache" / "deep"))
    monkeypatch.chdir(tmp_path)


def install_probe(monkeypatch: pytest.MonkeyPatch, layers: dict[str, str] | Exception) -> None:
    def probe_layers() -> dict[str, str]:
        if isinstance(layers, Exception):
            raise layers
        return layers

    module = types.ModuleType("kbench.sandbox.probe")
    module.probe_layers = probe_layers  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kbench.sandbox.probe", module)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(doctor.doctor_command, arguments, env={"COLUMNS": "200"})


def test_the_table_has_a_line_for_each_check_and_its_fix(tmp_path: Path) -> None:
    result = run()
    assert result.exit_code == 0
    folded = result.stdout.splitlines()
    lines = {line.split("  ")[0]: line for line in folded if not line.startswith(" ")}
    assert list(lines) == [
        *("check", "python", "torch", "C++ compiler", "ninja", "nvcc", "GPU", "cache folder"),
        *("free disk", "free memory", "isolation: network", "isolation: uid"),
    ]
    assert "missing" in lines["nvcc"]
    assert "CUDA_HOME" in lines["nvcc"]
    assert "off: not [root]" in lines["isolation: uid"]
    assert "--require-isolation" in lines["isolation: uid"]
    assert not (tmp_path / "cache").exists()


def test_json_is_data(tmp_path: Path) -> None:
    result = run("--json")
    data = json.loads(result.stdout)
    assert data["can_run"] is True
    by_name = {check["name"]: check for check in data["checks"]}
    assert by_name["GPU"]["state"] == "missing"
    assert by_name["cache folder"]["detail"] == str(tmp_path / "cache" / "deep")


@pytest.mark.parametrize("missing", ["torch", "compiler"])
def test_it_fails_where_no_run_can_work(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    without: dict[str, Any] = {missing: None}
    inventory = dataclasses.replace(CPU_ONLY, **without)
    monkeypatch.setattr(doctor, "take_inventory", lambda: inventory)
    assert run().exit_code == 3
    result = run("--json")
    assert result.exit_code == 3
    assert json.loads(result.stdout)["can_run"] is False


def test_a_sandbox_that_cannot_start_is_a_line_not_a_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    install_probe(monkeypatch, InfraError("no process could be started"))
    result = run()
    assert result.exit_code == 0
    assert "off: no process could be started" in result.stdout


def test_a_cache_that_is_a_file_is_degraded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("KBENCH_CACHE_DIR", str(tmp_path / "file" / "cache"))
    checks = {check["name"]: check for check in json.loads(run("--json").stdout)["checks"]}
    assert checks["cache folder"]["state"] == "degraded"
