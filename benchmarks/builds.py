"""How long builds take: torch's own `load_inline` against kbench's, for every solution, in one run on one machine.

    python -m benchmarks.builds [--select TEXT] [--json FILE]

For each solution: (1) torch's functions in a fresh process; (2) what a build worker does, in a fresh process too, with
precompiled headers ready; (3) `kbench build` from a cold cache, alone, headers to be made included; (4) the same with
headers ready, as it reports; (5) the same source again. Wall seconds, (3) and (5) of the whole command, and processor
seconds of (1) and (2) with all compilers. Takes minutes and most of a machine. Where torch has no CUDA, CUDA sources
are compiled but cannot be linked against it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--select", default="", help="only solutions whose path contains this")
    parser.add_argument("--json", type=Path, help="keep the figures in this file")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        _child(*given.child)
        return
    from kbench.build.toolchain import find_cuda_home

    found = [path for path in sorted((ROOT / "solutions").glob("*/*.py")) if given.select in str(path)]
    rows = [row for path in found if (row := _measure(path, cuda_home=find_cuda_home())) is not None]
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2))


def _measure(path: Path, *, cuda_home: str | None) -> dict[str, Any] | None:
    device = "cuda" if "cuda_sources" in path.read_text() else "cpu"
    if device == "cuda" and cuda_home is None:
        return None
    name = f"{path.parent.name}/{path.stem}"
    with tempfile.TemporaryDirectory(prefix="kbench-builds-") as folder:
        cache = Path(folder) / "cache"
        cold, _ = _kbench(path, device, cache)
        shutil.rmtree(cache / "builds")
        _, warm = _kbench(path, device, cache)
        again, _ = _kbench(path, device, cache, cached=True)
        stock, ours = _alone(path, "stock", cache), _alone(path, "kbench", cache)
    row: dict[str, Any] = {
        "solution": name, "cold_s": cold, "warm_s": warm, "again_s": again, "stock_s": stock["wall_s"],
        "stock_cpu_s": stock["cpu_s"], "worker_s": ours["wall_s"], "worker_cpu_s": ours["cpu_s"],
    }  # fmt: skip
    print(
        f"{name}: stock {row['stock_s']:.1f} s ({row['stock_cpu_s']:.1f} CPU s); worker {row['worker_s']:.1f} s "
        f"({row['worker_cpu_s']:.1f} CPU s), ratios {row['worker_s'] / row['stock_s']:.3f} wall, "
        f"{row['worker_cpu_s'] / row['stock_cpu_s']:.3f} CPU; service {row['warm_s']:.1f} s "
        f"({row['warm_s'] / row['stock_s']:.3f}), cold {row['cold_s']:.1f} s; again {row['again_s']:.3f} s",
        flush=True,
    )
    return row


def _kbench(path: Path, device: str, cache: Path, *, cached: bool = False) -> tuple[float, float]:
    """Seconds of `kbench build` as a whole, and those that it reports, which leave waiting for headers out."""
    command = [
        sys.executable, "-m", "kbench", "build", str(ROOT / "problems" / f"{path.parent.name}.py"), str(path),
        "--device", device, "--cache-dir", str(cache), "--json",
    ]  # fmt: skip
    start = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    whole = time.monotonic() - start
    row = json.loads(done.stdout)
    if row["status"] not in ("built", "compiled"):
        raise SystemExit(f"{path}: {row['message']}\n{done.stderr}")
    if row["cached"] != cached:
        raise SystemExit(f"{path} was {'built again' if cached else 'in the cache'}")
    return whole, float(row["seconds"])


def _alone(path: Path, how: str, cache: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.builds", "--child", how, str(path), str(cache)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{path}, {how}:\n{done.stderr}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _child(how: str, path: str, cache: str) -> None:
    """Build one file in this process, with torch's functions or as a build worker does; print what it took."""
    import torch
    from torch.utils import cpp_extension

    from kbench.build.headers import PrecompiledHeaders
    from kbench.build.toolchain import SHORT_HEADERS, detect
    from kbench.plan.cflags import read_cflags
    from kbench.remote.surroundings import server_environment
    from kbench.worker import extensions

    source = Path(path).read_text()
    toolchain = detect(cuda_arch=None)
    environment = server_environment(Path(sys.executable).parent, threads=1, pinned=False, extra={})
    os.environ |= {**toolchain.environment(), "PATH": environment["PATH"]}
    unlinked = torch.version.cuda is None and "cuda_sources" in source
    cpp_extension.CUDA_HOME = toolchain.cuda_home
    with tempfile.TemporaryDirectory(prefix="kbench-builds-") as folder:
        if how == "kbench":
            environment = server_environment(
                Path(sys.executable).parent, threads=os.cpu_count() or 1, pinned=False, extra=toolchain.environment()
            )
            with PrecompiledHeaders(Path(cache) / "headers", facts=toolchain.facts, environment=environment,
                                    note=lambda text: print(text, file=sys.stderr)) as headers:
                headers.ask(read_cflags(source), wait=True)
                ready = {flags: str(made) for flags, made in headers.ready().items()}
            extensions.ExtensionFolder(
                Path(folder), source=source, shown_path=path, compile_only=unlinked, headers=SHORT_HEADERS,
                precompiled=ready,
            ).install()  # fmt: skip
        else:
            os.environ["TORCH_EXTENSIONS_DIR"] = folder
            if unlinked:
                stubs = str(extensions._stubs(Path(folder)))
                os.environ |= {"CPATH": stubs, "LIBRARY_PATH": stubs}
        before, start = _cpu_s(), time.monotonic()
        try:
            exec(compile(source, path, "exec"), {"__name__": "candidate"})
        except ImportError:
            if not unlinked:
                raise
        print(json.dumps({"wall_s": time.monotonic() - start, "cpu_s": _cpu_s() - before}))


def _cpu_s() -> float:
    return sum(
        used.ru_utime + used.ru_stime
        for used in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


if __name__ == "__main__":
    main()
