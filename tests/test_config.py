"""Options and where they came from."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from kbench import config
from kbench.config import RunOptions, load_options
from kbench.errors import UsageError

ENV = {"HOME": "/home/someone", "PATH": "/bin"}


def load(tmp_path: Path, *, yaml: str = "", env: dict[str, str] | None = None, **flags: Any) -> RunOptions:
    if yaml:
        (tmp_path / "kbench.yaml").write_text(yaml)
    return load_options(flags, ENV | (env or {}), tmp_path).options


def test_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "memory_gb", lambda: 24.0)
    monkeypatch.setattr(config, "usable_cores", lambda: 64)
    resolved = load_options({}, ENV, tmp_path)
    assert resolved.options == RunOptions(
        jobs=8, memory_limit_gb=12.0, cache_dir=Path("/home/someone/.cache/kbench")
    )
    assert (resolved.options.device, resolved.options.replicates, resolved.options.baselines) == (
        *("auto", 5),
        ("eager",),
    )
    assert set(resolved.origins) == {field.name for field in dataclasses.fields(RunOptions)}
    assert set(resolved.origins.values()) == {"default"}


def test_each_layer_overrides_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "kbench.yaml").write_text("replicates: 6\nblocks: 6\nmin_samples: 6\n")
    env = ENV | {"KBENCH_REPLICATES": "7", "KBENCH_BLOCKS": "7"}
    resolved = load_options({"replicates": 8, "seed": None}, env, tmp_path)
    options = resolved.options
    assert (options.min_samples, options.blocks, options.replicates) == (6, 7, 8)
    assert resolved.origins["min_samples"] == "kbench.yaml"
    assert resolved.origins["blocks"] == "environment KBENCH_BLOCKS"
    assert resolved.origins["replicates"] == "flag"
    assert resolved.origins["seed"] == "default"


@pytest.mark.parametrize(("cores", "memory", "jobs"), [(2, 64.0, 2), (64, 9.5, 3), (64, 1.0, 1), (1, 0.0, 1)])
def test_jobs_follow_from_cores_and_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cores: int, memory: float, jobs: int
) -> None:
    monkeypatch.setattr(config, "memory_gb", lambda: memory)
    monkeypatch.setattr(config, "usable_cores", lambda: cores)
    assert load(tmp_path).jobs == jobs


@pytest.mark.parametrize(
    ("env", "folder"),
    [
        ({}, "/home/someone/.cache/kbench"),
        ({"XDG_CACHE_HOME": "/var/cache"}, "/var/cache/kbench"),
        ({"XDG_CACHE_HOME": "relative"}, "/home/someone/.cache/kbench"),
        ({"XDG_CACHE_HOME": "/var/cache", "KBENCH_CACHE_DIR": "/mine"}, "/mine"),
    ],
)
def test_cache_folder(tmp_path: Path, env: dict[str, str], folder: str) -> None:
    assert load(tmp_path, env=env).cache_dir == Path(folder)


def test_yaml_values(tmp_path: Path) -> None:
    options = load(
        tmp_path,
        yaml="device: cuda:1\nbaselines: [compile]\nsize:\nresume: yes\ntimeout_s: 5\nout: runs/a\nseed: 0\n",
    )
    assert (options.device, options.size, options.resume, options.timeout_s) == ("cuda:1", None, True, 5.0)
    assert options.baselines == ("eager", "compile")
    assert (options.out, options.seed) == (Path("runs/a"), 0)


def test_environment_values(tmp_path: Path) -> None:
    env = {
        "KBENCH_RESUME": "1",
        "KBENCH_REQUIRE_ISOLATION": "False",
        "KBENCH_MIN_BLOCK_MS": "2.5",
        "KBENCH_BASELINES": "compile, eager",
        "KBENCH_SIZE": "",
        "OTHER": "x",
    }
    options = load(tmp_path, env=env)
    assert (options.resume, options.require_isolation, options.min_block_ms) == (True, False, 2.5)
    assert (options.baselines, options.size) == (("eager", "compile"), None)


def test_an_empty_config_changes_nothing(tmp_path: Path) -> None:
    assert load(tmp_path, yaml="# nothing yet\n") == load(tmp_path)


@pytest.mark.parametrize(
    ("yaml", "line", "says"),
    [
        (
            "device: cpu\nreplicate: 5\n",
            2,
            ["unknown key 'replicate'", "did you mean 'replicates'?", "blocks"],
        ),
        ("replicates: many\n", 1, ["cannot be 'many'", "whole number of at least 1"]),
        ("replicates: 2.5\n", 1, ["whole number"]),
        ("replicates: true\n", 1, ["whole number"]),
        ("replicates: 0\n", 1, ["at least 1"]),
        ("seed: -1\n", 1, ["at least 0"]),
        ("device: gpu\n", 1, ["auto, cpu, cuda or cuda:<index>"]),
        ("resume: maybe\n", 1, ["true or false"]),
        ("resume: 1\n", 1, ["true or false"]),
        ("timeout_s: 0\n", 1, ["a number above 0"]),
        ("timeout_s: .inf\n", 1, ["a number above 0"]),
        ("timeout_s: [1]\n", 1, ["a number above 0"]),
        ("size: 3\n", 1, ["expected text"]),
        ("out: {a: b}\n", 1, ["expected a path"]),
        ("baselines: [eager, jax]\n", 1, ["a list of eager, compile"]),
        ("baselines: []\n", 1, ["a list of eager, compile"]),
        ("baselines: [[eager]]\n", 1, ["a list of eager, compile"]),
        ("a: [\n", 2, ["not valid YAML"]),
    ],
)
def test_a_bad_config_names_line_and_remedy(tmp_path: Path, yaml: str, line: int, says: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, yaml=yaml)
    assert caught.value.where == f"{tmp_path / 'kbench.yaml'}:{line}"
    for part in says:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"KBENCH_REPLICATE": "5"}, ["unknown variable", "did you mean 'KBENCH_REPLICATES'?"]),
        ({"KBENCH_JOBS": "all"}, ["KBENCH_JOBS cannot be 'all'", "whole number"]),
        ({"KBENCH_RESUME": "maybe"}, ["KBENCH_RESUME cannot be 'maybe'"]),
        ({"KBENCH_TIMEOUT_S": "nan"}, ["number above 0"]),
        ({"KBENCH_SEED": "9" * 20}, ["below"]),
    ],
)
def test_a_bad_variable_is_named(tmp_path: Path, env: dict[str, str], says: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        load(tmp_path, env=env)
    assert caught.value.where == "environment"
    for part in says:
        assert part in str(caught.value)


def test_a_bad_flag_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--build-timeout-s cannot be -1"):
        load(tmp_path, build_timeout_s=-1)
    with pytest.raises(UsageError, match="unknown flag 'replicats'"):
        load(tmp_path, replicats=1)


@pytest.mark.parametrize(("flag", "replicates"), [("quick", 3), ("rigorous", 10)])
def test_efforts_stand_for_replicates(tmp_path: Path, flag: str, replicates: int) -> None:
    resolved = load_options({flag: True}, ENV | {"KBENCH_REPLICATES": "7"}, tmp_path)
    assert resolved.options.replicates == replicates
    assert resolved.origins["replicates"] == "flag"
    assert resolved.options.half_blocks is (flag == "quick")
    assert load_options({flag: False}, ENV, tmp_path).options.replicates == 5


@pytest.mark.parametrize(
    ("flags", "env", "expected"),
    [
        ({}, {}, (5, 10)),
        ({"quick": True}, {}, (3, 3)),
        ({"rigorous": True}, {}, (10, 10)),
        ({"quick": True, "replicates": 1}, {}, (1, 1)),
        ({}, {"KBENCH_REPLICATES": "7"}, (7, 7)),
        ({}, {"KBENCH_MOST_REPLICATES": "5"}, (5, 5)),
        ({}, {"KBENCH_REPLICATES": "5", "KBENCH_MOST_REPLICATES": "8"}, (5, 8)),
    ],
)
def test_a_number_of_replicates_that_was_given_is_fixed(
    tmp_path: Path, flags: dict[str, Any], env: dict[str, str], expected: tuple[int, int]
) -> None:
    options = load_options(flags, {**ENV, **env}, tmp_path).options
    assert (options.replicates, options.most_replicates) == expected


@pytest.mark.parametrize(
    "flags", [{"quick": True, "rigorous": True}, {"rigorous": True, "replicates": 4}], ids=str
)
def test_efforts_exclude_each_other(tmp_path: Path, flags: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        load(tmp_path, **flags)


def test_every_field_can_be_set_from_each_layer(tmp_path: Path) -> None:
    """The table drives all layers: reading a default back must give the default."""
    base = load(tmp_path, most_replicates=10)
    for field in dataclasses.fields(RunOptions):
        value = getattr(base, field.name)
        if value is None or field.name == "replicates":  # which fixes another field as well
            continue
        text = ",".join(value) if isinstance(value, tuple) else str(value)
        assert load(tmp_path, env={f"KBENCH_{field.name.upper()}": text}) == base
        assert load(tmp_path, **{field.name: value}) == base
