"""`kbench compare`: two runs side by side, and a gate for CI."""

from __future__ import annotations

import math
import os
from pathlib import Path

import click

from kbench.cli import screen
from kbench.compare.comparison import DEFAULT_THRESHOLD, Comparison, compare_runs
from kbench.compare.confirmed import suspects, with_fresh_rows
from kbench.compare.explain import Explanation, explain
from kbench.compare.gate import Gate, gate
from kbench.config import load_options
from kbench.errors import UsageError
from kbench.report.jsonout import comparison_json, explanation_json
from kbench.store.runs import load_run, resolve_run

RESULTS = Path("results")
_PASSIVE = "OMP_WAIT_POLICY"
"""As for `kbench run`: the judge's own threads must sleep while a worker on the same cores is timed."""


@click.command("compare")
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@click.option(
    "--fail-on-regression", metavar="PERCENT", is_flag=False, flag_value="5%",
    help="Exit with 1 when a pair that was correct fails now, is gone, or is slower by at least PERCENT "
    "(5% or 0.05) beyond the noise; with 3 when the runs allow no answer.",
)  # fmt: skip
@click.option("--allow-missing", is_flag=True, help="Let pairs that are gone from NEW pass the gate.")
@click.option(
    "--strict", is_flag=True,
    help="With --fail-on-regression: end with 3, naming them, also for pairs that may be slower (the interval of an "
    "inconclusive one reaches past the threshold) and for doubtful times (clock_mismatch, or a flag that OLD lacks); "
    "and with 1 for a pair that only NEW has and that fails.",
)
@click.option(
    "--confirm", is_flag=True,
    help="Measure the pairs that regressed again, here and now: both runs' own sources in turn, replicate by "
    "replicate, in fresh processes. The fresh figures alone decide about them.",
)
@click.option(
    "--explain", "name", metavar="ROW",
    help="Instead of the table: the rule that decided ROW, every figure it was applied to, and how many replicates "
    "would decide it. ROW is <problem>/<solution>, or any part of it that fits one pair only.",
)
@click.option(
    "--format", "layout", type=click.Choice(["table", "md", "json"]), default="table", show_default=True,
    help="A table, markdown for a CI job's summary, or JSON.",
)  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Short for --format json.")
def compare_command(
    old: Path, new: Path, fail_on_regression: str | None, allow_missing: bool, strict: bool, name: str | None,
    layout: str, as_json: bool, confirm: bool,
) -> None:  # fmt: skip
    """Show what changed from the run OLD to the run NEW.

    Each is a run directory, the name of one below results/, or a records.jsonl. Only the pairs both have are
    compared; a change counts when it is at least the threshold and significant among all of them. `o old, n new`
    draws each run's replicates; `ref, sol ms` is the change of the reference's and of the solution's own time.
    """
    if strict and fail_on_regression is None:
        raise UsageError(
            "--strict needs a gate", where="--strict", why="without --fail-on-regression nothing can fail",
            hint="add --fail-on-regression 5%",
        )  # fmt: skip
    threshold = DEFAULT_THRESHOLD if fail_on_regression is None else parse_threshold(fail_on_regression)
    before, after = (load_run(resolve_run(path, RESULTS)) for path in (old, new))
    comparison = compare_runs(before, after, threshold=threshold)
    if confirm:
        comparison = _confirmed(comparison, strict=strict)
    answer = None if fail_on_regression is None else gate(comparison, allow_missing=allow_missing, strict=strict)
    screen.warn(comparison.warnings)
    if name is None:
        _show(comparison, answer, "json" if as_json else layout)
    else:
        _show_explanation(explain(comparison, name), answer, "json" if as_json else layout)
    if answer is not None:
        click.echo(f"gate: {answer.outcome}", err=True)
        click.get_current_context().exit(answer.exit_code)


def _confirmed(comparison: Comparison, *, strict: bool) -> Comparison:
    """The comparison with what is suspect in it measured again."""
    keys = suspects(comparison, strict=strict)
    if not keys:
        click.echo("nothing to confirm: no pair regressed", err=True)
        return comparison
    os.environ.setdefault(_PASSIVE, "passive")
    from kbench.cli.progress import listening
    from kbench.engine.confirm import remeasure

    stored = {name: value for name, value in comparison.new.options.items() if name != "started"}
    options = load_options(stored, os.environ, Path.cwd()).options
    with listening(total=len(keys), done=0) as listener:
        listener.note(f"measuring {len(keys)} pairs of both runs again, in turn")
        fresh = remeasure(comparison.old, comparison.new, keys, options=options, listener=listener)
    return with_fresh_rows(comparison, compare_runs(*fresh, threshold=comparison.threshold))


def _show(comparison: Comparison, answer: Gate | None, layout: str) -> None:
    if layout == "json":
        click.echo(comparison_json(comparison, answer))
    elif layout == "md":
        from kbench.report.markdown import comparison_markdown

        click.echo(comparison_markdown(comparison, answer), nl=False)
    else:
        from kbench.report.terminal import comparison_view

        screen.show(comparison_view(comparison, answer))


def _show_explanation(explained: Explanation, answer: Gate | None, layout: str) -> None:
    if layout == "json":
        click.echo(explanation_json(explained, answer))
    elif layout == "md":
        from kbench.report.markdown import explanation_markdown

        click.echo(explanation_markdown(explained, answer), nl=False)
    else:
        from kbench.report.terminal import explanation_view

        screen.show(explanation_view(explained, answer))


def parse_threshold(text: str) -> float:
    """`5%` or `0.05` as a fraction. Raises UsageError for what is neither, or not from 0 up to 100%."""
    number = text.strip()
    try:
        value = float(number.removesuffix("%")) / (100 if number.endswith("%") else 1)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1:
        bare = not number.endswith("%") and 1 <= value < 100
        hint = f"{number}% perhaps?" if bare else "for example 5% or 0.05"
        raise UsageError("not a threshold", where="--fail-on-regression", why=repr(text), hint=hint)
    return value
