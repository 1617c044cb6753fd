"""A continuous column: Gaussian, Student's t, or a mixture of Gaussians. Pure functions.

A kind of column is hashable and says how many numbers its distribution takes (`num_params`, P),
how many standard normal numbers a sample takes (`num_noise`), and from which numbers an untrained
policy starts. A location-scale kind describes x = mean + scale z by the distribution of z.
"""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.special import gammaln, log_ndtr

from seqgan_jax.core.columns.cells import normal_mass

LOG_2PI = 1.8378770664093453
# Log-variances are held within these bounds (data are scaled to unit variance): far outside what
# data need, tight enough that neither exp() nor its square leaves float32.
LOG_VARIANCE_BOUNDS = (-18.0, 8.0)
# Of a mixture's component: no rare component is wilder than twenty innovations.
LOG_SCALE_BOUNDS = (-9.0, 3.0)
LEAST_DOF = 2.1  # Student's t with a variance
LARGEST_SHIFT = 250.0  # of a sample for a change of a component's log-weight


@dataclass(frozen=True)
class Gaussian:
    """z ~ N(0, 1); raw numbers: mean and log-variance.

    Temperature multiplies the standard deviation, in sampling and in the density alike
    (Yu et al. 2017 have no temperature; the PyTorch project scales its samples only).

    >>> import jax.numpy as jnp
    >>> mean, scale = Gaussian().location_scale(jnp.array([3.0, 0.0]), 1.0)
    >>> float(mean), float(scale)
    (3.0, 1.0)
    """

    num_params = 2
    num_noise = 1
    closed_entropy = True

    def start(self) -> np.ndarray:
        """Raw numbers [P] of a standard normal distribution."""
        return np.zeros(self.num_params, np.float32)

    def location_scale(
        self, raw: jax.Array, temperature: float | jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Mean and scale `[...]` of raw numbers `[..., P]`."""
        scale = jnp.exp(0.5 * jnp.clip(raw[..., 1], *LOG_VARIANCE_BOUNDS))
        return raw[..., 0], temperature * scale

    def standard_sample(self, raw: jax.Array, noise: tuple[jax.Array, ...]) -> jax.Array:  # noqa: ARG002
        """z `[...]` from `num_noise` arrays of standard normal numbers."""
        return noise[0]

    def standard_log_prob(self, raw: jax.Array, z: jax.Array) -> jax.Array:  # noqa: ARG002
        """log p(z), nats."""
        return -0.5 * (z * z + LOG_2PI)

    def entropy(self, raw: jax.Array, temperature: float | jax.Array) -> jax.Array:
        """log(2 pi e) / 2 + log scale, nats."""
        return 0.5 * (LOG_2PI + 1.0) + jnp.log(self.location_scale(raw, temperature)[1])


@dataclass(frozen=True)
class StudentT(Gaussian):
    """z from Student's t with nu degrees of freedom; raw numbers: mean, log-variance, nu's.

    z = sqrt(nu (u^(-2/nu) - 1)) cos(2 pi v) for uniform u, v (Bailey 1994, Math. Comp. 62, 779),
    which is smooth in nu as well.
    """

    num_params = 3
    num_noise = 2
    closed_entropy = False

    def _dof(self, raw: jax.Array) -> jax.Array:
        return LEAST_DOF + jax.nn.softplus(raw[..., 2] + 8.0)  # 10 where raw is 0

    def standard_sample(self, raw: jax.Array, noise: tuple[jax.Array, ...]) -> jax.Array:
        """z `[...]` from two arrays of standard normal numbers."""
        radius, angle = noise
        # At most 6 normal deviations: u is not 0 in float32.
        log_u = log_ndtr(jnp.clip(radius, -6.0, 6.0))
        dof = self._dof(raw)
        squared = dof * jnp.expm1(-2.0 / dof * log_u)
        return jnp.sqrt(jnp.maximum(squared, 1e-12)) * jnp.cos(2 * jnp.pi * normal_cdf(angle))

    def standard_log_prob(self, raw: jax.Array, z: jax.Array) -> jax.Array:
        """log t(z; nu), nats."""
        dof = self._dof(raw)
        half = 0.5 * dof
        constant = gammaln(half + 0.5) - gammaln(half) - 0.5 * jnp.log(jnp.pi * dof)
        return constant - (half + 0.5) * jnp.log1p(z * z / dof)


@dataclass(frozen=True)
class Mixture:
    """p(x) = sum_k w_k N(x; mean_k, scale_k^2); raw numbers: K logits, K means, K log-scales.

    Temperature multiplies the standard deviation of the whole distribution.
    """

    components: int
    closed_entropy = False
    num_noise = 2

    @property
    def num_params(self) -> int:
        """3 K."""
        return 3 * self.components

    def start(self) -> np.ndarray:
        """Components side by side that make a distribution of mean 0 and variance 1, [P]."""
        quantile, number = NormalDist().inv_cdf, self.components
        mean = np.array([0.9 * quantile((k + 0.5) / number) for k in range(number)])
        log_scale = np.full(number, 0.5 * np.log(1.0 - np.mean(mean**2)))
        return np.concatenate([np.zeros(number), mean, log_scale]).astype(np.float32)

    def components_of(
        self, raw: jax.Array, temperature: float | jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """log w, mean and scale, `[..., K]` each."""
        logit, mean, log_scale = jnp.split(raw, 3, axis=-1)
        log_w = jax.nn.log_softmax(logit, axis=-1)
        middle = jnp.sum(jnp.exp(log_w) * mean, axis=-1, keepdims=True)
        scale = jnp.exp(jnp.clip(log_scale, *LOG_SCALE_BOUNDS))
        return log_w, middle + temperature * (mean - middle), temperature * scale

    def log_prob(self, raw: jax.Array, x: jax.Array, temperature: float | jax.Array) -> jax.Array:
        """log p(x) `[...]`, nats."""
        log_w, mean, scale = self.components_of(raw, temperature)
        return jax.nn.logsumexp(log_joint(log_w, mean, scale, x), axis=-1)

    def sample(
        self, raw: jax.Array, noise: tuple[jax.Array, ...], temperature: float | jax.Array
    ) -> jax.Array:
        """x `[...]` from two arrays of standard normal numbers; differentiable in `raw`.

        A component is drawn by one of them and a value by the other. The gradient is the implicit
        one, dx = - dF(x) / p(x) with F the distribution function (Figurnov et al. 2018), which does
        not depend on how x was drawn.
        """
        return _drawn(*self.components_of(raw, temperature), *noise)


def log_joint(log_w: jax.Array, mean: jax.Array, scale: jax.Array, x: jax.Array) -> jax.Array:
    """log w_k N(x; mean_k, scale_k^2), [..., K]."""
    z = (x[..., None] - mean) / scale
    return log_w - 0.5 * (z * z + LOG_2PI) - jnp.log(scale)


@jax.custom_jvp
def _drawn(
    log_w: jax.Array, mean: jax.Array, scale: jax.Array, which: jax.Array, value: jax.Array
) -> jax.Array:
    """A sample of the mixture: a component by `which`, its value by `value`; [..., K], x [...]."""
    w = jnp.exp(log_w)
    below = cumulative(w)[..., :-1] < normal_cdf(which)[..., None]
    chosen = jax.nn.one_hot(jnp.sum(below, axis=-1), w.shape[-1])
    return jnp.sum(chosen * (mean + scale * value[..., None]), axis=-1)


@_drawn.defjvp
def _drawn_jvp(primals: tuple[jax.Array, ...], tangents: tuple[jax.Array, ...]) -> Any:
    """dx = sum_k r_k (dmean_k + z_k dscale_k) - sum_k w_k dlog w_k (Phi(z_k) - c) / p(x).

    r are the components' shares of p(x), so that the first sum is exact however far in a tail x is.
    sum_k w_k dlog w_k is 0 (log_w is normalised), so that any c will do: 1 above the median, 0
    below, which leaves the smaller tail and with it a ratio that is bounded in the tails. Between
    modes far apart the ratio is not, and is cut at LARGEST_SHIFT.
    """
    # Written out: derived by XLA through F it takes twice as long to compile.
    log_w, mean, scale, _, _ = primals
    d_log_w, d_mean, d_scale, _, _ = tangents
    x = _drawn(*primals)
    z = (x[..., None] - mean) / scale
    joint = log_joint(log_w, mean, scale, x)
    log_p = jax.nn.logsumexp(joint, axis=-1, keepdims=True)
    moved = jnp.sum(jnp.exp(joint - log_p) * (d_mean + z * d_scale), axis=-1)
    w = jnp.exp(log_w)
    above = jnp.sum(w * normal_cdf(z), axis=-1, keepdims=True) > 0.5
    sign = jnp.where(above, -1.0, 1.0)
    tail = sign * 0.5 * lax.erfc(-sign * z * 0.5**0.5)
    # A density of exp(-80) is never met, and its inverse is a float32.
    shift = jnp.clip(w * tail * jnp.exp(-jnp.maximum(log_p, -80.0)), -LARGEST_SHIFT, LARGEST_SHIFT)
    return x, moved - jnp.sum(shift * d_log_w, axis=-1)


class Between(NamedTuple):
    """A mixture of Gaussians between two ends."""

    log_w: jax.Array  # [..., K]
    mean: jax.Array  # [..., K]
    scale: jax.Array  # [..., K]
    low: jax.Array  # [...]
    high: jax.Array  # [...]


@jax.custom_jvp
def implicit(law: Between, x: jax.Array) -> jax.Array:
    """x, a sample of the law `[...]`, with the derivative dx = - dF(x) / p(x), as in `_drawn`."""
    del law
    return x


@implicit.defjvp
def _implicit_jvp(primals: tuple[Any, jax.Array], tangents: tuple[Any, jax.Array]) -> Any:
    """With L and R the masses of the law, not yet cut off, from its ends to x, F = L / (L + R):

    dx = - (R dL - L dR) / ((L + R) p(x)), without cancellation in any tail. What x itself was made
    of does not matter.
    """
    law, x = primals
    moves: Between = tangents[0]
    w = jnp.exp(law.log_w)
    z, a, b = ((end[..., None] - law.mean) / law.scale for end in (x, law.low, law.high))
    of_z, of_a, of_b = (w * jnp.exp(-0.5 * (each * each + LOG_2PI)) for each in (z, a, b))
    below, above = w * normal_mass(a, z), w * normal_mass(z, b)
    left, right = (jnp.sum(each, axis=-1, keepdims=True) for each in (below, above))
    density = jnp.sum(of_z / law.scale, axis=-1, keepdims=True)
    total = jnp.maximum((left + right) * density, 1e-35)
    d_a, d_b = (
        (end[..., None] - moves.mean - each * moves.scale) / law.scale
        for end, each in ((moves.low, a), (moves.high, b))
    )
    share = of_z / (law.scale * jnp.maximum(density, 1e-35))
    # Between modes far apart there is no bound: see `_drawn_jvp`.
    by_weight, by_low, by_high = (
        jnp.clip(each / total, -LARGEST_SHIFT, LARGEST_SHIFT)
        for each in (left * above - right * below, right * of_a, left * of_b)
    )
    moved = share * (moves.mean + z * moves.scale)
    moved = moved + by_weight * moves.log_w + by_low * d_a + by_high * d_b
    return x, jnp.sum(moved, axis=-1)


def normal_cdf(x: jax.Array) -> jax.Array:
    # By erf in one piece: `ndtr`, exact far in the tails by cases, is slow to compile.
    return 0.5 * (1.0 + lax.erf(x * 0.5**0.5))


def cumulative(w: jax.Array) -> jax.Array:
    # A product with a triangle: XLA's cumulative sums are slow to compile and to run on CPUs.
    return w @ np.triu(np.ones((w.shape[-1], w.shape[-1]), np.float32))
