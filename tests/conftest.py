"""What holds for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

os.environ.pop("COLUMNS", None)  # whoever runs the tests may have set it, and it would wrap what kbench prints


def pytest_configure() -> None:
    """Processes that test side by side share the cores out: the threads of one do not spin where others work."""
    if name := os.environ.get("PYTEST_XDIST_WORKER"):
        number, count = int(name.removeprefix("gw")), int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, set(cores[number::count]) or cores)


@pytest.fixture(autouse=True)
def _cores_stay_what_they_are() -> Iterator[None]:
    """A worker keeps to one core for good: run within the tests' process, it would keep all later tests there."""
    before = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, before)
