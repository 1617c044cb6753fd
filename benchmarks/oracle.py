"""The SeqGAN paper's own test (Yu et al. 2017, section 5.1): sequences of tokens from an LSTM whose
law is known, the oracle.

    python benchmarks/oracle.py --oracle FILE    the published oracle (seqgan_oracle.npz): 5 seeds,
                                                 10,000 sequences, T = 20, 5,000 tokens
    python benchmarks/oracle.py                  an oracle of its own, by the same recipe
    python benchmarks/oracle.py --quick          100 tokens, a few epochs

NLL_oracle = -E_q log p / T of samples of the model q under the oracle p, NLL_test = -E_p log q / T
of fresh sequences of the oracle, both in nats a token. The first alone is won by sharpening: a
model at a low temperature repeats what is likeliest. So both stand beside each other, and the
likelihood models at several temperatures (in both NLLs).

random: uniform tokens. likelihood: the paper's, Adam at 1e-2 for 120 epochs, overfitted as there.
stopped: the moving average of its weights that is likeliest on 1,000 validation sequences. decay:
30 epochs with weight decay of embeddings and head, likeliest as above. seqgan: from decay on by
this package's REINFORCE, 16 rollouts of every prefix, A_t = Q_t - Q_{t-1}, reward D's logit, a
likelihood term; D is the package's CNN-highway with embeddings (the paper's is 100 times as
large). --paper adds seqgan (paper): from likelihood on, reward D's probability, rate 1e-2, no
likelihood term, 200 rounds. Both end after the last round: no choice has seen the oracle or the
test sequences.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import measure
import numpy as np
from jax import lax

from seqgan_jax.config import PLAIN, AdversarialConfig, DiscriminatorConfig, GeneratorConfig
from seqgan_jax.core import adversarial, keys, likelihood, policy, sampling, token_networks
from seqgan_jax.core.batch import Batch, Params, Parts, TrainState
from seqgan_jax.core.networks import Networks
from seqgan_jax.core.optimiser import MAX_CHUNK, copy

GATES = "ifoc"  # of the oracle's weights; the policy's input, forget, output, candidate
WEIGHTS = ("embedding", *(w + g for g in GATES for w in "WUb"), "Wout", "bout")
TEMPERATURES = (0.9, 0.8, 0.7)
BATCH = 64
DRAWN_AT_ONCE = 1000  # sequences: V numbers for each
ORACLE, TRAIN, VALIDATION, TEST, MODEL, SCORE, SEED = range(7)  # what keys are for


@dataclass(frozen=True)
class Sizes:
    """Of the data and of training."""

    tokens: int = 5000
    hidden: int = 32
    length: int = 20
    number: int = 10_000  # sequences to learn from, to be tested on, and to be drawn
    epochs: int = 120
    decayed: int = 30  # epochs with weight decay
    pretrained: int = 60  # of the discriminator before the first round
    rounds: int = 10
    paper_rounds: int = 200
    seeds: int = 5


QUICK = Sizes(
    tokens=100,
    hidden=8,
    length=10,
    number=1000,
    epochs=4,
    decayed=4,
    pretrained=2,
    rounds=2,
    paper_rounds=2,
    seeds=2,
)
DECAY = 10.0  # of weights, against the likelihood of all training sequences
DIS = DiscriminatorConfig(dis_r1=0.0, num_negatives=2048)
ADV = AdversarialConfig(
    rollout_num=16, rollout_every=1, gen_updates=5, anchor=0.3, rollouts_at_once=1
)
PAPER = replace(ADV, gen_updates=1, gen_adv_lr=1e-2, reward="probability", anchor=0.0)


class Model(NamedTuple):
    """A policy of tokens: an oracle, or one that has learned from it."""

    definition: Any
    params: Params
    constants: Params


def weights_of_seed(seed: int, sizes: Sizes) -> dict[str, np.ndarray]:
    """An oracle by the paper's recipe: every weight standard normal."""
    rng = np.random.default_rng(seed)
    tokens, hidden = sizes.tokens, sizes.hidden
    shapes: dict[str, tuple[int, ...]] = {"W": (hidden, hidden), "U": (hidden, hidden)}
    of = {"embedding": (tokens, hidden), "Wout": (hidden, tokens), "bout": (tokens,)}
    shape = {name: of.get(name) or shapes.get(name[0], (hidden,)) for name in WEIGHTS}
    return {name: rng.normal(size=shape[name]).astype(np.float32) for name in WEIGHTS}


