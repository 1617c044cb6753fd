"""What the policy draws each step from: the law of one step's D features. Pure functions.

A `Family` makes laws from what a network gives; the laws have one interface, so that the rest of
the package knows of none: `sample(noise)`, `log_prob(e)`, and `entropy()` where it has a closed
form. `Framed` puts a law into another frame: x = offset + F e with e from the law.

Shapes beside the usual: K components, M hidden units, P parameters of a step.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple, Protocol, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.linalg import solve_triangular
from jax.scipy.special import gammaln, log_ndtr

LOG_2PI = 1.8378770664093453
# Log-variances are held within these bounds (data are scaled to unit variance): far outside what
# data need, tight enough that neither exp() nor its square leaves float32.
LOG_VARIANCE_BOUNDS = (-18.0, 8.0)
# Of a mixture's component: no rare component is wilder than twenty innovations.
LOG_SCALE_BOUNDS = (-9.0, 3.0)
LEAST_DOF = 2.1  # Student's t with a variance
LEAST_DENSITY = 1e-3
MIXTURE_HIDDEN = 32


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


class StudentT(NamedTuple):
    """Correlated heavy tails: x = mean + L z, each z_d from Student's t with its own nu_d.

    z = sqrt(nu (u^(-2/nu) - 1)) cos(2 pi v) for uniform u, v (Bailey 1994, Math. Comp. 62, 779),
    which is smooth in nu as well.
    """

    gaussian: FullGaussian  # mean and L
    dof: jax.Array  # [..., D], above LEAST_DOF

    @classmethod
    def from_params(cls, raw: jax.Array, features: int, temperature: float | jax.Array) -> Self:
        """Split `raw` [..., FullGaussian's and D more] into its parts."""
        size = FullGaussian.num_params(features)
        dof = LEAST_DOF + jax.nn.softplus(raw[..., size:] + 8.0)  # 10 where raw is 0
        return cls(FullGaussian.from_params(raw[..., :size], temperature), dof)

    def sample(self, noise: jax.Array) -> jax.Array:
        """Reparameterised sample from standard normal `noise` [..., 2 D]."""
        radius, angle = jnp.split(noise, 2, axis=-1)
        # At most 6 normal deviations: u is not 0 in float32.
        log_u = log_ndtr(jnp.clip(radius, -6.0, 6.0))
        squared = self.dof * jnp.expm1(-2.0 / self.dof * log_u)
        z = jnp.sqrt(jnp.maximum(squared, 1e-12)) * jnp.cos(2 * jnp.pi * _normal_cdf(angle))
        return self.gaussian.sample(z)

    def log_prob(self, x: jax.Array) -> jax.Array:
        """sum_d log t(z_d; nu_d) - log det L, z = L^-1 (x - mean), nats, [...]."""
        mean, factor = self.gaussian
        z = solve_triangular(factor, (x - mean)[..., None], lower=True)[..., 0]
        half = 0.5 * self.dof
        constant = gammaln(half + 0.5) - gammaln(half) - 0.5 * jnp.log(jnp.pi * self.dof)
        values = constant - (half + 0.5) * jnp.log1p(z * z / self.dof)
        log_det = jnp.sum(jnp.log(jnp.diagonal(factor, axis1=-2, axis2=-1)), axis=-1)
        return jnp.sum(values, axis=-1) - log_det


class Mixture(NamedTuple):
    """Each feature, given the earlier ones, is a mixture of K Gaussians.

        p(x) = prod_d sum_k w_dk N(x_d; mean_dk, scale_dk^2)
        [log w, mean, log scale]_d = raw_d + tanh(context + sum_{j<d} x_j A_j) W_d

    Autoregressive over features, as RNADE (Uria et al. 2013), with one step of the LSTM as its
    context: K^D modes, and any feature's law may depend on the others'. With one feature it is the
    plain mixture. Temperature multiplies the standard deviation of each conditional law.
    """

    raw_PD: jax.Array  # [..., D, 3 K]
    context: jax.Array  # [..., M]
    weights: Mapping[str, jax.Array]  # A [D, M], W [D, M, 3 K]; nothing where D = 1
    temperature: float | jax.Array

    def _hidden(self, x: jax.Array) -> jax.Array:
        """What each feature's parameters are made of, `[..., D, M]`; sees earlier features only."""
        features, hidden = self.weights["A"].shape
        earlier = np.tril(np.ones((features, features), np.float32), -1)
        masked_DDM = earlier[:, :, None] * self.weights["A"][None]
        flat = masked_DDM.transpose(1, 0, 2).reshape(features, features * hidden)
        seen = (x @ flat).reshape(*x.shape, hidden)
        return jnp.tanh(self.context[..., None, :] + seen)

    def _components(self, outputs: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """log w, mean and scale `[..., K]` from `[..., 3 K]`."""
        logit, mean, log_scale = jnp.split(outputs, 3, axis=-1)
        log_w = jax.nn.log_softmax(logit, axis=-1)
        middle = jnp.sum(jnp.exp(log_w) * mean, axis=-1, keepdims=True)
        scale = jnp.exp(jnp.clip(log_scale, *LOG_SCALE_BOUNDS))
        return log_w, middle + self.temperature * (mean - middle), self.temperature * scale

    def log_prob(self, x: jax.Array) -> jax.Array:
        """log p(x), nats, [...]."""
        outputs = self.raw_PD
        if self.weights:
            outputs = outputs + jnp.einsum("...dm,dmp->...dp", self._hidden(x), self.weights["W"])
        log_w, mean, scale = self._components(outputs)
        z = (x[..., None] - mean) / scale
        values = log_w - 0.5 * (z * z + LOG_2PI) - jnp.log(scale)
        return jnp.sum(jax.nn.logsumexp(values, axis=-1), axis=-1)

    def sample(self, noise: jax.Array) -> jax.Array:
        """A sample from standard normal `noise` [..., 2 D]; differentiable in the parameters.

        A component is drawn by one half of the noise and a value by the other. The gradient is
        the implicit one, dx = - dF(x) / p(x) with F the distribution function (Figurnov et al.
        2018), which does not depend on how x was drawn.
        """
        which, value = jnp.split(noise, 2, axis=-1)
        if not self.weights:
            components = self._components(self.raw_PD[..., 0, :])
            return _drawn(*components, which[..., 0], value[..., 0])[..., None]

        def body(seen: jax.Array, inputs: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
            raw, a_M, w_MP, which, value = inputs
            x = _drawn(*self._components(raw + jnp.tanh(seen) @ w_MP), which, value)
            return seen + x[..., None] * a_M[(None,) * x.ndim], x

        by_feature = (
            jnp.moveaxis(self.raw_PD, -2, 0),
            self.weights["A"],
            self.weights["W"],
            jnp.moveaxis(which, -1, 0),
            jnp.moveaxis(value, -1, 0),
        )
        _, x = lax.scan(body, self.context, by_feature)
        return jnp.moveaxis(x, 0, -1)


@jax.custom_jvp
def _drawn(
    log_w: jax.Array, mean: jax.Array, scale: jax.Array, which: jax.Array, value: jax.Array
) -> jax.Array:
    """A sample of the mixture: a component by `which`, its value by `value`; [..., K], x [...]."""
    w = jnp.exp(log_w)
    below = _cumulative(w)[..., :-1] < _normal_cdf(which)[..., None]
    chosen = jax.nn.one_hot(jnp.sum(below, axis=-1), w.shape[-1])
    return jnp.sum(chosen * (mean + scale * value[..., None]), axis=-1)


@_drawn.defjvp
def _drawn_jvp(primals: tuple[jax.Array, ...], tangents: tuple[jax.Array, ...]) -> Any:
    # dx = - dF(x) / p(x), written out: derived by XLA through F it takes twice as long to compile.
    log_w, mean, scale, _, _ = primals
    d_log_w, d_mean, d_scale, _, _ = tangents
    x = _drawn(*primals)
    z = (x[..., None] - mean) / scale
    w = jnp.exp(log_w)
    density = w / scale * jnp.exp(-0.5 * (z * z + LOG_2PI))
    d_function = w * _normal_cdf(z) * d_log_w - density * (d_mean + z * d_scale)
    # Between modes far apart the density, and with it the gradient's divisor, goes to zero.
    total = jnp.maximum(jnp.sum(density, axis=-1), LEAST_DENSITY)
    return x, -jnp.sum(d_function, axis=-1) / total


def _normal_cdf(x: jax.Array) -> jax.Array:
    # By erf in one piece: `ndtr`, exact far in the tails by cases, is slow to compile.
    return 0.5 * (1.0 + lax.erf(x * 0.5**0.5))


Law = DiagonalGaussian | FullGaussian | StudentT | Mixture
Weights = Mapping[str, jax.Array]


class Family(Protocol):
    """Laws of one kind of D features: how many numbers make one, and how. Hashable."""

    @property
    def closed_entropy(self) -> bool:
        """Whether the entropy has a closed form."""

    @property
    def num_params(self) -> int:
        """Numbers that the network must give for one step, P."""

    @property
    def num_noise(self) -> int:
        """Standard normal numbers that one sample takes."""

    def start(self) -> np.ndarray:
        """The numbers with which an untrained policy starts: near a standard normal law, [P]."""

    def weights(self, key: jax.Array) -> dict[str, jax.Array]:
        """Weights that all steps share; consumes `key`."""

    def law(self, raw: jax.Array, weights: Weights, temperature: float | jax.Array) -> Law:
        """The law of `raw` [..., P]."""


@dataclass(frozen=True)
class GaussianFamily:
    """Gaussians, diagonal or of full covariance."""

    full: bool
    features: int
    closed_entropy = True

    @property
    def num_params(self) -> int:
        """As the law says."""
        return (FullGaussian if self.full else DiagonalGaussian).num_params(self.features)

    @property
    def num_noise(self) -> int:
        """D."""
        return self.features

    def start(self) -> np.ndarray:
        """Zeros: a standard normal law."""
        return np.zeros(self.num_params, np.float32)

    def weights(self, key: jax.Array) -> dict[str, jax.Array]:  # noqa: ARG002
        """None."""
        return {}

    def law(self, raw: jax.Array, weights: Weights, temperature: float | jax.Array) -> Law:  # noqa: ARG002
        """The Gaussian of `raw`."""
        return (FullGaussian if self.full else DiagonalGaussian).from_params(raw, temperature)


@dataclass(frozen=True)
class StudentFamily:
    """Student's t with a full scale matrix."""

    features: int
    closed_entropy = False

    @property
    def num_params(self) -> int:
        """Those of the Gaussian, and D degrees of freedom."""
        return FullGaussian.num_params(self.features) + self.features

    @property
    def num_noise(self) -> int:
        """2 D."""
        return 2 * self.features

    def start(self) -> np.ndarray:
        """Zeros: ten degrees of freedom."""
        return np.zeros(self.num_params, np.float32)

    def weights(self, key: jax.Array) -> dict[str, jax.Array]:  # noqa: ARG002
        """None."""
        return {}

    def law(self, raw: jax.Array, weights: Weights, temperature: float | jax.Array) -> Law:  # noqa: ARG002
        """The law of `raw`."""
        return StudentT.from_params(raw, self.features, temperature)


@dataclass(frozen=True)
class MixtureFamily:
    """Mixtures of K Gaussians, autoregressive over features."""

    components: int
    hidden: int
    features: int
    closed_entropy = False

    @property
    def num_params(self) -> int:
        """3 K for each feature, and M of context where there are several features."""
        context = self.hidden if self.features > 1 else 0
        return 3 * self.components * self.features + context

    @property
    def num_noise(self) -> int:
        """2 D."""
        return 2 * self.features

    def start(self) -> np.ndarray:
        """Components side by side that make a law of mean 0 and variance 1."""
        quantile, number = NormalDist().inv_cdf, self.components
        mean = np.array([0.9 * quantile((k + 0.5) / number) for k in range(number)])
        log_scale = np.full(number, 0.5 * np.log(1.0 - np.mean(mean**2)))
        one = np.concatenate([np.zeros(number), mean, log_scale])
        context = np.zeros(self.num_params - len(one) * self.features)
        return np.concatenate([np.tile(one, self.features), context]).astype(np.float32)

    def weights(self, key: jax.Array) -> dict[str, jax.Array]:
        """A at random, W zero: features are independent until it is trained."""
        if self.features == 1:
            return {}
        init = jax.nn.initializers.lecun_normal()
        shape = (self.features, self.hidden, 3 * self.components)
        return {"A": init(key, (self.features, self.hidden)), "W": jnp.zeros(shape)}

    def law(self, raw: jax.Array, weights: Weights, temperature: float | jax.Array) -> Law:
        """The mixture of `raw`."""
        outputs = 3 * self.components * self.features
        raw_PD = raw[..., :outputs].reshape(*raw.shape[:-1], self.features, -1)
        return Mixture(raw_PD, raw[..., outputs:], weights, temperature)


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
        """Entropy of e + log det F, nats, [...]; of laws that have a closed form."""
        if isinstance(self.law, DiagonalGaussian | FullGaussian):
            return self.law.entropy() + self._log_det()
        raise TypeError(f"the entropy of {type(self.law).__name__} has no closed form")


def _cumulative(w: jax.Array) -> jax.Array:
    # A product with a triangle: XLA's cumulative sums are slow to compile and to run on CPUs.
    return w @ np.triu(np.ones((w.shape[-1], w.shape[-1]), np.float32))


def _apply(matrix: jax.Array, x: jax.Array) -> jax.Array:
    return x @ jnp.swapaxes(matrix, -1, -2)


def by_name(policy: str, covariance: str, components: int, features: int) -> Family:
    """The family for `--policy`, `--covariance` and `--components`."""
    if policy == "mixture":
        return MixtureFamily(components, MIXTURE_HIDDEN, features)
    if policy == "student":
        return StudentFamily(features)
    return GaussianFamily(covariance == "full" and features > 1, features)
