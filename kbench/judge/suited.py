"""Which cases a reference has one right answer to, found by watching which operators its forward calls."""

from __future__ import annotations

import torch

_AMBIGUOUS = frozenset({"argsort", "kthvalue", "median", "mode", "nanmedian", "sort", "topk"})
"""Among equal values they may pick any, and no pick is wrong. (argmax and argmin are to pick the first.)"""
_ASSERTING = frozenset({"bernoulli", "binary_cross_entropy", "multinomial"})
"""Values outside [0, 1] trip an assertion on the device, after which nothing runs there any more."""
_OWN_INPUTS = frozenset({"as_given", "randomised_parameters"})


def objection(case_name: str, names: frozenset[str], device: torch.device) -> str | None:
    """Why the case cannot be asked of a reference that calls the operators `names`; None where it can."""
    if case_name == "ties" and (met := names & _AMBIGUOUS):
        return f"{', '.join(sorted(met))} may choose any of equal values"
    if device.type != "cpu" and case_name not in _OWN_INPUTS and (met := names & _ASSERTING):
        return f"{', '.join(sorted(met))} asserts on the device that its inputs lie in their domain"
    return None