def read(path: Path) -> dict[str, np.ndarray]:
    """An oracle's weights from a file; raises ValueError or OSError where they are not there."""
    with np.load(path, allow_pickle=False) as file:
        if missing := sorted(set(WEIGHTS) - set(file.files)):
            raise ValueError(f"it lacks {', '.join(missing)}")
        return {name: file[name] for name in WEIGHTS}


def oracle_of(weights: Mapping[str, np.ndarray]) -> Model:
    """The oracle as a policy: the same LSTM, i, f, o = sigmoid(W x + U h + b), c~ = tanh(..), its
    start input the embedding of token 0."""
    tokens, embedding = weights["embedding"].shape
    config = GeneratorConfig(hidden_dim=len(weights["Ui"]))
    model = Model(*token_networks.init_policy(jax.random.key(0), config, tokens, embedding))
    of = {name: np.concatenate([weights[name + gate] for gate in GATES], -1) for name in "WUb"}
    own = {
        "input": of["W"],
        "recurrent": of["U"],
        "bias": of["b"],
        "start": weights["embedding"][0] @ of["W"],
        "head": weights["Wout"],
        "head_bias": weights["bout"],
        "weights": {"embedding": weights["embedding"]},
    }
    own = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), own)
    return model._replace(params=model.params | own)


