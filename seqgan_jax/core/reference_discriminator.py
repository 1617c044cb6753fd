"""The PyTorch project's discriminator, for `--preset reference`."""

import itertools
import math

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from seqgan_jax.core import parallel
from seqgan_jax.core.batch import Batch
from seqgan_jax.core.columns.support import Columns
from seqgan_jax.core.discriminator import Dense, Encoder, Highway, dropout_factors

CONVOLVED_AT_ONCE = 128  # sequences


class ReferenceDiscriminator(nnx.Module):
    """The PyTorch project's own, layer for layer: 3,018,050 parameters at T = 20, D = 1.

    Two 3 x 3 convolutions over (time, feature) with 64 and 32 channels, flattened; two highway
    layers; fully connected 1024 to 32; a 1 x 1 convolution to 64; two classes.
    """

    def __init__(
        self,
        length: int,
        features: int,
        keep_prob: float,
        columns: Columns | None = None,
        known: int = 0,
    ) -> None:
        self.keep_prob = keep_prob
        self.encode = Encoder(columns)
        self.kernel1 = nnx.Param(jnp.zeros((3, 3, 1, 64)))
        self.bias1 = nnx.Param(jnp.zeros(64))
        self.kernel2 = nnx.Param(jnp.zeros((3, 3, 64, 32)))
        self.bias2 = nnx.Param(jnp.zeros(32))
        flat = 32 * length * (features + self.encode.added + known)
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

    def __call__(self, batch: Batch, key: jax.Array | None = None) -> jax.Array:
        """Logit of 'real' for each sequence, `[B]`; dropout only where a key is given."""
        factors = dropout_factors(key, self.keep_prob, len(batch), self.sizes)
        x_BTD, added = self.encode(batch.x)
        x = jnp.concatenate([x_BTD, *added, *batch.known_parts], axis=-1)
        if self.encode.ends:
            x = jnp.where(batch.there[..., None], x, 0.0)
        x = self._convolved(x)
        for highway in self.highways:
            x = highway(x)
        x = x * factors[0]
        for layer, factor in zip(self.dense, factors[1:], strict=True):
            x = jax.nn.relu(layer(x)) * factor
        scores = self.output(jax.nn.relu(self.pointwise(x)))
        return scores[:, 1] - scores[:, 0]
