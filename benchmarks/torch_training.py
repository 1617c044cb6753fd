"""Training steps, rewards and rounds of `torch_seqgan`, and our parameters in its layout."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import torch_seqgan
import work
from torch import Tensor, nn

Run = Callable[[], Any]


def tensor(array: Any) -> Tensor:
    """A JAX or NumPy array as a float32 tensor of its own."""
    return torch.tensor(np.asarray(array, np.float32))


def policy(problem: work.Problem, unrolled: bool) -> torch_seqgan.Policy:
    """Our policy's parameters in torch."""
    state = problem.state()
    params, baseline = state.policy, state.policy_constants["baseline"]
    constants = {name: tensor(value) for name, value in baseline.items()}
    new = torch_seqgan.Policy(problem.sizes.hidden, constants, unrolled)
    take_lstm(new, params)
    return new


def take_lstm(new: torch_seqgan.Policy, params: Any) -> None:
    """Our parameters but for those of chains: our gates are i, f, o, g; torch's i, f, g, o."""

    def gates(name: str) -> Tensor:
        i, f, o, g = tensor(params[name]).chunk(4, dim=-1)
        return torch.cat([i, f, g, o], dim=-1)

    with torch.no_grad():
        new.lstm.weight_ih_l0.copy_(gates("input").T)
        new.lstm.weight_hh_l0.copy_(gates("recurrent").T)
        new.lstm.bias_ih_l0.copy_(gates("bias"))
        new.start.copy_(gates("start"))
        new.head.weight.copy_(tensor(params["head"]).T)
        new.head.bias.copy_(tensor(params["head_bias"]))
        new.first.copy_(tensor(params["first"]))


def discriminator(problem: work.Problem) -> nn.Module:
    """Our discriminator's parameters in torch, for both sizes."""
    sizes, state = problem.sizes, problem.state()
    params = state.discriminator
    keep = problem.discriminator.dis_dropout_keep_prob
    if sizes.dis_size == "small":
        scale = tensor(state.discriminator_constants["increment_scale"])
        small = torch_seqgan.SmallDiscriminator(sizes.length, sizes.features, keep, scale)
        take_small(small, params)
        return small
    new = torch_seqgan.ReferenceDiscriminator(sizes.length, sizes.features, keep)
    layers = [(new.pointwise, params["pointwise"]), (new.output, params["output"])]
    layers += [(layer, params["dense"][i]) for i, layer in enumerate(new.dense)]
    for i, highway in enumerate(new.highways):
        layers += _highway(highway, params["highways"][i])
    kernels = [
        (new.conv1, tensor(params["kernel1"]).permute(3, 2, 0, 1), params["bias1"]),
        (new.conv2, tensor(params["kernel2"]).permute(3, 2, 0, 1), params["bias2"]),
    ]
    # We flatten (time, feature, channel), torch (channel, time, feature).
    flat = np.arange(32 * sizes.length * sizes.features)
    perm = torch.tensor(flat.reshape(-1, 32).T.ravel().copy())
    perms = {id(h.transform): (perm, perm) for h in new.highways}
    perms |= {id(h.gate): (perm, perm) for h in new.highways}
    perms[id(new.dense[0])] = (slice(None), perm)
    _take(kernels, layers, perms)
    return new


def take_small(new: torch_seqgan.SmallDiscriminator, params: Any) -> None:
    """Our small discriminator's parameters."""
    layers = [(new.hidden, params["hidden"]), (new.output, params["output"])]
    layers += _highway(new.highway, params["highway"])
    kernels = []
    for name in ("conv1", "conv2"):
        kernel = tensor(params[name]["kernel"])
        kernel = kernel.view(3, -1, kernel.shape[1]).permute(2, 1, 0)
        kernels.append((getattr(new, name), kernel, params[name]["bias"]))
    _take(kernels, layers, {})


def _take(kernels: Any, layers: Any, perms: dict[int, Any]) -> None:
    with torch.no_grad():
        for layer, kernel, bias in kernels:
            layer.weight.copy_(kernel)
            layer.bias.copy_(tensor(bias))
        for layer, values in layers:
            rows, columns = perms.get(id(layer), (slice(None), slice(None)))
            layer.weight.copy_(tensor(values["kernel"]).T[rows][:, columns])
            layer.bias.copy_(tensor(values["bias"])[rows])


def _highway(layer: nn.Module, values: Any) -> list[tuple[nn.Module, Any]]:
    return [(layer.transform, values["transform"]), (layer.gate, values["gate"])]


