"""The units of work that are timed, by the package's public functions: the one place to edit.

Every function gives a call without arguments that returns when the device has finished.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from seqgan_jax import SeqGAN
from seqgan_jax.config import (
    PLAIN,
    PRESETS,
    AdversarialConfig,
    DiscriminatorConfig,
    GeneratorConfig,
)
from seqgan_jax.core import adversarial, baseline, gradients, keys, likelihood, networks, sampling
from seqgan_jax.core.baseline import Baseline
from seqgan_jax.core.batch import Batch, Params, Parts, TrainState
from seqgan_jax.core.networks import Networks
from seqgan_jax.core.policy import LSTMPolicy, nll
from seqgan_jax.data import layout
from seqgan_jax.run.loader import on_device, scaled
from seqgan_jax.run.loop import Silent

NEVER = 10**9  # epochs without improvement before pretraining stops


@dataclass(frozen=True)
class Sizes:
    """Sizes of a problem; the defaults are those of the project's cost table."""

    length: int = 20
    features: int = 1
    known: int = 0  # numbers that are known of each step in advance
    batch: int = 64
    rollouts: int = 16
    number: int = 10_000
    hidden: int = 32
    dis_size: str = "small"
    policy: str = "gaussian"
    every: int = 1  # prefixes that are continued
    at_once: int = 0  # rollouts made in one go; 0: as `sampling.at_once` has it
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
    parts: Parts
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


def problem(sizes: Sizes) -> Problem:
    """Everything that the calls below need; deterministic."""
    x_NTD = series(sizes.number + sizes.batch, sizes.length, sizes.features)
    # One batch of validation, so that an epoch is its steps and hardly anything else.
    train_NTD, validation_NTD = x_NTD[: sizes.number], x_NTD[sizes.number :]
    # The Gaussian policy and REINFORCE, as in the PyTorch project, with either discriminator.
    base = PRESETS["reference"]
    how: dict[str, Any] = {"policy": sizes.policy, "hidden_dim": sizes.hidden}
    generator = replace(base.generator, patience=NEVER, **how)
    discriminator = replace(
        base.discriminator,
        dis_size=sizes.dis_size,
        dis_r1=sizes.r1,
        num_negatives=sizes.negatives,
        dis_passes=sizes.passes,
        dis_refreshes=sizes.refreshes,
    )
    settings = replace(
        base.adversarial,
        rollout_num=sizes.rollouts,
        rollout_every=sizes.every,
        rollouts_at_once=sizes.at_once,
    )
    found: list[Networks] = []

    @jax.jit  # op by op this compiles dozens of little programs
    def initial(key: jax.Array, linear: Baseline, scale_D: jax.Array) -> TrainState:
        nets, state = networks.init(key, sizes.length, linear, scale_D, generator, discriminator)
        found.append(nets)
        return state

    known = None
    if sizes.known:
        shape = (len(x_NTD), sizes.length, sizes.known)
        known_NTW = np.random.default_rng(1).normal(size=shape)
        known = known_NTW[: sizes.number], known_NTW[sizes.number :]
    linear = baseline.fit(train_NTD, validation_NTD, generator.covariance, known=known)
    state = initial(jax.random.key(0), linear, jnp.asarray(baseline.increment_scale(train_NTD)))
    train, validation = (
        Batch.complete(
            jnp.asarray(x, jnp.float32), None if k is None else jnp.asarray(k, jnp.float32)
        )
        for x, k in zip((train_NTD, validation_NTD), known or (None, None), strict=True)
    )
    parts = Parts(train, validation, jnp.arange(len(validation)))
    # Anything but zero, the head's initial value, that keeps the policy near the data.
    head = 0.1 * jax.random.normal(jax.random.key(1), state.policy["head"].shape)
    params = state.policy | {"head": head}
    state = replace(state, policy=params, ema=params, best=params, rollout=params)
    key = jax.random.key(2)
    return Problem(sizes, generator, discriminator, settings, found[0], parts, key, state)


