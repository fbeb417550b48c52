"""`kbench profile`: what one solution's time goes into, beside the reference's."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import click

from kbench.cli import screen
from kbench.cli.progress import listening
from kbench.config import load_options
from kbench.errors import EXIT_FAILED, EXIT_OK, EXIT_UNDECIDED
from kbench.model import Verdict


@click.command("profile")
@click.argument("problems", metavar="PROBLEM", type=click.Path(path_type=Path))
@click.argument("solutions", metavar="SOLUTION", type=click.Path(path_type=Path))
@click.option("--device", metavar="auto|cpu|cuda[:i]", help="Where to run (default: the first GPU, else the CPU).")
@click.option("--size", metavar="NAME", help="A size the problem declares (default: small on the CPU, full on CUDA).")
@click.option("-k", "select", metavar="EXPR", help="The pair whose id matches, where folders are given.")
@click.option("--ncu", is_flag=True, help="Measure the solution's own kernels with ncu as well (CUDA).")
@click.option("--arch", metavar="CC", help="Compute capability to compile for where no GPU is (default: 9.0).")
@click.option("--top", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="Rows of a table.")
@click.option("--timeout", "timeout_s", type=float, metavar="S", help="Seconds for each call and import.")
@click.option("--build-timeout", "build_timeout_s", type=float, metavar="S", help="Seconds for the build.")
@click.option("--cache-dir", type=click.Path(path_type=Path), metavar="DIR", help="Where builds are kept.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with whole names and every row.")
def profile_command(ncu: bool, arch: str | None, top: int, as_json: bool, **flags: Any) -> int:
    """Show the kernels (on the CPU the operators) of a solution and of its reference, and what they cost.

    For tuning: the figures come from the profiled process itself, so nothing is judged by them. Where no GPU is, a
    CUDA solution is only built, and its kernels' registers, stack and shared memory are shown.
    """
    from kbench.profile.take import Wanted, prepare_pair, take_profile
    from kbench.profile.view import profile_view

    options = load_options(flags, os.environ, Path.cwd()).options
    with tempfile.TemporaryDirectory(prefix="kbench-logs-") as logs, prepare_pair(options) as (prepared, job):
        screen.warn(prepared.discovery.warnings)
        with listening(total=1, done=0) as listener:
            wanted = Wanted(ncu=ncu, arch=arch)
            profile = take_profile(prepared, job, wanted=wanted, logs=Path(logs), listener=listener)
    if as_json:
        click.echo(json.dumps(profile.to_json(), indent=2, allow_nan=False))
    else:
        screen.show(profile_view(profile, top=top))
    return exit_code(profile.verdict)


def exit_code(verdict: Verdict | None) -> int:
    """0 with a profile, 1 where the solution failed, 3 where it cannot be profiled here."""
    if verdict is None:
        return EXIT_OK
    return EXIT_FAILED if verdict.status.is_failure else EXIT_UNDECIDED