class Trainer:
    """The three phases' steps, eager or compiled, on our data and with our initial parameters."""

    def __init__(self, problem: work.Problem, compiled: bool, at_once: int = 4) -> None:
        self.sizes = problem.sizes
        self.compiled, self.at_once = compiled, min(at_once, problem.sizes.rollouts)
        self.l2 = problem.discriminator.dis_l2_reg_lambda
        self.config, self.generator = problem.adversarial, problem.generator
        self.x_NTD = tensor(problem.parts.train.x)
        self.validation_TBD = tensor(problem.parts.validation.x).transpose(0, 1).contiguous()
        # nn.LSTM is faster than a Python loop, but is not compiled; a loop of cells is.
        self.policy = self._policy(problem, compiled)
        self.rollout_policy = self._policy(problem, compiled)
        self.discriminator = self._discriminator(problem)
        self.scores = self._compile(self.discriminator)
        self.likelihoods = self._compile(self.policy.log_prob_and_entropy)
        # The batch of a rollout grows: one dynamic program for all its sizes.
        self.policy_step = self._compile(self.policy.step, dynamic=True)
        self.rollout_step = self._compile(self.rollout_policy.step, dynamic=True)
        self.params = [p for p in self.policy.parameters() if p.requires_grad]
        self.average = [p.detach().clone() for p in self.params]
        self.adam = torch.optim.Adam(self.params, lr=self.generator.gen_lr, fused=True)
        self.dis_params = list(self.discriminator.parameters())
        lr = problem.discriminator.dis_lr
        self.dis_adam = torch.optim.Adam(self.dis_params, lr=lr, fused=True)

    def _policy(self, problem: work.Problem, unrolled: bool) -> torch_seqgan.Policy:
        return policy(problem, unrolled)

    def _discriminator(self, problem: work.Problem) -> nn.Module:
        return discriminator(problem)

    def _compile(self, function: Any, dynamic: bool = False) -> Any:
        return torch.compile(function, dynamic=dynamic) if self.compiled else function

    @staticmethod
    def _apply(loss: Tensor, params: list[Tensor], adam: torch.optim.Optimizer) -> None:
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(params, 5.0, foreach=True)
        adam.step()

    def _batches(self, number: int) -> Iterable[Tensor]:
        steps = number // self.sizes.batch
        return torch.randperm(number)[: steps * self.sizes.batch].view(steps, -1)

    def likelihood(self) -> None:
        """An epoch of maximum likelihood with the running average, and its validation."""
        for index in self._batches(len(self.x_NTD)):
            log_prob, _ = self.likelihoods(self.x_NTD[index].transpose(0, 1))
            self._apply(-log_prob.mean(), self.params, self.adam)
            with torch.no_grad():
                torch._foreach_lerp_(self.average, self.params, 1.0 - self.generator.average)
        self._validate()

    def _validate(self) -> float:
        with torch.no_grad():
            return -float(self.policy.log_prob_and_entropy(self.validation_TBD)[0].mean())

    def discriminating(self, passes: int = 10) -> None:
        """Draw fresh sequences and pass over them and as many real ones `passes` times."""
        number, length = self.sizes.negatives, self.sizes.length
        with torch.no_grad():
            noise = torch.randn(length, number, self.policy.num_noise)
            fake = self.policy.sample(noise, self.policy_step).transpose(0, 1)
            x_MTD = torch.cat([self.x_NTD[torch.randperm(len(self.x_NTD))[:number]], fake])
        is_real = torch.cat([torch.ones(number), torch.zeros(number)])
        self.discriminator.train()
        output = self.discriminator.output
        for _ in range(passes):
            for index in self._batches(2 * number):
                loss = F.binary_cross_entropy_with_logits(self.scores(x_MTD[index]), is_real[index])
                l2 = 0.5 * (output.weight.square().sum() + output.bias.square().sum())
                self._apply(loss + self.l2 * l2, self.dis_params, self.dis_adam)

    def rollouts(self, x_TBD: Tensor) -> list[Tensor]:
        """N rollouts of the prefixes, `at_once` together: whole sequences, `x_JLTD` each."""
        length, batch, _ = x_TBD.shape
        every, width = self.sizes.every, self.rollout_policy.num_noise
        prefixes, made = -(-length // every) - 1, []
        with torch.inference_mode():
            for start in range(0, self.sizes.rollouts, self.at_once):
                lanes = batch * min(self.at_once, self.sizes.rollouts - start)
                noise = torch.randn(length, prefixes, lanes, width)
                made.append(self.rollout_policy.rollouts(x_TBD, noise, self.rollout_step, every))
        return made

    def reward(self, x_TBD: Tensor) -> Tensor:
        """Q of the prefixes, and of the whole, `Q_BJ`."""
        length, batch, features = x_TBD.shape
        self.discriminator.eval()
        with torch.inference_mode():
            total = torch.zeros(-(-length // self.sizes.every) - 1, batch)
            for x_JLTD in self.rollouts(x_TBD):
                scores = torch.sigmoid(self.scores(x_JLTD.view(-1, length, features)))
                total += scores.view(len(total), -1, batch).sum(1)
            last = torch.sigmoid(self.scores(x_TBD.transpose(0, 1)))
            return torch.cat([total / self.sizes.rollouts, last[None]]).T

    def round(self) -> None:
        """One adversarial round: REINFORCE with the anchor, averages, D on fresh samples."""
        sizes, config = self.sizes, self.config
        for _ in range(config.gen_updates):
            self._update()
        for _ in range(sizes.refreshes):
            self.discriminating(sizes.passes)
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.params, 1.0 - config.average_rounds)
            follow = [p for p in self.rollout_policy.parameters() if p.requires_grad]
            torch._foreach_lerp_(follow, self.params, 1.0 - config.rollout_update_rate)
        self._validate()

    def _update(self) -> None:
        sizes, config = self.sizes, self.config
        with torch.no_grad():
            noise = torch.randn(sizes.length, sizes.batch, self.policy.num_noise)
            x_TBD = self.policy.sample(noise, self.policy_step)
        q_BJ = self.reward(x_TBD)
        first = (q_BJ[:, 0].sum() - q_BJ[:, 0]) / max(sizes.batch - 1, 1)
        advantage = (q_BJ - torch.cat([first[:, None], q_BJ[:, :-1]], dim=1)).T.clone()
        advantage = advantage.repeat_interleave(sizes.every, dim=0)[: sizes.length]
        real = self.x_NTD[torch.randint(len(self.x_NTD), (sizes.batch,))].transpose(0, 1)
        log_prob, entropy = self.likelihoods(torch.cat([x_TBD, real], dim=1))
        surrogate = -(advantage * log_prob[:, : sizes.batch]).sum(0).mean() / sizes.length
        nll = -log_prob[:, sizes.batch :].mean()
        bonus = config.entropy_bonus * entropy[:, : sizes.batch].mean()
        self._apply(surrogate + config.anchor * nll - bonus, self.params, self.adam)
