"""The LSTM policy and the CNN-highway discriminators: the only file that imports flax.

Modules are Flax NNX, used functionally: `split` turns one into a hashable definition and a plain
dict of parameters, `bind` puts them together again inside a jitted function.
"""

import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jax.scipy.linalg import solve_triangular

from seqgan_jax.config import GeneratorConfig
from seqgan_jax.core import distributions, noise, parallel
from seqgan_jax.core.distributions import Framed

Params = dict[str, Any]
Definition = nnx.GraphDef
State = tuple[jax.Array, jax.Array]  # h and c of the LSTM, each [..., layers x H]
FIRST_COMPONENTS = 16  # of the first step's law at least, where it is a mixture


def split(module: nnx.Module) -> tuple[Definition, Params]:
    """A module's definition (hashable, static under jit) and its parameters as a plain dict."""
    definition, state = nnx.split(module)
    return definition, nnx.to_pure_dict(state)


def bind(definition: Definition, params: Params) -> Any:
    """The module with these parameters; costs nothing inside a jitted function."""
    return nnx.merge(definition, params)


def num_params(params: Params) -> int:
    """How many numbers the parameters hold."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


class Frame(NamedTuple):
    """A VAR(1) fitted by least squares: the frame in which the policy predicts.

    x_1 = first_offset + first_factor e_1; x_t = matrix x_{t-1} + offset + factor e_t.
    """

    first_offset: jax.Array  # [D]
    first_factor: jax.Array  # [D, D], lower triangular
    matrix: jax.Array  # [D, D]
    offset: jax.Array  # [D]
    factor: jax.Array  # [D, D], lower triangular


def fit_frame(x_NTD: np.ndarray, covariance: str, kind: str = "var") -> Frame:
    """Least squares of x_t on x_{t-1}, and the covariances of x_1 and of the residuals.

    With `kind` 'increments' the matrix is the identity, with 'levels' zero.

    Slow series move a thousandth of their range in a step, and prices of one share are nearly
    collinear: in this frame the policy's task has unit scale in every direction, and training
    begins at the VAR(1)'s likelihood instead of creeping towards it.
    """
    features = x_NTD.shape[2]
    first, before, after = x_NTD[:, 0], x_NTD[:, :-1], x_NTD[:, 1:]
    before, after = before.reshape(-1, features), after.reshape(-1, features)
    mean_before, mean_after = before.mean(0), after.mean(0)
    if kind == "var":
        matrix = np.linalg.lstsq(before - mean_before, after - mean_after, rcond=1e-10)[0].T
    else:
        matrix = np.eye(features) * (kind == "increments")
    offset = mean_after - matrix @ mean_before
    residual = after - before @ matrix.T - offset

    def factor(values: np.ndarray, floor: np.ndarray) -> np.ndarray:
        second = np.atleast_2d(np.cov(values.T, bias=True))
        if covariance == "diagonal":
            return np.diag(np.sqrt(np.diag(second) + floor))
        return np.linalg.cholesky(second + np.diag(floor))

    # The floor keeps exactly dependent columns invertible: 1e-4 of a column's standard deviation.
    floor = 1e-8 * (before.var(axis=0) + 1e-8)
    arrays = (first.mean(0), factor(first, floor), matrix, offset, factor(residual, floor))
    return Frame(*(jnp.asarray(array, jnp.float32) for array in arrays))


class LSTMPolicy(nnx.Module):
    """Autoregressive policy pi(x_t | x_<t): an LSTM whose head gives the law of each step.

    c_t = sigmoid(f) c_{t-1} + sigmoid(i) tanh(g), h_t = sigmoid(o) tanh(c_t), with
    [i, f, o, g] = W_u u_{t-1} + W_h h_{t-1} + b (Hochreiter & Schmidhuber 1997; forget bias 1,
    Jozefowicz et al. 2015). It reads u = [x, e], the value and its innovation in a fixed VAR(1)
    frame (`Frame`), and the head gives from h_t the parameters of the law (`distributions`) of the
    next innovation. h is bounded, so they are too: what grows beyond the data is the frame's linear
    part alone, and no feedback through the variance can run away. The head starts at zero: an
    untrained policy is the VAR(1). The first step has a learned input to the LSTM (`start`) and to
    the law (`first`); of a mixture, a law of its own with more components, since levels have many
    modes. States are `(h, c)`, layers side by side, and the head reads the last one; values and
    innovations lie side by side, `u_BI`, I = 2 D.
    """

    def __init__(self, config: GeneratorConfig, frame: Frame, *, rngs: nnx.Rngs) -> None:
        features = frame.offset.shape[0]
        hidden_dim = config.hidden_dim
        self.features = features
        self.hidden_dim = hidden_dim
        self.layers = config.layers
        kind, components = config.policy, config.components
        self.family = distributions.by_name(kind, config.covariance, components, features)
        first_components = max(components, FIRST_COMPONENTS)
        self.first_family = distributions.by_name(
            kind, config.covariance, first_components, features
        )
        self.noise_size = self.family.num_noise
        lecun = jax.nn.initializers.lecun_normal()
        self.recurrent = nnx.Param(_recurrent(hidden_dim, rngs))
        self.input = nnx.Param(lecun(rngs.params(), (2 * features, 4 * hidden_dim)))
        self.bias = nnx.Param(_forget_bias(hidden_dim))
        self.start = nnx.Param(jnp.zeros(4 * hidden_dim))
        self.deeper = nnx.List([_deeper_layer(hidden_dim, rngs) for _ in range(config.layers - 1)])
        outputs = self.family.num_params
        self.head = nnx.Param(jnp.zeros((hidden_dim, outputs)))
        self.head_bias = nnx.Param(jnp.asarray(self.family.start()))
        # Beside the head's bias where both steps have one law, in its place where they do not.
        start = np.zeros(outputs) if self._shared_law else self.first_family.start()
        self.first = nnx.Param(jnp.asarray(start, jnp.float32))
        self.weights = _params(self.family.weights(rngs.params()))
        self.first_weights = _params(self.first_family.weights(rngs.params()))
        self.frame = nnx.Dict({name: nnx.Param(value) for name, value in frame._asdict().items()})

    def _frame(self) -> Frame:
        # Part of the parameters, so that it is saved with them; never trained.
        return Frame(**{name: lax.stop_gradient(self.frame[name][...]) for name in Frame._fields})

    @property
    def _shared_law(self) -> bool:
        return self.first_family == self.family

    def _cell(self, state: State, projected: jax.Array) -> State:
        # Two arrays: stacking them in a scan's carry costs a copy at each step.
        if not self.deeper:
            return _gates(state, projected, self.recurrent[...])
        h_below = projected
        found: list[State] = []
        each = (jnp.split(part, self.layers, axis=-1) for part in state)
        for n, (h, c) in enumerate(zip(*each, strict=True)):
            if n == 0:
                new = _gates((h, c), projected, self.recurrent[...])
            else:
                layer = self.deeper[n - 1]
                fed = h_below @ layer["input"][...] + _row(layer["bias"], h_below.ndim)
                new = _gates((h, c), fed, layer["recurrent"][...])
            h_below = new[0]
            found.append(new)
        h, c = (jnp.concatenate(parts, axis=-1) for parts in zip(*found, strict=True))
        return h, c

    def _top(self, h: jax.Array) -> jax.Array:
        return h[..., -self.hidden_dim :]

    def _project(self, u: jax.Array) -> jax.Array:
        return u @ self.input[...] + _row(self.bias, u.ndim)

    def first_step(self, batch: int, temperature: float | jax.Array = 1.0) -> tuple[State, Framed]:
        """The state after the start input, and the law of the first value."""
        start = jnp.broadcast_to(self.start[...] + self.bias[...], (batch, 4 * self.hidden_dim))
        zero = jnp.zeros((batch, self.layers * self.hidden_dim))
        state = self._cell((zero, zero), start)
        raw = jnp.broadcast_to(_row(self.first, 2), (batch, self.first.shape[0]))
        if self._shared_law:
            raw = self._top(state[0]) @ self.head[...] + raw + _row(self.head_bias, 2)
        frame = self._frame()
        offset = jnp.broadcast_to(frame.first_offset, (batch, self.features))
        law = self.first_family.law(raw, _values(self.first_weights), temperature)
        return state, Framed(offset, frame.first_factor, _inverse(frame.first_factor), law)

    def step(
        self, state: State, u_BI: jax.Array, temperature: float | jax.Array = 1.0
    ) -> tuple[State, Framed]:
        """One later step: the state after reading `u_BI`, and the law of the next value."""
        state = self._cell(state, self._project(u_BI))
        return state, self._later_law(state[0], u_BI, temperature)

    def _later_law(self, h: jax.Array, u: jax.Array, temperature: float | jax.Array) -> Framed:
        raw = self._top(h) @ self.head[...] + _row(self.head_bias, h.ndim)
        frame = self._frame()
        offset = u[..., : self.features] @ frame.matrix.T + _row(frame.offset, h.ndim)
        law = self.family.law(raw, _values(self.weights), temperature)
        return Framed(offset, frame.factor, _inverse(frame.factor), law)

    def teacher_forced(
        self, x_BTD: jax.Array, temperature: float | jax.Array = 1.0
    ) -> tuple[State, jax.Array, tuple[Framed, Framed]]:
        """States and laws at every step of given sequences, in one pass.

        Inputs are shifted: the law at step t has seen x_1 .. x_{t-1} only.

        Returns:
          `h_TBH` and `c_TBH`, the state from which x_t is drawn; `u_TBI`, the given values with
          their innovations; the laws of x_1 `[B]` and of x_2 .. x_T `[T-1, B]`.
        """
        x_TBD = jnp.swapaxes(x_BTD, 0, 1)
        start, first = self.first_step(x_BTD.shape[0], temperature)
        frame = self._frame()
        offset = x_TBD[:-1] @ frame.matrix.T + _row(frame.offset, 3)
        e_TBD = jnp.concatenate(
            [first.innovation(x_TBD[0])[None], (x_TBD[1:] - offset) @ _inverse(frame.factor).T]
        )
        u_TBI = jnp.concatenate([x_TBD, e_TBD], axis=-1)

        def body(state: State, projected: jax.Array) -> tuple[State, State]:
            state = self._cell(state, projected)
            return state, state

        _, later = lax.scan(body, start, self._project(u_TBI[:-1]))
        laws = (first, self._later_law(later[0], u_TBI[:-1], temperature))
        h_TBH, c_TBH = (jnp.concatenate([a[None], b]) for a, b in zip(start, later, strict=True))
        return (h_TBH, c_TBH), u_TBI, laws

    def log_prob(self, x_BTD: jax.Array, temperature: float | jax.Array = 1.0) -> jax.Array:
        """log pi(x_t | x_<t) at every step by teacher forcing, `[B, T]`, nats."""
        _, _, (first, later) = self.teacher_forced(x_BTD, temperature)
        x_TBD = jnp.swapaxes(x_BTD, 0, 1)
        return jnp.concatenate([first.log_prob(x_TBD[0])[None], later.log_prob(x_TBD[1:])]).T

    def log_prob_and_entropy(self, x_BTD: jax.Array) -> tuple[jax.Array, jax.Array]:
        """`log_prob` and the entropies of the same laws, `[B, T]` each, nats."""
        _, _, (first, later) = self.teacher_forced(x_BTD)
        x_TBD = jnp.swapaxes(x_BTD, 0, 1)
        log_prob = jnp.concatenate([first.log_prob(x_TBD[0])[None], later.log_prob(x_TBD[1:])])
        return log_prob.T, jnp.concatenate([first.entropy()[None], later.entropy()]).T


@jax.custom_vjp
def _gates(state: State, projected: jax.Array, recurrent: jax.Array) -> State:
    """h, c one step on: c' = f c + i g, h' = o tanh c'; gates i, f, o, g side by side in `[B, 4H]`.

    The gradient is written out, and all gates are one tanh, sigmoid(x) = (1 + tanh(x / 2)) / 2:
    on a CPU a sampled step takes 0.4 of the time, and a backward one 0.5 to 0.9 of it.
    """
    return _gates_forward(state, projected, recurrent)[0]


def _gates_forward(
    state: State, projected: jax.Array, recurrent: jax.Array
) -> tuple[State, tuple[jax.Array, ...]]:
    h, c = state
    half = np.float32(0.5) * _is_sigmoid(projected)
    scale = np.float32(1.0) - half
    gates = jnp.tanh((projected + h @ recurrent) * scale) * scale + half
    i, f, o, g = jnp.split(gates, 4, axis=-1)
    new_c = f * c + i * g
    squashed = jnp.tanh(new_c)
    return (o * squashed, new_c), (gates, squashed, h, c, recurrent)


def _gates_backward(
    saved: tuple[jax.Array, ...], cotangent: State
) -> tuple[State, jax.Array, jax.Array]:
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
    return _params({"input": input_, "recurrent": recurrent, "bias": _forget_bias(hidden_dim)})


def _params(arrays: dict[str, jax.Array]) -> nnx.Dict:
    return nnx.Dict({name: nnx.Param(array) for name, array in arrays.items()})


def _values(params: nnx.Dict) -> dict[str, jax.Array]:
    return {name: params[name][...] for name in params}


def _row(vector: Any, ndim: int) -> jax.Array:
    """A vector with leading axes of one, since rank promotion must be asked for."""
    return vector[...][(None,) * (ndim - 1)]


def _inverse(factor: jax.Array) -> jax.Array:
    return solve_triangular(factor, jnp.eye(factor.shape[-1]), lower=True)


def dropout_factors(
    key: jax.Array | None, keep_prob: float, batch: int, sizes: tuple[int, ...]
) -> list[jax.Array]:
    """Inverted dropout of layers of these sizes: 0 or 1 / keep_prob, `[batch, size]` each.

    One draw for all layers. Without a key (evaluation, rewards) a one for each.
    """
    if key is None or keep_prob >= 1.0:
        return [jnp.ones((1, 1))] * len(sizes)
    kept = noise.bernoulli(key, keep_prob, (batch, sum(sizes)))
    return jnp.split(jnp.where(kept, 1.0 / keep_prob, 0.0), np.cumsum(sizes)[:-1], axis=1)


class Dense(nnx.Module):
    """Affine map of the last axis, y = x W + b; zero until `discriminator` draws W."""

    def __init__(self, inputs: int, outputs: int) -> None:
        self.kernel = nnx.Param(jnp.zeros((inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, x: jax.Array) -> jax.Array:
        return x @ self.kernel[...] + _row(self.bias, x.ndim)


class Highway(nnx.Module):
    """y = t relu(W x + b) + (1 - t) x, t = sigmoid(W_t x + b_t - 2) (Srivastava et al. 2015)."""

    gate_shift = -2.0  # starts nearly closed, as in the SeqGAN paper's code

    def __init__(self, size: int) -> None:
        self.transform = Dense(size, size)
        self.gate = Dense(size, size)

    def __call__(self, x: jax.Array) -> jax.Array:
        t = jax.nn.sigmoid(self.gate(x) + self.gate_shift)
        return t * jax.nn.relu(self.transform(x)) + (1.0 - t) * x


class SmallDiscriminator(nnx.Module):
    """The default: convolutions over time, mean and max pooled, highway, dense, one logit.

    Channels are the values, their first differences at unit variance (without them slow series
    look alike at any roughness) and the position in the sequence (pooling forgets it).
    """

    def __init__(
        self,
        length: int,
        features: int,
        keep_prob: float,
        increment_scale: tuple[float, ...],
        *,
        channels: int = 32,
        width: int = 3,
    ) -> None:
        self.length, self.width, self.channels = length, width, channels
        self.keep_prob = keep_prob
        self.increment_scale = increment_scale
        self.conv1 = Dense(width * (2 * features + 1), channels)
        self.conv2 = Dense(width * channels, channels)
        self.highway = Highway(2 * channels)
        self.hidden = Dense(2 * channels, channels)
        self.output = Dense(channels, 1)

    def _convolve(self, layer: Dense, x_BTC: jax.Array) -> jax.Array:
        # A convolution as one matrix product of shifted copies: XLA's own is slower on CPUs here.
        before = (self.width - 1) // 2
        padded = jnp.pad(x_BTC, ((0, 0), (before, self.width - 1 - before), (0, 0)))
        shifted = [padded[:, k : k + self.length] for k in range(self.width)]
        return jax.nn.relu(layer(jnp.concatenate(shifted, axis=-1)))

    def __call__(self, x_BTD: jax.Array, key: jax.Array | None = None) -> jax.Array:
        """Logit of 'real' for each sequence, `[B]`; dropout only where a key is given."""
        sizes = (2 * self.channels, self.channels)
        factors = dropout_factors(key, self.keep_prob, x_BTD.shape[0], sizes)
        scale = jnp.array(self.increment_scale)[None, None]
        increments = jnp.pad(jnp.diff(x_BTD, axis=1) / scale, ((0, 0), (1, 0), (0, 0)))
        position = jnp.broadcast_to(
            jnp.linspace(-1.0, 1.0, self.length)[None, :, None], (*x_BTD.shape[:2], 1)
        )
        x = jnp.concatenate([x_BTD, increments, position], axis=-1)
        x = self._convolve(self.conv2, self._convolve(self.conv1, x))
        x = jnp.concatenate([x.mean(axis=1), x.max(axis=1)], axis=-1)
        x = self.highway(x) * factors[0]
        x = jax.nn.relu(self.hidden(x)) * factors[1]
        return self.output(x)[:, 0]


CONVOLVED_AT_ONCE = 128  # sequences
TRUNCATED_DEVIATION = 0.87962566103423978  # of a standard normal number, cut at -2 and 2


class ReferenceDiscriminator(nnx.Module):
    """The PyTorch project's own, layer for layer: 3,018,050 parameters at T = 20, D = 1.

    Two 3 x 3 convolutions over (time, feature) with 64 and 32 channels, flattened; two highway
    layers; fully connected 1024 to 32; a 1 x 1 convolution to 64; two classes.
    """

    def __init__(self, length: int, features: int, keep_prob: float) -> None:
        self.keep_prob = keep_prob
        self.kernel1 = nnx.Param(jnp.zeros((3, 3, 1, 64)))
        self.bias1 = nnx.Param(jnp.zeros(64))
        self.kernel2 = nnx.Param(jnp.zeros((3, 3, 64, 32)))
        self.bias2 = nnx.Param(jnp.zeros(32))
        flat = 32 * length * features
        self.highways = nnx.List([Highway(flat) for _ in range(2)])
        self.sizes = sizes = (flat, 1024, 512, 256, 128, 64, 32)
        self.dense = nnx.List([Dense(a, b) for a, b in itertools.pairwise(sizes)])
        self.pointwise = Dense(32, 64)
        self.output = Dense(64, 2)

    @staticmethod
    def _convolve(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
        # One matrix product of shifted copies: XLA's own convolution is slower on CPUs here. With
        # one feature its neighbours are padding: the kernel's middle column is all that counts.
        columns = range(3) if x.shape[2] > 1 else range(1, 2)
        padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        shifted = [
            padded[:, i : i + x.shape[1], j : j + x.shape[2]] for i in range(3) for j in columns
        ]
        weights = kernel[:, columns[0] : columns[-1] + 1].reshape(-1, kernel.shape[-1])
        return jax.nn.relu(jnp.concatenate(shifted, axis=-1) @ weights + bias[None, None, None])

    def _convolved(self, x_BTD: jax.Array) -> jax.Array:
        """Both convolutions, flattened."""
        if parallel.on_cpu() and x_BTD.shape[0] > 2 * CONVOLVED_AT_ONCE:
            # What lies between the two stays in a CPU's cache: four times as fast.
            return lax.map(
                lambda x_TD: self._convolved(x_TD[None])[0], x_BTD, batch_size=CONVOLVED_AT_ONCE
            )
        x = self._convolve(x_BTD[..., None], self.kernel1[...], self.bias1[...])
        x = self._convolve(x, self.kernel2[...], self.bias2[...])
        return x.reshape(x.shape[0], math.prod(x.shape[1:]))

    def __call__(self, x_BTD: jax.Array, key: jax.Array | None = None) -> jax.Array:
        """Logit of 'real' for each sequence, `[B]`; dropout only where a key is given."""
        factors = dropout_factors(key, self.keep_prob, x_BTD.shape[0], self.sizes)
        x = self._convolved(x_BTD)
        for highway in self.highways:
            x = highway(x)
        x = x * factors[0]
        for layer, factor in zip(self.dense, factors[1:], strict=True):
            x = jax.nn.relu(layer(x)) * factor
        scores = self.output(jax.nn.relu(self.pointwise(x)))
        return scores[:, 1] - scores[:, 0]


def policy(key: jax.Array, config: GeneratorConfig, frame: Frame) -> tuple[Definition, Params]:
    """A policy that is the frame's VAR(1) until it is trained."""
    return split(LSTMPolicy(config, frame, rngs=nnx.Rngs(params=key)))


