"""The LSTM policy. Modules are Flax NNX, used functionally: `split` turns one into a hashable
definition and plain dicts of parameters and constants, `bind` puts them together again inside a
jitted function.
"""

from dataclasses import replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from seqgan_jax.config import GeneratorConfig
from seqgan_jax.core import parallel
from seqgan_jax.core.baseline import Baseline
from seqgan_jax.core.batch import Batch, LSTMState, Params, Prefixes, in_blocks
from seqgan_jax.core.columns import chain, mixed, support
from seqgan_jax.core.columns.chain import Chain, Context, Step
from seqgan_jax.core.columns.mixed import MixedChain
from seqgan_jax.core.columns.mixed_step import MixedStep
from seqgan_jax.core.columns.support import Columns
from seqgan_jax.data.kind import GAP

Definition = nnx.GraphDef
# Steps of a scan in one body on a GPU, where a loop's own copies and launches are half of the time.
STEPS_WRITTEN_OUT = 32
FIRST_COMPONENTS = 16  # of the first step's distribution at least, where it is a mixture


class Constant(nnx.Variable):
    """Saved with the parameters and never trained."""


class Chains(NamedTuple):
    """How the columns of a later step hang together and those of the first; their start."""

    later: Any  # Chain, MixedChain or TokenChain
    first: Any
    later_start: Any  # numbers of an untrained policy
    first_start: Any


def split(module: nnx.Module) -> tuple[Definition, Params, Params]:
    """A module's definition (hashable, static under jit), its parameters and its constants."""
    definition, params, constants = nnx.split(module, nnx.Param, Constant)  # type: ignore[misc]
    return definition, nnx.to_pure_dict(params), nnx.to_pure_dict(constants)


def bind(definition: Definition, params: Params, constants: Params) -> Any:
    """The module with these parameters; costs nothing inside a jitted function."""
    return nnx.merge(definition, params, constants)


def init(
    key: jax.Array, config: GeneratorConfig, baseline: Baseline, columns: Columns | None = None
) -> tuple[Definition, Params, Params]:
    """A policy that is the linear baseline until it is trained. Consumes `key`."""
    return split(LSTMPolicy(config, baseline, columns, rngs=nnx.Rngs(params=key)))