def table_problem(quick: bool = False) -> Problem:
    """The default run on the bundled table: its columns, networks and settings.

    But discriminators see columns as they are scaled, and rewards are probabilities, as above.
    """
    few = {"num_negatives": 128, "gen_updates": 1} if quick else {}
    how = {"dis_sees": "scaled", "calendar": "none", "reward": "probability", "patience": NEVER}
    model = SeqGAN(**how | few)
    config = model.config
    parts = model.prepare(layout.of_settings(config.data, model.data_seed))
    scaler, state = model.description.scaler, model.state
    rows = [scaled(scaler, x, "data") for x in (parts.train_NTD, parts.validation_NTD)]
    train, validation = (on_device(x_NTD, None, None) for x_NTD in rows)
    length, features = train.x.shape[1:]
    sizes = Sizes(
        length=length,
        features=features,
        batch=config.run.batch_size,
        rollouts=config.adversarial.rollout_num,
        number=len(train),
        hidden=config.generator.hidden_dim,
        policy="mixture",
        every=sampling.spacing(config.adversarial.rollout_every, length),
        r1=config.discriminator.dis_r1,
        negatives=config.discriminator.num_negatives,
        passes=config.discriminator.dis_passes,
        refreshes=config.discriminator.dis_refreshes,
    )
    # Anything but zero, as above.
    leaves, structure = jax.tree.flatten(state.policy)
    rng = np.random.default_rng(1)
    moved = [leaf + jnp.asarray(0.05 * rng.normal(size=leaf.shape), jnp.float32) for leaf in leaves]
    params = jax.tree.unflatten(structure, moved)
    state = replace(state, policy=params, ema=params, best=params, rollout=params)
    settings = config.generator, config.discriminator, config.adversarial
    given = Parts(train, validation, jnp.arange(len(validation)))
    return Problem(sizes, *settings, model.nets, given, jax.random.key(2), state)


Phase = Callable[..., Any]  # state, parts, key -> state, metrics


def _in_turn(problem: Problem, *phases: Phase) -> Callable[[], Any]:
    """A call that runs each phase and keeps the state for the next call."""
    state = problem.state()

    def call() -> Any:
        nonlocal state
        for phase in phases:
            state, metrics = phase(
                state, problem.parts, problem.key, nets=problem.nets, batch_size=problem.sizes.batch
            )
        return jax.block_until_ready(metrics)

    return call


def likelihood_epoch(problem: Problem) -> tuple[Callable[[], Any], int]:
    """An epoch of maximum likelihood (gather, gradient, clip, Adam, EMA), and its steps.

    As the PyTorch programs have it: no dropout, no decay, one look at the validation part.
    """
    config = replace(problem.generator, **PLAIN)
    phase = partial(likelihood.epochs, count=jnp.array(1), config=config)
    return _in_turn(problem, phase), problem.sizes.number // problem.sizes.batch


def _discriminator(config: DiscriminatorConfig, epochs: int) -> Phase:
    numbers = {"purpose": jnp.array(keys.ADVERSARY), "first": jnp.array(0)}
    count = jnp.array(epochs)
    return partial(adversarial.discriminator_epochs, **numbers, count=count, config=config)


def discriminator_passes(problem: Problem, passes: int = 10) -> tuple[Callable[[], Any], int]:
    """Passes of the discriminator over one draw of sequences, and the steps in them.

    The draw itself, once in `passes` passes, is a few per cent of the time and is left in.
    """
    config = replace(problem.discriminator, dis_passes=passes)
    half = problem.sizes.batch // 2
    return _in_turn(problem, _discriminator(config, 1)), passes * (config.num_negatives // half)


def adversarial_round(problem: Problem) -> Callable[[], Any]:
    """One round: policy updates by REINFORCE, then the discriminator on fresh samples."""
    updates = partial(adversarial.policy_updates, count=jnp.array(1), config=problem.adversarial)
    config = problem.discriminator
    return _in_turn(problem, updates, _discriminator(config, config.dis_refreshes))


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
    policy: LSTMPolicy, x_BTD: jax.Array, noise_MTBLP: jax.Array, schedule: Any, at_once: int
) -> jax.Array:
    """M rollouts of every prefix by a schedule, `at_once` in one go: `x_MBJTD`."""
    given = sampling.prefixes(policy, x_BTD)
    return lax.map(partial(schedule, policy, given), noise_MTBLP, batch_size=at_once)