def discriminator(
    key: jax.Array,
    size: str,
    length: int,
    features: int,
    keep_prob: float,
    increment_scale: tuple[float, ...],
) -> tuple[Definition, Params]:
    """A freshly initialised discriminator of `size` 'small' or 'reference'; consumes `key`.

    Kernels ~ N(0, 2 / fan-in), cut at two standard deviations (He et al. 2015, equation 10); the
    output layer's N(0, 1 / fan-in); biases 0.
    """
    module: nnx.Module
    if size == "reference":
        module = ReferenceDiscriminator(length, features, keep_prob)
    else:
        module = SmallDiscriminator(length, features, keep_prob, increment_scale)
    definition, params = split(module)
    leaves, structure = jax.tree.flatten(params)
    numbers = [leaf.size * (leaf.ndim > 1) for leaf in leaves]  # biases have one axis
    # One draw for all of them: each compiles for 0.1 s.
    drawn = jax.random.truncated_normal(key, -2.0, 2.0, (sum(numbers),)) / TRUNCATED_DEVIATION
    for i, part in enumerate(jnp.split(drawn, np.cumsum(numbers)[:-1])):
        if numbers[i]:
            fan_in = math.prod(leaves[i].shape[:-1])
            leaves[i] = math.sqrt(2.0 / fan_in) * part.reshape(leaves[i].shape)
    params = jax.tree.unflatten(structure, leaves)
    params["output"]["kernel"] *= math.sqrt(0.5)
    return definition, params
