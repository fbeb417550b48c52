"""What a profile looks like on a screen, and that a candidate's text gives no orders there."""

from __future__ import annotations

import json

from rich.console import Console

from kbench.build.kernels import Resources
from kbench.model import Status, Verdict
from kbench.profile.model import Activity, Profile, Section, Side, Work
from kbench.profile.view import extent, profile_view, shortened

FUSED = "void (anonymous namespace)::fused<float, 256>(float const*, float*, int)"
RESOURCES = Resources(
    name=FUSED, mangled="_Z5fused", library="a.so", registers=40, stack_bytes=400, shared_bytes=1024
)
ROW = Activity(
    kind="kernel", name=FUSED, origin="own", calls=2, mean_us=125.5, share=0.8, grid=(64, 128, 1), block=(256, 1, 1),
    registers=40, launch_shared_bytes=1024, resources=RESOURCES,
)  # fmt: skip
FILL = Activity(kind="memset", name="Memset (Device)", origin="library", calls=1, mean_us=2.5, share=0.2)
PROFILE = Profile(
    problem="p",
    solution="s",
    device="cuda",
    size="full",
    resources=(RESOURCES,),
    sides=(
        Side(name="solution", time_us=500, own_share=0.8, activities=(ROW, FILL)),
        Side(name="reference", time_us=1000, own_share=0, activities=(FILL,)),
    ),
    work=Work(least_bytes=1e9, least_flops=2e9, bytes_per_s=4e12, flops_per_s=8e14),
    sections=(
        Section(name="fused", time_us=120, sm_percent=34.2, memory_percent=91.5, occupancy_percent=None,
                dram_bytes=1e9),
    ),
)  # fmt: skip


def screen(profile: Profile, *, top: int = 20) -> str:
    console = Console(width=200, color_system=None)
    with console.capture() as capture:
        console.print(profile_view(profile, top=top))
    return capture.get()


def test_the_screen_of_a_cuda_profile() -> None:
    lines = screen(PROFILE).splitlines()
    assert lines[2] == "solution: 500 µs of GPU time per forward, 80% of it own"
    assert lines[3].strip() == "bandwidth 2000 GB/s, 50% of the 4000 GB/s of a copy (least bytes: 1000 MB)"
    assert lines[4].strip().startswith("arithmetic 4000 GFLOP/s, 0% of the 800000 GFLOP/s of a bf16 matrix product")
    fused = next(line for line in lines if line.startswith("fused<float, 256>")).split("   ")
    assert [cell.strip() for cell in fused if cell.strip()] == [
        "fused<float, 256>", "own", "2", "126", "80.0%", "64×128", "256", "40", "400", "1024",
    ]  # fmt: skip
    assert "reference: 1000 µs of GPU time per forward" in lines
    assert lines[-1].startswith("These figures come from the candidate's own process")


def test_rows_beyond_the_top_are_counted() -> None:
    assert "… 1 more, 20% of the time (--top)" in screen(PROFILE, top=1)
    assert "more" not in screen(PROFILE)


def test_escapes_of_a_candidate_do_not_reach_the_screen() -> None:
    nasty = "\x1b[2Jfused\x1b]0;title\x07\n[red]x[/red]"
    row = Activity(kind="kernel", name=nasty, origin="own", calls=1, mean_us=1, share=1)
    verdict = Verdict(status=Status.CRASH, reason=nasty, message=nasty)
    side = Side(name="solution", time_us=1, own_share=1, activities=(row,))
    text = screen(Profile(problem=nasty, solution="s", device="cuda", size="x", verdict=verdict, sides=(side,),
                          notes=(nasty,)))  # fmt: skip
    assert "\x1b" not in text
    assert "\x07" not in text
    assert text.count("[red]x[/red]") >= 4


def test_json_has_whole_names_and_the_shares() -> None:
    data = json.loads(json.dumps(PROFILE.to_json(), allow_nan=False))
    solution, reference = data["sides"]
    assert solution["activities"][0]["name"] == FUSED
    assert solution["activities"][0]["resources"]["registers"] == 40
    assert (solution["bandwidth_share"], reference["bandwidth_share"]) == (0.5, 0.25)
    assert solution["flops_share"] == 2e9 / 500e-6 / 8e14
    assert data["sections"][0]["memory_percent"] == 91.5


def test_a_side_that_did_nothing_has_no_share() -> None:
    idle = Profile(
        problem="p", solution="s", device="cuda", size="full", work=PROFILE.work,
        sides=(Side(name="solution", time_us=0, own_share=0, activities=()),),
    )  # fmt: skip
    assert idle.to_json()["sides"][0]["bandwidth_share"] is None
    assert "bandwidth" not in screen(idle)


def test_names_are_shortened_to_what_tells_them_apart() -> None:
    assert shortened(FUSED) == "fused<float, 256>"
    assert shortened("softmax_kernel") == "softmax_kernel"
    long = "void at::native::elementwise_kernel<128, 4, at::native::gpu<at::Tensor<float, 3>, long>>(int, float)"
    assert shortened(long) == "at::native::elementwise_kernel<128, 4, at::native::gpu…>"
    assert len(shortened("x" * 500)) == 60


def test_an_extent_has_no_ones_behind_it() -> None:
    assert [extent(value) for value in ((64, 128, 1), (1, 1, 1), (1, 1, 4), ())] == ["64×128", "1", "1×1×4", "–"]