def noise(key: jax.Array, sizes: Sizes) -> jax.Array:
    """Standard normal noise of M rollouts, `[M, T, B, L, D]`."""
    lanes = sampling.num_lanes(sizes.length, sizes.every)
    numbers = sizes.features * (1 if sizes.policy == "gaussian" else 2)
    shape = (sizes.rollouts, sizes.length, sizes.batch, lanes, numbers)
    return keys.normal(key, shape)


def compiled_rollouts(problem: Problem, schedule: Any = sampling.rollouts) -> Program:
    """Noise and M rollouts of every prefix, not scored."""
    sizes = problem.sizes
    shape = sizes.rollouts, sizes.batch, sizes.length, sizes.every
    at_once = sampling.at_once(sizes.at_once, *shape)
    if sizes.every > 1:
        schedule = partial(schedule, every=sizes.every)

    def run(state: TrainState, x_BTD: jax.Array, key: jax.Array) -> jax.Array:
        policy = problem.nets.bind_policy(state.policy, state)
        drawn = noise(jax.random.fold_in(key, 0), sizes)  # the same in every call
        return many_rollouts(policy, x_BTD, drawn, schedule, at_once)

    return _compiled(run, problem.state(), batch(problem).x, problem.key)


def compiled_reward(problem: Problem) -> Program:
    """Q of every prefix by M rollouts, each scored by D's probability of 'real'."""
    sizes, nets = problem.sizes, problem.nets

    def run(state: TrainState, x_BTD: jax.Array, key: jax.Array) -> jax.Array:
        policy = nets.bind_policy(state.policy, state)
        discriminator = nets.bind_discriminator(state.discriminator, state)

        def reward(sequences: Batch) -> jax.Array:
            return gradients.reward_of(discriminator(sequences), "probability")

        same = jax.random.fold_in(key, 0)  # in every call
        how = sizes.rollouts, sizes.at_once, sizes.every
        return sampling.q_values(policy, reward, x_BTD, same, *how)

    return _compiled(run, problem.state(), batch(problem).x, problem.key)


def compiled_scores(problem: Problem, number: int) -> Program:
    """D's logits of `number` sequences, without dropout."""

    def run(state: TrainState, sequences: Batch) -> jax.Array:
        return problem.nets.bind_discriminator(state.discriminator, state)(sequences)

    x_BTD = jnp.asarray(series(number, problem.sizes.length, problem.sizes.features), jnp.float32)
    return _compiled(run, problem.state(), Batch.complete(x_BTD))


def compiled_gradient(problem: Problem) -> Program:
    """Gradient of the likelihood of one batch: the arithmetic of a G step."""

    def run(state: TrainState, real: Batch) -> Params:
        return jax.grad(lambda params: nll(problem.nets.bind_policy(params, state), real))(
            state.policy
        )

    return _compiled(run, problem.state(), batch(problem))


def batch(problem: Problem) -> Batch:
    """The first batch of the data."""
    return problem.parts.train.take(slice(problem.sizes.batch))


class Clock(Silent):
    """Seconds of compilation, and of each phase, of a run."""

    def __init__(self) -> None:
        self.compile_seconds, self.phases = 0.0, {}
        self._last = time.perf_counter()

    def compiled(self, phase: str, seconds: float) -> None:  # noqa: ARG002
        self.compile_seconds += seconds

    def phase_ended(self, phase: str, state: TrainState, note: str) -> None:  # noqa: ARG002
        now = time.perf_counter()
        self.phases[phase], self._last = now - self._last, now
