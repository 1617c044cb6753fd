"""The units of work that are timed, by the package's public functions: the one place to edit.

Every function gives a call without arguments that returns when the device has finished.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seqgan_jax.config import PRESETS, AdversarialConfig, DiscriminatorConfig, GeneratorConfig
from seqgan_jax.core import losses, networks, rollout, rounds, steps
from seqgan_jax.core import noise as draws
from seqgan_jax.core.networks import LSTMPolicy, Params
from seqgan_jax.core.steps import Data, Networks, TrainState

NEVER = 10**9  # epochs without improvement before pretraining stops


@dataclass(frozen=True)
class Sizes:
    """Sizes of a problem; the defaults are those of the project's cost table."""

    length: int = 20
    features: int = 1
    batch: int = 64
    rollouts: int = 16
    number: int = 10_000
    hidden: int = 32
    dis_size: str = "small"
    at_once: int = 0  # rollouts made in one go; 0: as `rollout.at_once` has it
    r1: float = 0.0
    negatives: int = 1000  # sequences drawn for the discriminator each time, of a round
    passes: int = 3
    refreshes: int = 5


@dataclass(frozen=True)
class Problem:
    """Networks, state and data of these sizes."""

    sizes: Sizes
    generator: GeneratorConfig
    discriminator: DiscriminatorConfig
    adversarial: AdversarialConfig
    nets: Networks
    data: Data
    key: jax.Array

    def state(self) -> TrainState:
        """A fresh state with buffers of its own: the phases donate theirs."""
        return jax.tree.map(jnp.copy, self._state)

    _state: TrainState


def series(number: int, length: int, features: int, seed: int = 0) -> np.ndarray:
    """Stationary correlated AR(1) sequences, [number, T, D], zero mean and about unit variance."""
    rng = np.random.default_rng(seed)
    mix = np.eye(features) + 0.3 * np.tril(np.ones((features, features)), -1) / features**0.5
    noise = rng.normal(size=(number, length, features)) @ mix.T
    x = np.empty_like(noise)
    x[:, 0] = noise[:, 0]
    for t in range(1, length):
        x[:, t] = 0.8 * x[:, t - 1] + 0.6 * noise[:, t]
    return x


def increment_scale(sizes: Sizes) -> tuple[float, ...]:
    """Standard deviation of the data's first differences, which the small discriminator needs."""
    x = series(sizes.number + sizes.batch, sizes.length, sizes.features)
    return tuple(float(np.float32(v)) for v in np.diff(x, axis=1).std(axis=(0, 1)))


def problem(sizes: Sizes) -> Problem:
    """Everything that the calls below need; deterministic."""
    x = series(sizes.number + sizes.batch, sizes.length, sizes.features)
    # The Gaussian policy and REINFORCE, as in the PyTorch project, with either discriminator.
    base = PRESETS["reference"]
    generator = replace(base.generator, hidden_dim=sizes.hidden, patience=NEVER)
    discriminator = replace(
        base.discriminator,
        dis_size=sizes.dis_size,
        dis_r1=sizes.r1,
        num_negatives=sizes.negatives,
        dis_passes=sizes.passes,
        dis_refreshes=sizes.refreshes,
    )
    adversarial = replace(
        base.adversarial, rollout_num=sizes.rollouts, rollouts_at_once=sizes.at_once
    )
    key = jax.random.key(0)
    frame = networks.fit_frame(x, generator.covariance)
    increments = increment_scale(sizes)
    found: list[Networks] = []

    @jax.jit  # op by op this compiles dozens of little programs
    def initial(key: jax.Array, frame: networks.Frame) -> TrainState:
        nets, state = steps.init(key, sizes.length, frame, increments, generator, discriminator)
        found.append(nets)
        return state

    state = initial(key, frame)
    # One batch of validation, so that an epoch is its steps and hardly anything else.
    train, validation = x[: sizes.number], x[sizes.number :]
    data = Data(jnp.asarray(train, jnp.float32), jnp.asarray(validation, jnp.float32))
    # Anything but zero, the head's initial value, that keeps the policy near the data.
    head = 0.1 * jax.random.normal(jax.random.key(1), state.generator["head"].shape)
    params = state.generator | {"head": head}
    state = replace(state, generator=params, average=params, final=params, rollout=params)
    key = jax.random.key(2)
    return Problem(sizes, generator, discriminator, adversarial, found[0], data, key, state)


def _advance(
    function: Callable[..., Any], problem: Problem, work: Any, **settings: Any
) -> Callable[[], Any]:
    """A call that runs one unit of a phase and keeps the state for the next call."""
    state = problem.state()
    shared = {"nets": problem.nets, "batch_size": problem.sizes.batch} | settings

    def call() -> Any:
        nonlocal state
        state, metrics = function(state, problem.data, problem.key, work, **shared)
        return jax.block_until_ready(metrics)

    return call


def likelihood(problem: Problem) -> tuple[Callable[[], Any], int]:
    """An epoch of maximum likelihood (gather, gradient, clip, Adam, average), and its steps."""
    steps_ = problem.sizes.number // problem.sizes.batch
    function = steps.likelihood_epochs
    return _advance(function, problem, jnp.array(1), config=problem.generator), steps_


