"""The selective scan of a Mamba layer: a linear recurrence whose coefficients depend on the input."""

import torch
import torch.nn as nn


class Model(nn.Module):
    """``h[t] = exp(d[t] A) h[t-1] + d[t] B[t] u[t]`` and ``y[t] = (C[t] . h[t] + D u[t]) silu(z[t])``.

    The step size is ``d = softplus(delta + delta_bias)``, and ``A = -exp(A_log)``. Every channel has ``state`` numbers
    ``h``, zero before the first step; ``B`` and ``C`` are shared by the channels of a sequence.

    Shapes: ``u``, ``delta``, ``z`` are ``(N, channels, length)``, ``B``, ``C`` are ``(N, state, length)``; the output
    is ``(N, channels, length)``; all fp32.
    """

    def __init__(self, channels, state):
        super().__init__()
        self.A_log = nn.Parameter(torch.log(torch.arange(1, state + 1).float()).repeat(channels, 1))
        self.D = nn.Parameter(torch.ones(channels))
        self.delta_bias = nn.Parameter(0.5 * torch.randn(channels) - 2)

    def forward(self, u, delta, z, B, C):
        delta = nn.functional.softplus(delta + self.delta_bias[:, None])
        decay = torch.exp(delta[..., None] * -torch.exp(self.A_log)[:, None, :])
        drive = (delta * u)[..., None] * B.transpose(1, 2)[:, None]
        state, states = torch.zeros_like(drive[:, :, 0]), []
        for t in range(u.shape[2]):
            state = torch.addcmul(drive[:, :, t], decay[:, :, t], state)
            states.append(state)
        y = (torch.stack(states, dim=2) * C.transpose(1, 2)[:, None]).sum(-1)
        return (y + self.D[:, None] * u) * nn.functional.silu(z)


batch_size = 8
channels = 2048
state = 16
length = 128


def get_inputs():
    u, delta, z = (torch.randn(batch_size, channels, length) for _ in range(3))
    return [u, delta, z, torch.randn(batch_size, state, length), torch.randn(batch_size, state, length)]


def get_init_inputs():
    return [channels, state]