class LSTMPolicy(nnx.Module):
    """Autoregressive policy pi(x_t | x_<t): an LSTM whose head gives the distribution of each step.

    c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g), h_t = sigmoid(o) tanh(c_t), with
    [i, f, o, g] = W_u u_{t-1} + W_h h_{t-1} + b (Hochreiter & Schmidhuber 1997; forget bias 1,
    Jozefowicz et al. 2015). It reads u = [x, e], the value and its innovation against the linear
    baseline, and the head gives from h_t the numbers of the next innovation's distribution
    (`columns.chain`). h is bounded, so they are too: what grows beyond the data is the baseline's
    linear part alone, and no feedback through the variance can run away. The head starts at zero:
    an untrained policy is the baseline. The first step has a learned input to the LSTM (`start`)
    and to the distribution (`first`); of a mixture, a distribution of its own with more components,
    since levels have many modes.

    What is known of a step in advance, k_t [W], is read when x_t is drawn: the baseline's mean
    moves by it, W_k k_t is added to the gates' sums, V k_t to the head's numbers; V = 0 at first.
    """

    def __init__(
        self,
        config: GeneratorConfig,
        baseline: Baseline,
        columns: Columns | None = None,
        *,
        rngs: nnx.Rngs,
    ) -> None:
        features = baseline.offset.shape[0]
        hidden_dim = config.hidden_dim
        self.features, self.hidden_dim, self.layers = features, hidden_dim, config.layers
        self.chain: Any
        self.first_chain: Any
        self.chain, self.first_chain, start, first = self._chains(config, features, columns)
        self.num_noise = self.chain.num_noise
        lecun = jax.nn.initializers.lecun_normal()
        self.recurrent = nnx.Param(_recurrent(hidden_dim, rngs))
        self.input = nnx.Param(lecun(rngs.params(), (self.chain.num_read, 4 * hidden_dim)))
        self.bias = nnx.Param(_forget_bias(hidden_dim))
        self.start = nnx.Param(jnp.zeros(4 * hidden_dim))
        self.deeper = nnx.List([_deeper_layer(hidden_dim, rngs) for _ in range(config.layers - 1)])
        outputs = self.chain.num_params
        self.head = nnx.Param(jnp.zeros((hidden_dim, outputs)))
        self.head_bias = nnx.Param(jnp.asarray(start))
        # Beside the head's bias where both steps have one chain, in its place where they do not.
        first = first - start if self._one_chain else first
        self.first = nnx.Param(jnp.asarray(first, jnp.float32))
        self.weights = _variables(self.chain.weights(rngs.params()), nnx.Param)
        self.first_weights = _variables(self.first_chain.weights(rngs.params()), nnx.Param)
        self.num_known = width = 0 if baseline.known is None else baseline.known.shape[1]
        if width:
            self.known_input = nnx.Param(lecun(rngs.params(), (width, 4 * hidden_dim)))
            self.known_head = nnx.Param(jnp.zeros((width, outputs)))
            self.known_first = nnx.Param(jnp.zeros((width, self.first.shape[0])))
        self.baseline = _variables(baseline.constants(), Constant)
        described = {} if columns is None else columns.support.constants()
        self.support = _variables(described, Constant)

    def _chains(self, config: GeneratorConfig, features: int, columns: Columns | None) -> "Chains":
        kind, components = config.policy, config.components
        first_components = max(components, FIRST_COMPONENTS)
        if columns is None:
            later = chain.by_name(kind, config.covariance, components, features)
            first = chain.by_name(kind, config.covariance, first_components, features)
            return Chains(later, first, later.start(), first.start())
        mixed_later = mixed.by_name(kind, components, columns.layout, config.drift)
        mixed_first = mixed.by_name(kind, first_components, columns.layout, config.drift)
        shares = columns.support.later_share, columns.support.first_share
        return Chains(
            mixed_later, mixed_first, mixed_later.start(shares[0]), mixed_first.start(shares[1])
        )

    @property
    def columns(self) -> Columns | None:
        """What the columns are, where some are not plain continuous."""
        if isinstance(self.chain, Chain):
            return None
        return Columns(support.of_constants(_values(self.support)), self.chain.layout)

    @property
    def end(self) -> int | None:
        """The column that says which step is a sequence's last; None where all have T steps."""
        return self.chain.layout.end if isinstance(self.chain, MixedChain) else None

    @property
    def _constants(self) -> dict[str, jax.Array]:
        return _values(self.baseline) | _values(self.support)

    @property
    def _one_chain(self) -> bool:
        return self.first_chain == self.chain

    def _cell(self, state: LSTMState, projected: jax.Array) -> LSTMState:
        # Two arrays: stacking them in a scan's carry costs a copy at each step.
        if not self.deeper:
            return LSTMState(*_gates((state.h, state.c), projected, self.recurrent[...]))
        below = projected
        found = []
        each = (jnp.split(part, self.layers, axis=-1) for part in (state.h, state.c))
        for n, (h, c) in enumerate(zip(*each, strict=True)):
            recurrent = self.recurrent
            if n > 0:
                layer = self.deeper[n - 1]
                below = below @ layer["input"][...] + _row(layer["bias"], below.ndim)
                recurrent = layer["recurrent"]
            new = _gates((h, c), below, recurrent[...])
            below = new[0]
            found.append(new)
        return LSTMState(*(jnp.concatenate(parts, axis=-1) for parts in zip(*found, strict=True)))

    def _top(self, state: LSTMState, factors_BH: jax.Array | None = None) -> jax.Array:
        units = state.h[..., -self.hidden_dim :]
        return units if factors_BH is None else units * factors_BH[None]

    def _project(self, inputs: jax.Array, known: jax.Array | None) -> jax.Array:
        read = inputs[..., : self.chain.num_read]
        projected = read @ self.input[...] + _row(self.bias, inputs.ndim)
        return projected if known is None else projected + known @ self.known_input[...]

    def begin(
        self,
        batch: int,
        temperature: float | jax.Array = 1.0,
        known: jax.Array | None = None,
    ) -> tuple[LSTMState, Step | MixedStep]:
        """The state after the start input, and the distribution of the first value.

        `known` [B, W] is of the first step.
        """
        start = jnp.broadcast_to(self.start[...] + self.bias[...], (batch, 4 * self.hidden_dim))
        if known is not None:
            start = start + known @ self.known_input[...]
        zero = jnp.zeros((batch, self.layers * self.hidden_dim))
        state = self._cell(LSTMState(zero, zero), start)
        raw = jnp.broadcast_to(_row(self.first, 2), (batch, self.first.shape[0]))
        if self._one_chain:
            raw = self._top(state) @ self.head[...] + raw + _row(self.head_bias, 2)
        if known is not None:
            raw = raw + known @ self.known_first[...]
        constants = self._constants
        context = self.first_chain.context(constants, None)
        context = context.moved(known, constants.get("first_known"))
        weights = _values(self.first_weights)
        return state, self.first_chain.step(raw, weights, temperature, context)

    def step(
        self,
        state: LSTMState,
        inputs: jax.Array,
        temperature: float | jax.Array = 1.0,
        known: jax.Array | None = None,
    ) -> tuple[LSTMState, Step | MixedStep]:
        """One later step: the state after reading `[..., U]`, and the next value's distribution.

        `known` [..., W] is of the step to be drawn.
        """
        state = self._cell(state, self._project(inputs, known))
        constants = self._constants
        context = self.chain.context(constants, self.chain.past(inputs))
        context = context.moved(known, constants.get("known"))
        return state, self._later(state, inputs, context, temperature, known)

    def _later(
        self,
        state: LSTMState,
        inputs: jax.Array,
        context: Context,
        temperature: float | jax.Array,
        known: jax.Array | None,
        factors_BH: jax.Array | None = None,
    ) -> Step | MixedStep:
        units = self._top(state, factors_BH)
        raw = units @ self.head[...] + _row(self.head_bias, state.h.ndim)
        if known is not None:
            raw = raw + known @ self.known_head[...]
        return self.chain.step(raw, _values(self.weights), temperature, context, inputs)

    def next_inputs(self, inputs: jax.Array, x: jax.Array, read: jax.Array) -> jax.Array:
        """What is carried on after x was drawn where `inputs` had been carried."""
        return self.chain.carried(read, x, inputs)

    def first_inputs(self, x: jax.Array, read: jax.Array) -> jax.Array:
        """What is carried on after the first value."""
        return self.chain.carried(read, x, None, self._constants)

    def teacher_forced(
        self,
        x_BTD: jax.Array,
        temperature: float | jax.Array = 1.0,
        known_BTW: jax.Array | None = None,
        factors_BH: jax.Array | None = None,
    ) -> tuple[Prefixes, Step | MixedStep, Step | MixedStep]:
        """States and distributions at every step of given sequences, in one pass.

        Inputs are shifted: the distribution at step t has seen x_1 .. x_{t-1} only. What the head
        reads of later steps is multiplied by `factors_BH`: dropout, the same at each step of a
        sequence (Gal & Ghahramani 2016).

        Returns:
          The states from which each x_t is drawn; the distributions of x_1 `[B]` and of
          x_2 .. x_T `[T-1, B]`.
        """
        x_TBD = jnp.swapaxes(x_BTD, 0, 1)
        now, then = (None, None) if known_BTW is None else _first_and_later(known_BTW)
        start, first = self.begin(x_BTD.shape[0], temperature, now)
        constants = self._constants
        known_TBW = None if known_BTW is None else jnp.swapaxes(known_BTW, 0, 1)
        past = self.chain.all_past(constants, x_TBD, known_TBW)
        before = jax.tree.map(lambda steps: steps[:-1], past)
        context = self.chain.context(constants, before).moved(then, constants.get("known"))
        reads = [first.context.read(x_TBD[0])[None], context.read(x_TBD[1:])]
        inputs_TBU = self.chain.all_carried(jnp.concatenate(reads), past)

        def body(state: LSTMState, projected: jax.Array) -> tuple[LSTMState, LSTMState]:
            state = self._cell(state, projected)
            return state, state

        written_out = 1 if parallel.on_cpu() else STEPS_WRITTEN_OUT
        projected = self._project(inputs_TBU[:-1], then)
        _, states = lax.scan(body, start, projected, unroll=min(written_out, len(projected)) or 1)
        later = self._later(states, inputs_TBU[:-1], context, temperature, then, factors_BH)
        states = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, states)
        return Prefixes(x_BTD, states, inputs_TBU), first, later

    @property
    def has_gaps(self) -> bool:
        """Whether values may be missing."""
        return isinstance(self.chain, MixedChain) and self.chain.layout.missing

    def complete(self) -> "LSTMPolicy":
        """The policy given that no value is missing: p(x) without the option to be, the other
        choices with all the mass. It draws complete sequences. Of sequences with gaps log_prob is
        that of the values given where they are: 0 of what is missing, else
        log p(x_td | the values before, where they were missing, and that this one is not)."""
        if not self.has_gaps:
            return self
        policy: LSTMPolicy = bind(*split(self))  # not this one, which may be of another trace
        policy.chain = replace(self.chain, complete=True)
        policy.first_chain = replace(self.first_chain, complete=True)
        return policy

    def is_value(self, batch: Batch) -> jax.Array:
        """Which values count and are not missing, `[B, T, D]` bool."""
        return batch.mask & (batch.x != GAP) if self.has_gaps else batch.mask

    def is_density(self, x_BTD: jax.Array) -> jax.Array:
        """Which values have a density and not a mass, `[B, T, D]` bool; known or not, the same."""
        _, first, later = self.teacher_forced(x_BTD)
        x_TBD = jnp.swapaxes(x_BTD, 0, 1)
        now, then = first.context, later.context
        found = [now.is_density(x_TBD[0])[None], then.is_density(x_TBD[1:])]
        return jnp.swapaxes(jnp.concatenate(found), 0, 1)

    def log_prob(
        self,
        batch: Batch,
        temperature: float | jax.Array = 1.0,
        factors_BH: jax.Array | None = None,
    ) -> jax.Array:
        """log pi(x_td | x_<t, x_t,<d) by teacher forcing, `[B, T, D]`, nats; 0 where masked.

        `factors_BH`: of dropout, see `teacher_forced`.
        """
        _, first, later = self.teacher_forced(batch.x, temperature, batch.known_if_any, factors_BH)
        x_TBD = jnp.swapaxes(batch.x, 0, 1)
        return _over_steps(first.log_prob(x_TBD[0]), later.log_prob(x_TBD[1:]), batch)

    def log_choices(self, batch: Batch) -> jax.Array:
        """log of the mass of each value that has one, and of each other that it is no option,
        given all before, `[B, T, D]`, nats; differentiable in the values, too."""
        _, first, later = self.teacher_forced(batch.x, known_BTW=batch.known_if_any)
        assert isinstance(first, MixedStep)
        assert isinstance(later, MixedStep)
        x_TBD = jnp.swapaxes(batch.x, 0, 1)
        now, then = first.log_prob(x_TBD[0], True), later.log_prob(x_TBD[1:], True)
        return _over_steps(now, then, batch)

    def log_prob_and_entropy(self, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """`log_prob` and the entropies of the same distributions, `[B, T, D]` each, nats."""
        _, first, later = self.teacher_forced(batch.x, known_BTW=batch.known_if_any)
        x_TBD = jnp.swapaxes(batch.x, 0, 1)
        log_prob = _over_steps(first.log_prob(x_TBD[0]), later.log_prob(x_TBD[1:]), batch)
        return log_prob, _over_steps(first.entropy(), later.entropy(), batch)  # type: ignore[union-attr]


def _first_and_later(known_BTW: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What is known of the first step [B, W], and of later ones [T - 1, B, W]."""
    known_TBW = jnp.swapaxes(known_BTW, 0, 1)
    return known_TBW[0], known_TBW[1:]


def _over_steps(first_BD: jax.Array, later_TBD: jax.Array, batch: Batch) -> jax.Array:
    """Values of all steps `[B, T, D]`, 0 where masked."""
    values_TBD = jnp.concatenate([first_BD[None], later_TBD])
    return jnp.where(batch.mask, jnp.swapaxes(values_TBD, 0, 1), 0.0)


def steps_with_values(policy: LSTMPolicy, batch: Batch) -> jax.Array:
    """How many steps of the batch count: those with a value in any column."""
    is_value = policy.is_value(batch)
    return jnp.maximum(jnp.sum(jnp.any(is_value, axis=-1)), 1).astype(jnp.float32)


def nll(policy: LSTMPolicy, batch: Batch, factors_BH: jax.Array | None = None) -> jax.Array:
    """Negative log-likelihood a step, nats: - sum_btd mask log pi(x_btd | x_b<t) / steps.

    Of values and gaps together: what is minimised. `factors_BH`: of dropout.
    """
    log_p = policy.log_prob(batch, factors_BH=factors_BH)
    return -jnp.sum(log_p) / steps_with_values(policy, batch)


def log_prob_of_sequences(
    policy: LSTMPolicy, batch: Batch, temperature: float | jax.Array = 1.0
) -> jax.Array:
    """log pi of each sequence `[N]`, nats, of the values given where they are (`complete`); memory
    is flat in N."""
    policy = policy.complete()
    return in_blocks(lambda some: policy.log_prob(some, temperature).sum(axis=(1, 2)), batch)


def validation_nll(policy: LSTMPolicy, batch: Batch) -> jax.Array:
    """`nll` of a whole part of the data; memory is flat in N."""
    return -jnp.sum(log_prob_of_sequences(policy, batch)) / steps_with_values(policy, batch)


@jax.custom_vjp
def _gates(
    state: tuple[jax.Array, jax.Array], projected: jax.Array, recurrent: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """h, c one step on: c' = f c + i g, h' = o tanh c'; gates i, f, o, g side by side in `[B, 4H]`.

    The gradient is written out, and all gates are one tanh, sigmoid(x) = (1 + tanh(x / 2)) / 2:
    on a CPU a sampled step takes 0.4 of the time, and a backward one 0.5 to 0.9 of it.
    """
    return _gates_forward(state, projected, recurrent)[0]


def _gates_forward(
    state: tuple[jax.Array, jax.Array], projected: jax.Array, recurrent: jax.Array
) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, ...]]:
    h, c = state
    half = np.float32(0.5) * _is_sigmoid(projected)
    scale = np.float32(1.0) - half
    gates = jnp.tanh((projected + h @ recurrent) * scale) * scale + half
    i, f, o, g = jnp.split(gates, 4, axis=-1)
    new_c = f * c + i * g
    squashed = jnp.tanh(new_c)
    return (o * squashed, new_c), (gates, squashed, h, c, recurrent)


def _gates_backward(
    saved: tuple[jax.Array, ...], cotangent: tuple[jax.Array, jax.Array]
) -> tuple[tuple[jax.Array, jax.Array], jax.Array, jax.Array]:
    gates, squashed, h, c, recurrent = saved
    d_h, d_c = cotangent
    i, f, o, g = jnp.split(gates, 4, axis=-1)
    d_c = d_c + d_h * o * (1.0 - squashed * squashed)
    d_gates = jnp.concatenate([d_c * g, d_c * c, d_h * squashed, d_c * i], axis=-1)
    # y (1 - y) of a sigmoid, 1 - y^2 of a tanh.
    sigmoid = _is_sigmoid(gates)
    d_sum = d_gates * (1.0 - sigmoid + sigmoid * gates - gates * gates)
    return (d_sum @ recurrent.T, d_c * f), d_sum, h.T @ d_sum


_gates.defvjp(_gates_forward, _gates_backward)


def _is_sigmoid(gates: jax.Array) -> np.ndarray:
    hidden_dim = gates.shape[-1] // 4
    return np.repeat(np.array([1.0, 0.0], np.float32), [3 * hidden_dim, hidden_dim])[None]


def _recurrent(hidden_dim: int, rngs: nnx.Rngs) -> jax.Array:
    # Four blocks, one for each gate: one orthogonal (H, 4H) matrix would correlate the gates.
    orthogonal = jax.nn.initializers.orthogonal()
    blocks = [orthogonal(rngs.params(), (hidden_dim, hidden_dim)) for _ in range(4)]
    return jnp.concatenate(blocks, axis=1)


def _forget_bias(hidden_dim: int) -> jax.Array:
    return jnp.zeros(4 * hidden_dim).at[hidden_dim : 2 * hidden_dim].set(1.0)


def _deeper_layer(hidden_dim: int, rngs: nnx.Rngs) -> nnx.Dict:
    recurrent = _recurrent(hidden_dim, rngs)
    input_ = jax.nn.initializers.lecun_normal()(rngs.params(), (hidden_dim, 4 * hidden_dim))
    arrays = {"input": input_, "recurrent": recurrent, "bias": _forget_bias(hidden_dim)}
    return _variables(arrays, nnx.Param)


def _variables(arrays: Params, kind: type[nnx.Variable]) -> nnx.Dict:
    return nnx.Dict({name: kind(array) for name, array in arrays.items()})


def _values(variables: nnx.Dict) -> dict[str, jax.Array]:
    return {name: variables[name][...] for name in variables}


def _row(vector: Any, ndim: int) -> jax.Array:
    """A vector with leading axes of one, since rank promotion must be asked for."""
    return vector[...][(None,) * (ndim - 1)]
