"""`kbench cache`: how much is kept of builds, and away with it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import click

from kbench.config import load_options
from kbench.errors import EXIT_OK

_GIB = 2**30


@click.command("cache")
@click.option("--stats", is_flag=True, help="Say what is there (the default).")
@click.option("--clear", is_flag=True, help="Remove every build, also those that a run is using.")
@click.option(
    "--trim", "most_gb", type=click.FloatRange(min=0), metavar="GB",
    help="Remove the least recently used builds until GB are left; those of the last day stay.",
)  # fmt: skip
@click.option("--cache-dir", type=click.Path(path_type=Path), metavar="DIR", help="Where builds are kept.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def cache_command(stats: bool, clear: bool, most_gb: float | None, cache_dir: Path | None, as_json: bool) -> int:
    """Show, trim or clear the builds that are kept. Runs trim them by themselves (`cache_limit_gb`)."""
    from kbench.build.cache import BuildCache

    if sum((stats, clear, most_gb is not None)) > 1:
        raise click.UsageError("--stats, --clear and --trim exclude each other")
    options = load_options({"cache_dir": cache_dir}, os.environ, Path.cwd()).options
    cache, now = BuildCache(options.cache_dir), time.time()
    gone = cache.clear() if clear else 0 if most_gb is None else cache.trim(most_gb * _GIB, now)
    left = cache.stock(now)
    if as_json:
        facts = {
            "folder": str(options.cache_dir), "removed": gone, "builds": left.entries - left.headers,
            "headers": left.headers, "size_bytes": left.size_bytes, "unused_for_a_day": left.removable,
            "limit_gb": options.cache_limit_gb,
        }  # fmt: skip
        click.echo(json.dumps(facts, indent=2))
        return EXIT_OK
    if clear or most_gb is not None:
        click.echo(f"{gone} builds and sets of headers removed", err=True)
    click.echo(
        f"{options.cache_dir}: {left.entries - left.headers} builds and {left.headers} sets of precompiled headers, "
        f"{left.size_bytes / 2**20:.1f} MiB, "
        f"{left.removable} of them unused for a day or more (limit {options.cache_limit_gb:g} GiB)"
    )
    return EXIT_OK
