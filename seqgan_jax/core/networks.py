"""Both networks of a run: their definitions, and the state from which training starts."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqgan_jax.config import DiscriminatorConfig, GeneratorConfig
from seqgan_jax.core import discriminator, policy
from seqgan_jax.core.baseline import Baseline
from seqgan_jax.core.batch import Params, TrainState
from seqgan_jax.core.columns.support import Columns
from seqgan_jax.core.discriminator import Discriminator
from seqgan_jax.core.optimiser import adam, copy
from seqgan_jax.core.outer import Outer, Step
from seqgan_jax.core.policy import Definition, LSTMPolicy, bind
from seqgan_jax.core.reference_discriminator import ReferenceDiscriminator


class Networks(NamedTuple):
    """Static descriptions of both networks (hashable)."""

    policy: Definition
    discriminator: Definition
    of_data: tuple[Step, ...] = ()  # how D sees columns as the data have them

    def bind_policy(self, params: Params, state: TrainState) -> LSTMPolicy:
        """A policy with these parameters and the state's linear baseline."""
        return bind(self.policy, params, state.policy_constants)

    def bind_discriminator(self, params: Params, state: TrainState) -> Any:
        """A discriminator with these parameters and the state's constants."""
        return bind(self.discriminator, params, state.discriminator_constants)


def init(
    key: jax.Array,
    length: int,
    baseline: Baseline,
    increment_scale: jax.Array,
    gen: GeneratorConfig,
    dis: DiscriminatorConfig,
    columns: Columns | None = None,
    of_data: Outer | None = None,
) -> tuple[Networks, TrainState]:
    """Fresh networks and optimisers. Consumes `key`.

    Args:
      key: of the initial weights.
      length: T.
      baseline: the linear baseline, of D columns.
      increment_scale: standard deviations of first differences, [D].
      gen: settings of the policy.
      dis: settings of the discriminator.
      columns: what they are, where some are not plain continuous.
      of_data: how the small discriminator sees columns with bounds and rules as the data have them.
    """
    gen_key, dis_key = jax.random.split(key)
    policy_parts = policy.init(gen_key, gen, baseline, columns)
    keep_prob, features = dis.dis_dropout_keep_prob, increment_scale.shape[0]
    known = 0 if baseline.known is None else baseline.known.shape[1]
    module = (
        ReferenceDiscriminator(length, features, keep_prob, columns, known)
        if dis.dis_size == "reference"
        else Discriminator(length, keep_prob, increment_scale, columns, known, of_data)
    )
    nets, state = assembled(policy_parts, discriminator.init(dis_key, module), gen, dis)
    steps = () if of_data is None or dis.dis_size == "reference" else of_data.steps
    return nets._replace(of_data=steps), state


def assembled(
    policy_parts: tuple[Definition, Params, Params],
    discriminator_parts: tuple[Definition, Params, Params],
    gen: GeneratorConfig,
    dis: DiscriminatorConfig,
) -> tuple[Networks, TrainState]:
    """Both networks, each as `policy.split` gives it, with fresh optimisers."""
    gen_def, gen_params, gen_constants = policy_parts
    dis_def, dis_params, dis_constants = discriminator_parts
    dis_opt = adam(dis.dis_lr).init(dis_params)
    state = TrainState(
        policy=gen_params,
        policy_opt=adam(gen.gen_lr).init(gen_params),
        ema=copy(gen_params),
        best=copy(gen_params),
        # Strong types, as what replaces them: another type would compile the next program anew.
        best_nll=jnp.array(jnp.inf, jnp.float32),
        pretrained_nll=jnp.array(jnp.inf, jnp.float32),
        kept_round=jnp.array(0),
        stale_epochs=jnp.array(0),
        chosen=jnp.array(False),
        rollout=copy(gen_params),
        discriminator=dis_params,
        discriminator_opt=dis_opt,
        kept_discriminator=copy((dis_params, dis_opt)) if dis.dis_early_stopping else (),
        policy_constants=copy(gen_constants),
        discriminator_constants=copy(dis_constants),
        epoch=jnp.array(0),
        dis_epoch=jnp.array(0),
        round=jnp.array(0),
    )
    return Networks(gen_def, dis_def), state
