"""Can a policy be trained toward what `sample --refine` samples from? Rows paired over seeds.

    python benchmarks/targets.py                     a Gaussian policy on `regime`, exact figures
    python benchmarks/targets.py --data DIR/stock_data.csv
    python benchmarks/targets.py --controls 20       does a refiner that cannot know choose, too?
    python benchmarks/targets.py --quick             one seed, a few epochs

The refiner of `seqgan_jax/core/refining.py` says l, about log p - log p_0 of the pretrained policy
p_0, by discriminators that were each scaled on data they had not seen. The best law in a trust
region of p_0 is q = p_0 exp(s l) / Z (s = 1: all that l knows; Peters et al. 2010). Rows:
  likelihood   p_0
  refined      q for s = 1: what choosing among more and more samples comes to (simulators)
  forward s    trained by the likelihood of a pool of draws of p_0 in the share of exp(s l), clipped
               at a hundred times their mean, and of real sequences, half each: KL(q || policy)
  reverse s    trained by E_policy[log policy - log p_0 - s l], pathwise, and the likelihood of real
               sequences, half each: KL(policy || q)
Figures, lower is better in each, on sequences that were not trained on:
  coverage  simulators: KL(p||q), nats a step; files: -log q a step
  quality   simulators: KL(q||p), nats a step; as `experiments.py` has it, frontier too
  gap, kl   files: logit gap and lower bound on KL(data, samples) of new discriminators, one for
            each fold (`core/selection.py`), nats a sequence; refined: `quality.py --refine`
--controls N: N refiners each of true and of shuffled labels (half of each kind has the other's), of
one policy on a simulator: their gain, held-out nats a sequence E_p[l] - log Z, and how many are
above two standard errors. Since the scale of each is chosen on data, one of shuffled labels that
leans the right way by chance is used a little, and truly: it has to be next to nothing.
While it runs, beside each s: KL(q || p_0), nats a sequence, and the pool's effective share.
"""

import dataclasses
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import measure
import numpy as np
from experiments import SHUFFLED, frontier, interval, settings_of, trained
from main_job import QUICK
from quality import FILES, parts_of
from scipy.special import logsumexp

from seqgan_jax import SeqGAN
from seqgan_jax.analysis import exact
from seqgan_jax.core import discriminator, refining, sampling, selection
from seqgan_jax.core.batch import Batch, Params, Parts, TrainState, run_of
from seqgan_jax.core.networks import Networks
from seqgan_jax.core.policy import nll
from seqgan_jax.core.refining import CLIP, POOL, Refiner
from seqgan_jax.data import overlap
from seqgan_jax.data.layout import Sequences, load
from seqgan_jax.processes import simulators
from seqgan_jax.run import refined

BATCH, LONGEST = 64, 24  # LONGEST: steps of a series' windows, of which the first are taken
SAMPLES = 4000
TEMPERATURES = (0.7, 0.75, 0.8, 0.85, 0.9, 0.94, 0.97, 0.985, 1.0)


@partial(jax.jit, static_argnames=("nets", "number"))
def drawn(state: TrainState, key: jax.Array, like: Batch, *, nets: Networks, number: int) -> Batch:
    """`number` sequences of the pretrained policy."""
    policy = nets.bind_policy(state.best, state)
    return Batch.of(sampling.sample(policy, key, number, like.length), None, policy.end)


@partial(jax.jit, static_argnames=("nets", "reverse", "steps"))
def toward(
    state: TrainState,
    refiner: tuple[Params, Params, jax.Array],
    pool: Batch,
    log_weights_N: jax.Array,
    train: Batch,
    sharpness: jax.Array,
    key: jax.Array,
    *,
    nets: Networks,
    definition: Any,
    reverse: bool,
    steps: int,
) -> Params:
    """The moving average of the policy after `steps` updates, see above."""
    before = nets.bind_policy(state.best, state)

    def off_target(policy: Any, key: jax.Array) -> jax.Array:
        if not reverse:
            rows_B = jax.random.categorical(key, log_weights_N, shape=(BATCH,))
            return nll(policy, pool.take(rows_B))
        made = Batch.of(sampling.sample(policy, key, BATCH, train.length), None, policy.end)
        params_E, constants, scales_E = refiner
        l_B = refining._log_ratio(params_E, constants, scales_E, made, definition=definition)
        ratio_B = (policy.log_prob(made) - before.log_prob(made)).sum(axis=(1, 2))
        return jnp.mean(ratio_B - sharpness * l_B) / train.length

    return refining.trained(off_target, state, train, key, nets, BATCH, steps)


