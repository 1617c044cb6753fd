"""Both networks of the SeqGAN paper's own setting: one column of many categories (tokens).

They are the package's own but for embeddings where these read values; what trains and samples them
is what trains and samples all others. For `benchmarks/oracle.py`: tables with a column of many
words are refused (data/categories.py); to take them would need an encoding of words as codes for
this policy, and means to tell which of the columns are such.

Shapes: V tokens, E numbers of an embedding.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from seqgan_jax.config import DiscriminatorConfig, GeneratorConfig
from seqgan_jax.core import discriminator, networks, policy
from seqgan_jax.core.baseline import Baseline
from seqgan_jax.core.batch import LSTMState, Params, TrainState
from seqgan_jax.core.columns.tokens import TokenChain, TokenStep
from seqgan_jax.core.discriminator import Discriminator, Encoder
from seqgan_jax.core.networks import Networks
from seqgan_jax.core.policy import Chains, Definition, LSTMPolicy

START = 0.3  # deviation of the discriminator's embeddings: larger ones are learned by heart
NONE = Baseline(*(np.zeros((1,) * n, np.float32) for n in (1, 2, 2, 1, 2)))  # type: ignore[arg-type]


class TokenPolicy(LSTMPolicy):
    """`LSTMPolicy` of one column of V tokens: it reads E numbers of each, and starts as uniform.

    The first step has no distribution of its own beside the learned start input, as in the paper.
    """

    columns = None

    def __init__(
        self, config: GeneratorConfig, tokens: int, embedding: int, *, rngs: nnx.Rngs
    ) -> None:
        self.both = TokenChain(tokens, embedding)
        super().__init__(config, NONE, rngs=rngs)
        del self.first
        self.first_weights = nnx.Dict({})

    def _chains(self, *_: object) -> Chains:
        return Chains(self.both, self.both, self.both.start(), self.both.start())

    def _project(self, inputs: jax.Array, known: jax.Array | None) -> jax.Array:
        embedding = self.weights["embedding"][...]
        return super()._project(embedding[inputs[..., 0].astype(jnp.int32)], known)

    def begin(
        self, batch: int, temperature: float | jax.Array = 1.0, known: Any = None
    ) -> tuple[LSTMState, Any]:
        """The state after the start input, and the distribution of the first token."""
        start = jnp.broadcast_to(self.start[...] + self.bias[...], (batch, 4 * self.hidden_dim))
        zero = jnp.zeros((batch, self.layers * self.hidden_dim))
        state = self._cell(LSTMState(zero, zero), start)
        return state, self._later(state, None, None, temperature, known)

    def _later(
        self,
        state: LSTMState,
        inputs: Any,
        context: Any,
        temperature: Any,
        known: Any,
        factors_BH: jax.Array | None = None,
    ) -> Any:
        del inputs, context, known
        units = self._top(state, factors_BH)
        return TokenStep.of(units, self.head[...], self.head_bias[...], temperature)


class TokenEncoder(Encoder):
    """What the discriminator sees of tokens."""

    def __init__(self, tokens: int, embedding: int) -> None:
        super().__init__(None)
        self.embedding = nnx.Param(jnp.zeros((tokens, embedding)))

    def __call__(self, x_BT1: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        """Embeddings `[B, T, E]`."""
        return self.embedding[...][x_BT1[..., 0].astype(jnp.int32)], []


class TokenDiscriminator(Discriminator):
    """`Discriminator` of E learned numbers for each token in place of values."""

    def __init__(self, length: int, keep_prob: float, tokens: int, embedding: int) -> None:
        super().__init__(length, keep_prob, jnp.ones(embedding))
        self.encode = TokenEncoder(tokens, embedding)


def init_policy(
    key: jax.Array, config: GeneratorConfig, tokens: int, embedding: int
) -> tuple[Definition, Params, Params]:
    """A uniform policy. Consumes `key`."""
    return policy.split(TokenPolicy(config, tokens, embedding, rngs=nnx.Rngs(params=key)))


def init(
    key: jax.Array,
    length: int,
    tokens: int,
    gen: GeneratorConfig,
    dis: DiscriminatorConfig,
    *,
    embeddings: tuple[int, int] = (32, 16),
) -> tuple[Networks, TrainState]:
    """Fresh networks and optimisers; `dis.dis_r1` must be 0. Consumes `key`.

    Args:
      key: of the initial weights.
      length: T.
      tokens: V.
      gen: settings of the policy.
      dis: settings of the discriminator.
      embeddings: E of the policy, and of the discriminator.
    """
    if dis.dis_r1:
        raise ValueError(f"dis_r1 is {dis.dis_r1:g}: tokens have no gradient. Set it to 0.")
    gen_key, dis_key = jax.random.split(key)
    module = TokenDiscriminator(length, dis.dis_dropout_keep_prob, tokens, embeddings[1])
    parts = discriminator.init(dis_key, module)
    # Drawn by fan-in as all else, which is no size for an embedding.
    parts[1]["encode"]["embedding"] *= START * (tokens / 2.0) ** 0.5
    return networks.assembled(init_policy(gen_key, gen, tokens, embeddings[0]), parts, gen, dis)
