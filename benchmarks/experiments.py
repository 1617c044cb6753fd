"""What adversarial training gains over maximum likelihood: recipes side by side, paired over seeds.

    python benchmarks/experiments.py --data regime --recipes default reinforce
    python benchmarks/experiments.py --data regime --set "gradient=pathwise reward=logit"
    python benchmarks/experiments.py --data DIR/stock_data.csv --window 24 --base policy=mixture
    python benchmarks/experiments.py --quick         two recipes, a few epochs and rounds

Every recipe starts from the same policies, one for each seed, pretrained by maximum likelihood on
the same data. Figures are of the policy that the run keeps, on sequences that were not trained on;
lower is better in every column:
  coverage  simulators: KL(p||q), nats a step, by the exact density; files: held-out -log q a step
  quality   simulators: KL(q||p), nats a step, by the exact density
  gap       logit gap of new discriminators, nats a sequence, as `core/selection.py` takes it
  told      the published discriminative score, |accuracy - 0.5|, against all real sequences
`gain` is the paired difference to maximum likelihood over the seeds, with a 95% interval (t).
`frontier` is the least quality gap of the likelihood model over temperatures whose coverage is at
least as good as the recipe's: adversarial training has something to show only below it.
Recipes constant, random and shuffled are controls: the reward, or the labels that D learns from,
have nothing to do with being real. What is kept is decided as in every run.
"""

import dataclasses
import itertools
import json
import sys
import time
from collections.abc import Mapping, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import measure
import numpy as np
import scipy.stats
from main_job import QUICK

from seqgan_jax import SeqGAN
from seqgan_jax.analysis import exact, published, scores
from seqgan_jax.core import adversarial, discriminator, gradients, selection
from seqgan_jax.core.batch import Parts, TrainState, run_of
from seqgan_jax.core.networks import Networks
from seqgan_jax.data import overlap
from seqgan_jax.data.layout import Sequences, Split, load
from seqgan_jax.processes import simulators
from seqgan_jax.run.loader import on_device, scaled
from seqgan_jax.run.loop import Silent

# What differs from the default settings; the names are those of the flags.
RECIPES: dict[str, dict[str, Any]] = {
    "default": {},
    "reinforce": {"gradient": "reinforce"},
    "constant": {},
    "random": {},
    "shuffled": {},
}


def constant(logits_B: jax.Array, form: str) -> jax.Array:  # noqa: ARG001
    """Every sequence earns the same."""
    return 0.0 * logits_B


def random(logits_B: jax.Array, form: str) -> jax.Array:  # noqa: ARG001
    """What a sequence earns has nothing to do with being real."""
    return jnp.sin(100.0 * logits_B)


