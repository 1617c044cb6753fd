"""One step as a chain of columns: p(x) = prod_d p_d(x_d | context, x_1 .. x_{d-1}).

`log_prob` comes back by column, so that a mask is a product and kinds of columns can be treated
apart. All columns are of one kind today.

Shapes: D columns, P numbers of a column's distribution, K components, E numbers of a coupling.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.linalg import solve_triangular

from seqgan_jax.core.batch import Params
from seqgan_jax.core.columns.continuous import Gaussian, Mixture, StudentT

MOST_FULL = 16  # columns with a Cholesky factor by default: beyond, factors are as likely
FACTORS = 4  # common ones of a covariance of low rank plus diagonal
FIRST_LOADING = 0.1  # before training
HIDDEN = 32  # units between the earlier columns and a mixture's numbers
MANY = 32  # columns whose earlier ones are summed by one product; more by blocks of BLOCK
BLOCK = 16
Weights = Mapping[str, jax.Array]
Coupling = Literal["none", "linear", "factors", "network"]


class Memoryless:
    """A chain whose next step depends on the last one alone."""

    def carried(
        self,
        read: jax.Array,
        x: jax.Array,  # noqa: ARG002
        inputs: Any,  # noqa: ARG002
        constants: Params | None = None,  # noqa: ARG002
    ) -> jax.Array:
        """What is carried to the next step: what the policy reads, which holds x."""
        return read

    def all_carried(self, read: jax.Array, past: Any) -> jax.Array:  # noqa: ARG002
        """The same at every step of whole sequences [T, B, ...]."""
        return read


@dataclass(frozen=True)
class Chain(Memoryless):
    """How the columns of one step hang together; hashable, without arrays.

    Args:
      columns: the kind of each of the D columns.
      coupling: how a column depends on the earlier ones of its step.
        none: not at all.
        linear: z = U e with U unit lower triangular, of location-scale kinds: for Gaussians a full
          covariance by its Cholesky factor, row d in units of that column's scale, so that a
          column's correlations do not change when its scale does.
        factors: z = e + L w, w of FACTORS standard normal numbers, of Gaussians: a covariance
          I + L L^T by D FACTORS numbers instead of D (D - 1) / 2, in units of each column's scale.
        network: raw_d + tanh(context + sum_{j<d} x_j A_j) W_d, as RNADE (Uria et al. 2013) with one
          step of the LSTM as its context: K^D modes, and any column may depend on the others.
    """

    columns: tuple[Gaussian | Mixture, ...]
    coupling: Coupling

    @property
    def kind(self) -> Any:
        """The kind of all columns."""
        return self.columns[0]

    @property
    def features(self) -> int:
        """D."""
        return len(self.columns)

    @property
    def closed_entropy(self) -> bool:
        """Whether the entropy has a closed form."""
        return all(column.closed_entropy for column in self.columns)

    @property
    def num_coupling(self) -> int:
        """Numbers that the network gives beside the columns' own, E."""
        pairs = self.features * (self.features - 1) // 2
        of_factors = self.features * FACTORS
        sizes = {"none": 0, "linear": pairs, "factors": of_factors, "network": HIDDEN}
        return sizes[self.coupling]

    @property
    def num_params(self) -> int:
        """Numbers that the network must give for one step, D P + E."""
        return sum(column.num_params for column in self.columns) + self.num_coupling

    @property
    def num_noise(self) -> int:
        """Standard normal numbers that one sample takes."""
        common = FACTORS if self.coupling == "factors" else 0
        return sum(column.num_noise for column in self.columns) + common

    @property
    def num_read(self) -> int:
        """What the policy reads of a step: values and innovations."""
        return 2 * self.features

    def context(self, constants: Params, x: jax.Array | None) -> "Context":
        """What the step after x [..., D] is relative to; None: the first step."""
        if x is None:
            return Context.of(constants["first_offset"][None], constants["first_factor"])
        offset = x @ constants["matrix"].T + constants["offset"][(None,) * (x.ndim - 1)]
        return Context.of(offset, constants["factor"])

    def past(self, inputs: jax.Array) -> jax.Array:
        """What the next step's context depends on of what was carried: x."""
        return inputs[..., : self.features]

    def all_past(
        self,
        constants: Params,  # noqa: ARG002
        x: jax.Array,
        known: jax.Array | None = None,  # noqa: ARG002
    ) -> jax.Array:
        """The same of whole sequences [T, B, D]."""
        return x

    def start(self) -> np.ndarray:
        """Numbers of an untrained policy: independent standard columns, [D P + E]."""
        own = [column.start() for column in self.columns]
        coupling = np.zeros(self.num_coupling, np.float32)
        if self.coupling == "factors":  # not at 0, which is a saddle of L L^T
            columns, factors = np.ogrid[: self.features, 1 : FACTORS + 1]
            waves = np.cos(np.pi * (columns + 0.5) * factors / self.features)
            coupling = (FIRST_LOADING * waves).astype(np.float32).ravel()
        return np.concatenate([*own, coupling])

    def weights(self, key: jax.Array) -> dict[str, jax.Array]:
        """Weights that all steps share: columns are independent until trained. Consumes `key`."""
        if self.coupling != "network":
            return {}
        init = jax.nn.initializers.lecun_normal()
        shape = (self.features, HIDDEN, self.kind.num_params)
        return {"A": init(key, (self.features, HIDDEN)), "W": jnp.zeros(shape)}

    def step(
        self,
        raw: jax.Array,
        weights: Weights,
        temperature: float | jax.Array,
        context: "Context",
        inputs: jax.Array | None = None,  # noqa: ARG002
    ) -> "Step":
        """The distribution of one step from the network's numbers `[..., D P + E]`."""
        own = self.num_params - self.num_coupling
        raw_DP = raw[..., :own].reshape(*raw.shape[:-1], self.features, self.kind.num_params)
        return Step(raw_DP, raw[..., own:], weights, temperature, context, self)


