"""From events to rows: what is alike counts together, what is the solution's own is told from libraries'."""

from __future__ import annotations

import pytest

from kbench.build.kernels import Resources
from kbench.profile.model import LIBRARY, OWN, Event
from kbench.profile.summary import built_kernel, busy_us, plain_name, summarise
from kbench.profile.trace import WHOLE

FUSED = "void (anonymous namespace)::fused<float, 256>(float const*, float*, int)"
BUILT = Resources(
    name=FUSED, mangled="_ZN5fusedE", library="a.so", registers=40, stack_bytes=400, shared_bytes=1024
)
SOURCE = """
@triton.jit
def softmax_kernel(x, y): ...
CODE = "__global__ void __launch_bounds__(256) rtc(float* x) {}"
"""


def kernel(name: str, start_us: float, time_us: float, grid: int = 1) -> Event:
    return Event(kind="kernel", name=name, start_us=start_us, time_us=time_us, grid=(grid, 1, 1), block=(32, 1, 1))


def test_equal_launches_are_one_row_and_the_longest_comes_first() -> None:
    events = [kernel("a", 0, 1), kernel("b", 2, 6), kernel("a", 10, 3), kernel("b", 14, 8, grid=2)]
    side = summarise("solution", events, calls=2, resources=(), source="")
    assert [(a.name, a.grid[0], a.calls, a.mean_us) for a in side.activities] == [
        ("b", 2, 0.5, 8), ("b", 1, 0.5, 6), ("a", 1, 1, 2),
    ]  # fmt: skip
    assert [a.share for a in side.activities] == pytest.approx([8 / 18, 6 / 18, 4 / 18])
    assert side.time_us == 9


def test_what_overlaps_counts_once() -> None:
    assert busy_us([kernel("a", 0, 10), kernel("b", 2, 3), kernel("c", 8, 4), kernel("d", 20, 1)]) == 13
    assert busy_us([]) == 0


@pytest.mark.parametrize(
    ("name", "origin"),
    [(FUSED, OWN), (FUSED.replace(", ", ","), OWN), ("_ZN5fusedE", OWN), (FUSED.replace("256", "128"), OWN),
     ("softmax_kernel", OWN), ("rtc(float*)", OWN), ("triton_poi_fused_add_0", LIBRARY),
     ("void at::native::fused<float>(float*)", LIBRARY), ("fused", LIBRARY),
     ("sm90_xmma_gemm_f32f32", LIBRARY), ("", LIBRARY)],
)  # fmt: skip
def test_whose_a_kernel_is(name: str, origin: str) -> None:
    side = summarise("solution", [kernel(name, 0, 1)], calls=1, resources=(BUILT,), source=SOURCE)
    assert side.activities[0].origin == origin
    assert side.own_share == (origin == OWN)


def test_a_copy_is_never_own() -> None:
    copy = Event(kind="memcpy", name="softmax_kernel", start_us=0, time_us=1)
    assert summarise("solution", [copy], calls=1, resources=(BUILT,), source=SOURCE).own_share == 0


def test_the_forward_itself_is_the_solutions_but_not_the_references() -> None:
    event = Event(kind="operator", name=WHOLE, start_us=0, time_us=20, calls=10)
    for source, origin in ((SOURCE, OWN), ("", LIBRARY)):
        (activity,) = summarise("solution", [event], calls=10, resources=(), source=source).activities
        assert (activity.origin, activity.calls, activity.mean_us) == (origin, 1, 2)


def test_a_row_carries_its_kernels_account() -> None:
    (row,) = summarise("solution", [kernel(FUSED, 0, 1)], calls=1, resources=(BUILT,), source="").activities
    assert row.resources == BUILT
    assert built_kernel("fused_more", (BUILT,)) is None


def test_no_events_are_a_side_without_time() -> None:
    side = summarise("solution", [], calls=10, resources=(), source="")
    assert (side.time_us, side.activities) == (0, ())


def test_plain_names() -> None:
    assert plain_name(FUSED) == "unnamed::fused"
    assert plain_name("spilly(float*)") == "spilly"
