"""Samples of one worker after the other, over one desk, and what they delivered."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from kbench.judge.clock import Sampled, clock_for
from kbench.judge.desk import Desk, Refusal
from kbench.judge.reference import Drawn
from kbench.remote.link import WorkerLink


class Stream:
    """Everything a worker is ever asked to compute goes through here."""

    def __init__(self, desk: Desk, device: torch.device) -> None:
        self.desk = desk
        self._clock = clock_for(desk, device)

    def sample(
        self, link: WorkerLink, sets: Sequence[Drawn], *, timeout_s: float | None = None, wall: bool = False
    ) -> Sampled:
        """One forward on each of `sets` (at most as many as the desk has); `wall`: by the host's clock.

        Raises WorkerFailed.
        """
        return self._clock.sample(link, sets, link.deadlines.call_s if timeout_s is None else timeout_s, wall=wall)

    def outputs(self, sampled: Sampled) -> Refusal | list[list[torch.Tensor]]:
        """Private copies of what the last sample delivered, call by call, or why they are not acceptable."""
        answer = sampled.answer
        return self.desk.take_outputs(answer.structure, answer.forms, sampled.glimpse, calls=sampled.calls)
