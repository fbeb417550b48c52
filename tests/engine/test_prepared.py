"""What follows from a plan's options."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from plan_factory import SOLUTION, make_prepared

from kbench.model import Device


@pytest.mark.parametrize(
    ("device", "options", "blocks"),
    [
        (Device.CUDA, {}, 10),
        (Device.CPU, {}, 20),
        (Device.CUDA, {"half_blocks": True}, 5),
        (Device.CPU, {"half_blocks": True}, 10),
        (Device.CPU, {"half_blocks": True, "blocks": 7}, 7),
    ],
    ids=str,
)
def test_blocks_of_a_replicate(tmp_path: Path, device: Device, options: dict[str, Any], blocks: int) -> None:
    made = make_prepared(tmp_path, {"a": SOLUTION}, device=device)
    assert dataclasses.replace(made, options=dataclasses.replace(made.options, **options)).blocks == blocks
