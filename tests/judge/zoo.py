"""A zoo of implementations of small problems: honest ones in the styles kernels are written in, and cheats.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from judge.judge_factory import Answer, State, blocked_sum, conv_by_matrix, functional, layered
from kbench.judge.oracle import round_mantissa
from kbench.model import Precision

Tensor = torch.Tensor
Round = Callable[[Tensor], Tensor]

PROBLEMS: dict[str, tuple[str, Precision]] = {
    "conv_sigmoid_gn": (
        layered(
            "self.conv = nn.Conv2d(4, 8, 3); self.b = nn.Parameter(torch.randn(8, 1, 1)); "
            "self.s = nn.Parameter(torch.randn(8, 1, 1)); self.n = nn.GroupNorm(4, 8)",
            "self.n(torch.sigmoid((self.conv(x) + self.b) * self.s))",
            "torch.rand(12, 4, 18, 18)",
        ),
        Precision.FP32,
    ),
    "conv_bn": (
        layered(
            "self.conv = nn.Conv2d(4, 8, 3); self.n = nn.BatchNorm2d(8)", "self.n(self.conv(x)) * 2.0",
            "torch.rand(16, 4, 18, 18)",
        ),
        Precision.FP32,
    ),
    "conv_gn_pool": (
        layered(
            "self.conv = nn.Conv2d(4, 8, 3); self.n = nn.GroupNorm(4, 8); self.s = nn.Parameter(torch.ones(8, 1, 1))",
            "torch.clamp(F.max_pool2d(self.n(self.conv(x)) * self.s, 4), 0.0, 1.0)", "torch.rand(12, 4, 18, 18)",
        ),
        Precision.FP32,
    ),
    "conv": (
        layered(
            "self.conv = nn.Conv2d(4, 8, 3); self.b = nn.Parameter(torch.randn(8, 1, 1))",
            "torch.relu(self.conv(x) + self.b)", "torch.rand(12, 4, 18, 18)",
        ),
        Precision.FP32,
    ),
    "softmax": (functional("x.softmax(1)", "torch.randn(64, 1024)"), Precision.FP32),
    "softmax_01": (functional("x.softmax(1)", "torch.rand(64, 1024)"), Precision.FP32),
    "layernorm": (
        layered(
            "self.n = nn.LayerNorm(256); self.s = nn.Parameter(torch.ones(256))", "self.n(x) * self.s",
            "torch.rand(64, 256)",
        ),
        Precision.FP32,
    ),
    "linear_gelu": (
        layered("self.l = nn.Linear(256, 128)", "F.gelu(self.l(x))", "torch.rand(64, 256)"), Precision.FP32,
    ),
    "row_mean": (functional("x.mean(1)", "torch.rand(64, 4096)"), Precision.FP32),
    "add_relu": (functional("torch.relu(x + more[0])", "torch.randn(64, 256), torch.randn(64, 256)"), Precision.FP32),
    "minmax": (functional("(x.amax(1), x.argmin(1))", "torch.randn(64, 512)"), Precision.FP32),
    "matmul": (functional("x @ more[0]", "torch.rand(128, 512), torch.rand(512, 96)"), Precision.FP32),
    "matmul_tf32": (functional("x @ more[0]", "torch.rand(128, 512), torch.rand(512, 96)"), Precision.TF32),
    "matmul_fp16": (functional("x @ more[0]", "torch.rand(128, 512), torch.rand(512, 96)"), Precision.FP16),
    "matmul_bf16": (functional("x @ more[0]", "torch.rand(128, 512), torch.rand(512, 96)"), Precision.BF16),
}  # fmt: skip


def bits(count: int) -> Round:
    return lambda t: round_mantissa(t, count)


tf32, bf16 = bits(10), bits(7)


def fp16(t: Tensor) -> Tensor:
    return t.half().to(t.dtype)


def same(t: Tensor) -> Tensor:
    return t


# --- convolutions ---


def plain_conv(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    return F.conv2d(x, w, b)


def conv_in_order(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """One tap after another, as a register-blocked kernel does."""
    side = x.shape[-1] - 2
    out = torch.zeros(x.shape[0], w.shape[0], side, side)
    for channel in range(w.shape[1]):
        for i in range(3):
            for j in range(3):
                out = out + x[:, channel : channel + 1, i : i + side, j : j + side] * w[:, channel, i, j].view(-1, 1, 1)
    return out + b[:, None, None]


def conv_by_fft(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    size = x.shape[-2:]
    product = torch.einsum("nchw,ochw->nohw", torch.fft.rfft2(x), torch.fft.rfft2(w, s=size).conj())
    full: Tensor = torch.fft.irfft2(product, s=size)
    return full[..., : size[0] - 2, : size[1] - 2] + b[:, None, None]


def conv_by_winograd(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    """F(2x2, 3x3): a NaN spreads over its tile."""
    to_input = torch.tensor([[1.0, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
    to_kernel = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
    to_output = torch.tensor([[1.0, 1, 1, 0], [0, 1, -1, -1]])
    tiles = x.unfold(2, 4, 2).unfold(3, 4, 2)
    inputs = to_input @ tiles @ to_input.t()
    kernels = to_kernel @ w @ to_kernel.t()
    product = torch.einsum("ncijuv,ocuv->noijuv", inputs, kernels)
    out = to_output @ product @ to_output.t()
    n, o, i, j = out.shape[:4]
    return out.permute(0, 1, 2, 4, 3, 5).reshape(n, o, 2 * i, 2 * j) + b[:, None, None]


def rounded_conv(rounding: Round, weights_only: bool = False) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    return lambda x, w, b: F.conv2d(x if weights_only else rounding(x), rounding(w), b)


CONVS = {
    "as a matrix product": conv_by_matrix, "in order": conv_in_order, "by fft": conv_by_fft,
    "by winograd": conv_by_winograd,
}  # fmt: skip
ROUNDED_CONVS = {
    "tf32": rounded_conv(tf32), "bf16": rounded_conv(bf16), "fp16": rounded_conv(fp16),
    "tf32 weights": rounded_conv(tf32, weights_only=True),
}  # fmt: skip

# --- moments over the last dimension ---

Moments = Callable[[Tensor], tuple[Tensor, Tensor]]


def two_pass(y: Tensor) -> tuple[Tensor, Tensor]:
    mean = y.mean(-1, keepdim=True)
    return mean, (y - mean).square().mean(-1, keepdim=True)


def one_pass(y: Tensor) -> tuple[Tensor, Tensor]:
    mean = y.mean(-1, keepdim=True)
    variance = y.square().mean(-1, keepdim=True) - mean.square()
    return mean, torch.where(variance < 0, 0.0, variance)


def blocked_one_pass(y: Tensor) -> tuple[Tensor, Tensor]:
    """A partial sum for each of 16 threads, then one after another."""
    count = y.shape[-1]
    mean = (blocked_sum(y, 16) / count).unsqueeze(-1)
    variance = (blocked_sum(y.square(), 16) / count).unsqueeze(-1) - mean.square()
    return mean, torch.where(variance < 0, 0.0, variance)


def welford(y: Tensor) -> tuple[Tensor, Tensor]:
    """Sixteen chunks, merged one by one."""
    mean, m2, count = torch.zeros_like(y[..., :1]), torch.zeros_like(y[..., :1]), 0
    for part in y.chunk(16, dim=-1):
        n = part.shape[-1]
        own = part.mean(-1, keepdim=True)
        delta = own - mean
        m2 = m2 + (part - own).square().sum(-1, keepdim=True) + delta.square() * (count * n / (count + n))
        count += n
        mean = mean + delta * (n / count)
    return mean, m2 / count


def shifted(y: Tensor) -> tuple[Tensor, Tensor]:
    base = y[..., :1]
    mean, variance = one_pass(y - base)
    return mean + base, variance


MOMENTS: dict[str, Moments] = {
    "two passes": two_pass, "one pass": one_pass, "one pass in blocks": blocked_one_pass, "welford": welford,
    "shifted": shifted,
}  # fmt: skip


def unbiased(y: Tensor) -> tuple[Tensor, Tensor]:
    return y.mean(-1, keepdim=True), y.var(-1, keepdim=True)


def of_half(y: Tensor) -> tuple[Tensor, Tensor]:
    return two_pass(y[..., : y.shape[-1] // 2])


def of_nearly_all(y: Tensor) -> tuple[Tensor, Tensor]:
    return two_pass(y[..., : -max(1, y.shape[-1] // 64)])


FALSE_MOMENTS: dict[str, Moments] = {
    "unbiased variance": unbiased, "half of the statistics": of_half, "63/64 of the statistics": of_nearly_all
}  # fmt: skip


def group_norm(y: Tensor, s: State, moments: Moments, *, eps: float = 1e-5, plain: str = "") -> Tensor:
    flat = y.reshape(y.shape[0], 4, -1)
    mean, variance = moments(flat)
    normed = ((flat - mean) * torch.rsqrt(variance + eps)).view_as(y)
    return _affine(normed, s, plain)


def batch_norm(y: Tensor, s: State, moments: Moments, *, eps: float = 1e-5, plain: str = "") -> Tensor:
    flat = y.transpose(0, 1).flatten(1)
    mean, variance = (part.view(-1, 1, 1) for part in moments(flat))
    return _affine((y - mean) * torch.rsqrt(variance + eps), s, plain)


def _affine(normed: Tensor, s: State, plain: str) -> Tensor:
    weight, bias = s["n.weight"][:, None, None], s["n.bias"][:, None, None]
    weight = torch.ones_like(weight) if "weight" in plain else weight
    return normed * weight + (torch.zeros_like(bias) if "bias" in plain else bias)


def fused_group_norm(y: Tensor, s: State) -> Tensor:
    """y * gain + offset, the moments in fp64 as careful kernels have them."""
    flat = y.double().reshape(y.shape[0], 4, -1)
    mean, variance = flat.mean(-1), flat.var(-1, unbiased=False)
    rstd = torch.rsqrt(variance + 1e-5).repeat_interleave(2, 1)
    gain = rstd * s["n.weight"].double()
    offset = s["n.bias"].double() - mean.repeat_interleave(2, 1) * gain
    return y * gain.float()[..., None, None] + offset.float()[..., None, None]


# --- whole problems ---


def conv_of(s: State, x: Tensor, conv: Callable[[Tensor, Tensor, Tensor], Tensor] = plain_conv) -> Tensor:
    return conv(x, s["conv.weight"], s["conv.bias"])


def sigmoid_gn(
    conv: Any = plain_conv,
    moments: Moments = two_pass,
    sigmoid: Round = torch.sigmoid,
    rounding: Round = same,
    **how: Any,
) -> Answer:
    return lambda s, x: group_norm(rounding(sigmoid((conv_of(s, x, conv) + s["b"]) * s["s"])), s, moments, **how)


def conv_bn(conv: Any = plain_conv, moments: Moments = two_pass, **how: Any) -> Answer:
    return lambda s, x: batch_norm(conv_of(s, x, conv), s, moments, **how) * 2


def gn_pool(conv: Any = plain_conv, moments: Moments = two_pass, pool: Round | None = None, **how: Any) -> Answer:
    def answer(s: State, x: Tensor) -> Tensor:
        y = group_norm(conv_of(s, x, conv), s, moments, **how) * s["s"]
        return pool(y) if pool else torch.clamp(F.max_pool2d(y, 4), 0.0, 1.0)

    return answer


def swallowing_pool(y: Tensor) -> Tensor:
    tiles = y.unfold(2, 4, 4).unfold(3, 4, 4).flatten(-2)
    best = torch.full_like(tiles[..., 0], -torch.inf)
    for i in range(16):
        best = torch.fmax(best, tiles[..., i])
    return best.clamp(0.0, 1.0)


def swallowing_clamp(y: Tensor) -> Tensor:
    return torch.fmin(torch.fmax(F.max_pool2d(y, 4), torch.tensor(0.0)), torch.tensor(1.0))


def conv_relu(conv: Any = plain_conv, relu: Round = torch.relu) -> Answer:
    return lambda s, x: relu(conv_of(s, x, conv) + s["b"])


def dropping_conv(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    out = F.conv2d(x, w, b)
    out[:, :, -1] = out[:, :, -2]
    return out


def swallow(x: Tensor) -> Tensor:
    return torch.fmax(x, torch.tensor(0.0))


def online_softmax(x: Tensor) -> Tensor:
    top, total = torch.full((x.shape[0], 1), -torch.inf), torch.zeros(x.shape[0], 1)
    for part in torch.split(x, 64, dim=1):
        new = torch.maximum(top, part.amax(1, keepdim=True))
        total = total * torch.exp(top - new) + torch.exp(part - new).sum(1, keepdim=True)
        top = new
    return torch.exp(x - top) * (1 / total)


def softmax_by_exp2(x: Tensor) -> Tensor:
    scaled = torch.exp2((x - x.amax(1, keepdim=True)) * 1.4426950408889634)
    return scaled / blocked_sum(scaled, 32)[:, None]


def bare_softmax(x: Tensor) -> Tensor:
    scaled = x.exp()
    return scaled / scaled.sum(1, keepdim=True)


def softmax_without_tail(x: Tensor) -> Tensor:
    return F.pad(x[:, :-4].softmax(1), (0, 4))


def layer_norm(moments: Moments = two_pass, eps: float = 1e-5, plain: str = "", rounding: Round = same) -> Answer:
    def answer(s: State, x: Tensor) -> Tensor:
        x = rounding(x)
        mean, variance = moments(x)
        weight = torch.ones(256) if "weight" in plain else s["n.weight"]
        bias = torch.zeros(256) if "bias" in plain else s["n.bias"]
        scale = torch.ones(256) if "scale" in plain else s["s"]
        return ((x - mean) * torch.rsqrt(variance + eps) * weight + bias) * scale

    return answer


def analytic_layer_norm(s: State, x: Tensor) -> Tensor:
    rstd: float = (1 / 12 + 1e-5) ** -0.5
    return ((x - 0.5) * rstd * s["n.weight"] + s["n.bias"]) * s["s"]


def linear_gelu(rounding: Round = same, gelu: Round = F.gelu, blocks: int = 0) -> Answer:
    def answer(s: State, x: Tensor) -> Tensor:
        w = rounding(s["l.weight"])
        y = blocked_sum(rounding(x)[:, None, :] * w, blocks) if blocks else rounding(x) @ w.t()
        return gelu(y + s["l.bias"])

    return answer


def tanh_gelu(y: Tensor) -> Tensor:
    return F.gelu(y, approximate="tanh")


def matmul(rounding: Round = same) -> Answer:
    return lambda _, x, y: rounding(x) @ rounding(y)


def in_three_parts(_: State, x: Tensor, y: Tensor) -> Tensor:
    """fp32 out of tensor-core products: high and low halves, the product of the lows left out."""
    high, other = tf32(x), tf32(y)
    low, rest = tf32(x - high), tf32(y - other)
    return high @ other + (high @ rest + low @ other)


def split_k(_: State, x: Tensor, y: Tensor) -> Tensor:
    total = torch.zeros(x.shape[0], y.shape[1])
    for a, b in zip(torch.split(x.float(), 32, 1), torch.split(y.float(), 32, 0), strict=True):
        total = total + a @ b
    return total.to(x.dtype)


def in_order_matmul(_: State, x: Tensor, y: Tensor) -> Tensor:
    total = torch.zeros(x.shape[0], y.shape[1])
    for k in range(x.shape[1]):
        total = torch.addcmul(total, x[:, k : k + 1], y[k])
    return total


def last_argmin(x: Tensor) -> Tensor:
    return x.shape[1] - 1 - x.flip(1).argmin(1)


SIGMOIDS = {"by tanh": lambda t: 0.5 * (1 + torch.tanh(t / 2)), "by exp": lambda t: 1 / (1 + torch.exp(-t))}

HONEST: dict[str, dict[str, Answer]] = {
    "conv_sigmoid_gn": {
        **{f"conv {name}": sigmoid_gn(conv) for name, conv in CONVS.items()},
        **{name: sigmoid_gn(moments=moments) for name, moments in MOMENTS.items() if "one pass" not in name},
        **{f"sigmoid {name}": sigmoid_gn(sigmoid=form) for name, form in SIGMOIDS.items()},
        "fused affine": lambda s, x: fused_group_norm(torch.sigmoid((conv_of(s, x) + s["b"]) * s["s"]), s),
    },
    "conv_bn": {
        **{f"conv {name}": conv_bn(conv) for name, conv in CONVS.items()},
        **{name: conv_bn(moments=moments) for name, moments in MOMENTS.items()},
    },
    "conv_gn_pool": {
        **{f"conv {name}": gn_pool(conv) for name, conv in CONVS.items()},
        **{name: gn_pool(moments=moments) for name, moments in MOMENTS.items()},
    },
    "conv": {f"conv {name}": conv_relu(conv) for name, conv in CONVS.items()},
    "softmax": {
        "online": lambda _, x: online_softmax(x), "exp2": lambda _, x: softmax_by_exp2(x),
        "by log": lambda _, x: torch.exp(x - x.logsumexp(1, keepdim=True)),
    },
    "softmax_01": {"online": lambda _, x: online_softmax(x), "exp2": lambda _, x: softmax_by_exp2(x)},
    "layernorm": {name: layer_norm(moments) for name, moments in MOMENTS.items()},
    "linear_gelu": {
        "in blocks": linear_gelu(blocks=16), "erf": linear_gelu(gelu=lambda y: y * 0.5 * (1 + torch.erf(y * 0.5**0.5))),
    },
    "row_mean": {
        "in blocks": lambda _, x: blocked_sum(x, 128) / 4096, "in few blocks": lambda _, x: blocked_sum(x, 8) / 4096,
        "in order": lambda _, x: x.cumsum(1)[:, -1] / 4096,
    },
    "add_relu": {"max": lambda _, x, y: torch.maximum(x + y, torch.tensor(0.0))},
    "minmax": {"sorted": lambda _, x: (x.sort(1).values[:, -1], x.argmin(1))},
    "matmul": {
        "split k": split_k, "in order": in_order_matmul, "in three parts": in_three_parts,
        "in blocks": lambda _, x, y: blocked_sum(x[:, None, :] * y.t(), 16),
    },
    "matmul_tf32": {"fp32": matmul(), "split k": split_k},
    "matmul_fp16": {"itself": matmul(), "split k in fp32": split_k},
    "matmul_bf16": {"itself": matmul(), "split k in fp32": split_k},
}  # fmt: skip

NO_AFFINE = ("weight", "bias")
CHEATS: dict[str, dict[str, Answer]] = {
    "conv_sigmoid_gn": {
        **{f"conv in {name}": sigmoid_gn(conv) for name, conv in ROUNDED_CONVS.items()},
        **{name: sigmoid_gn(moments=moments) for name, moments in FALSE_MOMENTS.items()},
        **{f"norm without {name}": sigmoid_gn(plain=name) for name in NO_AFFINE},
        "eps dropped": sigmoid_gn(eps=0.0),
        "eps of 1e-6": sigmoid_gn(eps=1e-6),
        "bf16 before the norm": sigmoid_gn(rounding=bf16),
        "a row repeated": sigmoid_gn(dropping_conv),
        "zeros": lambda s, x: torch.zeros_like(sigmoid_gn()(s, x)),
        "valid on [0,1)": lambda s, x: sigmoid_gn()(s, x.clamp(0, 1)),
        "NaN taken for 0": lambda s, x: sigmoid_gn()(s, x.nan_to_num()),
    },
    "conv_bn": {
        **{f"conv in {name}": conv_bn(conv) for name, conv in ROUNDED_CONVS.items()},
        **{name: conv_bn(moments=moments) for name, moments in FALSE_MOMENTS.items()},
        **{f"norm without {name}": conv_bn(plain=name) for name in NO_AFFINE},
        "eps dropped": conv_bn(eps=0.0),
        "eps of 1e-6": conv_bn(eps=1e-6),
        "a row repeated": conv_bn(dropping_conv),
        "valid on [0,1)": lambda s, x: conv_bn()(s, x.clamp(0, 1)),
    },
    "conv_gn_pool": {
        **{f"conv in {name}": gn_pool(conv) for name, conv in ROUNDED_CONVS.items()},
        **{name: gn_pool(moments=moments) for name, moments in FALSE_MOMENTS.items()},
        **{f"norm without {name}": gn_pool(plain=name) for name in NO_AFFINE},
        "scale ignored": lambda s, x: gn_pool()({**s, "s": torch.ones(8, 1, 1)}, x),
        "eps dropped": gn_pool(eps=0.0),
        "a constant": lambda s, x: torch.full_like(gn_pool()(s, x), 1.0),
        "NaN swallowed in the pool": gn_pool(pool=swallowing_pool),
        "NaN swallowed in the clamp": gn_pool(pool=swallowing_clamp),
    },
    "conv": {
        **{f"conv in {name}": conv_relu(conv) for name, conv in ROUNDED_CONVS.items()},
        "a row repeated": conv_relu(dropping_conv),
        "NaN swallowed": conv_relu(relu=swallow),
        "valid on [0,1)": lambda s, x: conv_relu()(s, x.clamp(0, 1)),
    },
    "softmax": {
        "no largest subtracted": lambda _, x: bare_softmax(x), "no tail": lambda _, x: softmax_without_tail(x),
        "zeros": lambda _, x: torch.zeros_like(x), "1/N": lambda _, x: torch.full_like(x, 1 / x.shape[1]),
        "fp16": lambda _, x: fp16(x).softmax(1), "tf32": lambda _, x: tf32(x).softmax(1),
        "answer in bf16": lambda _, x: bf16(x.softmax(1)),
    },
    "softmax_01": {
        "no largest subtracted": lambda _, x: bare_softmax(x), "no tail": lambda _, x: softmax_without_tail(x),
        "1/N": lambda _, x: torch.full_like(x, 1 / x.shape[1]), "negative cut": lambda _, x: x.clamp(min=0).softmax(1),
    },
    "layernorm": {
        **{name: layer_norm(moments) for name, moments in FALSE_MOMENTS.items()},
        **{f"norm without {name}": layer_norm(plain=name) for name in (*NO_AFFINE, "scale")},
        "eps dropped": layer_norm(eps=0.0), "eps of 1e-6": layer_norm(eps=1e-6), "tf32": layer_norm(rounding=tf32),
        "bf16": layer_norm(rounding=bf16), "of U(0,1)": analytic_layer_norm,
    },
    "linear_gelu": {
        "tf32": linear_gelu(tf32), "bf16": linear_gelu(bf16), "fp16": linear_gelu(fp16),
        "tanh": linear_gelu(gelu=tanh_gelu), "relu": linear_gelu(gelu=torch.relu),
        "NaN taken for 0": lambda s, x: linear_gelu()(s, x.nan_to_num()),
    },
    "row_mean": {
        "half": lambda *_: torch.full((64,), 0.5), "of a half": lambda _, x: x[:, ::2].mean(1),
        "no tail": lambda _, x: x[:, :-8].sum(1) / 4096, "tf32": lambda _, x: tf32(x).mean(1),
        "bf16": lambda _, x: bf16(x).mean(1),
    },
    "add_relu": {
        "NaN swallowed": lambda _, x, y: swallow(x + y), "tf32": lambda _, x, y: torch.relu(tf32(x) + tf32(y)),
        "y forgotten": lambda _, x, *__: torch.relu(x),
        "16 bits": lambda _, x, y: torch.relu(bits(15)(x) + bits(15)(y)),
    },
    "minmax": {
        "last of ties": lambda _, x: (x.amax(1), last_argmin(x)),
        "no tail": lambda _, x: (x[:, :-64].amax(1), x.argmin(1)),
        "NaN swallowed": lambda _, x: (x.nan_to_num(nan=-torch.inf).amax(1), x.argmin(1)),
        "tf32": lambda _, x: (tf32(x).amax(1), x.argmin(1)),
        "from zero": lambda _, x: (x.amax(1).clamp(min=0), x.argmin(1)),
    },
    "matmul": {
        "tf32": matmul(tf32), "bf16": matmul(bf16), "fp16": matmul(fp16),
        "a term dropped": lambda _, x, y: x[:, :-1] @ y[:-1], "a term twice": lambda _, x, y: x @ y + x[:, :1] @ y[:1],
        "of means": lambda _, x, y: x.mean(1, keepdim=True) @ y.mean(0, keepdim=True) * x.shape[1],
    },
    "matmul_tf32": {"bf16": matmul(bf16), "a term dropped": lambda _, x, y: x[:, :-1] @ y[:-1]},
    "matmul_fp16": {"fp8": matmul(bits(3)), "a term dropped": lambda _, x, y: x[:, :-1] @ y[:-1]},
    "matmul_bf16": {"fp8": matmul(bits(3)), "a term dropped": lambda _, x, y: x[:, :-1] @ y[:-1]},
}  # fmt: skip

CARELESS: dict[str, dict[str, Answer]] = {
    "conv_sigmoid_gn": {name: sigmoid_gn(moments=moments) for name, moments in MOMENTS.items() if "one pass" in name},
}
"""Honest, but E[y^2] - E[y]^2 in fp32 cancels where a group's sigmoids are nearly alike. Right on the problem's own
inputs; now and then refused where they are scaled down."""

UNDECIDABLE: dict[str, dict[str, Answer]] = {
    "matmul": {"17 bits": matmul(bits(16))},
    "row_mean": {"17 bits": lambda _, x: bits(16)(x).mean(1)},
}
"""Cheats that err no more than a long honest sum."""
