"""ncu's raw page, and what stands there when it could not measure."""

from __future__ import annotations

from pathlib import Path

import pytest

from kbench.build.kernels import Resources
from kbench.profile.ncu import Unreadable, command, parse

NAMES = (
    '"ID","Process ID","Kernel Name","Block Size","Grid Size","dram__bytes.sum",'
    '"gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed","gpu__time_duration.sum",'
    '"sm__throughput.avg.pct_of_peak_sustained_elapsed","sm__warps_active.avg.pct_of_peak_sustained_active"'
)
UNITS = '"","","","","","Mbyte","%","ns","%","%"'
LAUNCH = '"0","77","fused","(256, 1, 1)","(64, 1, 1)","1,073.74","91.5","1,980,000","34.2","88.1"'
TABLE = "\n".join(["==PROF== Connected to process 77", NAMES, UNITS, LAUNCH, "==PROF== Disconnected"])
DENIED = "==PROF== Connected\n==ERROR== ERR_NVGPUCTRPERM - no permission to access GPU Performance Counters\n"


def test_thousands_and_units_are_understood() -> None:
    (section,) = parse(TABLE)
    assert section.name == "fused"
    assert section.time_us == pytest.approx(1980)
    assert section.dram_bytes == pytest.approx(1.07374e9)
    assert (section.sm_percent, section.memory_percent, section.occupancy_percent) == (34.2, 91.5, 88.1)


@pytest.mark.parametrize(("wrong", "right"), [("n/a", "1,980,000"), ("-1", "1,980,000"), ("inf", "1,980,000")])
def test_a_figure_that_is_none_is_left_out(wrong: str, right: str) -> None:
    (section,) = parse(TABLE.replace(right, wrong))
    assert section.time_us is None
    assert section.sm_percent == 34.2


def test_a_unit_that_nobody_knows_is_not_guessed() -> None:
    (section,) = parse(TABLE.replace('"ns"', '"cycle"'))
    assert section.time_us is None


NOTED = "==PROF== Connected to process 7\n==WARNING== Note: Running with unmodified GPU clocks.\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "no launch"), (DENIED, "ERR_NVGPUCTRPERM"), (NOTED, "no launch"), ("\n".join([NAMES, UNITS]), "no launch"),
     (TABLE.replace('"Kernel Name"', '"Name"'), "no launch"), (TABLE.replace(',"88.1"', ""), "differ in length"),
     (TABLE.replace('"88.1"', '"88.1'), "no CSV")],
    ids=["empty", "denied", "noted", "no rows", "no names", "short row", "open quote"],
)  # fmt: skip
def test_what_is_no_table_says_why(text: str, said: str) -> None:
    with pytest.raises(Unreadable, match=said):
        parse(text)


def test_only_own_kernels_are_measured(tmp_path: Path) -> None:
    names = ("void (anonymous namespace)::fused<float>(float*)", "ns::norm(int)")
    kernels = [
        Resources(name=name, mangled="", library="a.so", registers=1, stack_bytes=0, shared_bytes=0) for name in names
    ]
    line = command(Path("/x/ncu"), ["python", "-m", "p"], kernels, csv_file=tmp_path / "t.csv")
    assert line[0] == "/x/ncu"
    assert line[-3:] == ["python", "-m", "p"]
    assert line[line.index("--kernel-name") + 1] == "regex:^(fused|norm)$"
    assert line[line.index("--clock-control") + 1] == "none"
    assert line[line.index("--profile-from-start") + 1] == "off", "a warm-up's launches are none of one forward"
