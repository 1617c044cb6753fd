"""The same algorithm in idiomatic, fast PyTorch, written for `versus_torch.py` only.

Same arithmetic as the package: an LSTM policy on a linear baseline with a Gaussian head, the
small and the reference discriminator, Adam on clipped gradients, exponential moving averages. What
makes it fast: `nn.LSTM` (one fused call) for teacher forcing, all prefixes and rollouts in one
batch, `inference_mode`, fused Adam, foreach averages. One feature or a diagonal covariance.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LOG_2PI = math.log(2 * math.pi)


class Policy(nn.Module):
    """The LSTM policy. Gates in torch's order: i, f, g, o; values and innovations side by side."""

    def __init__(self, hidden: int, baseline: dict[str, Tensor], unrolled: bool = False) -> None:
        super().__init__()
        features = baseline["offset"].shape[0]
        self.hidden, self.features, self.unrolled = hidden, features, unrolled
        self.lstm = nn.LSTM(2 * features, hidden)
        nn.init.zeros_(self.lstm.bias_hh_l0).requires_grad_(False)  # one bias is enough
        self.start = nn.Parameter(torch.zeros(4 * hidden))
        self.head = nn.Linear(hidden, 2 * features)
        self.first = nn.Parameter(torch.zeros(2 * features))
        for name, value in baseline.items():
            self.register_buffer(name, value)
        eye = torch.eye(features)
        for name in ("first_factor", "factor"):
            inverse = torch.linalg.solve_triangular(baseline[name], eye, upper=False)
            self.register_buffer(f"{name}_inverse", inverse)
            self.register_buffer(f"{name}_log_det", torch.log(torch.diagonal(baseline[name])).sum())

    def cell(self, gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """h and c from the gates' sums."""
        i, f, g, o = gates.chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def first_state(self, batch: int) -> tuple[Tensor, Tensor]:
        """h and c after the start input."""
        gates = (self.start + self.lstm.bias_ih_l0).expand(batch, -1)
        return self.cell(gates, gates.new_zeros(batch, self.hidden))

    def mean_and_scale(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of an innovation."""
        mean, log_variance = raw.chunk(2, dim=-1)
        return mean, torch.exp(0.5 * log_variance.clamp(-18.0, 8.0))

    def innovations(self, x_TBD: Tensor) -> Tensor:
        """e_t = F^-1 (x_t - A x_{t-1} - b)."""
        first = (x_TBD[:1] - self.first_offset) @ self.first_factor_inverse.T
        offset = x_TBD[:-1] @ self.matrix.T + self.offset
        return torch.cat([first, (x_TBD[1:] - offset) @ self.factor_inverse.T])

    @property
    def num_noise(self) -> int:
        """Normal numbers that a step takes."""
        return self.features

    def values(self, u: Tensor) -> Tensor:
        """x, of what is carried on from a step."""
        return u[:, : self.features]

    def teacher_forced(self, x_TBD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """States h and c at every step (after the start, after x_1, ...) and [x, e]."""
        h, c = self.first_state(x_TBD.shape[1])
        e_TBD = self.innovations(x_TBD)
        u_TBI = torch.cat([x_TBD, e_TBD], dim=-1)
        projected = F.linear(u_TBI[:-1], self.lstm.weight_ih_l0, self.lstm.bias_ih_l0)
        hs, cs = [h], [c]
        for gates in projected.unbind(0):
            h, c = self.cell(torch.addmm(gates, h, self.lstm.weight_hh_l0.T), c)
            hs.append(h)
            cs.append(c)
        return torch.stack(hs), torch.stack(cs), u_TBI

    def states(self, x_TBD: Tensor) -> tuple[Tensor, Tensor]:
        """h at every step, and innovations; c is not needed for a likelihood."""
        if self.unrolled:
            h_TBH, _, u_TBI = self.teacher_forced(x_TBD)
            return h_TBH, u_TBI[..., self.features :]
        h, c = self.first_state(x_TBD.shape[1])
        e_TBD = self.innovations(x_TBD)
        later, _ = self.lstm(torch.cat([x_TBD, e_TBD], -1)[:-1], (h[None], c[None]))
        return torch.cat([h[None], later]), e_TBD

    def log_prob_and_entropy(self, x_TBD: Tensor) -> tuple[Tensor, Tensor]:
        """log pi(x_t | x_<t) and the entropies of those distributions, [T, B] each."""
        h_TBH, e_TBD = self.states(x_TBD)
        raw = self.head(h_TBH)
        mean, scale = self.mean_and_scale(torch.cat([raw[:1] + self.first, raw[1:]]))
        log_scale = torch.log(scale).sum(-1)
        log_det = torch.cat(
            [
                self.first_factor_log_det.expand(1),
                self.factor_log_det.expand(len(x_TBD) - 1),
            ]
        )[:, None]
        z = (e_TBD - mean) / scale
        log_prob = -0.5 * (z * z + LOG_2PI).sum(-1) - log_scale - log_det
        return log_prob, 0.5 * (LOG_2PI + 1.0) * self.features + log_scale + log_det

    def step(self, h: Tensor, c: Tensor, u: Tensor, noise: Tensor) -> tuple[Tensor, ...]:
        """Read `u`, then draw: h, c, the next [x, e]."""
        weight, bias = self.lstm.weight_ih_l0, self.lstm.bias_ih_l0
        gates = torch.addmm(torch.addmm(bias, u, weight.T), h, self.lstm.weight_hh_l0.T)
        h, c = self.cell(gates, c)
        mean, scale = self.mean_and_scale(self.head(h))
        e = mean + scale * noise
        x = u[:, : self.features] @ self.matrix.T + self.offset + e @ self.factor.T
        return h, c, torch.cat([x, e], dim=-1)

    def sample(self, noise_TBD: Tensor, step: Callable[..., Any] | None = None) -> Tensor:
        """Free-running sequences, `x_TBD`."""
        step = step or self.step
        h, c = self.first_state(noise_TBD.shape[1])
        mean, scale = self.mean_and_scale(self.head(h) + self.first)
        e = mean + scale * noise_TBD[0]
        u = torch.cat([self.first_offset + e @ self.first_factor.T, e], dim=-1)
        values = [u[:, : self.features]]
        for noise in noise_TBD[1:]:
            h, c, u = step(h, c, u, noise)
            values.append(u[:, : self.features])
        return torch.stack(values)

    def rollouts(
        self,
        x_TBD: Tensor,
        noise_TJLP: Tensor,
        step: Callable[..., Any] | None = None,
        every: int = 1,
    ) -> Tensor:
        """Continuations of the prefixes of `every`, 2 `every`, .. values, L = n B lanes each:
        `x_JLTD`.

        The batch grows by one prefix each `every` steps: no step of a prefix is wasted. Lane l of a
        prefix continues sequence l mod B; noise is by position and prefix.
        """
        step = step or self.step
        length, batch, features = x_TBD.shape
        lanes = noise_TJLP.shape[2]
        given_h, given_c, given_u = self.teacher_forced(x_TBD)
        copies, prefixes = lanes // batch, -(-length // every) - 1
        out = x_TBD.transpose(0, 1).repeat(prefixes * copies, 1, 1)
        out = out.view(prefixes, lanes, length, features)
        h = c = given_h.new_zeros(0, self.hidden)
        u = given_u.new_zeros(0, given_u.shape[-1])
        for t in range(every, length):
            if t % every == 0:
                h = torch.cat([h, given_h[t - 1].repeat(copies, 1)])
                c = torch.cat([c, given_c[t - 1].repeat(copies, 1)])
                u = torch.cat([u, given_u[t - 1].repeat(copies, 1)])
            number = t // every
            h, c, u = step(h, c, u, noise_TJLP[t, :number].reshape(-1, noise_TJLP.shape[-1]))
            out[:number, :, t] = self.values(u).view(number, lanes, features)
        return out


class Highway(nn.Module):
    """t relu(W x + b) + (1 - t) x with the gate shifted by -2."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.transform, self.gate = nn.Linear(size, size), nn.Linear(size, size)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as x."""
        t = torch.sigmoid(self.gate(x) - 2.0)
        return torch.lerp(x, torch.relu(self.transform(x)), t)


class SmallDiscriminator(nn.Module):
    """The package's default discriminator."""

    def __init__(
        self, length: int, features: int, keep_prob: float, scale: Tensor, options: int = 0
    ) -> None:
        super().__init__()
        self.drop, channels = 1.0 - keep_prob, 32
        self.register_buffer("scale", scale)
        self.register_buffer("position", torch.linspace(-1.0, 1.0, length)[None, :, None])
        self.conv1 = nn.Conv1d(2 * features + options + 1, channels, 3, padding=1)
        self.conv2 = nn.Conv1d(channels, channels, 3, padding=1)
        self.highway = Highway(2 * channels)
        self.hidden, self.output = nn.Linear(2 * channels, channels), nn.Linear(channels, 1)

    def seen(self, x_BTD: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Sizes of values, and which options they are."""
        return x_BTD, []

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Logits, [B]; dropout in training mode only."""
        x_BTD, options = self.seen(x_BTD)
        increments = F.pad(torch.diff(x_BTD, dim=1) / self.scale, (0, 0, 1, 0))
        position = self.position.expand(len(x_BTD), -1, -1)
        x = torch.cat([x_BTD, increments, *options, position], dim=-1).transpose(1, 2)
        x = torch.relu(self.conv2(torch.relu(self.conv1(x))))
        x = self.highway(torch.cat([x.mean(-1), x.amax(-1)], dim=-1))
        x = F.dropout(x, self.drop, self.training)
        x = F.dropout(torch.relu(self.hidden(x)), self.drop, self.training)
        return self.output(x)[:, 0]


class ReferenceDiscriminator(nn.Module):
    """3 x 3 convolutions, two highways, six dense layers, a pointwise one: the reference's sizes.

    `columns=False`, for one feature: a 3 x 3 kernel over one column meets data with its middle
    column only, so it is a convolution over time with that column: a third of the products.
    """

    def __init__(self, length: int, features: int, keep_prob: float, columns: bool = False) -> None:
        super().__init__()
        self.drop, self.columns = 1.0 - keep_prob, columns or features > 1
        self.conv1 = nn.Conv2d(1, 64, 3, padding=1)
        self.conv2 = nn.Conv2d(64, 32, 3, padding=1)
        flat = 32 * length * features
        self.highways = nn.Sequential(Highway(flat), Highway(flat))
        sizes = (flat, 1024, 512, 256, 128, 64, 32)
        self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.pointwise, self.output = nn.Linear(32, 64), nn.Linear(64, 2)

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Logits, [B]; dropout in training mode only."""
        if self.columns:
            x = torch.relu(self.conv2(torch.relu(self.conv1(x_BTD[:, None]))))
        else:
            x = x_BTD.transpose(1, 2)
            for layer in (self.conv1, self.conv2):
                x = torch.relu(F.conv1d(x, layer.weight[..., 1], layer.bias, padding=1))
        x = F.dropout(self.highways(x.flatten(1)), self.drop, self.training)
        for layer in self.dense:
            x = F.dropout(torch.relu(layer(x)), self.drop, self.training)
        scores = self.output(torch.relu(self.pointwise(x)))
        return scores[:, 1] - scores[:, 0]
