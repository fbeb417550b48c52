"""What the generated problems compute, once for torch and once as an expression that C++ and CUDA both understand."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Reduction:
    """One pass over a row. In its expressions `v` is an element, `r0`, `r1`… what earlier passes gave, `n` the
    row's length and `t` the total."""

    operator: str
    """`sum` or `max`."""
    of: str
    """What an element contributes."""
    finish: str = "t"
    """What becomes of the total."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One function of a matrix `x`, or of two (`x`, `y`)."""

    name: str
    torch: str
    """The reference's expression of `x` and `y`."""
    inputs: int = 1
    reductions: tuple[Reduction, ...] = ()
    """Over rows, one after the other. Without any, the function is element-wise."""
    element: str = ""
    """An output element, of `v` (and `w`, from `y`) and the passes' results; empty: the last pass is the output."""


_MAPS = (
    Recipe(name="relu_scale", torch="torch.relu(x) * 1.5", element="(v < 0.0f ? 0.0f : v) * 1.5f"),
    Recipe(name="leaky_shift", torch="F.leaky_relu(x, 0.1) + 0.5", element="(v < 0.0f ? v * 0.1f : v) + 0.5f"),
    Recipe(name="silu", torch="F.silu(x)", element="v / (1.0f + expf(-v))"),
    Recipe(name="gelu", torch="F.gelu(x)", element="0.5f * v * (1.0f + erff(v * 0.70710678f))"),
    Recipe(name="tanh_mix", torch="torch.tanh(x) * 0.8 + x * 0.1", element="tanhf(v) * 0.8f + v * 0.1f"),
    Recipe(name="square_mix", torch="x * x * 0.5 + x", element="v * v * 0.5f + v"),
    Recipe(name="gate", torch="x * torch.sigmoid(y)", inputs=2, element="v * (1.0f / (1.0f + expf(-w)))"),
    Recipe(name="add_relu", torch="torch.relu(x + y)", inputs=2, element="(v + w < 0.0f ? 0.0f : v + w)"),
)
_ROWS = (
    Recipe(
        name="row_mean", torch="x.mean(dim=1)", reductions=(Reduction(operator="sum", of="v", finish="t / n"),)
    ),
    Recipe(name="row_max", torch="x.amax(dim=1)", reductions=(Reduction(operator="max", of="v"),)),
    Recipe(
        name="mean_square", torch="(x * x).mean(dim=1)",
        reductions=(Reduction(operator="sum", of="v * v", finish="t / n"),),
    ),
    Recipe(
        name="log_sum_exp", torch="torch.logsumexp(x, dim=1)",
        reductions=(
            Reduction(operator="max", of="v", finish="isinf(t) ? 0.0f : t"),
            Reduction(operator="sum", of="expf(v - r0)", finish="logf(t) + r0"),
        ),
    ),
)  # fmt: skip
_FUSED = (
    Recipe(
        name="softmax", torch="torch.softmax(x, dim=1)",
        reductions=(Reduction(operator="max", of="v"), Reduction(operator="sum", of="expf(v - r0)")),
        element="expf(v - r0) / r1",
    ),
    Recipe(
        name="rms_norm", torch="x * torch.rsqrt((x * x).mean(dim=1, keepdim=True) + 1e-6)",
        reductions=(Reduction(operator="sum", of="v * v", finish="1.0f / sqrtf(t / n + 1e-6f)"),),
        element="v * r0",
    ),
    Recipe(
        name="standardise", torch="F.layer_norm(x, x.shape[1:])",
        reductions=(
            Reduction(operator="sum", of="v", finish="t / n"),
            Reduction(operator="sum", of="(v - r0) * (v - r0)", finish="1.0f / sqrtf(t / n + 1e-5f)"),
        ),
        element="(v - r0) * r1",
    ),
    Recipe(
        name="l1_share", torch="x / (x.abs().sum(dim=1, keepdim=True) + 1e-6)",
        reductions=(Reduction(operator="sum", of="fabsf(v)", finish="t + 1e-6f"),),
        element="v / r0",
    ),
)  # fmt: skip

RECIPES = tuple(recipe for group in zip(_MAPS[::2], _MAPS[1::2], _ROWS, _FUSED, strict=True) for recipe in group)
"""Maps, reductions and fusions by turns, so that any few in a row are a mix."""
