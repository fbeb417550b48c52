"""No honest implementation of the zoo is refused in any case, and every cheat is caught in one at least."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import torch

from judge.judge_factory import Answer, reference_of, verdict_of
from judge.zoo import CARELESS, CHEATS, HONEST, PROBLEMS, UNDECIDABLE
from kbench.judge.cases import SeedSource
from kbench.judge.judging import Question, ask_first, further_questions

SEEDS = (0, 1)
LEFT_OUT = {
    "conv_bn": {"case_not_finite:nonfinite"},  # one NaN is in every channel's statistics
    "matmul_fp16": {"case_not_finite:scaled_up"},
}
WHOLE = ("conv", "add_relu", "minmax", "matmul", "matmul_tf32", "matmul_fp16", "matmul_bf16")
"""Where small integers give whole numbers."""
ONLY_BY = {
    ("softmax", "no largest subtracted"): {"scaled_up", "heavy_tailed"},
    ("softmax_01", "no largest subtracted"): {"scaled_up"},
    ("softmax_01", "negative cut"): {"recentred", "heavy_tailed"},
    ("minmax", "last of ties"): {"ties", "integers"},
    ("minmax", "NaN swallowed"): {"nonfinite"},
    ("minmax", "from zero"): {"heavy_tailed"},
    ("conv", "NaN swallowed"): {"nonfinite"},
    ("add_relu", "NaN swallowed"): {"nonfinite"},
    ("conv_gn_pool", "NaN swallowed in the pool"): {"nonfinite"},
    ("conv_gn_pool", "NaN swallowed in the clamp"): {"nonfinite"},
    ("linear_gelu", "NaN taken for 0"): {"nonfinite"},
    ("conv_sigmoid_gn", "NaN taken for 0"): {"nonfinite"},
}
CAUGHT_BY = [
    ("layernorm", "eps dropped", "scaled_down"),
    ("conv_bn", "eps dropped", "scaled_down"),
    ("conv_sigmoid_gn", "eps dropped", "scaled_down"),
    ("conv_gn_pool", "eps dropped", "scaled_down"),
    ("softmax", "no largest subtracted", "scaled_up"),
    ("softmax_01", "no largest subtracted", "scaled_up"),
    ("matmul", "a term dropped", "integers"),
    ("matmul", "a term twice", "integers"),
    ("matmul_fp16", "a term dropped", "integers"),
    ("matmul_bf16", "a term dropped", "integers"),
    ("conv", "a row repeated", "integers"),
    ("conv", "valid on [0,1)", "scaled_up"),
    ("conv", "valid on [0,1)", "recentred"),
    ("conv_bn", "norm without weight", "randomised_parameters"),
]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Answering]:
    """On one thread: the tensors are small, and threads that wait for each other on a busy machine take minutes."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield Answering(tmp_path_factory.mktemp("zoo"))
    torch.set_num_threads(threads)


class Answering:
    """Questions of every problem, made once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.of = cache(self._of)

    def _of(self, problem: str, seed: int) -> tuple[list[Question], set[str]]:
        source, precision = PROBLEMS[problem]
        reference, seeds = reference_of(self._folder, source, precision=precision), SeedSource(seed)
        flags: list[str] = []
        return [ask_first(reference, seeds), *further_questions(reference, seeds, flags)], set(flags)

    def refused(self, problem: str, seed: int, answer: Answer) -> set[str]:
        """The cases in which `answer` is refused."""
        questions, _ = self.of(problem, seed)
        return {question.case.name for question in questions if verdict_of(question, answer) is not None}


def named(zoo: dict[str, dict[str, Answer]]) -> list[tuple[str, str]]:
    return [(problem, name) for problem, answers in zoo.items() for name in answers]


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_cases_left_out_are_those_that_have_no_answer(asked: Answering, problem: str) -> None:
    expected = LEFT_OUT.get(problem, set()) | (set() if problem in WHOLE else {"case_not_possible:integers"})
    for seed in SEEDS:
        assert asked.of(problem, seed)[1] == expected


@pytest.mark.parametrize(("problem", "name"), named(HONEST))
def test_the_honest_are_accepted_in_every_case(asked: Answering, problem: str, name: str) -> None:
    for seed in SEEDS:
        assert asked.refused(problem, seed, HONEST[problem][name]) == set()


@pytest.mark.parametrize(("problem", "name"), named(CHEATS))
def test_every_cheat_is_caught_under_every_seed(asked: Answering, problem: str, name: str) -> None:
    for seed in SEEDS:
        refused = asked.refused(problem, seed, CHEATS[problem][name])
        assert refused
        assert refused <= ONLY_BY.get((problem, name), refused)


@pytest.mark.parametrize(("problem", "name", "case"), CAUGHT_BY)
def test_a_case_catches_what_it_is_for(asked: Answering, problem: str, name: str, case: str) -> None:
    for seed in SEEDS:
        assert case in asked.refused(problem, seed, CHEATS[problem][name])


@pytest.mark.parametrize(("problem", "name"), named(CARELESS))
def test_a_careless_variance_passes_on_the_problems_own_inputs(asked: Answering, problem: str, name: str) -> None:
    for seed in SEEDS:
        refused = asked.refused(problem, seed, CARELESS[problem][name])
        assert refused.isdisjoint({"as_given", "randomised_parameters"})


@pytest.mark.parametrize(("problem", "name"), named(UNDECIDABLE))
def test_what_errs_no_more_than_a_long_sum_is_known_to_pass(asked: Answering, problem: str, name: str) -> None:
    """A hole, stated: should a tighter rule close it, this test says so."""
    assert "as_given" not in asked.refused(problem, SEEDS[0], UNDECIDABLE[problem][name])