def shuffled(logits_B: jax.Array, is_real_B: jax.Array) -> jax.Array:
    """Half of the real and half of the generated sequences have the other's label."""
    return discriminator.cross_entropy(logits_B, jnp.roll(is_real_B, len(is_real_B) // 4))


# In adversarial training alone: the discriminators of `selection` learn from true labels.
SHUFFLED = SimpleNamespace(**vars(discriminator) | {"cross_entropy": shuffled})
# Controls: the default recipe with one function replaced. No figure may gain.
CONTROLS = {
    "constant": (gradients, "reward_of", constant),
    "random": (gradients, "reward_of", random),
    "shuffled": (adversarial, "discriminator", SHUFFLED),
}
TEMPERATURES = (0.85, 0.9, 0.94, 0.97, 0.985, 1.0, 1.02, 1.05)
SAMPLES = 5000


def settings_of(text: str) -> dict[str, Any]:
    """`name=value name=value` of flags, each value as JSON where it is JSON."""
    found = {}
    for part in text.split():
        name, _, value = part.partition("=")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def trained(
    sequences: Sequences, settings: Mapping[str, Any], start: SeqGAN | None, control: str = ""
) -> tuple[SeqGAN, Split, float]:
    """A model by these settings; with `start`, from its pretrained policies on."""
    if control:
        jax.clear_caches()  # compiled programs hold the function that is replaced
        try:
            with mock.patch.object(*CONTROLS[control]):
                return trained(sequences, settings, start)
        finally:
            jax.clear_caches()
    model = SeqGAN(**settings)
    parts = model.prepare(sequences)
    if start is not None:
        given = jax.tree.map(lambda leaf: leaf.copy(), start.state)
        names = ("policy", "policy_opt", "ema", "best", "best_nll", "rollout", "epoch")
        kept = {name: getattr(given, name) for name in (*names, "stale_epochs")}
        model._state = dataclasses.replace(model.state, **kept)
    began = time.monotonic()
    model.train(parts, Silent())
    return model, parts, time.monotonic() - began


def figures(
    model: SeqGAN,
    held_out: np.ndarray,
    process: simulators.Simulator | None,
    temperature: float = 1.0,
) -> dict[str, np.ndarray]:
    """Each figure of each run `[S]`."""
    rows = []
    for run in range(model.config.run.num_seeds):
        log_q = partial(model.log_prob, temperature=temperature, run=run)
        if process is None:
            rows.append([-log_q(held_out).mean()])
        else:
            x = model.sample(SAMPLES, 1, temperature, run=run)
            rows.append([r.mean() for r in exact.log_ratios(log_q, process, held_out, x)])
    names = ("coverage", "quality")
    return dict(zip(names, np.transpose(rows) / held_out.shape[1], strict=False))


@partial(jax.jit, static_argnames="nets")
def _gap(state: TrainState, parts: Parts, key: jax.Array, *, nets: Networks) -> jax.Array:
    policy = nets.bind_policy(state.best, state)
    return selection.logit_gap(policy, parts, key, state, jnp.array(0))[1]


def logit_gap(model: SeqGAN, parts: Split) -> np.ndarray:
    """The logit gap of `selection` on held-out sequences, nats a sequence, `[S]`."""
    scaler, blocks = model.description.scaler, overlap.independent_blocks(parts.held_out_NTD)
    train, held_out = (
        on_device(scaled(scaler, x_NTD, "held-out"), None, None)
        for x_NTD in (parts.train_NTD, parts.held_out_NTD)
    )
    asked = Parts(train, held_out, jnp.asarray(blocks))
    keys = jax.random.split(jax.random.key(3), selection.REPEATS)
    runs = [run_of(model.state, i) for i in range(model.config.run.num_seeds)]
    gaps = [[_gap(run, asked, key, nets=model.nets) for key in keys] for run in runs]
    return np.array(gaps).mean(axis=1)


def discriminative(
    real: np.ndarray, others: Sequence[np.ndarray], repeats: int, **steps: int
) -> np.ndarray:
    """Published discriminative score of each of `others` against `real`, mean of repeats, `[S]`."""
    joined = np.concatenate([real, *others])
    borders = np.cumsum([0, len(real), *(len(other) for other in others)])
    rows = [np.arange(a, b) for a, b in itertools.pairwise(borders)]
    pairs = [(rows[0], other) for other in rows[1:] for _ in range(repeats)]
    return scores.discriminative(joined, pairs, 0, **steps).reshape(len(others), repeats).mean(1)


def interval(values: np.ndarray) -> str:
    """Mean and 95% interval of it, by Student's t."""
    if len(values) < 2:
        return f"{values.mean():+.4f}"
    half = scipy.stats.t.ppf(0.975, len(values) - 1) * scipy.stats.sem(values)
    return f"{values.mean():+.4f} [{values.mean() - half:+.4f}, {values.mean() + half:+.4f}]"


def frontier(points: Sequence[Mapping[str, np.ndarray]], found: Mapping[str, np.ndarray]) -> Any:
    """For each run the least quality gap over temperatures with coverage as good as found."""
    best = []
    for run, coverage in enumerate(found["coverage"]):
        fine = [p["quality"][run] for p in points if p["coverage"][run] <= coverage + 1e-9]
        best.append(min(fine, default=np.nan))
    return np.array(best)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, print and write."""
    flags = measure.parser(__doc__, "gpu", lines=True)
    flags.add_argument("--data", default="regime", help="a simulator or a file (default: regime)")
    flags.add_argument("--window", type=int, default=20)
    flags.add_argument("--seeds", type=int, default=5)
    flags.add_argument("--recipes", nargs="*", choices=list(RECIPES), default=[])
    flags.add_argument("--set", nargs="*", default=[], help="more recipes, each in quotes")
    flags.add_argument("--base", type=settings_of, default={}, help="settings of all runs")
    flags.add_argument(
        "--mixed", action="store_true", help="hold out windows at random, not the end of a series"
    )
    flags.add_argument("--told", type=int, default=0, help="repeats of the discriminative score")
    flags.add_argument("--most", type=int, default=10_000, help="sequences for it at most")
    options = measure.parse(flags, arguments)
    base = {"num_seeds": options.seeds, "seed": 88, "data_seed": 88}
    if options.quick:
        base |= QUICK | {"num_seeds": 2}
        options.recipes = options.recipes or ["default", "shuffled"]
    base |= options.base
    name = options.data
    process = simulators.get(name, options.window) if name in simulators.NAMES else None
    sequences = load(name, window=options.window, seed=88)
    if options.mixed:
        sequences = dataclasses.replace(sequences, starts_N=None)
    off = {"skip_dis_pretrain": True, "skip_adversarial": True}
    start, parts, seconds = trained(sequences, base | off, None)
    held_out, every = parts.held_out_NTD, sequences.x_NTD[: options.most]

    def measured(model: SeqGAN) -> dict[str, np.ndarray]:
        found = figures(model, held_out, process)
        found["gap"] = logit_gap(model, parts)
        if options.told:
            made = [model.sample(len(every), 2, run=i) for i in range(base["num_seeds"])]
            real, *samples = (published.min_max(every, x) for x in (every, *made))
            found["told"] = discriminative(real, samples, options.told)
        return found

    before = measured(start)
    points = [figures(start, held_out, process, t) for t in TEMPERATURES] if process else []
    print(f"{name}: {base['num_seeds']} seeds; maximum likelihood in {seconds:.0f} s")
    for figure, values in before.items():
        low, high = values.min(), values.max()
        print(f"  likelihood {figure:<9} {values.mean():8.4f}  ({low:.4f} to {high:.4f})")
    recipes = {r: RECIPES[r] for r in options.recipes}
    recipes |= {text: settings_of(text) for text in options.set}
    for recipe, settings in recipes.items():
        control = recipe if recipe in CONTROLS else ""
        model, _, seconds = trained(sequences, base | settings, start, control)
        after = measured(model)
        row = {"data": name, "base": base, "recipe": recipe, "settings": settings} | {
            "seconds": seconds,
            "kept_round": [run["kept_round"] for run in model.runs()],
            "before": {k: v.tolist() for k, v in before.items()},
            "after": {k: v.tolist() for k, v in after.items()},
        }
        print(f"{recipe}  ({seconds:.0f} s, kept rounds {row['kept_round']})")
        for figure, values in after.items():
            print(f"  {figure:<9} {values.mean():8.4f}  gain {interval(values - before[figure])}")
        if process is not None:
            edge = frontier(points, after)
            row["frontier"] = edge.tolist()
            print(f"  quality / frontier {np.mean(after['quality'] / edge):.3f}", flush=True)
        measure.append(options.json, row)
    return 0


if __name__ == "__main__":
    sys.exit(main())
