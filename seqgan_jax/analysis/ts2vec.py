"""TS2Vec embeddings (Yue et al., AAAI 2022) and Context-FID (Jeha et al., ICLR 2022), in JAX.

A dilated convolutional encoder, trained by hierarchical contrast between two overlapping crops of
the same sequence. Everything has a fixed shape: a crop is a mask over time, applied before each
convolution, which gives what zero padding at the crop's borders gives.

Shapes: E repeats, N sequences, B batch, T time, D features, C channels. Settings are those of the
published Context-FID: 320 dimensions, hidden 64, depth 10, batch 8, AdamW 1e-3, weights averaged
over the steps, 200 steps up to 100,000 values and 600 above, max-pooled over time.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.linalg

from seqgan_jax.analysis import training
from seqgan_jax.analysis.training import Array, Params, Progress, no_progress

DIMENSIONS, HIDDEN, DEPTH, KERNEL = 320, 64, 10, 3
BATCH, DROPOUT = 8, 0.1
ADAMW = optax.adamw(1e-3, weight_decay=0.01)
CHUNK = 25
BLOCK = 1024


def training_steps(values: int) -> int:
    """200 for at most 100,000 values, else 600."""
    return 200 if values <= 100_000 else 600


def _uniform(key: jax.Array, shape: tuple[int, ...], fan_in: int) -> jax.Array:
    limit = 1 / math.sqrt(fan_in)
    return jax.random.uniform(key, shape, jnp.float32, -limit, limit)


def init_encoder(key: jax.Array, features: int) -> Params:
    """Weights of the encoder; consumes the key.

    A linear layer to HIDDEN channels, then DEPTH + 1 residual blocks of two convolutions with
    dilation 2^i, the last of which widens to DIMENSIONS.
    """
    keys = iter(jax.random.split(key, 4 + 6 * (DEPTH + 1)))

    def layer(width: int, inputs: int, outputs: int) -> Params:
        fan_in = width * inputs
        return {
            "kernel": _uniform(next(keys), (width, inputs, outputs), fan_in),
            "bias": _uniform(next(keys), (outputs,), fan_in),
        }

    blocks = []
    for i in range(DEPTH + 1):
        outputs = DIMENSIONS if i == DEPTH else HIDDEN
        block = {"first": layer(KERNEL, HIDDEN, outputs), "second": layer(KERNEL, outputs, outputs)}
        if i == DEPTH:
            block["projector"] = layer(1, HIDDEN, outputs)
        blocks.append(block)
    return {"input": layer(1, features, HIDDEN), "blocks": blocks}


def _convolve(layer: Params, x_BTC: jax.Array, dilation: int) -> jax.Array:
    """Convolution over time with zeros beyond both ends: a sum of shifted products."""
    kernel = layer["kernel"]
    width, steps = kernel.shape[0], x_BTC.shape[1]
    total = layer["bias"][None, None] + x_BTC @ kernel[width // 2]
    for k in range(width):
        shift = (k - width // 2) * dilation
        # A tap that reaches beyond the whole sequence sees only zeros.
        if shift == 0 or abs(shift) >= steps:
            continue
        padding = ((0, 0), (max(-shift, 0), max(shift, 0)), (0, 0))
        moved = jnp.pad(x_BTC, padding)
        moved = moved[:, shift:] if shift > 0 else moved[:, :steps]
        total = total + moved @ kernel[k]
    return total


def encode(
    params: Params,
    x_BTD: jax.Array,
    crop_BT: jax.Array,
    shown_BT: jax.Array,
    dropout_key: jax.Array | None = None,
) -> jax.Array:
    """Representations of each step -> [B, T, DIMENSIONS]; what is outside the crop has no meaning.

    Args:
        params: from `init_encoder`.
        x_BTD: sequences.
        crop_BT: 1 inside the crop, 0 outside.
        shown_BT: 0 where the input is hidden (after its linear layer), else 1.
        dropout_key: consumed; None for no dropout.
    """
    crop_BT1 = crop_BT[:, :, None]
    x = _convolve(params["input"], x_BTD, 1) * shown_BT[:, :, None]

    def apply(block: Params, x: jax.Array, dilation: int) -> jax.Array:
        residual = _convolve(block["projector"], x, 1) if "projector" in block else x
        inner = jax.nn.gelu(x, approximate=False) * crop_BT1
        inner = _convolve(block["first"], inner, dilation)
        inner = jax.nn.gelu(inner, approximate=False) * crop_BT1
        return residual + _convolve(block["second"], inner, dilation)

    # Blocks whose dilation reaches beyond the sequence are all of one form: scanned, they are
    # compiled once.
    alike = range(max(0, math.ceil(math.log2(x_BTD.shape[1]))), DEPTH)
    for i in range(DEPTH - len(alike)):
        x = apply(params["blocks"][i], x, 2**i)
    if alike:
        stacked = jax.tree.map(lambda *w: jnp.stack(w), *params["blocks"][alike[0] : DEPTH])
        x, _ = jax.lax.scan(lambda x, block: (apply(block, x, 2**DEPTH), None), x, stacked)
    x = apply(params["blocks"][DEPTH], x, 2**DEPTH)
    if dropout_key is not None:
        kept = jax.random.bernoulli(dropout_key, 1 - DROPOUT, x.shape)
        x = jnp.where(kept, x / (1 - DROPOUT), 0.0)
    return x


def _contrast(z_GKC: jax.Array, valid_K: jax.Array, half: int) -> jax.Array:
    """Mean cross-entropy of picking, among all others of its group, the other view of an item.

    z_GKC: G groups of K = 2 * half items; item i and item i + half are views of the same thing.
    Returns the loss of each group and item [G, K]; items that are not valid are no candidates.
    """
    similarity = jnp.einsum("gic,gjc->gij", z_GKC, z_GKC)
    barred = jnp.eye(2 * half, dtype=bool) | ~valid_K[None, :]
    log_p = jax.nn.log_softmax(jnp.where(barred[None], -1e9, similarity), axis=2)
    items = jnp.arange(2 * half)
    return -log_p[:, items, (items + half) % (2 * half)]


def hierarchical_loss(z1_BTC: jax.Array, z2_BTC: jax.Array, length: jax.Array) -> jax.Array:
    """Instance and temporal contrast at every scale, the first `length` steps counting.

    At each level the steps are max-pooled in pairs (an odd last one is dropped), until one is left.
    """
    batch, steps = z1_BTC.shape[:2]
    total, levels = jnp.float32(0), jnp.float32(0)
    for _ in range(int(math.log2(steps)) + 1):
        valid_T = jnp.arange(z1_BTC.shape[1]) < length
        count = jnp.maximum(length, 1).astype(jnp.float32)
        both = jnp.concatenate([z1_BTC, z2_BTC])  # [2B, T, C]
        instance = _contrast(both.swapaxes(0, 1), jnp.ones(2 * batch, bool), batch).mean(axis=1)
        instance = jnp.sum(jnp.where(valid_T, instance, 0.0)) / count
        both = jnp.concatenate([z1_BTC, z2_BTC], axis=1)  # [B, 2T, C]
        valid = jnp.concatenate([valid_T, valid_T])
        temporal = _contrast(both, valid, z1_BTC.shape[1]).mean(axis=0)
        temporal = jnp.sum(jnp.where(valid, temporal, 0.0)) / (2 * count)
        # At the last level (one step left) there is nothing to contrast in time.
        inside = 0.5 * instance + jnp.where(length > 1, 0.5 * temporal, 0.0)
        total = total + jnp.where(length > 0, inside, 0.0)
        levels = levels + (length > 0).astype(jnp.float32)
        if z1_BTC.shape[1] > 1:
            even = z1_BTC.shape[1] // 2 * 2
            shape = (batch, even // 2, 2, -1)
            z1_BTC, z2_BTC = (z[:, :even].reshape(shape).max(axis=2) for z in (z1_BTC, z2_BTC))
        length = length // 2
    return total / levels


def _contrastive_loss(params: Params, key: jax.Array, x_BTD: jax.Array) -> jax.Array:
    """Loss of one batch: two crops that overlap, each with half its steps hidden at random."""
    batch, steps = x_BTD.shape[:2]
    keys = jax.random.split(key, 7)
    length = jax.random.randint(keys[0], (), min(2, steps), steps + 1)
    left = jax.random.randint(keys[1], (), 0, steps - length + 1)
    right = left + length
    outer_left = jax.random.randint(keys[2], (), 0, left + 1)
    outer_right = jax.random.randint(keys[3], (), right, steps + 1)
    offset_B = jax.random.randint(keys[4], (batch,), -outer_left, steps - outer_right + 1)
    time_BT = jnp.arange(steps)[None, :] - offset_B[:, None]
    crops = [
        ((time_BT >= start) & (time_BT < end)).astype(jnp.float32)
        for start, end in ((outer_left, right), (left, outer_right))
    ]
    shown = jax.random.bernoulli(keys[5], 0.5, (2 * batch, steps)).astype(jnp.float32)
    # Both views in one call: half the program to compile.
    both = encode(params, jnp.concatenate([x_BTD, x_BTD]), jnp.concatenate(crops), shown, keys[6])
    index_BT = jnp.clip(left + offset_B[:, None] + jnp.arange(steps)[None], 0, steps - 1)
    z1_BTC, z2_BTC = (
        jnp.take_along_axis(z, index_BT[:, :, None], axis=1) for z in (both[:batch], both[batch:])
    )
    return hierarchical_loss(z1_BTC, z2_BTC, length)


def _batch_loss(
    params: Params, key: jax.Array, number: jax.Array, x_NTD: jax.Array, index_SB: jax.Array
) -> jax.Array:
    return _contrastive_loss(params, key, x_NTD[index_SB[number]])


def train(
    x_NTD: Array,
    repeats: int,
    seed: int,
    *,
    steps: int | None = None,
    progress: Progress = no_progress,
) -> Params:
    """Encoders trained on real sequences, one for each repeat (all leaves get an axis E in front).

    The weights are averages over all steps, as published (stochastic weight averaging).
    """
    steps = training_steps(x_NTD.size) if steps is None else steps
    batch, features = min(BATCH, len(x_NTD)), x_NTD.shape[2]
    index = np.stack([_batches(seed + e, len(x_NTD), batch, steps) for e in range(repeats)])
    return training.train(
        lambda key: init_encoder(key, features),
        _batch_loss,
        ADAMW,
        x_NTD,
        jnp.asarray(index),
        seed=seed,
        steps=steps,
        chunk=CHUNK,
        averaged=True,
        progress=progress,
    )


def _batches(seed: int, count: int, batch: int, steps: int) -> Array:
    """Rows of each step's batch, epoch after epoch without what is left over -> [steps, batch]."""
    rng = np.random.default_rng(seed)
    rows: list[Array] = []
    while len(rows) < steps:
        order = rng.permutation(count)
        rows += list(order[: count // batch * batch].reshape(-1, batch))
    return np.stack(rows[:steps]).astype(np.int32)


@jax.jit
def _embed_block(params_E: Params, x_NTD: jax.Array) -> jax.Array:
    full = jnp.ones(x_NTD.shape[:2], x_NTD.dtype)
    return jax.vmap(lambda p: encode(p, x_NTD, full, full).max(axis=1))(params_E)


def embed(params_E: Params, x_NTD: Array) -> Array:
    """Embeddings, max-pooled over time -> [E, N, DIMENSIONS]."""
    return training.in_blocks(_embed_block, params_E, x_NTD, BLOCK)


def frechet_distance(a_NC: Array, b_NC: Array) -> float:
    """|mean_a - mean_b|^2 + tr(S_a + S_b - 2 (S_a S_b)^(1/2)) of two samples of vectors.

    The trace of the root is the sum of the singular values of S_a^(1/2) S_b^(1/2), which stays
    real where covariances have no full rank.
    """
    roots, traces = [], 0.0
    for x in (a_NC, b_NC):
        covariance = np.cov(x.astype(np.float64), rowvar=False).reshape(x.shape[1], x.shape[1])
        values, vectors = scipy.linalg.eigh(covariance)
        roots.append((vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T)
        traces += float(np.trace(covariance))
    shift = a_NC.mean(axis=0, dtype=np.float64) - b_NC.mean(axis=0, dtype=np.float64)
    cross = scipy.linalg.svdvals(roots[0] @ roots[1]).sum()
    return float(shift @ shift + traces - 2 * cross)
