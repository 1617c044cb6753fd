"""The CNN-highway discriminator, its layers and its losses."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from seqgan_jax.core import keys, outer
from seqgan_jax.core.batch import Batch, Params
from seqgan_jax.core.columns import support
from seqgan_jax.core.columns.support import Columns
from seqgan_jax.core.outer import Outer
from seqgan_jax.core.policy import Constant, Definition, split

TRUNCATED_DEVIATION = 0.87962566103423978  # of a standard normal number, cut at -2 and 2


class Dense(nnx.Module):
    """Affine map of the last axis, y = x W + b; zero until `init` draws W."""

    def __init__(self, inputs: int, outputs: int) -> None:
        self.kernel = nnx.Param(jnp.zeros((inputs, outputs)))
        self.bias = nnx.Param(jnp.zeros(outputs))

    def __call__(self, x: jax.Array) -> jax.Array:
        return x @ self.kernel[...] + self.bias[...][(None,) * (x.ndim - 1)]


class Highway(nnx.Module):
    """y = t relu(W x + b) + (1 - t) x, t = sigmoid(W_t x + b_t - 2) (Srivastava et al. 2015)."""

    gate_shift = -2.0  # starts nearly closed, as in the SeqGAN paper's code

    def __init__(self, size: int) -> None:
        self.transform = Dense(size, size)
        self.gate = Dense(size, size)

    def __call__(self, x: jax.Array) -> jax.Array:
        t = jax.nn.sigmoid(self.gate(x) + self.gate_shift)
        return t * jax.nn.relu(self.transform(x)) + (1.0 - t) * x


def dropout_factors(
    key: jax.Array | None, keep_prob: float, batch: int, sizes: tuple[int, ...]
) -> list[jax.Array]:
    """Inverted dropout of layers of these sizes: 0 or 1 / keep_prob, `[batch, size]` each.

    One draw for all layers. Without a key (evaluation, rewards) a one for each.
    """
    if key is None or keep_prob >= 1.0:
        return [jnp.ones((1, 1))] * len(sizes)
    kept = keys.bernoulli(key, keep_prob, (batch, sum(sizes)))
    return jnp.split(jnp.where(kept, 1.0 / keep_prob, 0.0), np.cumsum(sizes)[:-1], axis=1)


class Encoder(nnx.Module):
    """What a discriminator sees of sequences: values as sizes, and which options they are.

    Of a missing value the size is that of the last one that was there.
    """

    def __init__(self, columns: Columns | None) -> None:
        self.layout = None if columns is None else columns.layout
        self.added = 0 if columns is None else len(columns.layout.shown)
        constants = {} if columns is None else columns.support.constants()
        self.ends = columns is not None and columns.layout.end is not None
        self.support = nnx.Dict({name: Constant(array) for name, array in constants.items()})

    def there(self, x_BTD: jax.Array) -> jax.Array:
        """Values with the last one that was there in gaps."""
        if self.layout is None or not self.layout.gaps:
            return x_BTD
        own = support.of_constants({name: self.support[name][...] for name in self.support})
        return support.last_there(own, x_BTD)

    def __call__(self, x_BTD: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        """Sizes `[B, T, D]`; options `[B, T, S]` where there are any."""
        if self.layout is None:
            return x_BTD, []
        own = support.of_constants({name: self.support[name][...] for name in self.support})
        matched = support.of_sequences(own, self.layout, jax.lax.stop_gradient(x_BTD))
        there = self.there(x_BTD)
        return support.size_of(own, self.layout, there), [support.shown(self.layout, matched)]


class Discriminator(nnx.Module):
    """Convolutions over time, mean and max pooled, highway, dense, one logit.

    Channels are the values, their first differences at unit variance (without them slow series
    look alike at any roughness) and the position in the sequence (pooling forgets it). Of columns
    that are not plain continuous also which option each value is; words have no value. Columns with
    bounds or rules are seen as the data have them (`of_data`). And what is known of each step in
    advance, `known` numbers.
    """

    def __init__(
        self,
        length: int,
        keep_prob: float,
        increment_scale: jax.Array,
        columns: Columns | None = None,
        known: int = 0,
        of_data: Outer | None = None,
        *,
        channels: int = 32,
        width: int = 3,
    ) -> None:
        features = increment_scale.shape[0]
        self.length, self.width, self.channels = length, width, channels
        self.keep_prob = keep_prob
        self.increment_scale = Constant(increment_scale)
        self.encode = Encoder(columns)
        self.steps = () if of_data is None else of_data.steps
        numbers = {} if of_data is None else of_data.arrays()
        self.of_data = nnx.Dict({name: Constant(array) for name, array in numbers.items()})
        self.rest = outer.rest(self.steps, features)
        shown = 2 * (len(self.rest) + sum(step.shown for step in self.steps))
        self.conv1 = Dense(width * (shown + self.encode.added + known + 1), channels)
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

    def _pooled_while_there(self, x_BTC: jax.Array, there_BT1: jax.Array) -> jax.Array:
        """Both convolutions, pooled over the steps up to the end: as of a sequence cut there."""
        for layer in (self.conv1, self.conv2):
            x_BTC = self._convolve(layer, jnp.where(there_BT1, x_BTC, 0.0))
        x_BTC = jnp.where(there_BT1, x_BTC, 0.0)  # not below 0: no maximum is of these
        steps = jnp.maximum(there_BT1.sum(axis=1), 1).astype(x_BTC.dtype)
        return jnp.concatenate([x_BTC.sum(axis=1) / steps, x_BTC.max(axis=1)], axis=-1)

    def __call__(self, batch: Batch, key: jax.Array | None = None) -> jax.Array:
        """Logit of 'real' for each sequence, `[B]`; dropout only where a key is given."""
        x_BTD, added = self.encode(batch.x)
        sizes = (2 * self.channels, self.channels)
        factors = dropout_factors(key, self.keep_prob, len(batch), sizes)
        increments = jnp.diff(x_BTD, axis=1) / self.increment_scale[...][None, None]
        increments = jnp.pad(increments, ((0, 0), (1, 0), (0, 0)))
        if self.steps:
            numbers = {name: self.of_data[name][...] for name in self.of_data}
            of_data = Outer(**numbers, steps=self.steps)
            added = [*outer.seen(of_data, self.encode.there(batch.x)), *added]
            x_BTD, increments = x_BTD[..., self.rest], increments[..., self.rest]
        position = jnp.broadcast_to(
            jnp.linspace(-1.0, 1.0, self.length)[None, :, None], (*x_BTD.shape[:2], 1)
        )
        x = jnp.concatenate([x_BTD, increments, *added, *batch.known_parts, position], axis=-1)
        if self.encode.ends:
            x = self._pooled_while_there(x, batch.there[..., None])
        else:
            x = self._convolve(self.conv2, self._convolve(self.conv1, x))
            x = jnp.concatenate([x.mean(axis=1), x.max(axis=1)], axis=-1)
        x = self.highway(x) * factors[0]
        x = jax.nn.relu(self.hidden(x)) * factors[1]
        return self.output(x)[:, 0]


def init(key: jax.Array, module: nnx.Module) -> tuple[Definition, Params, Params]:
    """Definition, fresh parameters and constants of a discriminator. Consumes `key`.

    Kernels ~ N(0, 2 / fan-in), cut at two standard deviations (He et al. 2015, equation 10); the
    output layer's N(0, 1 / fan-in); biases 0.
    """
    definition, params, constants = split(module)
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
    return definition, params, constants


def cross_entropy(logits_B: jax.Array, is_real_B: jax.Array) -> jax.Array:
    """Mean binary cross-entropy of 'real' (1) against 'generated' (0), nats."""
    return jnp.mean(optax.sigmoid_binary_cross_entropy(logits_B, is_real_B))


def output_l2(params: Params) -> jax.Array:
    """1/2 ||W||^2 + 1/2 ||b||^2 of the output layer only, as in the SeqGAN paper's code.

    On every weight (the PyTorch project) a factor of 0.2 keeps a discriminator at ln 2 for ever.
    """
    output = params["output"]
    return 0.5 * (jnp.sum(output["kernel"] ** 2) + jnp.sum(output["bias"] ** 2))


def r1(discriminator: Callable[[Any], jax.Array], real: Batch) -> jax.Array:
    """R1 penalty: mean of 1/2 ||d logit / d x||^2 over real sequences, without dropout.

    Mescheder et al. 2018, equation 9.
    """

    def total(x_BTD: jax.Array) -> jax.Array:
        return jnp.sum(discriminator(replace(real, x=x_BTD)))

    return 0.5 * jnp.mean(jnp.sum(jax.grad(total)(real.x) ** 2, axis=(1, 2)))
