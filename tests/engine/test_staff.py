"""What all pairs of a run have in common, as far as no process is needed to say so."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from plan_factory import SOLUTION, make_prepared

from kbench.engine.staff import group_size, settings_of
from kbench.model import Device


@pytest.mark.parametrize(
    ("device", "asked", "hurried"), [(Device.CUDA, True, True), (Device.CUDA, False, False), (Device.CPU, True, False)]
)
def test_workers_serve_longer_only_where_that_is_asked_for_and_never_on_the_cpu(
    tmp_path: Path, device: Device, asked: bool, hurried: bool
) -> None:
    prepared = make_prepared(tmp_path, {"a": SOLUTION}, device=device)
    toolchain: Any = SimpleNamespace(environment=dict)
    hiring: Any = None
    gauge: Any = None
    with settings_of(
        prepared, hiring, toolchain, environment_key="", log_path=lambda *_: tmp_path, stage=lambda *_: None,
        gauge=gauge, hurried=asked,
    ) as settings:  # fmt: skip
        assert settings.spares.hurried == hurried


@pytest.mark.parametrize(("replicates", "hurried", "group"), [(5, False, 2), (1, True, 2), (3, True, 3), (10, True, 4)])
def test_contexts_are_made_for_a_replicate_in_one_go_and_in_a_hurry_for_a_solution(
    replicates: int, hurried: bool, group: int
) -> None:
    assert group_size(replicates, hurried=hurried) == group
