"""What the policy draws each step from: Gaussians of one step's D features. Pure functions.

`DiagonalGaussian` and `FullGaussian` have the same interface, so that the rest of the package knows
of neither: `num_params(D)`, `from_params(raw, temperature)`, `sample(noise)`, `log_prob(e)`,
`entropy()`. `Framed` puts such a law into another frame: x = offset + F e with e from the law.
"""

from typing import NamedTuple, Self

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular

LOG_2PI = 1.8378770664093453
# Log-variances are held within these bounds (data are scaled to unit variance): far outside what
# data need, tight enough that neither exp() nor its square leaves float32.
LOG_VARIANCE_BOUNDS = (-18.0, 8.0)


def _scales(log_variance: jax.Array, temperature: float | jax.Array) -> jax.Array:
    return temperature * jnp.exp(0.5 * jnp.clip(log_variance, *LOG_VARIANCE_BOUNDS))


class DiagonalGaussian(NamedTuple):
    """Independent Gaussians: x_d = mean_d + scale_d * noise_d.

    Temperature multiplies the standard deviation, in sampling and in the density alike
    (Yu et al. 2017 have no temperature; the PyTorch project scales its samples only).

    >>> import jax.numpy as jnp
    >>> g = DiagonalGaussian.from_params(jnp.array([3.0, 0.0]), 1.0)
    >>> round(float(g.log_prob(jnp.array([3.0]))), 4)  # -log(2 pi) / 2
    -0.9189
    """

    mean: jax.Array  # [..., D]
    scale: jax.Array  # [..., D], positive

    @staticmethod
    def num_params(features: int) -> int:
        """Numbers that the network must give for one step: D means and D log-variances."""
        return 2 * features

    @classmethod
    def from_params(cls, raw: jax.Array, temperature: float | jax.Array = 1.0) -> Self:
        """Split `raw` [..., 2 D] into means and log-variances."""
        mean, log_variance = jnp.split(raw, 2, axis=-1)
        return cls(mean, _scales(log_variance, temperature))

    def sample(self, noise: jax.Array) -> jax.Array:
        """Reparameterised sample from standard normal `noise` [..., D]."""
        return self.mean + self.scale * noise

    def log_prob(self, x: jax.Array) -> jax.Array:
        """log N(x; mean, diag(scale^2)) in nats, [...]."""
        z = (x - self.mean) / self.scale
        return -0.5 * jnp.sum(z * z + LOG_2PI, axis=-1) - jnp.sum(jnp.log(self.scale), axis=-1)

    def entropy(self) -> jax.Array:
        """D/2 log(2 pi e) + sum_d log scale_d, in nats, [...]."""
        return 0.5 * (LOG_2PI + 1.0) * self.mean.shape[-1] + jnp.sum(jnp.log(self.scale), axis=-1)


class FullGaussian(NamedTuple):
    """Correlated Gaussian by a Cholesky factor: x = mean + L noise, covariance L L'.

    L has exp(log-variance / 2) on its diagonal; below it, row d is that row's scale times free
    numbers, so that a feature's correlations do not change when its scale does.
    """

    mean: jax.Array  # [..., D]
    factor: jax.Array  # [..., D, D], lower triangular

    @staticmethod
    def num_params(features: int) -> int:
        """D means, D log-variances, D (D - 1) / 2 numbers below the diagonal."""
        return 2 * features + features * (features - 1) // 2

    @classmethod
    def from_params(cls, raw: jax.Array, temperature: float | jax.Array = 1.0) -> Self:
        """Split `raw` [..., num_params(D)] into means, log-variances and lower triangle."""
        features = int((-3 + (9 + 8 * raw.shape[-1]) ** 0.5) / 2 + 0.5)
        mean, log_variance, below = jnp.split(raw, [features, 2 * features], axis=-1)
        # Position of (row, column) in [1, below, 0]: a gather, since scatters are slow.
        index = [
            [1 + r * (r - 1) // 2 + c if c < r else (0 if c == r else -1) for c in range(features)]
            for r in range(features)
        ]
        flat = jnp.concatenate(
            [jnp.ones_like(mean[..., :1]), below, jnp.zeros_like(mean[..., :1])], axis=-1
        )
        unit = flat[..., jnp.array(index)]
        return cls(mean, _scales(log_variance, temperature)[..., :, None] * unit)

    def sample(self, noise: jax.Array) -> jax.Array:
        """Reparameterised sample from standard normal `noise` [..., D]."""
        return self.mean + jnp.einsum("...de,...e->...d", self.factor, noise)

    def log_prob(self, x: jax.Array) -> jax.Array:
        """log N(x; mean, L L') in nats, [...]."""
        # Substitution unrolled over features wins a little at D = 3 and loses 26-fold at D = 28.
        z = solve_triangular(self.factor, (x - self.mean)[..., None], lower=True)[..., 0]
        log_det = jnp.sum(jnp.log(jnp.diagonal(self.factor, axis1=-2, axis2=-1)), axis=-1)
        return -0.5 * jnp.sum(z * z + LOG_2PI, axis=-1) - log_det

    def entropy(self) -> jax.Array:
        """D/2 log(2 pi e) + sum_d log L_dd, in nats, [...]."""
        log_det = jnp.sum(jnp.log(jnp.diagonal(self.factor, axis1=-2, axis2=-1)), axis=-1)
        return 0.5 * (LOG_2PI + 1.0) * self.mean.shape[-1] + log_det


Law = DiagonalGaussian | FullGaussian


class Framed(NamedTuple):
    """The law of x = offset + F e where e follows `law` and F is lower triangular and fixed.

    e is the innovation: what is new in x beyond a linear prediction, in units of its usual size.
    """

    offset: jax.Array  # [..., D]
    factor: jax.Array  # [D, D] or broadcastable, lower triangular
    inverse: jax.Array  # of the factor
    law: Law

    def sample(self, noise: jax.Array) -> tuple[jax.Array, jax.Array]:
        """x and its innovation e, both [..., D], from standard normal `noise` [..., D]."""
        e = self.law.sample(noise)
        return self.offset + _apply(self.factor, e), e

    def innovation(self, x: jax.Array) -> jax.Array:
        """e = F^-1 (x - offset), [..., D]."""
        return _apply(self.inverse, x - self.offset)

    def _log_det(self) -> jax.Array:
        return jnp.sum(jnp.log(jnp.diagonal(self.factor, axis1=-2, axis2=-1)), axis=-1)

    def log_prob(self, x: jax.Array) -> jax.Array:
        """log p(x) = log p(e) - log det F, nats, [...]."""
        return self.law.log_prob(self.innovation(x)) - self._log_det()

    def entropy(self) -> jax.Array:
        """Entropy of e + log det F, nats, [...]."""
        return self.law.entropy() + self._log_det()


def _apply(matrix: jax.Array, x: jax.Array) -> jax.Array:
    return x @ jnp.swapaxes(matrix, -1, -2)


def by_name(covariance: str, features: int) -> type[DiagonalGaussian] | type[FullGaussian]:
    """The class for `--covariance` full or diagonal; for one feature both are the same law."""
    return FullGaussian if covariance == "full" and features > 1 else DiagonalGaussian