class Case:
    """Data, what is held out, and how a policy is measured."""

    def __init__(self, name: str, window: int, number: int) -> None:
        self.process: simulators.Simulator | None = None
        self.held = np.zeros((0, window, 0))
        if name in simulators.NAMES:
            self.process = simulators.get(name, window)
            self.sequences = load(name, window=window, num_sequences=number, seed=88)
            return
        path, keys_of = Path(name), {file: key for key, file in FILES.items()}
        parts = parts_of(keys_of[path.name], path.parent, LONGEST, calendar="none")
        _, train, held = (part.x_NTD[:, :window] for part in parts)
        every = max(1, len(train) // number)
        self.sequences = Sequences(train[::every], parts[0].names, path.stem, form=parts[0].form)
        self.held = held

    def figures(
        self, model: SeqGAN, parts: Parts, run: int, temperature: float = 1.0
    ) -> dict[str, float]:
        """Of a policy."""
        log_q = partial(model.log_prob, temperature=temperature, run=run)
        length = self.held.shape[1]
        if self.process is not None:
            x = model.sample(SAMPLES, 1, temperature, run=run)
            found = exact.log_ratios(log_q, self.process, self.held, x)
            return {n: float(r.mean() / length) for n, r in zip(NAMES, found, strict=True)}
        log_q_N, state = log_q(self.held), run_of(model.state, run)
        coverage = float(-log_q_N[np.isfinite(log_q_N)].mean() / length)
        folds = range(selection.FOLDS)
        of_folds = [
            told(state, parts, jax.random.key(fold), jnp.array(fold), nets=model.nets)
            for fold in folds
        ]
        gap, kl = np.mean(of_folds, axis=0)
        return {"coverage": coverage, "gap": float(gap), "kl": float(kl)}


@partial(jax.jit, static_argnames="nets")
def told(
    state: TrainState, parts: Parts, key: jax.Array, fold: jax.Array, *, nets: Networks
) -> tuple[jax.Array, jax.Array]:
    """Logit gap and lower bound of a new discriminator on the validation part of `parts`."""
    policy = nets.bind_policy(state.best, state)
    _, gap, *_, kl, _ = selection.logit_gap(policy, parts, key, state, fold, nets.of_data)
    return gap, kl


NAMES = ("coverage", "quality")


def of_refined(
    case: Case, process: simulators.Simulator, model: SeqGAN, run: int, refiner: Refiner
) -> dict[str, float]:
    """Exact gaps of p_0 exp(l) / Z, what more and more candidates come to; Z by samples."""
    x, held, length = model.sample(5 * SAMPLES, 2, run=run), case.held, case.held.shape[1]
    l_N, l_held = (refiner.log_ratio(rows_of(model, each)) for each in (x, held))
    log_z = logsumexp(l_N) - np.log(len(l_N))
    weights = np.exp(l_N - logsumexp(l_N))
    on_data, on_samples = exact.log_ratios(partial(model.log_prob, run=run), process, held, x)
    return {
        "coverage": float((on_data - l_held + log_z).mean() / length),
        "quality": float(weights @ (on_samples + l_N - log_z) / length),
    }


def gain_of(model: SeqGAN, train: Batch, held: np.ndarray, seed: int) -> tuple[float, float]:
    """By how much p_0 exp(l) / Z is likelier than p_0, nats a sequence, and its standard error."""
    refiner = refined.fit(model._trained(None), train, seed, by_step=False)
    l_N = refiner.log_ratio(rows_of(model, model.sample(5 * SAMPLES, 2)))
    l_M = refiner.log_ratio(rows_of(model, held))
    weights = np.exp(l_N - l_N.max())
    error = np.hypot(
        l_M.std() / np.sqrt(len(l_M)), weights.std() / weights.mean() / np.sqrt(len(l_N))
    )
    return float(l_M.mean() - logsumexp(l_N) + np.log(len(l_N))), float(error)


def controlled(model: SeqGAN, train: Batch, held: np.ndarray, number: int) -> dict[str, np.ndarray]:
    """Gains and errors [number, 2] of refiners that learn true labels, and shuffled ones."""
    found = {}
    for control in ("true", "shuffled"):
        jax.clear_caches()  # compiled programs hold the function that is replaced
        own = SHUFFLED if control == "shuffled" else discriminator
        with mock.patch.object(selection, "discriminator", own):
            each = [gain_of(model, train, held, seed) for seed in range(number)]
        found[control] = np.array(each)
    jax.clear_caches()
    return found


def rows_of(model: SeqGAN, x_NTD: np.ndarray) -> Batch:
    """On the device, in scaled units."""
    return refined._on_device(model.description, x_NTD, None)


def weights_of(l_N: np.ndarray, sharpness: float) -> tuple[np.ndarray, float, float]:
    """Clipped log weights; KL(q || p_0) in nats a sequence, the effective share of the pool."""
    log_w = sharpness * l_N
    log_w = np.minimum(log_w, logsumexp(log_w) - np.log(len(log_w)) + np.log(CLIP))
    shares = np.exp(log_w - logsumexp(log_w))
    kl = float(shares @ (np.log(np.maximum(shares, 1e-30)) + np.log(len(l_N))))
    return log_w, kl, float(1 / (shares @ shares) / len(l_N))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print and write."""
    flags = measure.parser(__doc__, "gpu", lines=True)
    flags.add_argument("--data", default="regime", help="a simulator, or a series of quality.py")
    flags.add_argument("--window", type=int, default=12, help="24 at most, of a series")
    flags.add_argument("--number", type=int, default=3000, help="sequences to learn, about")
    flags.add_argument("--seeds", type=int, default=3)
    flags.add_argument("--forward", type=float, nargs="*", default=[0.5, 1.0, 2.0])
    flags.add_argument("--reverse", type=float, nargs="*", default=[1.0, 2.0])
    flags.add_argument("--steps", type=int, default=600)
    flags.add_argument("--controls", type=int, default=0, metavar="N")
    flags.add_argument("--base", type=settings_of, default={"policy": "gaussian"})
    options = measure.parse(flags, arguments)
    base = {
        "num_seeds": 1 if options.quick or options.controls else options.seeds,
        "seed": 88,
        "data_seed": 88,
    }
    base |= {"hidden_dim": 16, "skip_dis_pretrain": True, "skip_adversarial": True}
    base |= (QUICK if options.quick else {}) | options.base
    case = Case(options.data, options.window, 500 if options.quick else options.number)
    start, split, seconds = trained(case.sequences, base, None)
    case.held = case.held if len(case.held) else split.held_out_NTD
    blocks = jnp.asarray(overlap.independent_blocks(case.held))
    parts = Parts(*(rows_of(start, x) for x in (split.train_NTD, case.held)), blocks)
    print(
        f"{options.data}: {len(parts.train):,} to train, {len(case.held):,} held out, likelihood "
        f"in {seconds:.0f} s",
        flush=True,
    )
    if options.controls:
        cells = []
        for row, values in controlled(start, parts.train, case.held, options.controls).items():
            beyond = np.sum(values[:, 0] > 2 * values[:, 1])
            gain = values[:, 0]
            cells.append([row, f"{gain.mean():.4f}", f"{gain.max():.4f}"])
            cells[-1].append(f"{beyond} of {len(values)}")
        head = ("labels", "gain", "largest", "beyond noise")
        measure.show("Nats a sequence, held out", head, cells)
        return 0
    recipes = [("forward", s) for s in options.forward] + [("reverse", s) for s in options.reverse]
    found: dict[str, list[dict[str, float]]] = {}
    changed: dict[str, list[Params]] = {}
    for run in range(base["num_seeds"]):
        state = run_of(start.state, run)
        found.setdefault("likelihood", []).append(case.figures(start, parts, run))
        refiner = refined.fit(start._trained(run), parts.train, base["seed"] + run, by_step=False)
        if case.process is not None:
            row = of_refined(case, case.process, start, run, refiner)
            found.setdefault("refined", []).append(row)
        arrays = refiner.params_E, refiner.constants, refiner.scales_E
        pool_key, own = jax.random.split(jax.random.key(base["seed"] + run))
        pool = drawn(state, pool_key, parts.train, nets=start.nets, number=POOL)
        l_N = refiner.log_ratio(pool)
        for how, sharpness in recipes:
            log_w, kl, share = weights_of(l_N, sharpness)
            print(f"run {run}, {how} {sharpness:g}: KL {kl:.2f}, effective {share:.3f}", flush=True)
            params = toward(
                state,
                arrays,
                pool,
                jnp.asarray(log_w, jnp.float32),
                parts.train,
                jnp.array(sharpness, jnp.float32),
                jax.random.clone(own),
                nets=start.nets,
                definition=refiner.definition,
                reverse=how == "reverse",
                steps=20 if options.quick else options.steps,
            )
            changed.setdefault(f"{how} {sharpness:g}", []).append(params)
    model, _, _ = trained(case.sequences, base, start)
    for row, policies in changed.items():
        stacked = policies[0]
        if len(policies) > 1:
            stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *policies)
        model._state = dataclasses.replace(model.state, best=stacked)
        found[row] = [case.figures(model, parts, run) for run in range(len(policies))]
    points = []
    if case.process is not None:
        runs = range(base["num_seeds"])
        points = [[case.figures(start, parts, run, t) for run in runs] for t in TEMPERATURES]
    report(found, points, options.json)
    return 0


def report(found: dict[str, list[dict[str, float]]], points: list[Any], path: Any) -> None:
    """Means, and paired differences from the likelihood model."""
    before, cells = found["likelihood"], []
    for row, figures in found.items():
        cells.append([row])
        for name in figures[0]:
            own, old = (np.array([each[name] for each in rows]) for rows in (figures, before))
            paired = "" if row == "likelihood" else f" {interval(own - old)}"
            cells[-1].append(f"{own.mean():.4f}{paired}")
        if points:
            at = [{n: np.array([run[n] for run in each]) for n in NAMES} for each in points]
            own_points = {n: np.array([run[n] for run in figures]) for n in NAMES}
            edge = frontier(at, own_points)  # NaN: no temperature covers as well
            cells[-1].append(
                "" if np.isnan(edge).any() else f"{np.mean(own_points['quality'] / edge):.3f}"
            )
    head = ("", *before[0], *["frontier"] * bool(points))
    measure.show("Paired over training seeds", head, cells)
    measure.append(path, {"rows": found})


if __name__ == "__main__":
    sys.exit(main())