def discriminating(problem: Problem, passes: int = 10) -> tuple[Callable[[], Any], int]:
    """Passes of the discriminator over one draw of sequences, and the steps in them.

    The draw itself, once in `passes` passes, is a few per cent of the time and is left in.
    """
    config = replace(problem.discriminator, dis_passes=passes)
    steps_ = passes * (2 * config.num_negatives // problem.sizes.batch)
    return _rounds(replace(problem, discriminator=config), updates=0, refreshes=1), steps_


def adversarial_round(problem: Problem) -> Callable[[], Any]:
    """One round: policy updates by REINFORCE, then the discriminator on fresh samples."""
    config = problem.discriminator
    return _rounds(problem, problem.adversarial.gen_updates, config.dis_refreshes)


def _rounds(problem: Problem, updates: int, refreshes: int) -> Callable[[], Any]:
    configs = {"config": problem.adversarial, "dis_config": problem.discriminator}
    work = rounds.Work(jnp.array(1), jnp.array(updates), jnp.array(refreshes))
    return _advance(rounds.rounds, problem, work, **configs)


class Program:
    """A compiled function with its arguments: a call, and XLA's analyses of it."""

    def __init__(self, compiled: Any, arguments: tuple[Any, ...]) -> None:
        self.compiled, self.arguments = compiled, arguments

    def __call__(self) -> Any:
        return jax.block_until_ready(self.compiled(*self.arguments))

    def flops(self) -> float:
        """FLOPs by `cost_analysis`; the body of a loop is counted once."""
        return float(self.compiled.cost_analysis()["flops"])

    def temporary_bytes(self) -> int:
        """Memory for intermediate values, by `memory_analysis`."""
        return int(self.compiled.memory_analysis().temp_size_in_bytes)


def _compiled(function: Callable[..., Any], *arguments: Any) -> Program:
    return Program(jax.jit(function).lower(*arguments).compile(), arguments)


def lazily(make: Callable[[], Program]) -> Callable[[], Any]:
    """A call that compiles at its first use, so that the first call's time has it."""
    found: list[Program] = []

    def call() -> Any:
        if not found:
            found.append(make())
        return found[0]()

    return call


def many_rollouts(
    policy: LSTMPolicy, x_BTD: jax.Array, noise_NTBKD: jax.Array, schedule: Any, at_once: int
) -> jax.Array:
    """N rollouts of every prefix by a schedule of `rollout`, `at_once` in one go: `x_NBPTD`."""
    given = rollout.prefixes(policy, x_BTD)

    def one(noise: jax.Array) -> jax.Array:
        return schedule(policy, given, noise)

    return lax.map(one, noise_NTBKD, batch_size=at_once)


def noise(key: jax.Array, sizes: Sizes) -> jax.Array:
    """Standard normal noise of N rollouts, `[N, T, B, K, D]`."""
    lanes = rollout.num_lanes(sizes.length)
    shape = (sizes.rollouts, sizes.length, sizes.batch, lanes, sizes.features)
    return draws.normal(key, shape)


def compiled_rollouts(problem: Problem, schedule: Any = rollout.rollouts) -> Program:
    """Noise and N rollouts of every prefix, not scored."""
    sizes = problem.sizes
    at_once = rollout.at_once(sizes.at_once, sizes.rollouts, sizes.batch, sizes.length)

    def run(params: Params, x_BTD: jax.Array, key: jax.Array) -> jax.Array:
        policy = networks.bind(problem.nets.policy, params)
        drawn = noise(jax.random.fold_in(key, 0), sizes)  # the same in every call
        return many_rollouts(policy, x_BTD, drawn, schedule, at_once)

    return _compiled(run, problem.state().generator, batch(problem), problem.key)


def compiled_reward(problem: Problem) -> Program:
    """Q of every prefix by N rollouts, each scored by D's probability of 'real'."""
    sizes = problem.sizes

    def run(params: Params, dis: Params, x_BTD: jax.Array, key: jax.Array) -> jax.Array:
        policy = networks.bind(problem.nets.policy, params)
        discriminator = networks.bind(problem.nets.discriminator, dis)

        def reward(x: jax.Array) -> jax.Array:
            return losses.reward(discriminator(x), "probability")

        same = jax.random.fold_in(key, 0)  # in every call
        return rollout.q_values(policy, reward, x_BTD, same, sizes.rollouts, sizes.at_once)

    state = problem.state()
    return _compiled(run, state.generator, state.discriminator, batch(problem), problem.key)


def compiled_scores(problem: Problem, number: int) -> Program:
    """D's logits of `number` sequences, without dropout."""

    def run(dis: Params, x_BTD: jax.Array) -> jax.Array:
        return networks.bind(problem.nets.discriminator, dis)(x_BTD)

    x_BTD = jnp.asarray(series(number, problem.sizes.length, problem.sizes.features), jnp.float32)
    return _compiled(run, problem.state().discriminator, x_BTD)


def compiled_gradient(problem: Problem) -> Program:
    """Gradient of the likelihood of one batch: the arithmetic of a G step."""

    def run(params: Params, x_BTD: jax.Array) -> Params:
        return jax.grad(lambda p: losses.nll(networks.bind(problem.nets.policy, p), x_BTD))(params)

    return _compiled(run, problem.state().generator, batch(problem))


def batch(problem: Problem) -> jax.Array:
    """The first batch of the data, `x_BTD`."""
    return problem.data.train_NTD[: problem.sizes.batch]