def by_name(policy: str, covariance: str, components: int, features: int) -> Chain:
    """The chain for `--policy`, `--covariance` and `--components`."""
    if policy == "mixture":
        coupling: Coupling = "network" if features > 1 else "none"
        return Chain((Mixture(components),) * features, coupling)
    kind = StudentT() if policy == "student" else Gaussian()
    if features == 1:
        return Chain((kind,), "none")
    if covariance == "auto":
        covariance = "full" if features <= MOST_FULL else "factors"
    couplings: dict[str, Coupling] = {"full": "linear", "factors": "factors", "diagonal": "none"}
    return Chain((kind,) * features, "linear" if policy == "student" else couplings[covariance])


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Context:
    """What a step is relative to: x = offset + F e, F lower triangular.

    e is the innovation: what is new in x beyond the linear baseline, in units of its usual size.
    F is fixed and keeps the order of columns, so that p(x_d | x_<d) = p(e_d | e_<d) / F_dd.
    """

    offset: jax.Array  # [..., D]
    factor: jax.Array  # [D, D]
    inverse: jax.Array  # [D, D]

    @classmethod
    def of(cls, offset: jax.Array, factor: jax.Array) -> "Context":
        """With the factor's inverse."""
        identity = jnp.eye(factor.shape[-1])
        return cls(offset, factor, solve_triangular(factor, identity, lower=True))

    def moved(self, known: jax.Array | None, slopes: jax.Array | None) -> Self:
        """The same with B k added to the offset: k [..., W] is known of the step, B [D, W]."""
        if known is None or slopes is None:
            return self
        return replace(self, offset=self.offset + known @ slopes.T)

    def innovation(self, x: jax.Array) -> jax.Array:
        """e = F^-1 (x - offset), [..., D]."""
        return (x - self.offset) @ self.inverse.T

    def is_density(self, x: jax.Array) -> jax.Array:
        """Which values have a density and not a mass: all, `[..., D]` bool."""
        return jnp.ones(x.shape, bool)

    def read(self, x: jax.Array) -> jax.Array:
        """What the policy reads of x: values and innovations, [..., 2 D]."""
        return jnp.concatenate([x, self.innovation(x)], axis=-1)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Step:
    """The distribution of one step, of columns that are all continuous."""

    raw: jax.Array  # [..., D, P]
    coupling: jax.Array  # [..., E]
    weights: Weights  # A [D, HIDDEN], W [D, HIDDEN, P] of a network
    temperature: float | jax.Array
    context: Context
    chain: Chain = field(metadata={"static": True})

    def log_prob(self, x: jax.Array) -> jax.Array:
        """log p(x_d | x_<d) of each column, `[..., D]`, nats."""
        e, kind = self.context.innovation(x), self.chain.kind
        if isinstance(kind, Mixture):
            log_p = self._log_mixture(e)
        else:
            mean, scale = kind.location_scale(self.raw, self.temperature)
            z = (e - mean) / scale
            if self.chain.coupling == "linear":
                # Substitution unrolled over columns wins a little at D = 3, loses 26-fold at 28.
                z = solve_triangular(self._unit(), z[..., None], lower=True, unit_diagonal=True)
                z = z[..., 0]
            if self.chain.coupling == "factors":
                middle, variance = self._given_earlier(z)
                z, scale = (z - middle) / jnp.sqrt(variance), scale * jnp.sqrt(variance)
            log_p = kind.standard_log_prob(self.raw, z) - jnp.log(scale)
        return log_p - self._log_scale(log_p.ndim)

    def _log_mixture(self, e: jax.Array) -> jax.Array:
        """log p(e_d | e_<d) [..., D] of a mixture; of many columns one step after the other.

        Their units [T, B, D, HIDDEN] would fill memory and caches, and are computed again for the
        gradient.
        """
        kind = self.chain.kind
        if e.ndim < 3 or self.chain.coupling != "network" or self.chain.features <= MANY:
            return kind.log_prob(self._coupled(e), e, self.temperature)

        @jax.checkpoint
        def one(numbers: tuple[jax.Array, ...]) -> jax.Array:
            raw, coupling, e = numbers
            step = replace(self, raw=raw, coupling=coupling)
            return kind.log_prob(step._coupled(e), e, self.temperature)

        return lax.map(one, (self.raw, self.coupling, e))

    def sample(self, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
        """x [..., D] and what the policy reads of it, from standard normal `noise`."""
        kind = self.chain.kind
        own = kind.num_noise * self.chain.features
        noise, common = noise[..., :own], noise[..., own:]
        parts = tuple(jnp.split(noise, kind.num_noise, axis=-1))
        if self.chain.coupling == "network":
            e = self._sample_network(parts)
        elif isinstance(kind, Mixture):
            e = kind.sample(self.raw, parts, self.temperature)
        else:
            mean, scale = kind.location_scale(self.raw, self.temperature)
            z = kind.standard_sample(self.raw, parts)
            if self.chain.coupling == "linear":
                z = jnp.einsum("...de,...e->...d", self._unit(), z)
            if self.chain.coupling == "factors":
                z = z + jnp.einsum("...dr,...r->...d", self._loadings(), common)
            e = mean + scale * z
        x = self.context.offset + e @ self.context.factor.T
        return x, jnp.concatenate([x, e], axis=-1)

    def entropy(self) -> jax.Array:
        """Entropy of each column given the earlier ones, `[..., D]`, nats; else TypeError."""
        if not self.chain.closed_entropy:
            raise TypeError(f"the entropy of {type(self.chain.kind).__name__} has no closed form")
        entropy = self.chain.kind.entropy(self.raw, self.temperature)
        if self.chain.coupling == "factors":
            entropy = entropy + 0.5 * jnp.log(self._given_earlier(jnp.zeros_like(entropy))[1])
        return entropy + self._log_scale(entropy.ndim)

    def _log_scale(self, ndim: int) -> jax.Array:
        return jnp.log(jnp.diagonal(self.context.factor))[(None,) * (ndim - 1)]

    def _unit(self) -> jax.Array:
        """U `[..., D, D]`: ones on the diagonal, the coupling's numbers below it."""
        features = self.chain.features
        # Position of (row, column) in [1, numbers, 0]: a gather, since scatters are slow.
        index = [
            [1 + r * (r - 1) // 2 + c if c < r else (0 if c == r else -1) for c in range(features)]
            for r in range(features)
        ]
        one = jnp.ones_like(self.coupling[..., :1])
        flat = jnp.concatenate([one, self.coupling, jnp.zeros_like(one)], axis=-1)
        return flat[..., jnp.array(index)]

    def _loadings(self) -> jax.Array:
        """L `[..., D, FACTORS]`."""
        return self.coupling.reshape(*self.coupling.shape[:-1], self.chain.features, FACTORS)

    def _given_earlier(self, z: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and variance of each column of z ~ N(0, I + L L^T) given the earlier ones, [..., D].

        By what the earlier ones say of the factors w ~ N(m, P), one column after the other (a
        Kalman filter): the matrix determinant lemma and Woodbury's formula, of one row a time.

            mean_d = l m,  variance_d = 1 + l P l^T,  g = P l^T / variance_d
            m <- m + g (z_d - mean_d),  P <- P - g l P
        """
        # Factors first: the lanes of a processor are then steps and sequences, not four numbers.
        loadings = jnp.broadcast_to(self._loadings(), (*z.shape, FACTORS))
        loadings = jnp.moveaxis(loadings, (-2, -1), (0, 1))

        def body(carry: tuple[jax.Array, jax.Array], inputs: Any) -> Any:
            m, p = carry
            row, value = inputs
            said = jnp.sum(p * row[None], axis=1)
            middle, variance = jnp.sum(row * m, axis=0), 1.0 + jnp.sum(row * said, axis=0)
            gain = said / variance[None]
            m = m + gain * (value - middle)[None]
            return (m, p - gain[:, None] * said[None]), (middle, variance)

        nothing = jnp.zeros((FACTORS, *z.shape[:-1]))
        start = nothing, jnp.zeros((FACTORS, *nothing.shape)).at[np.diag_indices(FACTORS)].set(1.0)
        _, found = lax.scan(body, start, (loadings, jnp.moveaxis(z, -1, 0)))
        middle, variance = (jnp.moveaxis(each, 0, -1) for each in found)
        return middle, variance

    def _coupled(self, e: jax.Array) -> jax.Array:
        """Numbers of each column's distribution `[..., D, P]`, given the earlier columns."""
        if self.chain.coupling != "network":
            return self.raw
        first, w = self.weights["A"], self.weights["W"]
        if self.chain.features <= MANY:
            units = jnp.tanh(self.coupling[..., None, :] + _sums_of_earlier(e, first))
            return self.raw + jnp.einsum("...dm,dmp->...dp", units, w)
        # In blocks of columns: sums of whole blocks before, and of the earlier columns of its own;
        # D BLOCK products instead of D^2.
        features, hidden = first.shape
        blocks = -(-features // BLOCK)
        filled = ((0, blocks * BLOCK - features), (0, 0))
        own = jnp.pad(first, filled).reshape(blocks, BLOCK, hidden)
        by_block = jnp.pad(e, ((0, 0),) * (e.ndim - 1) + filled[:1])
        by_block = jnp.moveaxis(by_block.reshape(*e.shape[:-1], blocks, BLOCK), -2, 0)
        whole = jnp.einsum("k...d,kdh->k...h", by_block, own)
        earlier = np.tril(np.ones((blocks, blocks), np.float32), -1)
        before = jnp.einsum("jk,k...h->j...h", earlier, whole)
        seen = (
            jax.vmap(_sums_of_earlier)(by_block, own) + (self.coupling[None] + before)[..., None, :]
        )
        last = jnp.pad(w, (*filled, (0, 0))).reshape(blocks, BLOCK, hidden, -1)
        added = jnp.einsum("k...dh,kdhp->kd...p", jnp.tanh(seen), last)
        added = added.reshape(-1, *added.shape[2:])[:features]
        return self.raw + jnp.moveaxis(added, 0, -2)

    def _sample_network(self, parts: tuple[jax.Array, ...]) -> jax.Array:
        """e, one column after the other: a scan, so that compiling takes no longer with more."""

        def body(seen: jax.Array, inputs: Any) -> tuple[jax.Array, jax.Array]:
            raw, a, w, *noise = inputs
            e = self.chain.kind.sample(raw + jnp.tanh(seen) @ w, tuple(noise), self.temperature)
            return seen + e[..., None] * a[(None,) * e.ndim], e

        by_column = (
            jnp.moveaxis(self.raw, -2, 0),
            self.weights["A"],
            self.weights["W"],
            *(jnp.moveaxis(part, -1, 0) for part in parts),
        )
        _, e = lax.scan(body, self.coupling, by_column)
        return jnp.moveaxis(e, 0, -1)


def _sums_of_earlier(e: jax.Array, a: jax.Array) -> jax.Array:
    """sum_{j<d} e_j A_j of each column, [..., D, HIDDEN], by one product."""
    features, hidden = a.shape
    earlier = np.tril(np.ones((features, features), np.float32), -1)
    flat = (earlier[:, :, None] * a[None]).transpose(1, 0, 2).reshape(features, features * hidden)
    return (e @ flat).reshape(*e.shape, hidden)
