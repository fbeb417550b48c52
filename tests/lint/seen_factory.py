"""What was measured of a problem that has nothing wrong with it, to be changed in one place."""

from __future__ import annotations

import dataclasses
from typing import Any

from kbench.lint.values import CaseSeen, Form, InputSeen, OutputSeen, Seen, Timing

FORM = Form(
    inputs=(InputSeen(shape=(4,), redrawn=True), InputSeen(shape=(4,), redrawn=True)),
    reproducible=True,
    plain_tensors=(),
    unsaved_buffers=(),
    special=(),
)
OUTPUT = OutputSeen(floating=True, finite_share=1.0, top_values=(1.0, 0.0), top_share=0.01)


def case(name: str, *, top_share: float = 0.01, **fields: Any) -> CaseSeen:
    return CaseSeen(name=name, **{"outputs": (dataclasses.replace(OUTPUT, top_share=top_share),), **fields})


SEEN = Seen(
    form=FORM,
    cases=(case("as_given", precision_ratios=(900.0,)), case("second"), case("third")),
    outcomes=(),
    mutates_inputs=False,
    aliases_inputs=False,
    timing=Timing(eager_ms=5.0, enqueue_ms=None, floor_ms=0.3),
    on_cuda=False,
)


def seen(**fields: Any) -> Seen:
    return dataclasses.replace(SEEN, **fields)


def form(**fields: Any) -> Form:
    return dataclasses.replace(FORM, **fields)
