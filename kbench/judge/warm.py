"""What torch asks of its first user, done before any pair is judged: a context, libraries, kernels."""

from __future__ import annotations

import contextlib

import torch

from kbench.errors import ProblemError
from kbench.judge.cases import CASE_NAMES, make_case
from kbench.judge.oracle import expect
from kbench.judge.reference import Reference
from kbench.model import Problem


def warm_up(problem: Problem, *, size: str, device: torch.device) -> None:
    """Do once what judging `problem` will do. Nothing is raised: what fails here fails again when it counts."""
    if device.type == "cuda":
        with contextlib.suppress(ProblemError, torch.OutOfMemoryError):
            ask_for_nothing(Reference(problem, size=size, device=device))
            torch.cuda.synchronize(device)
        torch.cuda.empty_cache()


def ask_for_nothing(reference: Reference) -> None:
    """One question of a public seed, thrown away: the libraries load what these very shapes need."""
    expect(reference, make_case(reference, CASE_NAMES[0], 0))