@partial(jax.jit, static_argnames=("definition", "number", "length"))
def _draw(
    definition: Any,
    params: Params,
    constants: Params,
    key: jax.Array,
    temperature: float,
    number: int,
    length: int,
) -> jax.Array:
    model = policy.bind(definition, params, constants)
    pieces = -(-number // DRAWN_AT_ONCE)
    size = -(-number // pieces)
    own = jax.random.split(key, pieces)
    x_PNT1 = lax.map(lambda key: sampling.sample(model, key, size, length, temperature), own)
    return x_PNT1.reshape(-1, length, 1)[:number]


def draw(
    model: Model, key: jax.Array, number: int, length: int, temperature: float = 1.0
) -> jax.Array:
    """Sequences of tokens `[N, T, 1]`. Consumes `key`."""
    return _draw(*model, key, temperature, number=number, length=length)


@partial(jax.jit, static_argnames="definition")
def _nll(
    definition: Any, params: Params, constants: Params, x_NT1: jax.Array, temperature: float
) -> jax.Array:
    model = policy.bind(definition, params, constants)
    log_p_N = policy.log_prob_of_sequences(model, Batch.complete(x_NT1), temperature)
    return -jnp.mean(log_p_N) / x_NT1.shape[1]


def nll(model: Model, x_NT1: jax.Array, temperature: float = 1.0) -> float:
    """-E log q / T of sequences, nats a token."""
    return float(_nll(*model, x_NT1, temperature))


def decayed_nll(model: Any, batch: Batch, number: int) -> jax.Array:
    """`policy.nll` + DECAY / (2 N T) sum w^2 over embeddings, head and its bias."""
    weights = model.weights["embedding"], model.head, model.head_bias
    squares = sum(jnp.sum(weight[...] ** 2) for weight in weights)
    return policy.nll(model, batch) + 0.5 * DECAY / (number * batch.length) * squares


class Seed:
    """One seed: data of the oracle, models that learn from them, their rows."""

    def __init__(self, oracle: Model, sizes: Sizes, seed: int) -> None:
        self.oracle, self.sizes = oracle, sizes
        self.key = jax.random.fold_in(jax.random.key(seed), SEED)
        train, validation = (
            Batch.complete(draw(oracle, self._own(purpose), number, sizes.length))
            for purpose, number in ((TRAIN, sizes.number), (VALIDATION, sizes.number // 10))
        )
        blocks = jnp.arange(len(validation), dtype=jnp.int32)
        self.parts = Parts(train, validation, blocks)
        self.test = draw(oracle, self._own(TEST), sizes.number, sizes.length)
        self.rows: dict[str, dict[str, float]] = {}

    def _own(self, purpose: int) -> jax.Array:
        return jax.random.fold_in(self.key, purpose)

    def add(self, row: str, model: Model, seconds: float, temperature: float = 1.0) -> None:
        """Both figures of a model."""
        sizes = self.sizes
        x_NT1 = draw(model, self._own(SCORE), sizes.number, sizes.length, temperature)
        self.rows[row] = {
            "nll_oracle": nll(self.oracle, x_NT1),
            "nll_test": nll(model, self.test, temperature),
            "seconds": seconds,
        }
        print(f"{row}:", ", ".join(f"{k} {v:.4g}" for k, v in self.rows[row].items()), flush=True)

    def add_all(self, paper: bool) -> dict[str, dict[str, float]]:
        """All rows of this seed."""
        sizes = self.sizes
        gen = GeneratorConfig(
            hidden_dim=sizes.hidden,
            gen_lr=1e-2,
            patience=sizes.epochs,
            **PLAIN,
        )
        self.nets, state = self._fresh(gen)
        self.add("random", self._model(state, state.policy), 0.0)
        state, seconds = self._likelihood(gen, sizes.epochs)
        last = copy(state.policy)
        self._add_at_temperatures("likelihood", self._model(state, last), seconds)
        self._add_at_temperatures("stopped", self._model(state, state.best), seconds)
        # Another configuration: programs are kept by it, and this one has another loss.
        gen = replace(gen, patience=sizes.epochs + 1)
        with mock.patch.object(likelihood, "nll", partial(decayed_nll, number=sizes.number)):
            state, seconds = self._likelihood(gen, sizes.decayed)
        self._add_at_temperatures("decay", self._model(state, state.best), seconds)
        state, more = self._adversarial(state.best, ADV, sizes.rounds)
        self.add("seqgan", self._model(state, state.policy), seconds + more)
        if paper:
            state, more = self._adversarial(last, PAPER, sizes.paper_rounds)
            more += self.rows["likelihood"]["seconds"]
            self.add("seqgan (paper)", self._model(state, state.policy), more)
        return self.rows

    def _add_at_temperatures(self, row: str, model: Model, seconds: float) -> None:
        self.add(row, model, seconds)
        for temperature in TEMPERATURES:
            self.add(f"{row}, T = {temperature:g}", model, seconds, temperature)

    def _fresh(self, gen: GeneratorConfig) -> tuple[Networks, TrainState]:
        sizes = self.sizes
        return token_networks.init(self._own(MODEL), sizes.length, sizes.tokens, gen, DIS)

    def _model(self, state: TrainState, params: Params) -> Model:
        return Model(self.nets.policy, params, state.policy_constants)

    def _likelihood(self, gen: GeneratorConfig, epochs: int) -> tuple[TrainState, float]:
        """The state after so many epochs from the start, and seconds."""
        _, state = self._fresh(gen)

        def train() -> None:
            nonlocal state
            for done in range(0, epochs, MAX_CHUNK):
                count = jnp.array(min(MAX_CHUNK, epochs - done))
                state, _ = likelihood.epochs(
                    state, self.parts, self.key, count, nets=self.nets, config=gen, batch_size=BATCH
                )
            jax.block_until_ready(state)

        seconds = measure.seconds(train)
        return state, seconds

    def _adversarial(
        self, start: Params, config: AdversarialConfig, rounds: int
    ) -> tuple[TrainState, float]:
        """The state after so many rounds from a policy on, and seconds."""
        _, state = self._fresh(GeneratorConfig(hidden_dim=self.sizes.hidden))
        state = adversarial.begin(replace(state, best=copy(start)), config)
        shared: dict[str, Any] = {"nets": self.nets, "batch_size": BATCH}

        def discriminate(purpose: int, first: int, count: int) -> None:
            nonlocal state
            numbers = jnp.array(purpose), jnp.array(first), jnp.array(count)
            state, _ = adversarial.discriminator_epochs(
                state, self.parts, self.key, *numbers, config=DIS, **shared
            )

        def train() -> None:
            nonlocal state
            discriminate(keys.DISCRIMINATOR, 0, self.sizes.pretrained)
            for number in range(rounds):
                state, _ = adversarial.policy_updates(
                    state, self.parts, self.key, jnp.array(1), config=config, **shared
                )
                discriminate(keys.ADVERSARY, number, 1)
            jax.block_until_ready(state)

        seconds = measure.seconds(train)
        return state, seconds


def summed_up(seeds: Sequence[Mapping[str, Mapping[str, float]]]) -> list[dict[str, Any]]:
    """Means over seeds of each row, with their standard deviations between seeds and all values."""
    rows = []
    for name in seeds[0]:
        row: dict[str, Any] = {"row": name}
        for figure in ("nll_oracle", "nll_test", "seconds"):
            values = [seed[name][figure] for seed in seeds]
            row |= {figure: float(np.mean(values)), f"{figure}_of_seeds": values}
        rows.append(row)
    return rows


def cells(row: Mapping[str, Any]) -> list[str]:
    """A row of the table: means and, over several seeds, standard deviations between them."""

    def cell(figure: str) -> str:
        values = row[f"{figure}_of_seeds"]
        spread = f" +-{np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
        return f"{row[figure]:.3f}{spread}"

    return [row["row"], cell("nll_oracle"), cell("nll_test"), f"{row['seconds']:.0f}"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print each row of each seed as it is found, and the table of their means."""
    flags = measure.parser(__doc__, "gpu")
    flags.add_argument("--oracle", type=Path, help="weights of an oracle, .npz")
    flags.add_argument("--paper", action="store_true", help="the paper's own settings as well")
    flags.add_argument("--seeds", type=int, help="how many (default: 5)")
    options = measure.parse(flags, arguments)
    sizes = QUICK if options.quick else Sizes()
    if options.seeds is not None:
        if options.seeds < 1:
            flags.error(f"--seeds must be at least 1, not {options.seeds}")
        sizes = replace(sizes, seeds=options.seeds)
    weights = weights_of_seed(ORACLE, sizes)
    if options.oracle:
        try:
            weights = read(options.oracle)
        except (OSError, ValueError) as error:
            flags.error(f"--oracle {options.oracle}: no weights of an oracle can be read: {error}")
    sizes = replace(sizes, tokens=len(weights["embedding"]))
    oracle = oracle_of(weights)
    own = nll(oracle, draw(oracle, jax.random.key(ORACLE), sizes.number, sizes.length))
    found: list[dict[str, dict[str, float]]] = []
    for seed in range(sizes.seeds):
        print(f"seed {seed}")
        found.append(Seed(oracle, sizes, seed).add_all(options.paper))
    rows = summed_up(found)
    what = f"{sizes.number:,} sequences of {sizes.length} tokens of {sizes.tokens:,}"
    title = f"{what}, {sizes.seeds} seeds, +- deviations between them; the oracle's own: {own:.3f}"
    columns = ("nats a token", "NLL_oracle", "NLL_test", "seconds")
    measure.show(title, columns, [cells(row) for row in rows])
    measure.write(options.json, "oracle.py", {"rows": rows, "own": own, "seeds": sizes.seeds})
    return 0


if __name__ == "__main__":
    sys.exit(main())
